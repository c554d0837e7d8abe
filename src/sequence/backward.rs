//! Backpropagation through time.
//!
//! ```text
//! per step t, from the last one computed:
//!     dh_t += dy_t                                            (with a projection, dh_t W_hr next)
//!     da_t, dc_{t-1}, dh_{t-1} = cell'(tape_t, h_{t-1}, c_{t-1}, dh_t, dc_t)     da over the tape
//!     dh_{t-1} += da_t W_hh                                   (and dx_t = da_t W_ih)
//! after the loop, over all steps and rows at once:
//!     dW_ih = da' x     dW_hh = da' h_{t-1}     db = sum of da
//! ```
//!
//! The loop is split by rows of the batch, the sums after it by rows of the weights (weights.rs), so that
//! every number is computed in one order however many threads there are.

use super::direction::{Direction, Weights};
use super::forward::split_rows;
use super::tape::{Record, Recording};
use super::weights::{self, Sums};
use crate::cell::{Block, Cell, MAX_SLOTS, MAX_TAPE};
use crate::error::Result;
use crate::panel::Panels;
use crate::parallel;
use crate::product::{AddTo, product};
use crate::simd::{Element, Level, Simd, Task};
use crate::view::{Rows, RowsMut, Seq, SeqMut};

/// One direction of a layer back over a batch.
pub(super) struct Pass<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub x: Seq<'a, E>,
    pub y: Seq<'a, E>,
    pub record: &'a mut Record<E>,
    pub recording: Recording,
    pub dy: Seq<'a, E>,
    /// The gradient of the final state, and in the end that of the initial one.
    pub dh: RowsMut<'a, E>,
    pub dc: RowsMut<'a, E>,
    /// Added to, if they are wanted.
    pub dparams: Option<&'a mut [E]>,
    /// Written, if it is wanted.
    pub dx: Option<SeqMut<'a, E>>,
}

/// Runs passes that do not depend on each other.
pub(super) fn run<C: Cell, E: Element>(
    level: Level,
    mut passes: Vec<Pass<'_, C, E>>,
) -> Result<()> {
    let flops = passes.iter().map(|pass| pass.layer.flops(pass.x)).sum();
    let count = passes.len();
    let mut tasks = Vec::new();
    for pass in &mut passes {
        let Pass { layer, weights, x, y, dy, recording, .. } = *pass;
        let rows = x.shape().rows;
        let Record {
            hidden_weights,
            input_weights,
            projection,
            values,
            initial,
            dh: dh_steps,
            scratch,
            ..
        } = &mut *pass.record;
        let input = pass.dx.is_some().then_some(&mut *input_weights);
        level.run(Pack { layer, weights, hidden: hidden_weights, input, projection })?;
        let split = split_rows(x, flops, count)?;
        // With a projection, dh of every step, for dW_hr, and what comes out of it; or of a reset.
        let hidden = if layer.proj_size > 0 || C::RESETS { layer.hidden_size } else { 0 };
        dh_steps.resize(x.total().saturating_mul(layer.proj_size))?;
        scratch.resize(rows.saturating_mul(hidden))?;
        let values = recording.values_mut(values, x)?.split_rows(&split);
        let dh_steps = x.like_mut(dh_steps, layer.proj_size)?.split_rows(&split);
        let dm = RowsMut::new(scratch, rows, hidden).split_rows(&split);
        let h0 = Rows::new(&initial[0], rows, layer.output_size());
        let c0 = Rows::new(&initial[1], rows, pass.dc.as_ref().features());
        let (dh, dc) = (pass.dh.rows_mut(0, rows), pass.dc.rows_mut(0, rows));
        let mut dx = pass.dx.take().map(|dx| dx.split_rows(&split).into_iter());
        let mut first = 0;
        let parts = dh.split_rows(&split).into_iter().zip(dc.split_rows(&split));
        for ((((dh, dc), values), dh_steps), dm) in parts.zip(values).zip(dh_steps).zip(dm) {
            let rows = dh.count();
            tasks.push(Backward {
                layer,
                hidden_weights,
                input_weights,
                projection,
                h0: h0.slice(first, rows),
                c0: c0.slice(first, rows),
                y: y.rows(first, rows),
                tape: values,
                dy: dy.rows(first, rows),
                dh,
                dc,
                dx: dx.as_mut().and_then(Iterator::next),
                dh_steps,
                dm,
            });
            first += rows;
        }
    }
    let parts = if tasks.len() > count { parallel::num_threads()? } else { 1 };
    parallel::run(tasks, |task| {
        level.run(task);
        Ok(())
    })?;
    let mut tasks = Vec::new();
    for Pass { layer, x, y, record, recording, dparams, .. } in passes {
        if let Some(grads) = dparams {
            let rows = x.shape().rows;
            let sums = Sums {
                layer,
                da: recording.values(&record.values, x)?,
                dh: x.like(&record.dh, layer.proj_size)?,
                x,
                y,
                h0: Rows::new(&record.initial[0], rows, layer.output_size()),
            };
            weights::split(sums, grads, parts, &mut record.outer, &mut tasks);
        }
    }
    parallel::run(tasks, |task| level.run(task))
}

