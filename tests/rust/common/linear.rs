//! A cell for tests that only adds.

use crate::common::reference::{Back, Oracle, sums};
use bptt::Compiled;
use bptt::cell::{Block, Cell, Lstm};
use bptt::simd::{Element, Simd};

/// A cell whose gates are linear, with different weights: `c = f + c/2 - i`, `h = (o + 2 g + c)/4`. A
/// saturated sigmoid could hide an indexing error; this cell cannot.
#[derive(Clone, Copy)]
pub struct Linear;

impl Compiled for Linear {}

impl Cell for Linear {
    const GATES: usize = 4;
    const BLOCKS: &'static [Block] = Lstm::BLOCKS;
    const TAPE: usize = 5;
    const HAS_C: bool = true;

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        _h: S::V,
        c: &mut S::V,
    ) {
        let half = s.mul(*c, s.splat(E::from_f64(0.5)));
        *c = s.sub(s.add(values[1], half), values[0]);
        values[4] = *c;
    }

    #[inline(always)]
    fn output<E: Element, S: Simd<E>>(self, s: S, values: &[S::V], _h: S::V, c: S::V) -> S::V {
        let two_g = s.add(values[2], values[2]);
        s.mul(s.add(s.add(values[3], two_g), c), s.splat(E::from_f64(0.25)))
    }

    #[inline(always)]
    fn output_back<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _c: S::V,
        dh: S::V,
    ) -> S::V {
        values[2] = s.mul(dh, s.splat(E::from_f64(0.5)));
        values[3] = s.mul(dh, s.splat(E::from_f64(0.25)));
        values[3]
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        values: &mut [S::V],
        _weights: &[S::V],
        _before: (S::V, S::V),
        _dh: S::V,
        dc: &mut S::V,
        _dweights: &mut [S::V],
    ) -> S::V {
        values[0] = s.sub(s.splat(E::ZERO), *dc);
        values[1] = *dc;
        *dc = s.mul(*dc, s.splat(E::from_f64(0.5)));
        s.splat(E::ZERO)
    }
}

impl Oracle for Linear {
    const GATES: usize = 4;

    fn step(&self, x: &[f64], h: &[f64], (_, c): (f64, f64)) -> (f64, f64) {
        let a = sums(x, h);
        let c = a[1] + c / 2.0 - a[0];
        ((a[3] + 2.0 * a[2] + c) / 4.0, c)
    }

    fn step_back(&self, _: &[f64], _: &[f64], _: (f64, f64), (dh, dc): (f64, f64)) -> Back {
        let d = dc + dh / 4.0;
        Back::of_sums(vec![-d, d, dh / 2.0, dh / 4.0], d / 2.0)
    }
}
