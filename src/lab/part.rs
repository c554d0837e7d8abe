//! The units of a network's recurrent layer, or a part of them, one sequence at a time: their weights
//! stay packed from step to step, and their gradients are packed in the same order.

use std::borrow::Cow;
use std::ops::Range;

use super::{Gradient, Kind, published};
use crate::buffer::Buffer;
use crate::cell::{Cell, Lstm, Nonlinearity, Rnn};
use crate::error::Result;
use crate::matmul::panel::{Columns, Panels};
use crate::matmul::product::{product, product_by_columns};
use crate::recurrent::backward::step::{BackWeights, Backward, Recorded, Scratch, StepGradients};
use crate::recurrent::direction::Direction;
use crate::recurrent::forward::cells::cells;
use crate::recurrent::state::StateRows;
use crate::simd::{Kernel, Simd};
use crate::view::{Rows, RowsMut, Seq, SeqMut, Shape};

pub(super) const TANH: Rnn = Rnn { nonlinearity: Nonlinearity::Tanh };
const LSTM: Lstm = Lstm { peepholes: false };

/// Some units, with memory for a pass over T steps.
pub(super) struct Part {
    pub kind: Kind,
    pub hidden: usize,
    pub vocab: usize,
    pub units: Range<usize>,
    /// [W_hh | W_ih] of these units, K = H + V, and the sum of their biases.
    pub weights: Panels<f64>,
    pub gradients: Panels<f64>,
    /// Rows [1, h_{t-1}, x_t] of all units, (T + 1, 1 + H + V).
    pub rows: Buffer<f64>,
    /// The gradient of every h_t from the output layer, (T, H); only these units' is read.
    pub dh: Buffer<f64>,
    /// The cell state.
    pub c: Buffer<f64>,
    /// (T, TAPE * padded), as the layer's tape.
    pub tape: Buffer<f64>,
    c0: Buffer<f64>,
    /// The tape's gradients, packed, K = T.
    right: Panels<f64>,
    /// W_hh for going back.
    back: Panels<f64>,
    dstate: [Buffer<f64>; 2],
}

impl Kind {
    /// Gates, and values on the tape.
    fn sizes(self) -> (usize, usize) {
        match self {
            Kind::Rnn => (Rnn::GATES, Rnn::TAPE),
            Kind::Lstm => (Lstm::GATES, Lstm::TAPE),
        }
    }
}

impl Part {
    pub fn new(kind: Kind, hidden: usize, vocab: usize, units: Range<usize>) -> Self {
        Self {
            kind,
            hidden,
            vocab,
            units,
            weights: Panels::default(),
            gradients: Panels::default(),
            rows: Buffer::default(),
            dh: Buffer::default(),
            c: Buffer::default(),
            tape: Buffer::default(),
            c0: Buffer::default(),
            right: Panels::default(),
            back: Panels::default(),
            dstate: Default::default(),
        }
    }

    /// 1 + H + V, the length of a row.
    pub fn width(&self) -> usize {
        1 + self.hidden + self.vocab
    }

    fn layer<C: Cell>(&self, cell: C) -> Direction<C> {
        Direction::new(cell, self.vocab, self.units.len())
    }

    /// Makes room for `steps` steps.
    pub fn reserve(&mut self, steps: usize, lanes: usize) -> Result<()> {
        let values = self.kind.sizes().1 * self.units.len().next_multiple_of(lanes);
        self.rows.resize((steps + 1) * self.width())?;
        self.dh.resize(steps * self.hidden)?;
        // Whole panels of arguments may reach into the next record, which is written after it.
        self.tape.resize(steps * values + 2 * lanes)?;
        self.c.resize(self.units.len())?;
        self.c0.resize(self.units.len())
    }

    /// The initial state, of all units.
    pub fn begin(&mut self, h0: &[f64], c0: &[f64]) {
        self.rows[0] = 1.0;
        self.rows[1..=self.hidden].copy_from_slice(h0);
        if self.kind == Kind::Lstm {
            self.c0.copy_from_slice(&c0[self.units.clone()]);
            self.c.copy_from_slice(&self.c0);
        }
    }

