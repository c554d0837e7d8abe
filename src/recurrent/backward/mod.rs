//! Backpropagation through time: the steps of backward/step.rs, beginning with the step that was computed
//! last, then
//!
//! ```text
//!     dW_ih = da' x     dW_hh = da' h_{t-1}     db = sum of da     over all steps and rows at once
//! ```
//!
//! Tasks divide the loop by rows of the batch, as in the forward pass. They divide the sums after it by rows
//! of the weights (weights.rs). So the order of additions is the same for every number of threads. The loop
//! also sums the gradients of the units' own weights, for every row separately.

pub(crate) mod step;
pub(crate) mod weights;

use std::iter;

use crate::cell::Cell;
use crate::error::Result;
use crate::matmul::panel::Panels;
use crate::recurrent::Gradients;
use crate::recurrent::direction::memory::{Parts, Records};
use crate::recurrent::direction::{Compute, Direction, Weights};
use crate::recurrent::plan::members;
use crate::recurrent::state::StateRows;
use crate::recurrent::tape::{BackMemory, DirectionTape, SumsMemory};
use crate::simd::{Element, Kernel, Level, Simd};
use crate::threads::rounds::{self, Rounds};
use crate::threads::team::Member;
use crate::threads::{self, FLOPS_PER_COPY};
use crate::view::{Rows, RowsMut, Seq, SeqMut};
use step::{BackWeights, Backward, Recorded, Scratch, StepGradients};
use weights::{Group, Sums};

/// One direction of one layer, run backward over a batch or over a time chunk of it.
pub(crate) struct DirectionPass<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub x: Seq<'a, E>,
    pub y: Seq<'a, E>,
    pub record: &'a mut DirectionTape<E>,
    pub dy: Seq<'a, E>,
    /// The gradient of the final state. The pass replaces it by the gradient of the initial state.
    pub dstate: StateRows<'a, E>,
    /// The pass adds the gradients of the parameters here. Those of the units' own weights go to the tape
    /// instead.
    pub gradients: Gradients<'a, E>,
}

