//! The kernels of every level against the oracle, forward and backward, over awkward sizes.

mod common;

use bptt::Recurrent;
use bptt::cell::{Block, Cell, Gru, Lstm, Nonlinearity, Rnn};
use bptt::reference::{Back, Oracle, Sizes, sums};
use bptt::simd::{Element, Level, Simd};
use common::{assert_close, kernels, oracle, problem};

/// A cell whose gates are linear with different weights, so that an indexing error cannot hide
/// behind a saturated sigmoid: `c = f + c/2 - i`, `h = (o + 2 g + c)/4`.
#[derive(Clone, Copy)]
struct Linear;

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

const HIDDEN: [usize; 10] = [1, 7, 8, 15, 16, 17, 33, 50, 64, 65];
const ROWS: [usize; 6] = [1, 2, 5, 6, 7, 13];
const STEPS: [usize; 4] = [0, 1, 2, 9];

fn every_size<E: Element, C: Cell + Oracle>(cell: C, tolerance: f64) {
    let mut seed = 0;
    for hidden in HIDDEN {
        for rows in ROWS {
            for steps in STEPS {
                seed += 1;
                let input = [1, 3, 16, 35][seed as usize % 4];
                let sizes = Sizes { steps, rows, input, hidden, bias: seed % 3 > 0 };
                let layer = Recurrent::with_cell(cell, input, hidden, sizes.bias).unwrap();
                let (inputs, d) = problem::<C>(sizes, C::HAS_C, seed);
                let want = oracle(&cell, sizes, &inputs, &d);
                for level in Level::available() {
                    let got = level.scope(|| kernels::<E, C>(&layer, sizes, &inputs, &d));
                    assert_close(&got, &want, tolerance, &format!("{sizes:?} at {level:?}"));
                }
            }
        }
    }
}

#[test]
fn linear_cell_f32() {
    every_size::<f32, _>(Linear, 2e-5);
}

#[test]
fn linear_cell_f64() {
    every_size::<f64, _>(Linear, 1e-13);
}

#[test]
fn lstm_f32() {
    every_size::<f32, _>(Lstm::default(), 5e-6);
}

#[test]
fn lstm_f64() {
    every_size::<f64, _>(Lstm::default(), 1e-14);
}

#[test]
fn rnn_tanh_f32() {
    every_size::<f32, _>(Rnn { nonlinearity: Nonlinearity::Tanh }, 5e-6);
}

#[test]
fn rnn_tanh_f64() {
    every_size::<f64, _>(Rnn { nonlinearity: Nonlinearity::Tanh }, 1e-14);
}

#[test]
fn rnn_relu_f64() {
    every_size::<f64, _>(Rnn { nonlinearity: Nonlinearity::Relu }, 1e-13);
}

#[test]
fn gru_f32() {
    every_size::<f32, _>(Gru, 5e-6);
}

#[test]
fn gru_f64() {
    every_size::<f64, _>(Gru, 1e-14);
}