    /// x_t, (V,)
    #[inline(always)]
    pub fn input(&mut self, t: usize) -> &mut [f64] {
        let width = self.width();
        &mut self.rows[t * width..(t + 1) * width][1 + self.hidden..]
    }

    /// h after step t, of all units.
    #[inline(always)]
    pub fn h(&mut self, t: usize) -> &mut [f64] {
        let width = self.width();
        &mut self.rows[(t + 1) * width + 1..][..self.hidden]
    }

    /// Computes these units' h of step `t` from row `t`.
    #[inline(always)]
    pub fn step<S: Simd<f64>>(&mut self, s: S, t: usize) {
        match self.kind {
            Kind::Rnn => self.step_of(s, TANH, t),
            Kind::Lstm => self.step_of(s, LSTM, t),
        }
    }

    #[inline(always)]
    fn step_of<C: Cell, S: Simd<f64>>(&mut self, s: S, cell: C, t: usize) {
        let (layer, width, own) = (self.layer(cell), self.width(), self.units.len());
        let (before, after) = self.rows.split_at_mut((t + 1) * width);
        after[0] = 1.0;
        let row = Rows::new(&before[t * width..], 1, width);
        let padded = layer.padded(S::LANES);
        let record = t * C::TAPE * padded..(t + 1) * C::TAPE * padded;
        let whole = (C::GATES * padded).next_multiple_of(2 * S::LANES);
        let mut arguments = RowsMut::new(&mut self.tape[record.start..], 1, whole);
        product(s, &[row.columns(1, width - 1)], &self.weights, &mut arguments);
        let mut values = RowsMut::new(&mut self.tape[record], 1, C::TAPE * padded);
        let mut c = RowsMut::new(&mut self.c, 1, if C::HAS_C { own } else { 0 });
        let mut h = RowsMut::new(&mut after[1 + self.units.start..], 1, own);
        let before = row.columns(1, self.hidden);
        cells(s, &layer, (&[], 0..own), before, &mut c, Some(&mut h), &mut values);
    }

    /// From `dh` to the gradients of the parameters, over `steps` steps. Exact gradients, and those of
    /// an RNN, need all units in one part.
    #[inline(always)]
    pub fn back<S: Simd<f64>>(&mut self, s: S, steps: usize, gradient: Gradient) -> Result<()> {
        let (width, hidden) = (self.width(), self.hidden);
        let padded = self.units.len().next_multiple_of(S::LANES);
        match (self.kind, gradient) {
            (Kind::Rnn, Gradient::Exact) => self.back_through_time(s, TANH, steps)?,
            (Kind::Rnn, Gradient::Published) => {
                self.back_through_time(s, published::PublishedRnn, steps)?;
                // The step before the first is the last.
                self.rows.copy_within(steps * width + 1..=steps * width + hidden, 1);
            }
            (Kind::Lstm, Gradient::Exact) => self.back_through_time(s, LSTM, steps)?,
            (Kind::Lstm, Gradient::Published) => {
                let dh = Rows::new(&self.dh, steps, hidden);
                let dh = dh.columns(self.units.start, self.units.len());
                published::lstm_back(s, &mut self.tape, padded, &self.c0, dh);
            }
        }
        let (gates, values) = self.kind.sizes();
        let records = self.tape.chunks_exact(values * padded);
        self.right.reshape(s, steps, Columns::plain(gates * padded))?;
        self.right.pack_bias(s, &[]);
        self.right.pack(s, records.map(|record| &record[..gates * padded]));
        product_by_columns(s, width, &self.rows, width, &self.right, &mut self.gradients);
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
        let (layer, hidden) = (self.layer(cell), self.hidden);
        assert_eq!(self.units, 0..hidden);
        self.back.pack_back(s, &self.weights, 0, hidden)?;
        let c_len = if C::HAS_C { hidden } else { 0 };
        // Whole panels, as the product writes them.
        let whole = hidden.next_multiple_of(2 * S::LANES);
        for dstate in &mut self.dstate {
            dstate.resize(whole)?;
            dstate.fill(0.0);
        }
        let tape = Shape::time_major(steps, 1, C::TAPE * layer.padded(S::LANES));
        let (width, outputs) = (self.width(), Shape::time_major(steps, 1, hidden));
        let [dh, dc] = &mut self.dstate;
        let mut backward = Backward {
            layer: &layer,
            weights: BackWeights::hidden(&self.back),
            recorded: Recorded {
                h0: Rows::new(&self.rows[1..], 1, hidden),
                c0: Rows::new(&self.c0, 1, c_len),
                mask: None,
                y: Seq::new(&self.rows[1 + width..], Shape { step_stride: width, ..outputs })?,
                records: SeqMut::new(&mut self.tape, tape)?,
            },
            dy: Seq::new(&self.dh, outputs)?,
            dstate: StateRows { h: RowsMut::new(dh, 1, whole), c: RowsMut::new(dc, 1, c_len) },
            gradients: StepGradients::none(1),
            scratch: Scratch::none(1),
        };
        backward.steps(s)
    }
}