/// Runs direction passes that do not depend on each other.
pub(crate) fn run<C: Cell, E: Element>(
    level: Level,
    mut passes: Vec<DirectionPass<'_, C, E>>,
) -> Result<()> {
    let count = passes.len();
    let mut tasks = Vec::new();
    for pass in &mut passes {
        let DirectionPass { layer, weights, x, y, dy, .. } = *pass;
        let rows = x.shape().rows;
        let key = layer.pass_key::<E>(x.shape(), level);
        let DirectionTape { packed, back, tasks: memories, initial, drawn, .. } = &mut *pass.record;
        let wants_dx = pass.gradients.x.is_some();
        let BackMemory { hidden, input, projection, dh, dunits } = back;
        pack(level, layer, weights, hidden, wants_dx.then_some(&mut *input), projection)?;
        let weights = BackWeights {
            units: &packed.units,
            hidden,
            input: wants_dx.then_some(&*input),
            projection: (C::RESETS || layer.proj_size > 0).then_some(&*projection),
        };
        let split: Vec<_> = memories.iter().map(|memory| memory.rows).collect();
        let outputs = layer.output_size();
        let hidden = if layer.separates() || C::RESETS { layer.hidden_size } else { 0 };
        let mask = drawn.mask(rows, outputs);
        let given = if mask.is_some() { outputs } else { 0 };
        let c_size = pass.dstate.c.as_ref().features();
        let own = layer.units().count * key.padded;
        dh.resize(x.total().saturating_mul(layer.proj_size))?;
        let of_outputs = x.like_mut(dh, layer.proj_size)?.split_rows(&split);
        let dunits = RowsMut::new(dunits, rows, own).split_rows(&split);
        let h0 = Rows::new(&initial[0], rows, outputs);
        let c0 = Rows::new(&initial[1], rows, c_size);
        let mut dx = pass.gradients.x.take().map(|dx| dx.split_rows(&split).into_iter());
        let mut first = 0;
        let dstates = pass.dstate.reborrow().split_rows(&split);
        let gradients = of_outputs.into_iter().zip(dunits);
        for ((memory, dstate), (of_outputs, units)) in
            memories.iter_mut().zip(dstates).zip(gradients)
        {
            let rows = memory.rows;
            let widths = [outputs, c_size, hidden, given, layer.rounded_back()];
            let mut dx = dx.as_mut().and_then(Iterator::next);
            let to = dx.as_ref().map(SeqMut::as_ref);
            let Parts { values: records, own, in_order } =
                memory.parts(key.record, widths.map(|width| rows * width), to)?;
            let padded_dx = in_order.and_then(|in_order| dx.replace(in_order));
            let mut widths = widths.into_iter();
            let [own_dh, own_dc, dm, dgiven, rounded] =
                own.map(|own| RowsMut::new(own, rows, widths.next().expect("one each")));
            let task = Backward {
                layer,
                weights,
                recorded: Recorded {
                    h0: h0.slice(first, rows),
                    c0: c0.slice(first, rows),
                    mask: mask.map(|mask| mask.slice(first, rows)),
                    y: y.rows(first, rows),
                    records,
                },
                dy: dy.rows(first, rows),
                dstate: StateRows { h: own_dh, c: own_dc },
                gradients: StepGradients { dx, outputs: of_outputs, units },
                scratch: Scratch { dm, dgiven, rounded },
            };
            tasks.push(Carried { task, dstate, padded_dx });
            first += rows;
        }
    }
    let members = match &tasks[..] {
        [Carried { task, .. }] => members(task.layer, task.dy)?,
        _ => None,
    };
    let parallel = members.is_some() || tasks.len() > count;
    let parts = if parallel { threads::num_threads()? } else { 1 };
    match members {
        Some(members) => rounds::run_shared(level, tasks.remove(0), members)?,
        None => threads::run(tasks, |task| rounds::run_alone(level, task))?,
    }
    let mut all = Vec::new();
    for DirectionPass { layer, x, y, record, gradients, .. } in passes {
        let Some(grads) = gradients.params else { continue };
        let key = layer.pass_key::<E>(x.shape(), level);
        let DirectionTape { tasks, initial, drawn, back, sums, .. } = record;
        let SumsMemory { groups, anew, of_groups, blocks, outer } = sums;
        weights::blocks(layer, x, groups.len(), blocks);
        of_groups.resize((groups.len() - 1).saturating_mul(grads.len()))?;
        let mut own: Vec<_> = of_groups.chunks_exact_mut(grads.len().max(1)).collect();
        if *anew {
            own.iter_mut().for_each(|grads| weights::clear_units(layer, grads));
        }
        let h0 = Rows::new(&initial[0], x.shape().rows, layer.output_size());
        let dh = x.like(&back.dh, layer.proj_size)?;
        let parts = parts.div_ceil(groups.len());
        outer.resize_with(groups.len() * parts, Default::default);
        let mut memory = outer.chunks_exact_mut(parts);
        let mut first = 0;
        for (n, (&rows, grads)) in groups.iter().zip(iter::once(grads).chain(own)).enumerate() {
            let sums = Sums {
                layer,
                group: Group {
                    x: x.rows(first, rows),
                    y: y.rows(first, rows),
                    h0: h0.slice(first, rows),
                    dh: dh.rows(first, rows),
                    first,
                },
                blocks,
                da: Records::new(tasks, key.record)?,
                masked: !drawn.mask.is_empty(),
                anew: n > 0 && *anew,
            };
            all.push((sums, grads, memory.next().expect("for each group"), parts));
            first += rows;
        }
        *anew = false;
    }
    let mut tasks = Vec::new();
    for (sums, grads, memory, parts) in &mut all {
        weights::split(sums, grads, *parts, memory, &mut tasks);
    }
    match parallel || count > 1 {
        false => tasks.into_iter().try_for_each(|task| level.run(task)),
        true => threads::run(tasks, |task| level.run(task)),
    }
}

