//! The forward pass: the steps of step.rs, one after the other.
//!
//! Rows of the batch are independent, so each task takes some rows through all steps, in memory of its own
//! (direction/memory.rs), and waits for no other; or, of few rows, threads share every step (plan.rs). Where a step has few rows, what x contributes is computed
//! for many steps at once: products with few rows only stream the weights.

pub(crate) mod cells;
pub(crate) mod step;

use std::ops::Range;

use crate::cell::Cell;
use crate::error::Result;
use crate::recurrent::direction::memory::{Parts, TaskMemory};
use crate::recurrent::direction::packed::{Pack, Packed};
use crate::recurrent::direction::{Direction, Weights};
use crate::recurrent::options::zoneout::Draw;
use crate::recurrent::plan::Plan;
use crate::recurrent::tape::DirectionTape;
use crate::recurrent::tape::Mode;
use crate::simd::{Element, Level, Simd};
use crate::threads;
use crate::threads::rounds::{self, Alone, Rounds};
use crate::threads::team::Member;
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};
use step::{Step, from_x};

/// One direction of a layer over a batch, or over some of its steps.
pub(crate) struct DirectionPass<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub x: Seq<'a, E>,
    /// The initial state, and in the end the final one.
    pub h: RowsMut<'a, E>,
    pub c: RowsMut<'a, E>,
    pub y: SeqMut<'a, E>,
    pub record: &'a mut DirectionTape<E>,
    /// The first of these steps, of all.
    pub first_step: usize,
}

/// Runs passes that do not depend on each other.
pub(crate) fn run<C: Cell, E: Element>(
    level: Level,
    passes: Vec<DirectionPass<'_, C, E>>,
    mode: Mode,
) -> Result<()> {
    let flops = passes.iter().map(|pass| pass.layer.flops(pass.x)).sum();
    let count = passes.len();
    let mut tasks = Vec::new();
    let mut members = None;
    for DirectionPass { layer, weights, x, h, c, y, record, first_step } in passes {
        let (rows, record_len) = (x.shape().rows, layer.record_len(level.lanes::<E>()));
        let DirectionTape { packed, packed_for, shares, initial, mask, seed, .. } = record;
        let of = layer.pass_key::<E>(Shape::time_major(0, 0, 0), level);
        if !(mode.same_weights && *packed_for == Some(of)) {
            *packed_for = None;
            level.run(Pack { layer, weights, packed })?;
            *packed_for = Some(of);
        }
        let plan = Plan::of(layer, x, mode.records, (count, flops))?;
        let (split, ahead) = (plan.rows, plan.ahead);
        members = plan.members;
        if mode.records {
            initial[0].copy_rows(h.as_ref())?;
            initial[1].copy_rows(c.as_ref())?;
        }
        let kept = (!mode.records).then(|| ahead.clamp(1, x.shape().steps.max(1)));
        let masked = !mask.is_empty();
        let mask = Rows::new(mask, if masked { rows } else { 0 }, layer.output_size());
        shares.resize_with(split.len(), TaskMemory::default);
        let (h, c, y) = (h.split_rows(&split), c.split_rows(&split), y.split_rows(&split));
        let mut first = 0;
        for (((h, c), y), share) in h.into_iter().zip(c).zip(y).zip(shares) {
            let count = h.count();
            let x = x.rows(first, count);
            share.begin(x, record_len, kept)?;
            let [for_x, for_h] = layer.rounded_forward();
            let (h_size, c_size) = (h.as_ref().features(), c.as_ref().features());
            let widths = [h_size, h_size, c_size, for_x, for_h];
            let Parts { values, own, in_order } =
                share.parts(record_len, widths.map(|width| count * width), Some(x))?;
            let mut widths = widths.into_iter();
            let [h0, h1, own_c, for_x, for_h] =
                own.map(|own| RowsMut::new(own, count, widths.next().expect("one each")));
            tasks.push(Forward {
                layer,
                packed,
                x,
                x_in_order: in_order,
                h,
                c,
                y,
                own_h: [h0, h1],
                own_c,
                rounded: [for_x, for_h],
                values,
                records: mode.records,
                ahead,
                mask: masked.then(|| mask.slice(first, count)),
                draw: mode.trains.then_some(Draw {
                    seed: *seed,
                    place: ((first_step * rows + first) * layer.output_size()) as u64,
                }),
                all_rows: rows,
            });
            first += count;
        }
    }
    match members {
        Some(members) => rounds::run_rounds(level, tasks.remove(0), members),
        None => threads::run(tasks, |task| level.run(Alone(task))),
    }
}