/// Packs W_hh, W_hr (or what a reset h is multiplied with) and, if dx is wanted, W_ih, for going back.
struct Pack<'a, C, E: Element> {
    layer: &'a Direction<C>,
    weights: Weights<'a, E>,
    hidden: &'a mut Panels<E>,
    input: Option<&'a mut Panels<E>>,
    projection: &'a mut Panels<E>,
}

impl<C: Cell, E: Element> Task<E> for Pack<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Direction { input_size, hidden_size, .. } = *self.layer;
        let (gates, outputs) = (C::GATES * hidden_size, self.layer.output_size());
        let weight_hh = Rows::new(self.weights.weight_hh, gates, outputs);
        let last = if C::RESETS { hidden_size } else { 0 };
        self.hidden.pack_matrix(s, weight_hh.slice(0, gates - last))?;
        if C::RESETS {
            self.projection.pack_matrix(s, weight_hh.slice(gates - last, last))?;
        }
        if let Some(input) = self.input {
            input.pack_matrix(s, Rows::new(self.weights.weight_ih, gates, input_size))?;
        }
        if let Some(weight_hr) = self.weights.weight_hr {
            self.projection.pack_matrix(s, Rows::new(weight_hr, outputs, hidden_size))?;
        }
        Ok(())
    }
}

/// Some rows back through all steps.
pub(crate) struct Backward<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub hidden_weights: &'a Panels<E>,
    pub input_weights: &'a Panels<E>,
    pub projection: &'a Panels<E>,
    pub h0: Rows<'a, E>,
    pub c0: Rows<'a, E>,
    pub y: Seq<'a, E>,
    /// (T, B, record)
    pub tape: SeqMut<'a, E>,
    pub dy: Seq<'a, E>,
    /// The gradient of the final state, and in the end that of the initial one.
    pub dh: RowsMut<'a, E>,
    pub dc: RowsMut<'a, E>,
    pub dx: Option<SeqMut<'a, E>>,
    /// With a projection, (T, B, P): receives dh of every step.
    pub dh_steps: SeqMut<'a, E>,
    /// And (B, H): what comes out of it, or of a reset.
    pub dm: RowsMut<'a, E>,
}

impl<C: Cell, E: Element> Task<E> for Backward<'_, C, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        let steps = self.dy.shape().steps;
        for k in (0..steps).rev() {
            let t = self.layer.nth_step(k, steps);
            let rows = self.dy.count(t);
            if rows == 0 {
                continue;
            }
            if C::HAS_C && self.layer.proj_size > 0 {
                self.project_back(s, t, rows);
            }
            let before = k.checked_sub(1).map(|k| self.layer.nth_step(k, steps));
            self.cells(s, t, before);
            if C::RESETS {
                self.reset_back(s, t, before);
            }
            let values = self.tape.as_ref().step(t);
            // Padding is left out of the products: there, infinities of the inputs have become NaN.
            let mut slots = [values.columns(0, 0); MAX_SLOTS];
            let by_product = if C::RESETS { C::BLOCKS.len() - 1 } else { C::BLOCKS.len() };
            let blocks = &C::BLOCKS[..by_product];
            let slots = gates(values, self.layer, S::LANES, blocks, |block| block.h, &mut slots);
            let mut dh = self.dh.rows_mut(0, rows);
            if C::USES_H {
                product(s, slots, self.hidden_weights, &mut AddTo { c: &mut dh, row: 0 });
            } else {
                product(s, slots, self.hidden_weights, &mut dh);
            }
            if let Some(dx) = &mut self.dx {
                let mut slots = [values.columns(0, 0); MAX_SLOTS];
                let part = |block: &Block| block.x;
                let slots = gates(values, self.layer, S::LANES, C::BLOCKS, part, &mut slots);
                product(s, slots, self.input_weights, &mut dx.step_mut(t));
            }
        }
    }
}

/// The slots of the gates in which x, or h, has a part, in the order of the weights.
#[inline(always)]
fn gates<'s, 'v, C: Cell, E: Element>(
    values: Rows<'v, E>,
    layer: &Direction<C>,
    lanes: usize,
    blocks: &[Block],
    part: impl Fn(&Block) -> Option<usize>,
    slots: &'s mut [Rows<'v, E>; MAX_SLOTS],
) -> &'s [Rows<'v, E>] {
    let padded = layer.padded(lanes);
    if padded == layer.hidden_size && C::BLOCKS.len() == 1 {
        slots[0] = values.columns(0, C::GATES * padded);
        return &slots[..1];
    }
    let mut count = 0;
    for block in blocks.iter().filter(|block| part(block).is_some()) {
        for slot in block.slot..block.slot + block.gates {
            slots[count] = values.columns(slot * padded, layer.hidden_size);
            count += 1;
        }
    }
    &slots[..count]
}

