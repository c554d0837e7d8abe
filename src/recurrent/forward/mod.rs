//! The forward pass: the steps of step.rs, one after the other.
//!
//! The rows of a batch are independent. Each task takes some rows through all steps, in memory of its own
//! (direction/memory.rs), and waits for no other task. If there are few rows, a team divides the units of
//! every step instead (plan.rs). If a step has few rows, what x contributes is computed for many steps at
//! once, because a product with few rows spends its time on reading the weights.

pub(crate) mod cells;
pub(crate) mod step;
pub(crate) mod stepped;

use std::ops::Range;

use crate::cell::Cell;
use crate::error::Result;
use crate::recurrent::direction::memory::{Parts, TaskMemory};
use crate::recurrent::direction::packed::{Pack, Packed};
use crate::recurrent::direction::{Direction, Weights};
use crate::recurrent::options::zoneout::{Draw, Regularised};
use crate::recurrent::plan::Plan;
use crate::recurrent::state::StateRows;
use crate::recurrent::tape::{DirectionTape, Mode};
use crate::simd::{Element, Level, Simd};
use crate::threads;
use crate::threads::rounds::{self, Rounds};
use crate::threads::team::Member;
use crate::view::{RowsMut, Seq, SeqMut, Shape};
use step::{Step, StepState, from_x};

/// One direction of one layer, run forward over a batch or over a time chunk of it.
pub(crate) struct DirectionPass<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub x: Seq<'a, E>,
    /// The initial state. The pass replaces it by the final state.
    pub state: StateRows<'a, E>,
    pub y: SeqMut<'a, E>,
    pub record: &'a mut DirectionTape<E>,
    /// The first step of the time chunk, counted over all steps.
    pub first_step: usize,
}

/// Runs direction passes that do not depend on each other.
pub(crate) fn run<C: Cell, E: Element>(
    level: Level,
    passes: Vec<DirectionPass<'_, C, E>>,
    mode: Mode,
) -> Result<()> {
    let flops = passes.iter().map(|pass| pass.layer.flops(pass.x)).sum();
    let count = passes.len();
    let mut tasks = Vec::new();
    let mut members = None;
    for DirectionPass { layer, weights, x, state, y, record, first_step } in passes {
        let (rows, record_len) = (x.shape().rows, layer.record_len(level.lanes::<E>()));
        let DirectionTape { packed, tasks: memories, initial, drawn, .. } = record;
        let key = layer.pass_key::<E>(Shape::time_major(0, 0, 0), level);
        if !(mode.same_weights && packed.key == Some(key)) {
            packed.key = None;
            level.run(Pack { layer, weights, packed })?;
            packed.key = Some(key);
        }
        let plan = Plan::of(layer, x, mode.records, (count, flops))?;
        let (split, ahead) = (plan.rows, plan.ahead);
        members = plan.members;
        if mode.records {
            initial[0].copy_rows(state.h.as_ref())?;
            initial[1].copy_rows(state.c.as_ref())?;
        }
        let kept = (!mode.records).then(|| ahead.clamp(1, x.shape().steps.max(1)));
        let outputs = layer.output_size();
        let mask = drawn.mask(rows, outputs);
        memories.resize_with(split.len(), TaskMemory::default);
        let (states, ys) = (state.split_rows(&split), y.split_rows(&split));
        let mut first = 0;
        for ((state, y), memory) in states.zip(ys).zip(memories) {
            let count = state.h.count();
            let x = x.rows(first, count);
            memory.begin(x, record_len, kept)?;
            let [for_x, for_h] = layer.rounded_forward();
            let (h_size, c_size) = (state.h.as_ref().features(), state.c.as_ref().features());
            let widths = [h_size, h_size, c_size, for_x, for_h];
            let Parts { values, own, in_order } =
                memory.parts(record_len, widths.map(|width| count * width), Some(x))?;
            let mut widths = widths.into_iter();
            let [h0, h1, c, for_x, for_h] =
                own.map(|own| RowsMut::new(own, count, widths.next().expect("one each")));
            tasks.push(Forward {
                layer,
                packed,
                input: Input { x, in_order },
                state,
                y,
                scratch: Scratch { h: [h0, h1], c, rounded: [for_x, for_h] },
                records: StepRecords { values, all: mode.records, ahead },
                regularised: Regularised {
                    mask: mask.map(|mask| mask.slice(first, count)),
                    draw: mode.trains.then_some(Draw {
                        seed: drawn.seed,
                        place: ((first_step * rows + first) * outputs) as u64,
                        stride: (rows * outputs) as u64,
                    }),
                },
            });
            first += count;
        }
    }
    match members {
        Some(members) => rounds::run_shared(level, tasks.remove(0), members),
        None => threads::run(tasks, |task| rounds::run_alone(level, task)),
    }
}

