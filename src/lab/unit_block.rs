//! A block of units of a network's recurrent layer, which goes through one sequence at a time. The weights stay packed
//! from sequence to sequence, and their gradients are packed in the same order.

use std::borrow::Cow;
use std::ops::Range;

use super::kind::{Gradient, Kind, Sizes};
use super::published::{self, TANH};
use crate::buffer::Buffer;
use crate::cell::{Cell, Lstm};
use crate::error::Result;
use crate::matmul::panel::{Columns, Panels};
use crate::matmul::product::{product, product_by_columns};
use crate::recurrent::backward::step::{BackWeights, Backward, Recorded, Scratch, StepGradients};
use crate::recurrent::direction::Direction;
use crate::recurrent::forward::cells::cells;
use crate::recurrent::state::StateRows;
use crate::simd::{Kernel, Simd};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

const LSTM: Lstm = Lstm { peepholes: false };

/// Some units, or all of them, with memory for a pass over T steps.
pub(super) struct UnitBlock {
    pub sizes: Sizes,
    pub units: Range<usize>,
    /// [W_hh | W_ih] of these units, K = H + V, and the sum of their biases.
    pub weights: Panels<f64>,
    pub gradients: Panels<f64>,
    /// Rows [1, h_{t-1}, x_t] with h of all units, (T + 1, 1 + H + V).
    pub rows: Buffer<f64>,
    /// The gradient of every h_t from the output layer, (T, H). Only the columns of these units are read.
    pub dh: Buffer<f64>,
    pub cells: Cells,
    backward: BackwardMemory,
}

/// What the cells of these units read and write.
#[derive(Default)]
pub(super) struct Cells {
    /// The initial c and the current one.
    c0: Buffer<f64>,
    c: Buffer<f64>,
    /// (T, slots * padded), as a layer's tape.
    pub tape: Buffer<f64>,
}

/// Memory of the backward pass.
#[derive(Default)]
struct BackwardMemory {
    /// The gradients of the gates' arguments as the right-hand side of the weights' gradients, K = T.
    dgates: Panels<f64>,
    /// W_hh as the right-hand side of dh.
    weights: Panels<f64>,
    /// The gradients of h and c.
    dstate: [Buffer<f64>; 2],
}

impl UnitBlock {
    pub fn new(sizes: Sizes, units: Range<usize>) -> Self {
        Self {
            sizes,
            units,
            weights: Panels::default(),
            gradients: Panels::default(),
            rows: Buffer::default(),
            dh: Buffer::default(),
            cells: Cells::default(),
            backward: BackwardMemory::default(),
        }
    }

    fn direction<C: Cell>(&self, cell: C) -> Direction<C> {
        Direction::new(cell, self.sizes.vocab, self.units.len())
    }

    /// Makes room for `steps` steps.
    pub fn reserve(&mut self, steps: usize, lanes: usize) -> Result<()> {
        let record = self.sizes.slots() * self.units.len().next_multiple_of(lanes);
        self.rows.resize((steps + 1) * self.sizes.width())?;
        self.dh.resize(steps * self.sizes.hidden)?;
        // The product writes whole panels, which may reach into the next record. That is written later.
        self.cells.tape.resize(steps * record + 2 * lanes)?;
        self.cells.c.resize(self.units.len())?;
        self.cells.c0.resize(self.units.len())
    }

    /// Sets the initial state, which is given for all units.
    pub fn begin(&mut self, h0: &[f64], c0: &[f64]) {
        self.rows[0] = 1.0;
        self.rows[1..=self.sizes.hidden].copy_from_slice(h0);
        if self.sizes.kind == Kind::Lstm {
            let Cells { c0: initial, c, .. } = &mut self.cells;
            initial.copy_from_slice(&c0[self.units.clone()]);
            c.copy_from_slice(initial);
        }
    }

    /// x_t, (V,)
    #[inline(always)]
    pub fn input(&mut self, t: usize) -> &mut [f64] {
        let Sizes { hidden, vocab, .. } = self.sizes;
        let first = t * self.sizes.width() + 1 + hidden;
        &mut self.rows[first..first + vocab]
    }

    /// h after step t, of all units.
    #[inline(always)]
    pub fn h(&mut self, t: usize) -> &mut [f64] {
        let first = (t + 1) * self.sizes.width() + 1;
        &mut self.rows[first..first + self.sizes.hidden]
    }

