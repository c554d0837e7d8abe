//! The forward pass.
//!
//! ```text
//! per step t, rows of a task at once:
//!     arguments = bias + x_t W_ih' + h_{t-1} W_hh'     into the tape, or into a scratch row
//!     h_t, c_t = cell(arguments, h_{t-1}, c_{t-1})     the cell's values over the arguments
//!     y_t = h_t, or W_hr h_t in a layer with a projection, whose next step reads that
//! ```
//!
//! y is where the next step reads; c lives in the state. Rows of the batch are independent, so each task
//! takes some rows through all steps and no thread waits for another.

use super::direction::{Direction, Weights};
use super::tape::Record;
use crate::cell::{Cell, MAX_TAPE};
use crate::error::Result;
use crate::panel::{Columns, Panels};
use crate::parallel;
use crate::product::product;
use crate::simd::{Element, Level, Simd, Task};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

/// One direction of a layer over a batch.
pub(super) struct Pass<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub x: Seq<'a, E>,
    /// The initial state, and in the end the final one.
    pub h: RowsMut<'a, E>,
    pub c: RowsMut<'a, E>,
    pub y: SeqMut<'a, E>,
    pub record: &'a mut Record<E>,
}

/// Runs passes that do not depend on each other.
pub(super) fn run<C: Cell, E: Element>(
    level: Level,
    passes: Vec<Pass<'_, C, E>>,
    records: bool,
) -> Result<()> {
    let flops = passes.iter().map(|pass| pass.layer.flops(pass.x)).sum();
    let count = passes.len();
    let mut tasks = Vec::new();
    for Pass { layer, weights, x, h, c, y, record } in passes {
        let rows = x.shape().rows;
        let recording = layer.recording::<E>(x.shape(), level);
        let Record { weights: panels, projection, values, scratch, initial, recorded, .. } = record;
        level.run(Pack { layer, weights, panels, projection })?;
        let split = split_rows(x, flops, count)?;
        let values = if records {
            initial[0].copy_rows(h.as_ref())?;
            initial[1].copy_rows(c.as_ref())?;
            values.resize(recording.len(x))?;
            recording.values_mut(values, x)?
        } else {
            let shape = Shape::time_major(1, rows, recording.record());
            scratch.resize(rows.saturating_mul(recording.record()))?;
            SeqMut::new(scratch, shape)?
        };
        *recorded = records.then_some(recording);
        let (h, c, y) = (h.split_rows(&split), c.split_rows(&split), y.split_rows(&split));
        let mut first = 0;
        for (((h, c), y), values) in h.into_iter().zip(c).zip(y).zip(values.split_rows(&split)) {
            let rows = h.count();
            tasks.push(Forward {
                layer,
                weights: panels,
                projection,
                x: x.rows(first, rows),
                h,
                c,
                y,
                values,
                records,
            });
            first += rows;
        }
    }
    parallel::run(tasks, |task| {
        level.run(task);
        Ok(())
    })
}

/// How many rows each task takes of a batch that is one of `passes`, `flops` together: about the same
/// number of steps.
pub(super) fn split_rows<E>(x: Seq<'_, E>, flops: usize, passes: usize) -> Result<Vec<usize>> {
    let rows = x.shape().rows;
    let tasks = parallel::tasks(rows * passes, flops)?.div_ceil(passes);
    let Some(sizes) = x.sizes().filter(|_| tasks > 1) else {
        return Ok(parallel::split(rows, tasks));
    };
    let mut split = vec![0];
    let (mut done, mut steps) = (0, sizes.steps());
    for row in 0..rows {
        // Rows are sorted: the next one is no longer.
        while steps > 0 && sizes.count(steps - 1) <= row {
            steps -= 1;
        }
        if done * tasks >= sizes.total() * split.len() {
            split.push(0);
        }
        *split.last_mut().expect("never empty") += 1;
        done += steps;
    }
    Ok(split)
}

/// Packs a matrix for every block of gates, and the projection.
pub(super) struct Pack<'a, C, E: Element> {
    pub layer: &'a Direction<C>,
    pub weights: Weights<'a, E>,
    pub panels: &'a mut Vec<Panels<E>>,
    pub projection: &'a mut Panels<E>,
}

