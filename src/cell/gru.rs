//! The gated recurrent unit (Cho et al. 2014), in two forms. The form of torch and cuDNN applies the reset
//! gate after the product with W_hn, so one product serves all gates. The original form applies it before
//! that product.
//!
//! ```text
//! r, z = sigmoid(arguments)
//! n    = tanh(a_x + r a_h)        a_x = W_in x_t + b_in,  a_h = W_hn h_{t-1} + b_hn
//!        tanh(W_in x_t + b_in + W_hn (r h_{t-1}) + b_hn)       in the original form
//! h_t  = n + z (h_{t-1} - n)
//! ```

use super::{Block, Cell};
use crate::math::elementary::{sigmoid, tanh};
use crate::simd::{Element, Simd};

/// The GRU cell of torch and cuDNN. Its record holds r, z, n, a_h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gru;

impl Cell for Gru {
    const GATES: usize = 3;
    const BLOCKS: &'static [Block] = &[
        Block { slot: 0, gates: 2, x: Some(0), h: Some(0) },
        Block { slot: 2, gates: 1, x: Some(2), h: None },
        Block { slot: 3, gates: 1, x: None, h: Some(2) },
    ];
    const TAPE: usize = 4;
    const HAS_C: bool = false;
    const USES_H: bool = true;

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        _h: S::V,
        _c: &mut S::V,
    ) {
        let r = sigmoid(s, values[0]);
        let z = sigmoid(s, values[1]);
        let n = tanh(s, s.mul_add(r, values[3], values[2]));
        (values[0], values[1], values[2]) = (r, z, n);
    }

    #[inline(always)]
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], h: S::V, _c: S::V) -> S::V {
        let (z, n) = (values[1], values[2]);
        s.mul_add(z, s.sub(h, n), n)
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        (h, _): (S::V, S::V),
        dh: S::V,
        _dc: &mut S::V,
        _dweights: &mut [S::V],
    ) -> S::V {
        let [r, z, n, a_h] = [values[0], values[1], values[2], values[3]];
        let one = s.splat(E::ONE);
        let through = s.mul(dh, z);
        let dn = s.mul(s.sub(dh, through), s.neg_mul_add(n, n, one));
        let dz = s.mul(s.mul(dh, s.sub(h, n)), s.neg_mul_add(z, z, z));
        let dr = s.mul(s.mul(dn, a_h), s.neg_mul_add(r, r, r));
        (values[0], values[1], values[2], values[3]) = (dr, dz, dn, s.mul(dn, r));
        through
    }
}

/// The original GRU cell, which resets h before the product. Its record holds r, z, n, r h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GruResetFirst;

impl Cell for GruResetFirst {
    const GATES: usize = 3;
    const BLOCKS: &'static [Block] = &[
        Block { slot: 0, gates: 2, x: Some(0), h: Some(0) },
        Block { slot: 2, gates: 1, x: Some(2), h: Some(2) },
    ];
    const TAPE: usize = 4;
    const HAS_C: bool = false;
    const USES_H: bool = true;
    const RESETS: bool = true;

    #[inline(always)]
    fn reset<E: Element, S: Simd<E>>(self, s: S, values: &mut [S::V], h: S::V) {
        values[0] = sigmoid(s, values[0]);
        values[3] = s.mul(values[0], h);
    }

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        _h: S::V,
        _c: &mut S::V,
    ) {
        (values[1], values[2]) = (sigmoid(s, values[1]), tanh(s, values[2]));
    }

    #[inline(always)]
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], h: S::V, c: S::V) -> S::V {
        Gru.output(s, values, h, c)
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        (h, _): (S::V, S::V),
        dh: S::V,
        _dc: &mut S::V,
        _dweights: &mut [S::V],
    ) -> S::V {
        let (z, n) = (values[1], values[2]);
        let through = s.mul(dh, z);
        values[1] = s.mul(s.mul(dh, s.sub(h, n)), s.neg_mul_add(z, z, z));
        values[2] = s.mul(s.sub(dh, through), s.neg_mul_add(n, n, s.splat(E::ONE)));
        through
    }

    #[inline(always)]
    fn reset_back<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        h: S::V,
        d: S::V,
    ) -> S::V {
        let r = values[0];
        values[0] = s.mul(s.mul(d, h), s.neg_mul_add(r, r, r));
        s.mul(d, r)
    }
}