impl<C: Cell, E: Element> Backward<'_, C, E> {
    /// The cells of step `t`: the tape's values become da, dc and dh those of the step before.
    #[inline(always)]
    fn cells<S: Simd<E>>(&mut self, s: S, t: usize, before: Option<usize>) {
        let Direction { cell, hidden_size, proj_size, .. } = *self.layer;
        let padded = self.layer.padded(S::LANES);
        let dy = self.dy.step(t);
        let h_before = before.map(|before| self.y.step(before));
        let (tape_before, mut now) = self.tape.step_beside(t, before);
        for b in 0..dy.count() {
            let record = now.row_mut(b);
            // c is the last value on the tape.
            let c_before = match &tape_before {
                _ if !C::HAS_C => &[],
                Some(before) if b < before.count() => &before.row(b)[(C::TAPE - 1) * padded..],
                _ => self.c0.row(b),
            };
            let h_before = match &h_before {
                _ if !C::USES_H => &[],
                Some(before) if b < before.count() => before.row(b),
                _ => self.h0.row(b),
            };
            for unit in (0..hidden_size).step_by(S::LANES) {
                let mut values = [s.splat(E::ZERO); MAX_TAPE];
                let values = &mut values[..C::TAPE];
                for (slot, value) in values.iter_mut().enumerate() {
                    *value = s.load(&record[slot * padded + unit..]);
                }
                let dh = match proj_size {
                    0 => {
                        s.add(s.load(&self.dh.as_ref().row(b)[unit..]), s.load(&dy.row(b)[unit..]))
                    }
                    _ => s.load(&self.dm.as_ref().row(b)[unit..]),
                };
                let zero = s.splat(E::ZERO);
                let (mut h, mut c, mut dc) = (zero, zero, zero);
                if C::USES_H {
                    h = s.load(&h_before[unit..]);
                }
                if C::HAS_C {
                    c = s.load(&c_before[unit..]);
                    dc = s.load(&self.dc.as_ref().row(b)[unit..]);
                }
                let through = cell.backward(s, values, (h, c), dh, &mut dc);
                if C::USES_H {
                    s.store(&mut self.dh.row_mut(b)[unit..], through);
                }
                if C::HAS_C {
                    s.store(&mut self.dc.row_mut(b)[unit..], dc);
                }
                for (slot, &value) in values.iter().enumerate().take(slots_of::<C>()) {
                    s.store(&mut record[slot * padded + unit..], value);
                }
            }
        }
    }

    /// Back through the last block and the reset before it.
    #[inline(always)]
    fn reset_back<S: Simd<E>>(&mut self, s: S, t: usize, before: Option<usize>) {
        let Direction { cell, hidden_size, .. } = *self.layer;
        let (padded, slot) = (self.layer.padded(S::LANES), C::BLOCKS[C::BLOCKS.len() - 1].slot);
        let h_before = before.map(|before| self.y.step(before));
        let mut now = self.tape.step_mut(t);
        let rows = now.count();
        let da = now.as_ref().columns(slot * padded, hidden_size);
        product(s, &[da], self.projection, &mut self.dm.rows_mut(0, rows));
        for b in 0..rows {
            let h = match &h_before {
                Some(before) if b < before.count() => before.row(b),
                _ => self.h0.row(b),
            };
            let (record, dm, dh) = (now.row_mut(b), self.dm.as_ref().row(b), self.dh.row_mut(b));
            for unit in (0..hidden_size).step_by(S::LANES) {
                let mut values = [s.splat(E::ZERO); MAX_TAPE];
                let values = &mut values[..C::TAPE];
                for (slot, value) in values.iter_mut().enumerate() {
                    *value = s.load(&record[slot * padded + unit..]);
                }
                let d = s.load(&dm[unit..]);
                let through = cell.reset_back(s, values, s.load(&h[unit..]), d);
                let sum = s.add(s.load(&dh[unit..]), through);
                s.store(&mut dh[unit..], sum);
                for (slot, &value) in values.iter().enumerate().take(slots_of::<C>()) {
                    s.store(&mut record[slot * padded + unit..], value);
                }
            }
        }
    }

    /// dh + dy, kept for dW_hr, and back through the projection.
    #[inline(always)]
    fn project_back<S: Simd<E>>(&mut self, s: S, t: usize, rows: usize) {
        let (dy, mut dh_now) = (self.dy.step(t), self.dh_steps.step_mut(t));
        for b in 0..rows {
            let (dh, dy, to) = (self.dh.as_ref().row(b), dy.row(b), dh_now.row_mut(b));
            for p in (0..to.len()).step_by(S::LANES) {
                s.store(&mut to[p..], s.add(s.load(&dh[p..]), s.load(&dy[p..])));
            }
        }
        product(s, &[dh_now.as_ref()], self.projection, &mut self.dm.rows_mut(0, rows));
    }
}

/// How many of a cell's values are arguments.
const fn slots_of<C: Cell>() -> usize {
    let last = C::BLOCKS[C::BLOCKS.len() - 1];
    last.slot + last.gates
}