impl<C: Cell, E: Element> Task<E> for Pack<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Direction { input_size, hidden_size, .. } = *self.layer;
        let (outputs, weights) = (self.layer.output_size(), &self.weights);
        self.panels.resize_with(C::BLOCKS.len(), Panels::default);
        for (block, panels) in C::BLOCKS.iter().zip(self.panels) {
            let rows = block.gates * hidden_size;
            let columns = Columns { gates: block.gates, width: hidden_size };
            let parts =
                [(block.x, weights.weight_ih, input_size), (block.h, weights.weight_hh, outputs)];
            let k = parts.iter().filter(|part| part.0.is_some()).map(|part| part.2).sum();
            panels.reshape(s, k, columns)?;
            match (weights.biases, block.x, block.h) {
                (Some((ih, hh)), Some(x), Some(h)) => panels.pack_bias(
                    s,
                    &[&ih[x * hidden_size..][..rows], &hh[h * hidden_size..][..rows]],
                ),
                (Some((ih, _)), Some(x), None) => {
                    panels.pack_bias(s, &[&ih[x * hidden_size..][..rows]]);
                }
                (Some((_, hh)), None, Some(h)) => {
                    panels.pack_bias(s, &[&hh[h * hidden_size..][..rows]]);
                }
                _ => panels.pack_bias(s, &[]),
            }
            let mut k = 0;
            for (gate, weight, width) in parts {
                if let Some(gate) = gate {
                    let weight = &weight[gate * hidden_size * width..];
                    panels.pack_transposed(s, k, Rows::new(weight, rows, width));
                    k += width;
                }
            }
        }
        if let Some(weight_hr) = weights.weight_hr {
            self.projection.reshape(s, hidden_size, Columns::plain(outputs))?;
            self.projection.pack_bias(s, &[]);
            self.projection.pack_transposed(s, 0, Rows::new(weight_hr, outputs, hidden_size));
        }
        Ok(())
    }
}

/// Some rows through all steps.
struct Forward<'a, C, E: Element> {
    layer: &'a Direction<C>,
    weights: &'a [Panels<E>],
    projection: &'a Panels<E>,
    x: Seq<'a, E>,
    /// The initial state, and in the end the final one.
    h: RowsMut<'a, E>,
    c: RowsMut<'a, E>,
    y: SeqMut<'a, E>,
    /// The tape (T, B, record), or one step of it.
    values: SeqMut<'a, E>,
    records: bool,
}

impl<C: Cell, E: Element> Task<E> for Forward<'_, C, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        let Direction { hidden_size, .. } = *self.layer;
        let padded = self.layer.padded(S::LANES);
        let steps = self.x.shape().steps;
        for k in 0..steps {
            let t = self.layer.nth_step(k, steps);
            let rows = self.x.count(t);
            if rows == 0 {
                continue;
            }
            let before = k.checked_sub(1).map(|k| self.layer.nth_step(k, steps));
            let x = self.x.step(t);
            let (h_before, mut y) = self.y.step_beside(t, before);
            // Rows that were there at the step before go on from it; the others begin.
            let going = h_before.map_or(0, |h| h.count().min(rows));
            for (first, count) in [(0, going), (going, rows - going)] {
                if count == 0 {
                    continue;
                }
                let h = match (first, h_before) {
                    (0, Some(h)) if going > 0 => h.slice(0, count),
                    _ => self.h.as_ref().slice(first, count),
                };
                let x = x.slice(first, count);
                let mut values = self.values.step_mut(if self.records { t } else { 0 });
                let mut values = values.rows_mut(first, count);
                let mut y = y.rows_mut(first, count);
                arguments(s, self.layer, self.weights, x, h, &mut values);
                let mut c = self.c.rows_mut(first, count);
                let projects = C::HAS_C && self.layer.proj_size > 0;
                let to = if projects { None } else { Some(&mut y) };
                cells(s, self.layer, h, &mut c, to, &mut values);
                if projects {
                    let m = values.as_ref().columns(C::TAPE * padded, hidden_size);
                    product(s, &[m], self.projection, &mut y);
                }
            }
            // Rows that end here have their final state.
            let next = (k + 1 < steps).then(|| self.layer.nth_step(k + 1, steps));
            for b in next.map_or(0, |next| self.x.count(next))..rows {
                self.h.row_mut(b).copy_from_slice(y.as_ref().row(b));
            }
        }
    }
}

