//! Compares the kernels of every level with the oracle, forward and backward, for sizes that fill no vector
//! exactly.

use crate::common::linear::Linear;
use crate::common::reference::{Oracle, Sizes};
use crate::common::{assert_close, kernels, oracle, problem};
use bptt::Compiled;
use bptt::Recurrent;
use bptt::cell::{Gru, Lstm, Nonlinearity, Rnn};
use bptt::simd::{Element, Level};

const HIDDEN: [usize; 10] = [1, 7, 8, 15, 16, 17, 33, 50, 64, 65];
const ROWS: [usize; 6] = [1, 2, 5, 6, 7, 13];
const STEPS: [usize; 4] = [0, 1, 2, 9];

fn every_size<E: Element, C: Compiled + Oracle>(cell: C, tolerance: f64) {
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
