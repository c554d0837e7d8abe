//! Backpropagation through time.
//!
//! ```text
//! per step t, from the end:
//!     dh_t += dy_t
//!     dgates_t, dc_{t-1} = cell'(tape_t, c_{t-1}, dh_t, dc_t)     dgates over the tape
//!     dh_{t-1} = dgates_t W_hh                                    (and dx_t = dgates_t W_ih)
//! after the loop, over all steps and rows at once, K = T B:
//!     dW_ih = dgates' x     dW_hh = dgates' h_{t-1}     db_ih = db_hh = sum of dgates
//! ```
//!
//! The loop is split by rows of the batch, the sums after it by rows of the weights, so that every
//! number is computed in one order however many threads there are.

use super::tape::Recording;
use super::{Gradients, Recurrent, State, Tape, Weights};
use crate::cell::{Cell, MAX_GATES, MAX_TAPE};
use crate::error::Result;
use crate::outer::{OuterMemory, OuterProducts};
use crate::panel::Panels;
use crate::parallel;
use crate::product::product;
use crate::simd::{Element, Simd, Task};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

#[allow(clippy::too_many_arguments)]
pub(super) fn run<C: Cell, E: Element>(
    layer: &Recurrent<C>,
    weights: &Weights<'_, E>,
    x: Seq<'_, E>,
    y: Seq<'_, E>,
    tape: &mut Tape<E>,
    recording: Recording,
    dy: Seq<'_, E>,
    dstate: &mut State<E>,
    gradients: Gradients<'_, E>,
) -> Result<()> {
    let rows = x.shape().rows;
    let sizes = parallel::split_rows(rows, layer.flops(x.shape()))?;
    let Gradients { params: dparams, x: dx } = gradients;

    let pack = Pack {
        layer,
        weights,
        hidden: &mut tape.hidden_weights,
        input: dx.is_some().then_some(&mut tape.input_weights),
    };
    let Recording { level, .. } = recording;
    level.run(pack)?;
    let shape = recording.shape();

    let values = SeqMut::new(&mut tape.values, shape)?.split_rows(&sizes);
    let c0 = tape.initial.rows(layer, rows).1;
    let (dh, dc) = dstate.rows_mut(layer, rows);
    let (dh, dc) = (dh.split_rows(&sizes), dc.split_rows(&sizes));
    let mut dx = dx.map(|dx| dx.split_rows(&sizes).into_iter());
    let mut first = 0;
    let mut tasks = Vec::with_capacity(sizes.len());
    for ((dh, dc), tape_rows) in dh.into_iter().zip(dc).zip(values) {
        let count = dh.count();
        tasks.push(Backward {
            layer,
            hidden_weights: &tape.hidden_weights,
            input_weights: &tape.input_weights,
            c0: c0.slice(first, count),
            tape: tape_rows,
            dy: dy.rows(first, count),
            dh,
            dc,
            dx: dx.as_mut().and_then(Iterator::next),
        });
        first += count;
    }
    parallel::run(tasks, |task| {
        level.run(task);
        Ok(())
    })?;

    let Some(dparams) = dparams else { return Ok(()) };
    let gates = C::GATES * layer.hidden_size;
    let parts = if sizes.len() == 1 { 1 } else { parallel::num_threads()? };
    let sizes = parallel::split(gates, parts);
    let (dw_ih, rest) = dparams.split_at_mut(gates * layer.input_size);
    let (dw_hh, db) = rest.split_at_mut(gates * layer.hidden_size);
    let dw_ih = RowsMut::new(dw_ih, gates, layer.input_size).split_rows(&sizes);
    let dw_hh = RowsMut::new(dw_hh, gates, layer.hidden_size).split_rows(&sizes);
    let (mut db_ih, mut db_hh) = db.split_at_mut(db.len() / 2);
    tape.outer.resize_with(sizes.len(), OuterMemory::default);
    let values = Seq::new(&tape.values, shape)?;
    let h0 = tape.initial.rows(layer, rows).0;
    let mut first = 0;
    let mut tasks = Vec::with_capacity(sizes.len());
    for ((dw_ih, dw_hh), memory) in dw_ih.into_iter().zip(dw_hh).zip(&mut tape.outer) {
        let count = dw_ih.count();
        let db;
        (db, db_ih, db_hh) = if layer.bias {
            let (ih, ih_rest) = db_ih.split_at_mut(count);
            let (hh, hh_rest) = db_hh.split_at_mut(count);
            (Some((ih, hh)), ih_rest, hh_rest)
        } else {
            (None, db_ih, db_hh)
        };
        let range = first..first + count;
        tasks.push(WeightGradients {
            layer,
            range,
            dgates: values,
            x,
            h0,
            y,
            dw_ih,
            dw_hh,
            db,
            memory,
        });
        first += count;
    }
    parallel::run(tasks, |task| level.run(task))
}

/// Packs W_hh and, if dx is wanted, W_ih, for products with dgates.
struct Pack<'a, C, E: Element> {
    layer: &'a Recurrent<C>,
    weights: &'a Weights<'a, E>,
    hidden: &'a mut Panels<E>,
    input: Option<&'a mut Panels<E>>,
}

impl<C: Cell, E: Element> Task<E> for Pack<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Recurrent { input_size, hidden_size, .. } = *self.layer;
        let gates = C::GATES * hidden_size;
        self.hidden.pack_matrix(s, Rows::new(self.weights.weight_hh, gates, hidden_size))?;
        if let Some(input) = self.input {
            input.pack_matrix(s, Rows::new(self.weights.weight_ih, gates, input_size))?;
        }
        Ok(())
    }
}