/// Packs, for the steps back, W_hh, W_hr (or the block of W_hh for the reset h) and, if dx is wanted, W_ih.
fn pack<C: Cell, E: Element>(
    level: Level,
    layer: &Direction<C>,
    weights: Weights<'_, E>,
    hidden: &mut Panels<E>,
    input: Option<&mut Panels<E>>,
    projection: &mut Panels<E>,
) -> Result<()> {
    let Direction { input_size, hidden_size, proj_size, compute, .. } = *layer;
    let (gates, outputs) = (C::GATES * hidden_size, layer.output_size());
    let weight_hh = Rows::new(weights.weight_hh, gates, outputs);
    let last = if C::RESETS { hidden_size } else { 0 };
    let block = hidden_size;
    let mut tasks =
        vec![Pack { panels: hidden, matrix: weight_hh.slice(0, gates - last), block, compute }];
    if let Some(panels) = input {
        let matrix = Rows::new(weights.weight_ih, gates, input_size);
        tasks.push(Pack { panels, matrix, block, compute });
    }
    // No cell has both a reset and a projection.
    if C::RESETS {
        let matrix = weight_hh.slice(gates - last, last);
        tasks.push(Pack { panels: projection, matrix, block, compute });
    } else if proj_size > 0 {
        let matrix = Rows::new(weights.weight_hr, outputs, hidden_size);
        tasks.push(Pack { panels: projection, matrix, block: outputs, compute });
    }
    let numbers: usize =
        tasks.iter().map(|task| task.matrix.count() * task.matrix.features()).sum();
    match threads::tasks(tasks.len(), numbers.saturating_mul(FLOPS_PER_COPY))? {
        1 => tasks.into_iter().try_for_each(|task| level.run(task)),
        _ => threads::run(tasks, |task| level.run(task)),
    }
}

/// Packs a matrix for the number type of a layer's products. With pairs, no pair holds rows of two blocks of
/// `block` rows.
struct Pack<'a, E: Element> {
    panels: &'a mut Panels<E>,
    matrix: Rows<'a, E>,
    block: usize,
    compute: Compute,
}

impl<E: Element> Kernel<E> for Pack<'_, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { panels, matrix, block, compute } = self;
        match compute {
            Compute::Own => panels.pack_matrix(s, matrix),
            Compute::Bf16 => panels.pack_matrix_in_pairs(s, matrix, block),
        }
    }
}

/// The task that takes some rows back, with the caller's gradient of their state. The gradient is copied to
/// the task's own memory before the first step, and back after the last. If the products cannot write dx to
/// its own place, it is also copied there at the end.
struct Carried<'a, C, E: Element> {
    task: Backward<'a, C, E>,
    dstate: StateRows<'a, E>,
    padded_dx: Option<SeqMut<'a, E>>,
}

// SAFETY: `alias` requires a layer that splits its units. There, a member writes only its own units of the
// records, dh and dc, and its own columns of dx. After the meeting in a step, it reads the records of the
// step, which no member writes again.
#[allow(unsafe_code)]
unsafe impl<'a, C: Cell, E: Element> Rounds<E> for Carried<'a, C, E> {
    /// Members need not meet between steps. From earlier steps, a member reads dh and dc of its own units,
    /// and da, which all members wrote before the meeting inside that step.
    const MEETS: bool = false;

    /// One round for every step, and one for dx.
    fn rounds(&self) -> usize {
        self.task.dy.shape().steps + 1
    }

    #[inline(always)]
    fn begin<S: Simd<E>>(&mut self, _s: S) {
        self.task.dstate.copy(&self.dstate);
    }

    #[inline(always)]
    fn end<S: Simd<E>>(&mut self, s: S) {
        self.dstate.copy(&self.task.dstate);
        if let (Some(to), Some(dx)) = (&mut self.padded_dx, &self.task.gradients.dx) {
            to.copy(s, dx.as_ref());
            to.clear_padding(s);
        }
    }

    #[inline(always)]
    fn round<S: Simd<E>>(&mut self, s: S, n: usize, member: &mut Member<'_>) -> Result<()> {
        self.task.round(s, n, member)
    }

    unsafe fn alias(&self) -> Self {
        let task = &self.task;
        assert!(task.layer.splits_units());
        // SAFETY: in a step of such a layer, each member writes only its own units, and its own columns of
        // dx.
        unsafe {
            let StepGradients { dx, outputs, units } = &task.gradients;
            let Scratch { dm, dgiven, rounded } = &task.scratch;
            let alias_of =
                |state: &StateRows<'a, E>| StateRows { h: state.h.alias(), c: state.c.alias() };
            let records = task.recorded.records.alias();
            let task = Backward {
                recorded: Recorded { records, ..task.recorded },
                dstate: alias_of(&task.dstate),
                gradients: StepGradients {
                    dx: dx.as_ref().map(|dx| dx.alias()),
                    outputs: outputs.alias(),
                    units: units.alias(),
                },
                scratch: Scratch {
                    dm: dm.alias(),
                    dgiven: dgiven.alias(),
                    rounded: rounded.alias(),
                },
                ..*task
            };
            Self { task, dstate: alias_of(&self.dstate), padded_dx: None }
        }
    }
}