/// Packs these units' share of a layer's flat parameters.
pub(super) struct PackPart<'a>(pub &'a mut Part, pub &'a [f64]);

impl Kernel<f64> for PackPart<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self(part, flat) = self;
        let (gates, _) = part.kind.sizes();
        let [weight_ih, weight_hh, bias_ih, bias_hh] = part.select(flat);
        let columns = Columns { gates, width: part.units.len() };
        part.gradients.reshape(s, part.hidden + part.vocab, columns)?;
        part.weights.reshape(s, part.hidden + part.vocab, columns)?;
        part.weights.pack_bias(s, &[&bias_ih, &bias_hh]);
        let rows = gates * part.units.len();
        part.weights.pack_transposed(s, 0, Rows::new(&weight_hh, rows, part.hidden));
        part.weights.pack_transposed(s, part.hidden, Rows::new(&weight_ih, rows, part.vocab));
        Ok(())
    }
}

/// Writes these units' share of a layer's flat parameters, or of their gradients, whose second bias is
/// not the notebook's.
pub(super) struct UnpackPart<'a>(pub &'a Part, pub &'a Panels<f64>, pub &'a mut [f64]);

impl Kernel<f64> for UnpackPart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) {
        let Self(part, panels, flat) = self;
        let rows = part.kind.sizes().0 * part.units.len();
        let mut weight_hh = vec![0.0; rows * part.hidden];
        let mut weight_ih = vec![0.0; rows * part.vocab];
        let mut bias = vec![0.0; rows];
        let (hidden, vocab) = (part.hidden, part.vocab);
        panels.unpack_transposed(s, 0, hidden, 0, &mut RowsMut::new(&mut weight_hh, rows, hidden));
        let mut to = RowsMut::new(&mut weight_ih, rows, vocab);
        panels.unpack_transposed(s, hidden, vocab, 0, &mut to);
        panels.unpack_bias(s, &mut bias);
        for (places, from) in part.places().into_iter().zip([weight_ih, weight_hh, bias]) {
            let mut from = &from[..];
            for place in places {
                let (gate, rest) = from.split_at(place.len());
                flat[place].copy_from_slice(gate);
                from = rest;
            }
        }
    }
}

impl Part {
    /// Where these units' rows of every gate lie in the flat weight_ih, weight_hh, bias_ih and bias_hh.
    fn places(&self) -> [Vec<Range<usize>>; 4] {
        let gates = self.kind.sizes().0;
        let mut first = 0;
        [self.vocab, self.hidden, 1, 1].map(|width| {
            let start = first;
            first += gates * self.hidden * width;
            let row = |gate, unit| start + (gate * self.hidden + unit) * width;
            let (first, end) = (self.units.start, self.units.end);
            (0..gates).map(|gate| row(gate, first)..row(gate, end)).collect()
        })
    }

    /// These units' share of weight_ih, weight_hh, bias_ih and bias_hh.
    fn select<'a>(&self, flat: &'a [f64]) -> [Cow<'a, [f64]>; 4] {
        self.places().map(|places| {
            if self.units.len() == self.hidden {
                return Cow::Borrowed(&flat[places[0].start..places[places.len() - 1].end]);
            }
            let gates = places.into_iter().map(|place| &flat[place]);
            Cow::Owned(gates.collect::<Vec<_>>().concat())
        })
    }
}
