//! The forward pass.
//!
//! ```text
//! per step t, panel of units and tile of rows:
//!     gates = bias + x_t W_ih' + h_{t-1} W_hh'     one loop over K = I + H, in registers
//!     h_t, c_t = cell(gates, c_{t-1})              while the tile is in L1
//! ```
//!
//! h_t goes into the output, where the next step reads it; c lives in the state; in training, the
//! cell's values go onto the tape. Rows of the batch are independent, so each task takes some rows
//! through all steps and no thread waits for another.

use super::{Recurrent, State, Tape, Weights};
use crate::cell::{Cell, MAX_GATES, MAX_TAPE};
use crate::error::Result;
use crate::panel::{Columns, Panels};
use crate::parallel;
use crate::product::{Consume, product};
use crate::simd::{Element, Level, Simd, Task};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

pub(super) fn run<C: Cell, E: Element>(
    layer: &Recurrent<C>,
    weights: &Weights<'_, E>,
    x: Seq<'_, E>,
    state: &mut State<E>,
    y: SeqMut<'_, E>,
    tape: &mut Tape<E>,
) -> Result<()> {
    let level = Level::current()?;
    let rows = x.shape().rows;
    let sizes = parallel::split_rows(rows, layer.flops(x.shape()))?;

    tape.recorded = None;
    level.run(Pack { layer, weights, panels: &mut tape.weights })?;
    let recording = layer.recording::<E>(x.shape(), level);
    let mut recorders = Vec::new();
    if tape.records {
        tape.initial.copy_from(state)?;
        tape.values.resize(recording.len())?;
        recorders = SeqMut::new(&mut tape.values, recording.shape())?.split_rows(&sizes);
    }

    let panels = &tape.weights;
    let mut recorders = recorders.into_iter();
    let (h, c) = state.rows_mut(layer, rows);
    let (h, c) = (h.split_rows(&sizes), c.split_rows(&sizes));
    let mut first = 0;
    let mut tasks = Vec::with_capacity(sizes.len());
    for ((h, c), y) in h.into_iter().zip(c).zip(y.split_rows(&sizes)) {
        let count = h.count();
        let (x, tape) = (x.rows(first, count), recorders.next());
        tasks.push(Forward { layer, weights: panels, x, h, c, y, tape });
        first += count;
    }
    parallel::run(tasks, |task| {
        level.run(task);
        Ok(())
    })?;
    tape.recorded = tape.records.then_some(recording);
    Ok(())
}

/// Packs [W_ih | W_hh] and the biases, all gates of a vector of units side by side.
struct Pack<'a, C, E: Element> {
    layer: &'a Recurrent<C>,
    weights: &'a Weights<'a, E>,
    panels: &'a mut Panels<E>,
}

impl<C: Cell, E: Element> Task<E> for Pack<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Recurrent { input_size, hidden_size, .. } = *self.layer;
        let columns = Columns { gates: C::GATES, width: hidden_size, units: C::UNITS };
        self.panels.reshape(s, input_size + hidden_size, columns)?;
        match self.weights.biases {
            Some((ih, hh)) => self.panels.pack_bias(s, &[ih, hh]),
            None => self.panels.pack_bias(s, &[]),
        }
        let rows = C::GATES * hidden_size;
        let weight_ih = Rows::new(self.weights.weight_ih, rows, input_size);
        let weight_hh = Rows::new(self.weights.weight_hh, rows, hidden_size);
        self.panels.pack_transposed(s, 0, weight_ih);
        self.panels.pack_transposed(s, input_size, weight_hh);
        Ok(())
    }
}

/// Some rows through all steps.
struct Forward<'a, C, E: Element> {
    layer: &'a Recurrent<C>,
    /// [W_ih | W_hh] with the biases.
    weights: &'a Panels<E>,
    x: Seq<'a, E>,
    /// The initial state, and in the end the final one.
    h: RowsMut<'a, E>,
    c: RowsMut<'a, E>,
    y: SeqMut<'a, E>,
    /// (T, B, TAPE * padded H)
    tape: Option<SeqMut<'a, E>>,
}

impl<C: Cell, E: Element> Task<E> for Forward<'_, C, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        let Shape { steps, rows, .. } = self.x.shape();
        for t in 0..if rows > 0 { steps } else { 0 } {
            let (before, h_now) = self.y.step_after(t);
            let h_before = before.unwrap_or(self.h.as_ref());
            let mut step = Step {
                layer: self.layer,
                c: &mut self.c,
                h: h_now,
                tape: self.tape.as_mut().map(|tape| tape.step_mut(t)),
            };
            product(s, &[self.x.step(t), h_before], self.weights, &mut step);
        }
        if steps > 0 {
            for b in 0..self.h.count() {
                self.h.row_mut(b).copy_from_slice(self.y.as_ref().step(steps - 1).row(b));
            }
        }
    }
}

/// The cells of one step, which take the sums of its product.
pub(crate) struct Step<'a, 'b, C, E: Element> {
    pub layer: &'a Recurrent<C>,
    pub c: &'a mut RowsMut<'b, E>,
    pub h: RowsMut<'a, E>,
    /// (B, TAPE * padded H)
    pub tape: Option<RowsMut<'a, E>>,
}

impl<C: Cell, E: Element> Consume<E> for Step<'_, '_, C, E> {
    #[inline(always)]
    fn take<S: Simd<E>>(&mut self, s: S, b: usize, group: usize, sums: &[E]) {
        let Recurrent { cell, hidden_size, .. } = *self.layer;
        let padded = self.layer.padded(S::LANES);
        for u in 0..C::UNITS {
            let unit = (group * C::UNITS + u) * S::LANES;
            if unit >= hidden_size {
                break;
            }
            let mut gates = [s.splat(E::ZERO); MAX_GATES];
            for (g, gate) in gates[..C::GATES].iter_mut().enumerate() {
                *gate = s.load(&sums[(g * C::UNITS + u) * S::LANES..]);
            }
            let mut values = [s.splat(E::ZERO); MAX_TAPE];
            let values = &mut values[..C::TAPE];
            let mut c = s.splat(E::ZERO);
            if C::HAS_C {
                c = s.load(&self.c.as_ref().row(b)[unit..]);
            }
            let h = cell.forward(s, &gates[..C::GATES], &mut c, values);
            if C::HAS_C {
                s.store(&mut self.c.row_mut(b)[unit..], c);
            }
            s.store(&mut self.h.row_mut(b)[unit..], h);
            if let Some(tape) = &mut self.tape {
                for (slot, &value) in values.iter().enumerate() {
                    s.store(&mut tape.row_mut(b)[slot * padded + unit..], value);
                }
            }
        }
    }
}