/// Some rows back through all steps.
pub(crate) struct Backward<'a, C, E: Element> {
    pub layer: &'a Recurrent<C>,
    pub hidden_weights: &'a Panels<E>,
    pub input_weights: &'a Panels<E>,
    pub c0: Rows<'a, E>,
    /// (T, B, TAPE * padded H)
    pub tape: SeqMut<'a, E>,
    pub dy: Seq<'a, E>,
    /// The gradient of the final state, and in the end that of the initial one.
    pub dh: RowsMut<'a, E>,
    pub dc: RowsMut<'a, E>,
    pub dx: Option<SeqMut<'a, E>>,
}

impl<C: Cell, E: Element> Task<E> for Backward<'_, C, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        let hidden_size = self.layer.hidden_size;
        let padded = self.layer.padded(S::LANES);
        let Shape { steps, rows, .. } = self.dy.shape();
        for t in (0..if rows > 0 { steps } else { 0 }).rev() {
            self.cells(s, t);
            let values = self.tape.as_ref().step(t);
            // Padding is left out of the product: there, infinities of the inputs have become NaN.
            let mut gates = [values.columns(0, hidden_size); MAX_GATES];
            for (g, gate) in gates.iter_mut().enumerate().take(C::GATES) {
                *gate = values.columns(g * padded, hidden_size);
            }
            let contiguous = [values.columns(0, (C::GATES * padded).min(values.features()))];
            let gates = if padded == hidden_size { &contiguous } else { &gates[..C::GATES] };
            product(s, gates, self.hidden_weights, &mut self.dh);
            if let Some(dx) = &mut self.dx {
                product(s, gates, self.input_weights, &mut dx.step_mut(t));
            }
        }
    }
}

impl<C: Cell, E: Element> Backward<'_, C, E> {
    /// The cells of step `t`: the tape's values become dgates, dc that of the step before.
    #[inline(always)]
    fn cells<S: Simd<E>>(&mut self, s: S, t: usize) {
        let Recurrent { cell, hidden_size, .. } = *self.layer;
        let padded = self.layer.padded(S::LANES);
        let dy = self.dy.step(t);
        let (before, mut now) = self.tape.step_after(t);
        for b in 0..dy.count() {
            let record = now.row_mut(b);
            // c is the last value on the tape.
            let c_before = match &before {
                _ if !C::HAS_C => &[],
                Some(before) => &before.row(b)[(C::TAPE - 1) * padded..],
                None => self.c0.row(b),
            };
            let (dy, dh) = (dy.row(b), self.dh.as_ref().row(b));
            for unit in (0..hidden_size).step_by(S::LANES) {
                let mut values = [s.splat(E::ZERO); MAX_TAPE];
                let values = &mut values[..C::TAPE];
                for (slot, value) in values.iter_mut().enumerate() {
                    *value = s.load(&record[slot * padded + unit..]);
                }
                let dh = s.add(s.load(&dh[unit..]), s.load(&dy[unit..]));
                let (mut c, mut dc) = (s.splat(E::ZERO), s.splat(E::ZERO));
                if C::HAS_C {
                    c = s.load(&c_before[unit..]);
                    dc = s.load(&self.dc.as_ref().row(b)[unit..]);
                }
                cell.backward(s, values, c, dh, &mut dc);
                if C::HAS_C {
                    s.store(&mut self.dc.row_mut(b)[unit..], dc);
                }
                for (slot, &value) in values[..C::GATES].iter().enumerate() {
                    s.store(&mut record[slot * padded + unit..], value);
                }
            }
        }
    }
}

/// The gradients of some rows of the weights, over all steps.
struct WeightGradients<'a, C, E: Element> {
    layer: &'a Recurrent<C>,
    /// Which rows of the weights.
    range: std::ops::Range<usize>,
    /// (T, B, TAPE * padded H), dgates in front.
    dgates: Seq<'a, E>,
    x: Seq<'a, E>,
    h0: Rows<'a, E>,
    y: Seq<'a, E>,
    dw_ih: RowsMut<'a, E>,
    dw_hh: RowsMut<'a, E>,
    db: Option<(&'a mut [E], &'a mut [E])>,
    memory: &'a mut OuterMemory<E>,
}

impl<C: Cell, E: Element> Task<E> for WeightGradients<'_, C, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { layer, dgates, x, h0, y, .. } = self;
        let Shape { steps, rows, .. } = x.shape();
        let h_before = |t: usize, b| if t == 0 { h0.row(b) } else { y.step(t - 1).row(b) };
        let mut sums = vec![E::ZERO; if self.db.is_some() { self.dw_ih.count() } else { 0 }];
        let products = OuterProducts {
            steps_and_rows: (steps, rows),
            width: layer.hidden_size,
            stride: layer.padded(S::LANES),
            columns: self.range,
            c: [self.dw_ih, self.dw_hh],
            sums: &mut sums,
            memory: self.memory,
        };
        let dgates = |t, b| dgates.step(t).row(b);
        products.add(s, dgates, [&|t, b| x.step(t).row(b), &h_before])?;
        if let Some((ih, hh)) = self.db {
            for db in [ih, hh] {
                for (db, &sum) in db.iter_mut().zip(&sums) {
                    *db = *db + sum;
                }
            }
        }
        Ok(())
    }
}
