//! The kernels of every level against the oracle, forward and backward, over awkward sizes.

mod common;

use bptt::Recurrent;
use bptt::cell::{Cell, Lstm, Nonlinearity, Rnn};
use bptt::reference::{Oracle, Sizes};
use bptt::simd::{Element, Level, Simd};
use common::{assert_close, kernels, oracle, problem};

/// A cell whose gates are linear with different weights, so that an indexing error cannot hide
/// behind a saturated sigmoid: `c = f + c/2 - i`, `h = (o + 2 g + c)/4`.
#[derive(Clone, Copy)]
struct Linear;

impl Cell for Linear {
    const GATES: usize = 4;
    const UNITS: usize = 1;
    const TAPE: usize = 5;
    const HAS_C: bool = true;

    #[inline(always)]
    fn forward<E: Element, S: Simd<E>>(
        self,
        s: S,
        gates: &[S::V],
        c: &mut S::V,
        tape: &mut [S::V],
    ) -> S::V {
        let scale = |v, by: f64| s.mul(v, s.splat(E::from_f64(by)));
        *c = s.sub(s.add(gates[1], scale(*c, 0.5)), gates[0]);
        tape[..4].copy_from_slice(gates);
        tape[4] = *c;
        scale(s.add(s.add(gates[3], scale(gates[2], 2.0)), *c), 0.25)
    }

    #[inline(always)]
    fn backward<E: Element, S: Simd<E>>(
        self,
        s: S,
        tape: &mut [S::V],
        _c_before: S::V,
        dh: S::V,
        dc: &mut S::V,
    ) {
        let scale = |v, by: f64| s.mul(v, s.splat(E::from_f64(by)));
        let d = s.add(*dc, scale(dh, 0.25));
        tape[0] = scale(d, -1.0);
        tape[1] = d;
        tape[2] = scale(dh, 0.5);
        tape[3] = scale(dh, 0.25);
        *dc = scale(d, 0.5);
    }
}

impl Oracle for Linear {
    const GATES: usize = 4;

    fn step(&self, a: &[f64], c: f64) -> (f64, f64) {
        let c = a[1] + c / 2.0 - a[0];
        ((a[3] + 2.0 * a[2] + c) / 4.0, c)
    }

    fn step_back(&self, _a: &[f64], _c: f64, dh: f64, dc: f64) -> (Vec<f64>, f64) {
        let d = dc + dh / 4.0;
        (vec![-d, d, dh / 2.0, dh / 4.0], d / 2.0)
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
    every_size::<f32, _>(Lstm, 5e-6);
}

#[test]
fn lstm_f64() {
    every_size::<f64, _>(Lstm, 1e-14);
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