    /// The rows from [1, h_0, x_1] on: those of the states after a step.
    #[inline(always)]
    pub fn later_rows(&self) -> &[f64] {
        &self.rows[self.sizes.width()..]
    }

    /// Computes h of these units after step `t`, from row `t`.
    #[inline(always)]
    pub fn step<S: Simd<f64>>(&mut self, s: S, t: usize) {
        match self.sizes.kind {
            Kind::Rnn => self.step_of(s, TANH, t),
            Kind::Lstm => self.step_of(s, LSTM, t),
        }
    }

    #[inline(always)]
    fn step_of<C: Cell, S: Simd<f64>>(&mut self, s: S, cell: C, t: usize) {
        let (direction, width) = (self.direction(cell), self.sizes.width());
        let own = self.units.len();
        let (before, after) = self.rows.split_at_mut((t + 1) * width);
        after[0] = 1.0;
        let row = Rows::new(&before[t * width..], 1, width);
        let Cells { c, tape, .. } = &mut self.cells;
        let padded = direction.padded(S::LANES);
        let record = t * C::TAPE * padded..(t + 1) * C::TAPE * padded;
        let whole = (C::GATES * padded).next_multiple_of(2 * S::LANES);
        let mut arguments = RowsMut::new(&mut tape[record.start..], 1, whole);
        product(s, &[row.columns(1, width - 1)], &self.weights, &mut arguments);
        let mut values = RowsMut::new(&mut tape[record], 1, C::TAPE * padded);
        let mut c = RowsMut::new(c, 1, if C::HAS_C { own } else { 0 });
        let mut h = RowsMut::new(&mut after[1 + self.units.start..], 1, own);
        let before = row.columns(1, self.sizes.hidden);
        cells(s, &direction, (&[], 0..own), before, &mut c, Some(&mut h), &mut values);
    }

    /// Computes the gradients of the parameters from `dh`, over `steps` steps. For exact gradients, and for those of an
    /// RNN, all units must be in this block.
    #[inline(always)]
    pub fn back<S: Simd<f64>>(&mut self, s: S, steps: usize, gradient: Gradient) -> Result<()> {
        let (width, hidden) = (self.sizes.width(), self.sizes.hidden);
        let padded = self.units.len().next_multiple_of(S::LANES);
        match (self.sizes.kind, gradient) {
            (Kind::Rnn, Gradient::Exact) => self.back_through_time(s, TANH, steps)?,
            (Kind::Rnn, Gradient::Published) => {
                self.back_through_time(s, published::PublishedRnn, steps)?;
                // As published, the state before the first step is the last one.
                self.rows.copy_within(steps * width + 1..=steps * width + hidden, 1);
            }
            (Kind::Lstm, Gradient::Exact) => self.back_through_time(s, LSTM, steps)?,
            (Kind::Lstm, Gradient::Published) => {
                let dh = Rows::new(&self.dh, steps, hidden);
                let dh = dh.columns(self.units.start, self.units.len());
                let Cells { c0, tape, .. } = &mut self.cells;
                published::lstm_back(s, tape, padded, c0, dh);
            }
        }
        let (gates, slots) = (self.sizes.gates(), self.sizes.slots());
        let records = self.cells.tape.chunks_exact(slots * padded);
        let right = &mut self.backward.dgates;
        right.reshape(s, steps, Columns::plain(gates * padded))?;
        right.pack_bias(s, &[]);
        right.pack(s, records.map(|record| &record[..gates * padded]));
        product_by_columns(s, width, &self.rows, width, right, &mut self.gradients);
        Ok(())
    }

