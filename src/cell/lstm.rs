//! Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber
//! and Cummins 2000), in torch's order of gates.
//!
//! ```text
//! i, f, o = sigmoid(arguments)    g = tanh(argument)
//! c_t = f c_{t-1} + i g           h_t = o tanh(c_t)
//! ```

use super::{Block, Cell};
use crate::math::{sigmoid, tanh};
use crate::simd::{Element, Simd};

/// The LSTM cell; the tape holds i, f, g, o, c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lstm;

impl Cell for Lstm {
    const GATES: usize = 4;
    const BLOCKS: &'static [Block] = &[Block { slot: 0, gates: 4, x: Some(0), h: Some(0) }];
    const TAPE: usize = 5;
    const HAS_C: bool = true;

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _h: S::V,
        c: &mut S::V,
    ) -> S::V {
        let i = sigmoid(s, values[0]);
        let f = sigmoid(s, values[1]);
        let g = tanh(s, values[2]);
        let o = sigmoid(s, values[3]);
        *c = s.mul_add(f, *c, s.mul(i, g));
        values.copy_from_slice(&[i, f, g, o, *c]);
        s.mul(o, tanh(s, *c))
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        (_, c_before): (S::V, S::V),
        dh: S::V,
        dc: &mut S::V,
    ) -> S::V {
        let [i, f, g, o, c] = [values[0], values[1], values[2], values[3], values[4]];
        // tanh c again: recomputing it is cheaper than a sixth value on the tape.
        let tanh_c = tanh(s, c);
        let one = s.splat(E::ONE);
        // sigmoid' = a (1 - a), tanh' = 1 - a^2
        let gate = |a: S::V| s.neg_mul_add(a, a, a);
        let slope = |a: S::V| s.neg_mul_add(a, a, one);
        let d = s.mul_add(s.mul(dh, o), slope(tanh_c), *dc);
        values[0] = s.mul(s.mul(d, g), gate(i));
        values[1] = s.mul(s.mul(d, c_before), gate(f));
        values[2] = s.mul(s.mul(d, i), slope(g));
        values[3] = s.mul(s.mul(dh, tanh_c), gate(o));
        *dc = s.mul(d, f);
        s.splat(E::ZERO)
    }
}
