//! Backpropagation through time: the steps of backward/step.rs, from the last one computed, then
//!
//! ```text
//!     dW_ih = da' x     dW_hh = da' h_{t-1}     db = sum of da     over all steps and rows at once
//! ```
//!
//! The loop is split by rows of the batch, as the forward pass was, the sums after it by rows of the weights (weights.rs), so that
//! every number is computed in one order however many threads there are. Gradients of the units' own weights
//! are summed in the loop, for every row apart.

pub(crate) mod step;
pub(crate) mod weights;

use std::iter;

use crate::cell::Cell;
use crate::error::Result;
use crate::matmul::panel::Panels;
use crate::recurrent::direction::Compute;
use crate::recurrent::direction::memory::{Parts, Records};
use crate::recurrent::direction::{Direction, Weights};
use crate::recurrent::plan::members;
use crate::recurrent::tape::DirectionTape;
use crate::simd::{Element, Kernel, Level, Simd};
use crate::threads::rounds::{self, Alone, Rounds};
use crate::threads::team::Member;
use crate::threads::{self, FLOPS_PER_COPY};
use crate::view::{Rows, RowsMut, Seq, SeqMut};
use step::Backward;
use weights::Sums;

/// One direction of a layer back over a batch, or over some of its steps.
pub(crate) struct DirectionPass<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub x: Seq<'a, E>,
    pub y: Seq<'a, E>,
    pub record: &'a mut DirectionTape<E>,
    pub dy: Seq<'a, E>,
    /// The gradient of the final state, and in the end that of the initial one.
    pub dh: RowsMut<'a, E>,
    pub dc: RowsMut<'a, E>,
    /// Added to, if they are wanted, but for those of the units' own weights, which are added to the record.
    pub dparams: Option<&'a mut [E]>,
    /// Written, if it is wanted.
    pub dx: Option<SeqMut<'a, E>>,
}