    /// Turns the tape into the gradients of the gates' arguments.
    #[inline(always)]
    fn back_through_time<C: Cell, S: Simd<f64>>(
        &mut self,
        s: S,
        cell: C,
        steps: usize,
    ) -> Result<()> {
        let (direction, Sizes { hidden, .. }) = (self.direction(cell), self.sizes);
        assert_eq!(self.units, 0..hidden);
        let BackwardMemory { weights, dstate, .. } = &mut self.backward;
        weights.pack_back(s, &self.weights, 0, hidden)?;
        let c_len = if C::HAS_C { hidden } else { 0 };
        // The product writes whole panels.
        let whole = hidden.next_multiple_of(2 * S::LANES);
        for dstate in dstate.iter_mut() {
            dstate.resize(whole)?;
            dstate.fill(0.0);
        }
        let tape = Shape::time_major(steps, 1, C::TAPE * direction.padded(S::LANES));
        let (width, outputs) = (self.sizes.width(), Shape::time_major(steps, 1, hidden));
        let [dh, dc] = dstate;
        let mut backward = Backward {
            layer: &direction,
            weights: BackWeights::hidden(weights),
            recorded: Recorded {
                h0: Rows::new(&self.rows[1..], 1, hidden),
                c0: Rows::new(&self.cells.c0, 1, c_len),
                mask: None,
                y: Seq::new(&self.rows[1 + width..], Shape { step_stride: width, ..outputs })?,
                records: SeqMut::new(&mut self.cells.tape, tape)?,
            },
            dy: Seq::new(&self.dh, outputs)?,
            dstate: StateRows { h: RowsMut::new(dh, 1, whole), c: RowsMut::new(dc, 1, c_len) },
            gradients: StepGradients::none(1),
            scratch: Scratch::none(1),
        };
        backward.steps(s)
    }

    /// The places of these units' rows of every gate, in the flat weight_ih, weight_hh, bias_ih and bias_hh.
    fn places(&self) -> [Vec<Range<usize>>; 4] {
        let (gates, Sizes { hidden, vocab, .. }) = (self.sizes.gates(), self.sizes);
        let mut first = 0;
        [vocab, hidden, 1, 1].map(|width| {
            let start = first;
            first += gates * hidden * width;
            let row = |gate, unit| start + (gate * hidden + unit) * width;
            let (first, end) = (self.units.start, self.units.end);
            (0..gates).map(|gate| row(gate, first)..row(gate, end)).collect()
        })
    }

    /// These units' rows of weight_ih, weight_hh, bias_ih and bias_hh.
    fn select<'a>(&self, flat: &'a [f64]) -> [Cow<'a, [f64]>; 4] {
        self.places().map(|places| {
            if self.units.len() == self.sizes.hidden {
                return Cow::Borrowed(&flat[places[0].start..places[places.len() - 1].end]);
            }
            let gates = places.into_iter().map(|place| &flat[place]);
            Cow::Owned(gates.collect::<Vec<_>>().concat())
        })
    }
}

/// Packs these units' rows of a layer's flat parameters.
pub(super) struct PackUnits<'a>(pub &'a mut UnitBlock, pub &'a [f64]);

impl Kernel<f64> for PackUnits<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self(block, flat) = self;
        let (gates, Sizes { hidden, vocab, .. }) = (block.sizes.gates(), block.sizes);
        let [weight_ih, weight_hh, bias_ih, bias_hh] = block.select(flat);
        let columns = Columns { gates, width: block.units.len() };
        block.gradients.reshape(s, hidden + vocab, columns)?;
        block.weights.reshape(s, hidden + vocab, columns)?;
        block.weights.pack_bias(s, &[&bias_ih, &bias_hh]);
        let rows = gates * block.units.len();
        block.weights.pack_transposed(s, 0, Rows::new(&weight_hh, rows, hidden));
        block.weights.pack_transposed(s, hidden, Rows::new(&weight_ih, rows, vocab));
        Ok(())
    }
}

/// Unpacks these units' rows of a layer's flat parameters, or of their gradients, from the panels. It leaves out the
/// second bias, which the notebook does not have.
pub(super) struct UnpackUnits<'a>(pub &'a UnitBlock, pub &'a Panels<f64>, pub &'a mut [f64]);

impl Kernel<f64> for UnpackUnits<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        let Self(block, panels, flat) = self;
        let Sizes { hidden, vocab, .. } = block.sizes;
        let rows = block.sizes.gates() * block.units.len();
        let mut weight_hh = vec![0.0; rows * hidden];
        let mut weight_ih = vec![0.0; rows * vocab];
        let mut bias = vec![0.0; rows];
        panels.unpack_transposed(s, 0, hidden, 0, &mut RowsMut::new(&mut weight_hh, rows, hidden));
        let mut to = RowsMut::new(&mut weight_ih, rows, vocab);
        panels.unpack_transposed(s, hidden, vocab, 0, &mut to);
        panels.unpack_bias(s, &mut bias);
        for (places, from) in block.places().into_iter().zip([weight_ih, weight_hh, bias]) {
            let mut from = &from[..];
            for place in places {
                let (gate, rest) = from.split_at(place.len());
                flat[place].copy_from_slice(gate);
                from = rest;
            }
        }
    }
}