/// The task that takes some rows forward through all steps.
struct Forward<'a, C, E: Element> {
    layer: &'a Direction<C>,
    packed: &'a Packed<E>,
    input: Input<'a, E>,
    /// The initial state. The task replaces it by the final state.
    state: StateRows<'a, E>,
    y: SeqMut<'a, E>,
    scratch: Scratch<'a, E>,
    records: StepRecords<'a, E>,
    /// The dropout and zoneout of step 0.
    regularised: Regularised<'a, E>,
}

/// The input of a task.
struct Input<'a, E> {
    x: Seq<'a, E>,
    /// Memory for a copy of x in order, if the products cannot read x in its own place.
    in_order: Option<SeqMut<'a, E>>,
}

/// What a task keeps from step to step, in memory of its own.
struct Scratch<'a, E> {
    /// h before and after a step; the two alternate.
    h: [RowsMut<'a, E>; 2],
    c: RowsMut<'a, E>,
    /// Memory for the rounded x and h of a step; no columns if products do not round (matmul/bf16.rs).
    rounded: [RowsMut<'a, E>; 2],
}

/// The records that the steps write.
struct StepRecords<'a, E> {
    /// The records of all steps (T, B, record), or of one step, or of the steps whose x is multiplied at
    /// once.
    values: SeqMut<'a, E>,
    /// Whether there are records of all steps.
    all: bool,
    /// For how many steps x is multiplied at once; 0 if every step multiplies its own x.
    ahead: usize,
}