/// The arguments of the gates, from x and h: one product for every block.
#[inline(always)]
pub(super) fn arguments<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    weights: &[Panels<E>],
    x: Rows<'_, E>,
    h: Rows<'_, E>,
    values: &mut RowsMut<'_, E>,
) {
    let (rows, padded) = (x.count(), layer.padded(S::LANES));
    for (n, (block, weights)) in C::BLOCKS.iter().zip(weights).enumerate() {
        let resets = C::RESETS && n + 1 == C::BLOCKS.len();
        if resets {
            reset(s, layer, h, values);
        }
        // What a reset leaves is read while the slots before it are written.
        let end = if resets { (C::TAPE - 1) * padded } else { values.as_ref().features() };
        let (mut arguments, last) = values.split_columns(end);
        let parts = [x, if resets { last.columns(0, layer.hidden_size) } else { h }];
        let parts = match (block.x, block.h) {
            (Some(_), Some(_)) => &parts[..],
            (Some(_), None) => &parts[..1],
            _ => &parts[1..],
        };
        let (first, columns) = (block.slot * padded, block.gates * padded);
        let mut to = arguments.part(0, rows, first, columns).expect("a record has all slots");
        product(s, parts, weights, &mut to);
    }
}

/// What the last block of a cell that resets is given for h.
#[inline(always)]
fn reset<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    h_before: Rows<'_, E>,
    values: &mut RowsMut<'_, E>,
) {
    let padded = layer.padded(S::LANES);
    for b in 0..h_before.count() {
        let (h, record) = (h_before.row(b), values.row_mut(b));
        for unit in (0..layer.hidden_size).step_by(S::LANES) {
            let mut values = [s.splat(E::ZERO); MAX_TAPE];
            let values = &mut values[..C::TAPE];
            for (slot, value) in values.iter_mut().enumerate() {
                *value = s.load(&record[slot * padded + unit..]);
            }
            layer.cell.reset(s, values, s.load(&h[unit..]));
            for (slot, &value) in values.iter().enumerate() {
                s.store(&mut record[slot * padded + unit..], value);
            }
        }
    }
}

/// The cells of one step: from the arguments in `values` to the new c and h. h goes to `y`, or if there
/// is none behind the values of the record.
#[inline(always)]
pub(crate) fn cells<C: Cell, E: Element, S: Simd<E>>(
    s: S,
    layer: &Direction<C>,
    h_before: Rows<'_, E>,
    c: &mut RowsMut<'_, E>,
    mut y: Option<&mut RowsMut<'_, E>>,
    values: &mut RowsMut<'_, E>,
) {
    let padded = layer.padded(S::LANES);
    for b in 0..values.as_ref().count() {
        let record = values.row_mut(b);
        for unit in (0..layer.hidden_size).step_by(S::LANES) {
            let mut values = [s.splat(E::ZERO); MAX_TAPE];
            let values = &mut values[..C::TAPE];
            for (slot, value) in values.iter_mut().enumerate() {
                *value = s.load(&record[slot * padded + unit..]);
            }
            let (mut h, mut c_now) = (s.splat(E::ZERO), s.splat(E::ZERO));
            if C::USES_H {
                h = s.load(&h_before.row(b)[unit..]);
            }
            if C::HAS_C {
                c_now = s.load(&c.as_ref().row(b)[unit..]);
            }
            let h = layer.cell.forward(s, values, h, &mut c_now);
            if C::HAS_C {
                s.store(&mut c.row_mut(b)[unit..], c_now);
            }
            for (slot, &value) in values.iter().enumerate() {
                s.store(&mut record[slot * padded + unit..], value);
            }
            match &mut y {
                Some(y) => s.store(&mut y.row_mut(b)[unit..], h),
                None => s.store(&mut record[C::TAPE * padded + unit..], h),
            }
        }
    }
}
