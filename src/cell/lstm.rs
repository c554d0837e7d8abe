//! Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber
//! and Cummins 2000). The order of the gates is that of torch.
//!
//! ```text
//! i, f, o = sigmoid(arguments)    g = tanh(argument)
//! c_t = f c_{t-1} + i g           h_t = o tanh(c_t)
//! ```
//!
//! Peepholes (Gers, Schraudolph and Schmidhuber 2002; ONNX's P) add p_i c_{t-1}, p_f c_{t-1} and p_o c_t to
//! the arguments of i, f and o.

use super::{Block, Cell};
use crate::math::elementary::{sigmoid, tanh};
use crate::simd::{Element, Simd};

/// The LSTM cell. Its record holds i, f, g, o, c.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lstm {
    /// Whether the gates of a unit read its own cell state, with weights p_i, p_f, p_o.
    pub peepholes: bool,
}

impl Cell for Lstm {
    const GATES: usize = 4;
    const BLOCKS: &'static [Block] = &[Block { slot: 0, gates: 4, x: Some(0), h: Some(0) }];
    const TAPE: usize = 5;
    const HAS_C: bool = true;

    fn variant(self) -> u64 {
        u64::from(self.peepholes)
    }

    fn unit_weights(self) -> usize {
        if self.peepholes { 3 } else { 0 }
    }

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        weights: &[S::V],
        _h: S::V,
        c: &mut S::V,
    ) {
        let peep = |argument, n: usize, c| match self.peepholes {
            true => s.mul_add(weights[n], c, argument),
            false => argument,
        };
        let i = sigmoid(s, peep(values[0], 0, *c));
        let f = sigmoid(s, peep(values[1], 1, *c));
        let g = tanh(s, values[2]);
        *c = s.mul_add(f, *c, s.mul(i, g));
        let o = sigmoid(s, peep(values[3], 2, *c));
        values.copy_from_slice(&[i, f, g, o, *c]);
    }

    #[inline(always)]
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], _h: S::V, c: S::V) -> S::V {
        s.mul(values[3], tanh(s, c))
    }

    #[inline(always)]
    fn output_back<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        c: S::V,
        dh: S::V,
    ) -> S::V {
        // Computing tanh c again is cheaper than a sixth value in the record.
        let (o, tanh_c) = (values[3], tanh(s, c));
        // sigmoid' = a (1 - a), tanh' = 1 - a^2
        values[3] = s.mul(s.mul(dh, tanh_c), s.neg_mul_add(o, o, o));
        s.mul(s.mul(dh, o), s.neg_mul_add(tanh_c, tanh_c, s.splat(E::ONE)))
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        weights: &[S::V],
        (_, c_before): (S::V, S::V),
        _dh: S::V,
        dc: &mut S::V,
        dweights: &mut [S::V],
    ) -> S::V {
        let [i, f, g, d_o, c] = [values[0], values[1], values[2], values[3], values[4]];
        let gate = |a: S::V| s.neg_mul_add(a, a, a);
        let mut d = *dc;
        if self.peepholes {
            d = s.mul_add(weights[2], d_o, d);
        }
        let d_i = s.mul(s.mul(d, g), gate(i));
        let d_f = s.mul(s.mul(d, c_before), gate(f));
        (values[0], values[1]) = (d_i, d_f);
        values[2] = s.mul(s.mul(d, i), s.neg_mul_add(g, g, s.splat(E::ONE)));
        *dc = s.mul(d, f);
        if self.peepholes {
            *dc = s.mul_add(weights[0], d_i, s.mul_add(weights[1], d_f, *dc));
            for (sum, (d, c)) in
                dweights.iter_mut().zip([(d_i, c_before), (d_f, c_before), (d_o, c)])
            {
                *sum = s.mul_add(d, c, *sum);
            }
        }
        s.splat(E::ZERO)
    }
}