// SAFETY: `alias` requires a layer that splits its units. There, a member writes only its own units of h, c,
// y and the records, and it reads units of h that others wrote only after the meeting between two steps.
#[allow(unsafe_code)]
unsafe impl<C: Cell, E: Element> Rounds<E> for Forward<'_, C, E> {
    /// A step reads all units of the h of the step before.
    const MEETS: bool = true;

    fn rounds(&self) -> usize {
        self.input.x.shape().steps
    }

    #[inline(always)]
    fn begin<S: Simd<E>>(&mut self, s: S) {
        if let Some(mut in_order) = self.input.in_order.take() {
            in_order.copy(s, self.input.x);
            self.input.x = in_order.into_ref();
        }
        self.scratch.c.copy(self.state.c.as_ref());
        if self.rounds() > 0 {
            let rows = self.input.x.count(self.layer.nth_step(0, self.rounds()));
            self.scratch.h[0].rows_mut(0, rows).copy(self.state.h.as_ref());
        }
    }

    #[inline(always)]
    fn end<S: Simd<E>>(&mut self, s: S) {
        self.state.c.copy(self.scratch.c.as_ref());
        self.y.clear_padding(s);
    }

    /// Computes step number `k`.
    #[inline(always)]
    fn round<S: Simd<E>>(&mut self, s: S, k: usize, member: &mut Member<'_>) -> Result<()> {
        let (steps, layer, x) = (self.input.x.shape().steps, self.layer, self.input.x);
        let begun = self.begun(s, k, member);
        let t = layer.nth_step(k, steps);
        let rows = x.count(t);
        let next = if k + 1 < steps { x.count(layer.nth_step(k + 1, steps)) } else { 0 };
        let Scratch { h: [before, now], c, rounded: [for_x, for_h] } = &mut self.scratch;
        let (before, now) = if k.is_multiple_of(2) { (before, now) } else { (now, before) };
        if rows > 0 {
            // Without a tape, there are only the records of the steps whose x was multiplied at once.
            let at = if begun.contains(&t) { t - begun.start } else { 0 };
            let mut values = self.records.values.step_mut(if self.records.all { t } else { at });
            let step = Step {
                layer,
                packed: self.packed,
                x: if begun.contains(&t) { None } else { Some(x.step(t)) },
                state: StepState {
                    h: before.as_ref().slice(0, rows),
                    c: c.rows_mut(0, rows),
                    y: now.rows_mut(0, rows),
                },
                rounded: [for_x.rows_mut(0, rows), for_h.rows_mut(0, rows)],
                values: values.rows_mut(0, rows),
                back: k % 2 == 1,
                regularised: self.regularised.step(t, rows),
            };
            step.run(s, member)?;
        }
        let own = match member.count {
            1 => 0..layer.output_size(),
            _ => layer.units_of(member, S::LANES),
        };
        let mut y = self.y.step_mut(t);
        for b in 0..rows {
            let h = now.as_ref().part_of_row(b, own.start, own.len());
            s.copy(h, y.part_of_row(b, own.start, own.len()));
            if b >= next {
                // The row ends here, so this is its final state.
                self.state.h.part_of_row(b, own.start, own.len()).copy_from_slice(h);
            }
        }
        for b in rows..next {
            // The row begins at the next step (in the reverse direction).
            let h = self.state.h.as_ref().part_of_row(b, own.start, own.len());
            now.part_of_row(b, own.start, own.len()).copy_from_slice(h);
        }
        Ok(())
    }

    unsafe fn alias(&self) -> Self {
        assert!(self.layer.splits_units());
        // SAFETY: in a step of such a layer, each member writes only its own units.
        let (state, y, scratch, values) = unsafe {
            let Scratch { h: [h0, h1], c, rounded: [for_x, for_h] } = &self.scratch;
            let scratch = Scratch {
                h: [h0.alias(), h1.alias()],
                c: c.alias(),
                rounded: [for_x.alias(), for_h.alias()], // no columns in such a layer
            };
            let state = StateRows { h: self.state.h.alias(), c: self.state.c.alias() };
            (state, self.y.alias(), scratch, self.records.values.alias())
        };
        let input = Input { in_order: None, ..self.input };
        let records = StepRecords { values, ..self.records };
        Self { input, state, y, scratch, records, ..*self }
    }
}

impl<C: Cell, E: Element> Forward<'_, C, E> {
    /// The steps, with step number `k` among them, whose x is multiplied at once. At the first of them, this
    /// function multiplies it. Empty if step `k` multiplies its own x, because nothing is multiplied ahead
    /// or the rows of these steps do not form one matrix.
    #[inline(always)]
    fn begun<S: Simd<E>>(&mut self, s: S, k: usize, member: &Member<'_>) -> Range<usize> {
        let StepRecords { values, all, ahead } = &mut self.records;
        if *ahead == 0 {
            return 0..0;
        }
        let steps = self.input.x.shape().steps;
        let first = k - k % *ahead;
        let last = (first + *ahead).min(steps) - 1;
        let (a, b) = (self.layer.nth_step(first, steps), self.layer.nth_step(last, steps));
        let range = a.min(b)..a.max(b) + 1;
        let to = if *all { range.clone() } else { 0..range.len() };
        match (self.input.x.together(range.clone()), values.together_mut(to)) {
            (Some(x), Some(mut values)) => {
                if k == first {
                    from_x(s, self.layer, self.packed, x, &mut values, member);
                }
                range
            }
            _ => 0..0,
        }
    }
}
