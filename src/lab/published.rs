//! The gradients that the notebook publishes. They are not the gradients of its loss. All of its formulas that
//! differ are in this file.
//!
//! ```text
//! RNN, from the last step back, d_o = o_t - onehot:
//!     d_h = W' d_o + d_h_next
//!     d_f = d_h (1 - tanh(h_t)^2)           at h_t instead of 1 - h_t^2
//!     d_V += d_f h_{t-1}'                   h_{-1} is the last state, not the initial one
//!     d_h_next = V' d_f
//!
//! LSTM, each step alone, c_t the state after step t, T the last step:
//!     dh = W_v' dv                          nothing comes back from the step after
//!     do = s(o) dh tanh(c_{t-1})            the state before the step
//!     dc = dh o (1 - tanh(tanh c_{t-1})^2)  the slope at tanh c_{t-1} instead of c_{t-1}
//!     dg = s(g) dc i    di = s(i) dc g      s(a) = sigmoid(a) (1 - sigmoid(a)), for g too: the slope at
//!                                           a gate's value instead of its argument
//!     df = sigmoid(f) dc c_{t-2}            no slope; c_{-2} is c_T
//!     W_v_d += dv h_{t-1}'
//! ```
//!
//! The notebook's marks check numbers computed this way.

use crate::cell::{Block, Cell, Nonlinearity, Rnn};
use crate::math::elementary::{sigmoid, tanh};
use crate::simd::{Element, Simd};
use crate::view::Rows;

/// What the notebook adds to arguments of sigmoid and tanh, and to logarithms.
pub const EPSILON: f64 = 1e-12;

/// The RNN's cell.
pub(super) const TANH: Rnn = Rnn { nonlinearity: Nonlinearity::Tanh };

/// The RNN's cell with the published slope. A layer with this cell has the published backward pass, if the last state
/// takes the place of the initial one.
#[derive(Debug, Clone, Copy)]
pub struct PublishedRnn;

impl Cell for PublishedRnn {
    const GATES: usize = 1;
    const BLOCKS: &'static [Block] = Rnn::BLOCKS;
    const TAPE: usize = 1;
    const HAS_C: bool = false;

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        weights: &[S::V],
        h: S::V,
        c: &mut S::V,
    ) {
        TANH.forward(s, values, weights, h, c);
    }

    #[inline(always)]
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], h: S::V, c: S::V) -> S::V {
        TANH.output(s, values, h, c)
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        _before: (S::V, S::V),
        dh: S::V,
        _dc: &mut S::V,
        _dweights: &mut [S::V],
    ) -> S::V {
        let f = tanh(s, s.add(values[0], s.splat(E::from_f64(EPSILON))));
        values[0] = s.mul(dh, s.neg_mul_add(f, f, s.splat(E::ONE)));
        s.splat(E::ZERO)
    }
}

/// The LSTM's published backward pass. `tape` holds i, f, g, o and c of every step, each `padded` numbers. The gradients
/// of the gates' arguments take the place of i, f, g, o. `dh` is (T, H).
#[inline(always)]
pub(super) fn lstm_back<S: Simd<f64>>(
    s: S,
    tape: &mut [f64],
    padded: usize,
    c0: &[f64],
    dh: Rows<'_, f64>,
) {
    let steps = dh.count();
    for t in 0..steps {
        for unit in (0..dh.features()).step_by(S::LANES) {
            let mut states = [s.splat(0.0); 2];
            for (state, before) in states.iter_mut().zip([t, if t > 0 { t - 1 } else { steps }]) {
                *state = match before.checked_sub(1) {
                    Some(t) => s.load(&tape[(5 * t + 4) * padded + unit..]),
                    None => s.load(&c0[unit..]),
                };
            }
            let mut gates = [s.splat(0.0); 4];
            for (gate, values) in gates.iter_mut().zip(tape[5 * t * padded..].chunks(padded)) {
                *gate = s.load(&values[unit..]);
            }
            let d = lstm_cell(s, gates, states, s.load(&dh.row(t)[unit..]));
            let record = &mut tape[5 * t * padded + unit..];
            for (gate, d) in d.into_iter().enumerate() {
                s.store(&mut record[gate * padded..], d);
            }
        }
    }
}

/// One step of one vector of units. `gates` are i, f, g, o, `c` the states c_{t-1} and c_{t-2}. Returns the gradients of
/// the gates' arguments.
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
