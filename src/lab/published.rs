//! The gradients that the notebook publishes, which are not those of its loss. They live here and
//! nowhere else.
//!
//! ```text
//! RNN, from the last step back, d_o = o_t - onehot:
//!     d_h = W' d_o + d_h_next
//!     d_f = d_h (1 - tanh(h_t)^2)           at h_t instead of 1 - h_t^2
//!     d_V += d_f h_{t-1}'                   h_{-1} is the last state, not the initial one
//!     d_h_next = V' d_f
//!
//! LSTM, each step alone, c_t the state after step t, T the last:
//!     dh = W_v' dv                          nothing comes back from the step after
//!     do = o (1 - o) dh tanh(c_{t-1})       the state before the step; slopes are those
//!     dc = dh o (1 - tanh(tanh c_{t-1})^2)  at a value instead of its argument:
//!     dg = s(g) dc i    di = s(i) dc g      s(a) = sigmoid(a) (1 - sigmoid(a)), for g too
//!     df = sigmoid(f) dc c_{t-2}            no slope; c_{-2} is c_T
//!     W_v_d += dv h_{t-1}'
//! ```
//!
//! (For `do`, too, the slope is s(o).) The notebook's marks check numbers computed this way.

use super::{EPSILON, Pass};
use crate::cell::{Cell, Nonlinearity, Rnn};
use crate::error::Result;
use crate::math::{sigmoid, tanh};
use crate::outer::{OuterMemory, OuterProducts};
use crate::sequence::Recurrent;
use crate::simd::{Element, Level, Simd, Task};
use crate::view::RowsMut;

/// The RNN's cell with the published slope; recorded with the last state as the initial one, its
/// layer's backward pass is the published one.
#[derive(Debug, Clone, Copy)]
pub struct PublishedRnn;

impl Cell for PublishedRnn {
    const GATES: usize = 1;
    const UNITS: usize = 2;
    const TAPE: usize = 1;
    const HAS_C: bool = false;

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        gates: &[S::V],
        c: &mut S::V,
        tape: &mut [S::V],
    ) -> S::V {
        Rnn { nonlinearity: Nonlinearity::Tanh }.forward(s, gates, c, tape)
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        tape: &mut [S::V],
        _c_before: S::V,
        dh: S::V,
        _dc: &mut S::V,
    ) {
        let f = tanh(s, s.add(tape[0], s.splat(E::from_f64(EPSILON))));
        tape[0] = s.mul(dh, s.neg_mul_add(f, f, s.splat(E::ONE)));
    }
}

/// The layer of [`PublishedRnn`].
pub(super) fn rnn(vocab: usize, hidden: usize) -> Result<Recurrent<PublishedRnn>> {
    Recurrent::with_cell(PublishedRnn, vocab, hidden, true)
}

/// Memory for the LSTM's published gradients, to be used again.
#[derive(Default)]
pub(super) struct Memory {
    /// Of the gates' arguments, (T, 4 H).
    dgates: Vec<f64>,
    sums: Vec<f64>,
    outer: OuterMemory<f64>,
}

impl Memory {
    /// Adds the LSTM's gradients, from `dh` (T, H), to `grads`: weight_ih, weight_hh, bias_ih, bias_hh.
    pub(super) fn lstm_gradients(
        &mut self,
        pass: &Pass,
        dh: &[f64],
        (vocab, hidden): (usize, usize),
        grads: &mut [f64],
    ) -> Result<()> {
        self.dgates.resize(pass.steps * 4 * hidden, 0.0);
        self.sums.clear();
        self.sums.resize(4 * hidden, 0.0);
        Level::current()?.run(LstmGradients { memory: self, pass, dh, vocab, hidden, grads })
    }
}

struct LstmGradients<'a> {
    memory: &'a mut Memory,
    pass: &'a Pass,
    dh: &'a [f64],
    vocab: usize,
    hidden: usize,
    grads: &'a mut [f64],
}

impl Task<f64> for LstmGradients<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<f64>>(self, s: S) -> Result<()> {
        let Self { memory: Memory { dgates, sums, outer }, pass, dh, vocab, hidden, grads } = self;
        for t in 0..pass.steps {
            let dgates = &mut dgates[t * 4 * hidden..][..4 * hidden];
            for unit in (0..hidden).step_by(S::LANES) {
                // Row t of c is the state before step t.
                let before = if t > 0 { t - 1 } else { pass.steps };
                let end = (unit + S::LANES).min(hidden);
                let at = |row: usize| row * hidden + unit..row * hidden + end;
                let mut gates = [s.splat(0.0); 4];
                for (gate, values) in gates.iter_mut().zip(&pass.gates) {
                    *gate = s.load(&values[at(t)]);
                }
                let c = [s.load(&pass.c[at(t)]), s.load(&pass.c[at(before)])];
                let d = lstm_cell(s, gates, c, s.load(&dh[at(t)]));
                for (to, d) in dgates.chunks_exact_mut(hidden).zip(d) {
                    s.store(&mut to[unit..], d);
                }
            }
        }
        let (dw_ih, rest) = grads.split_at_mut(4 * hidden * vocab);
        let (dw_hh, db) = rest.split_at_mut(4 * hidden * hidden);
        let products = OuterProducts {
            steps_and_rows: (pass.steps, 1),
            width: 4 * hidden,
            stride: 4 * hidden,
            columns: 0..4 * hidden,
            c: [RowsMut::new(dw_ih, 4 * hidden, vocab), RowsMut::new(dw_hh, 4 * hidden, hidden)],
            sums,
            memory: outer,
        };
        let x = |t: usize, _| &pass.x[t * vocab..][..vocab];
        let h = |t: usize, _| &pass.h[t * hidden..][..hidden];
        products.add(s, |t, _| &dgates[t * 4 * hidden..][..4 * hidden], [&x, &h])?;
        for (db, sum) in db.iter_mut().zip(sums) {
            *db += *sum;
        }
        Ok(())
    }
}

/// One step on one vector of units: from i, f, g, o, the states before this step and the one before
/// it, and dh to the gradients of the gates' arguments.
#[inline(always)]
fn lstm_cell<S: Simd<f64>>(s: S, gates: [S::V; 4], c: [S::V; 2], dh: S::V) -> [S::V; 4] {
    let [i, f, g, o] = gates;
    let [c, c_before] = c;
    let one = s.splat(1.0);
    let epsilon = s.splat(EPSILON);
    let slope = |a: S::V| s.neg_mul_add(a, a, a);
    let tanh_c = tanh(s, s.add(c, epsilon));
    let twice = tanh(s, s.add(tanh_c, epsilon));
    let d_o = s.mul(s.mul(slope(sigmoid(s, s.add(o, epsilon))), dh), tanh_c);
    let dc = s.mul(s.mul(dh, o), s.neg_mul_add(twice, twice, one));
    let d_g = s.mul(s.mul(slope(sigmoid(s, s.add(g, epsilon))), dc), i);
    let d_i = s.mul(s.mul(slope(sigmoid(s, s.add(i, epsilon))), dc), g);
    let d_f = s.mul(s.mul(sigmoid(s, s.add(f, epsilon)), dc), c_before);
    [d_i, d_f, d_g, d_o]
}