/// Some rows through all steps.
struct Forward<'a, C, E: Element> {
    layer: &'a Direction<C>,
    packed: &'a Packed<E>,
    x: Seq<'a, E>,
    /// Where x goes before the first step, if the products could not read it where it is.
    x_in_order: Option<SeqMut<'a, E>>,
    /// The initial state, and in the end the final one.
    h: RowsMut<'a, E>,
    c: RowsMut<'a, E>,
    y: SeqMut<'a, E>,
    /// h before and after a step, in turn, and c.
    own_h: [RowsMut<'a, E>; 2],
    own_c: RowsMut<'a, E>,
    /// Where a step rounds x and h; none in f32 and f64 (matmul/bf16.rs).
    rounded: [RowsMut<'a, E>; 2],
    /// The tape (T, B, record), or one step of it, or as many as are begun ahead.
    values: SeqMut<'a, E>,
    records: bool,
    /// For how many steps x is multiplied at once; 0 for each with its own.
    ahead: usize,
    mask: Option<Rows<'a, E>>,
    /// What zoneout draws from in the first step, with the rows of the batch.
    draw: Option<Draw>,
    all_rows: usize,
}

// SAFETY: of a layer that splits its units (`alias`), a member writes its own units of h, c, y and the records,
// and reads those of h that others wrote before the meeting between two steps.
#[allow(unsafe_code)]
unsafe impl<C: Cell, E: Element> Rounds<E> for Forward<'_, C, E> {
    /// A step reads all of the h that the one before left.
    const MEETS: bool = true;

    fn rounds(&self) -> usize {
        self.x.shape().steps
    }

    #[inline(always)]
    fn begin<S: Simd<E>>(&mut self, s: S) {
        if let Some(mut in_order) = self.x_in_order.take() {
            in_order.copy(s, self.x);
            self.x = in_order.into_ref();
        }
        self.own_c.copy(self.c.as_ref());
        if self.rounds() > 0 {
            let rows = self.x.count(self.layer.nth_step(0, self.rounds()));
            self.own_h[0].rows_mut(0, rows).copy(self.h.as_ref());
        }
    }

    #[inline(always)]
    fn end<S: Simd<E>>(&mut self, s: S) {
        self.c.copy(self.own_c.as_ref());
        self.y.clear_padding(s);
    }

    /// The step that comes as number `k`.
    #[inline(always)]
    fn round<S: Simd<E>>(&mut self, s: S, k: usize, member: &mut Member<'_>) -> Result<()> {
        let (steps, layer) = (self.x.shape().steps, self.layer);
        let begun = self.begun(s, k, member);
        let t = layer.nth_step(k, steps);
        let rows = self.x.count(t);
        let next = if k + 1 < steps { self.x.count(layer.nth_step(k + 1, steps)) } else { 0 };
        let [before, now] = &mut self.own_h;
        let (before, now) = if k.is_multiple_of(2) { (before, now) } else { (now, before) };
        if rows > 0 {
            // Without a tape, steps that are begun ahead lie one after the other.
            let at = if begun.contains(&t) { t - begun.start } else { 0 };
            let [for_x, for_h] = &mut self.rounded;
            let mut values = self.values.step_mut(if self.records { t } else { at });
            let place = (t * self.all_rows * layer.output_size()) as u64;
            let step = Step {
                layer,
                packed: self.packed,
                x: if begun.contains(&t) { None } else { Some(self.x.step(t)) },
                h: before.as_ref().slice(0, rows),
                c: self.own_c.rows_mut(0, rows),
                y: now.rows_mut(0, rows),
                rounded: [for_x.rows_mut(0, rows), for_h.rows_mut(0, rows)],
                values: values.rows_mut(0, rows),
                back: k % 2 == 1,
                mask: self.mask.map(|mask| mask.slice(0, rows)),
                draw: self.draw.map(|draw| Draw { place: draw.place + place, ..draw }),
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
                // It ends here and has its final state.
                self.h.part_of_row(b, own.start, own.len()).copy_from_slice(h);
            }
        }
        for b in rows..next {
            // It begins at the next step.
            let h = self.h.as_ref().part_of_row(b, own.start, own.len());
            now.part_of_row(b, own.start, own.len()).copy_from_slice(h);
        }
        Ok(())
    }

    unsafe fn alias(&self) -> Self {
        assert!(self.layer.splits_units());
        // SAFETY: of a step of such a layer, each member writes to its own units.
        let ((h, c, own_c), y) =
            unsafe { ((self.h.alias(), self.c.alias(), self.own_c.alias()), self.y.alias()) };
        // SAFETY: as above.
        let (own_h, values) =
            unsafe { ([self.own_h[0].alias(), self.own_h[1].alias()], self.values.alias()) };
        // SAFETY: they have no columns, or the layer would not split its units.
        let rounded = unsafe { [self.rounded[0].alias(), self.rounded[1].alias()] };
        Self { x_in_order: None, h, c, own_c, y, own_h, rounded, values, ..*self }
    }
}

impl<C: Cell, E: Element> Forward<'_, C, E> {
    /// The steps whose x has been multiplied ahead when number `k` comes, none if they are not: at the first
    /// of them, that is done now. Their rows may not lie as one matrix.
    #[inline(always)]
    fn begun<S: Simd<E>>(&mut self, s: S, k: usize, member: &Member<'_>) -> Range<usize> {
        if self.ahead == 0 {
            return 0..0;
        }
        let steps = self.x.shape().steps;
        let first = k - k % self.ahead;
        let last = (first + self.ahead).min(steps) - 1;
        let (a, b) = (self.layer.nth_step(first, steps), self.layer.nth_step(last, steps));
        let range = a.min(b)..a.max(b) + 1;
        let to = if self.records { range.clone() } else { 0..range.len() };
        match (self.x.together(range.clone()), self.values.together_mut(to)) {
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