/// Runs passes that do not depend on each other.
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
        let DirectionTape {
            packed,
            hidden_weights,
            input_weights,
            projection,
            shares,
            initial,
            mask,
            dh: dh_steps,
            dunits,
            ..
        } = &mut *pass.record;
        let input = pass.dx.is_some().then_some(&mut *input_weights);
        pack(level, layer, weights, hidden_weights, input, projection)?;
        let split: Vec<_> = shares.iter().map(|share| share.rows).collect();
        let outputs = layer.output_size();
        let hidden = if layer.separates() || C::RESETS { layer.hidden_size } else { 0 };
        let masked = !mask.is_empty();
        let given = if masked { outputs } else { 0 };
        let c_size = pass.dc.as_ref().features();
        let own = layer.units().count * key.padded;
        dh_steps.resize(x.total().saturating_mul(layer.proj_size))?;
        let mask = Rows::new(mask, if masked { rows } else { 0 }, outputs);
        let dh_steps = x.like_mut(dh_steps, layer.proj_size)?.split_rows(&split);
        let dunits = RowsMut::new(dunits, rows, own).split_rows(&split);
        let h0 = Rows::new(&initial[0], rows, outputs);
        let c0 = Rows::new(&initial[1], rows, c_size);
        let (dh, dc) = (pass.dh.rows_mut(0, rows), pass.dc.rows_mut(0, rows));
        let mut dx = pass.dx.take().map(|dx| dx.split_rows(&split).into_iter());
        let mut first = 0;
        let states = dh.split_rows(&split).into_iter().zip(dc.split_rows(&split));
        for ((share, (dh, dc)), (dh_steps, dunits)) in
            shares.iter_mut().zip(states).zip(dh_steps.into_iter().zip(dunits))
        {
            let rows = share.rows;
            let widths = [outputs, c_size, hidden, given, layer.rounded_back()];
            let mut dx = dx.as_mut().and_then(Iterator::next);
            let to = dx.as_ref().map(SeqMut::as_ref);
            let Parts { values: tape, own, in_order } =
                share.parts(key.record, widths.map(|width| rows * width), to)?;
            let padded_dx = in_order.and_then(|in_order| dx.replace(in_order));
            let mut widths = widths.into_iter();
            let [own_dh, own_dc, dm, dgiven, rounded] =
                own.map(|own| RowsMut::new(own, rows, widths.next().expect("one each")));
            let task = Backward {
                layer,
                units: &packed.units,
                hidden_weights,
                input_weights,
                projection,
                h0: h0.slice(first, rows),
                c0: c0.slice(first, rows),
                mask: masked.then(|| mask.slice(first, rows)),
                y: y.rows(first, rows),
                tape,
                dy: dy.rows(first, rows),
                dh: own_dh,
                dc: own_dc,
                dx,
                dh_steps,
                dm,
                dgiven,
                dunits,
                rounded,
            };
            tasks.push(Carried { task, dh, dc, padded_dx });
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
        Some(members) => rounds::run_rounds(level, tasks.remove(0), members)?,
        None => threads::run(tasks, |task| level.run(Alone(task)))?,
    }
    let mut all = Vec::new();
    for DirectionPass { layer, x, y, record, dparams, .. } in passes {
        let Some(grads) = dparams else { continue };
        let key = layer.pass_key::<E>(x.shape(), level);
        let DirectionTape { groups, group_sums, blocks, shares, initial, mask, anew, .. } = record;
        weights::blocks(layer, x, groups.len(), blocks);
        group_sums.resize((groups.len() - 1).saturating_mul(grads.len()))?;
        let mut own: Vec<_> = group_sums.chunks_exact_mut(grads.len().max(1)).collect();
        if *anew {
            own.iter_mut().for_each(|grads| weights::clear_units(layer, grads));
        }
        let h0 = Rows::new(&initial[0], x.shape().rows, layer.output_size());
        let dh = x.like(&record.dh, layer.proj_size)?;
        let parts = parts.div_ceil(groups.len());
        record.outer.resize_with(groups.len() * parts, Default::default);
        let mut memory = record.outer.chunks_exact_mut(parts);
        let mut first = 0;
        for (n, (&rows, grads)) in groups.iter().zip(iter::once(grads).chain(own)).enumerate() {
            let sums = Sums {
                layer,
                x: x.rows(first, rows),
                y: y.rows(first, rows),
                h0: h0.slice(first, rows),
                dh: dh.rows(first, rows),
                blocks,
                da: Records::new(shares, key.record)?,
                first,
                masked: !mask.is_empty(),
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

/// Packs W_hh, W_hr (or what a reset h is multiplied with) and, if dx is wanted, W_ih, for going back.
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
    // No cell has both.
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

/// Packs a matrix as a layer multiplies with it; in pairs, no pair has rows of two blocks of so many.
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

/// Some rows back, with where the gradients of their states come from and go to: in between they lie in the
/// task's own memory. So does dx, if the products could not write it where it belongs.
struct Carried<'a, C, E: Element> {
    task: Backward<'a, C, E>,
    dh: RowsMut<'a, E>,
    dc: RowsMut<'a, E>,
    padded_dx: Option<SeqMut<'a, E>>,
}

// SAFETY: of a layer that splits its units (`alias`), a member writes its own units of the records, dh and dc, its
// own columns of dx, and after the meeting in a step reads the step's records, which nobody writes again.
#[allow(unsafe_code)]
unsafe impl<C: Cell, E: Element> Rounds<E> for Carried<'_, C, E> {
    /// A step reads of the ones before its own units' dh and dc; and da, but all came to the meeting in the
    /// step after they were written.
    const MEETS: bool = false;

    /// All steps, and dx.
    fn rounds(&self) -> usize {
        self.task.dy.shape().steps + 1
    }

    #[inline(always)]
    fn begin<S: Simd<E>>(&mut self, _s: S) {
        self.task.dh.copy(self.dh.as_ref());
        self.task.dc.copy(self.dc.as_ref());
    }

    #[inline(always)]
    fn end<S: Simd<E>>(&mut self, s: S) {
        self.dh.copy(self.task.dh.as_ref());
        self.dc.copy(self.task.dc.as_ref());
        if let (Some(to), Some(dx)) = (&mut self.padded_dx, &self.task.dx) {
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
        // SAFETY: of a step of such a layer, each member writes to its own units, and of dx to its own columns.
        unsafe {
            let task = Backward {
                tape: task.tape.alias(),
                dh: task.dh.alias(),
                dc: task.dc.alias(),
                dx: task.dx.as_ref().map(|dx| dx.alias()),
                dh_steps: task.dh_steps.alias(),
                dm: task.dm.alias(),
                dgiven: task.dgiven.alias(),
                dunits: task.dunits.alias(),
                rounded: task.rounded.alias(),
                ..*task
            };
            Self { task, dh: self.dh.alias(), dc: self.dc.alias(), padded_dx: None }
        }
    }
}
