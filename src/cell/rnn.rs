//! The vanilla recurrent network (Elman 1990): `h_t = tanh(argument)`, or `max(0, argument)`.

use super::{Block, Cell};
use crate::math::elementary::tanh;
use crate::simd::{Element, Simd};

/// The function that an RNN applies to its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonlinearity {
    /// The hyperbolic tangent.
    Tanh,
    /// `max(0, x)`
    Relu,
}

/// The RNN cell. Its record holds h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rnn {
    /// The function that the cell applies to its argument.
    pub nonlinearity: Nonlinearity,
}

impl Cell for Rnn {
    const GATES: usize = 1;
    const BLOCKS: &'static [Block] = &[Block { slot: 0, gates: 1, x: Some(0), h: Some(0) }];
    const TAPE: usize = 1;
    const HAS_C: bool = false;

    fn variant(self) -> u64 {
        self.nonlinearity as u64
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
        values[0] = match self.nonlinearity {
            Nonlinearity::Tanh => tanh(s, values[0]),
            Nonlinearity::Relu => s.max(s.splat(E::ZERO), values[0]),
        };
    }

    #[inline(always)]
    fn output<E: Element, S: Simd<E>>(self, _s: S, values: &[S::V], _h: S::V, _c: S::V) -> S::V {
        values[0]
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
        let h = values[0];
        values[0] = match self.nonlinearity {
            Nonlinearity::Tanh => s.mul(dh, s.neg_mul_add(h, h, s.splat(E::ONE))),
            Nonlinearity::Relu => s.zero_unless_positive(h, dh),
        };
        s.splat(E::ZERO)
    }
}
