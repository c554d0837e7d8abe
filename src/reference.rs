//! The oracle: recurrent layers in plain `f64` loops, with no SIMD and no cleverness, for tests.
//!
//! Arrays are contiguous, (T, B, F); parameters lie as in [`Recurrent`](crate::Recurrent). A test
//! may bring a cell of its own: an [`Oracle`] is only the pointwise part of one hidden unit.

use crate::cell::{Lstm, Nonlinearity, Rnn};

/// The pointwise part of a cell on one hidden unit.
pub trait Oracle {
    /// Gates a unit has.
    const GATES: usize;
    /// From the gates' arguments and c to the new h and c.
    fn step(&self, arguments: &[f64], c: f64) -> (f64, f64);
    /// The gradients of the arguments and of the old c, from those of the new h and c.
    fn step_back(&self, arguments: &[f64], c: f64, dh: f64, dc: f64) -> (Vec<f64>, f64);
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Oracle for Lstm {
    const GATES: usize = 4;

    fn step(&self, a: &[f64], c: f64) -> (f64, f64) {
        let c = sigmoid(a[1]) * c + sigmoid(a[0]) * a[2].tanh();
        (sigmoid(a[3]) * c.tanh(), c)
    }

    fn step_back(&self, a: &[f64], c: f64, dh: f64, dc: f64) -> (Vec<f64>, f64) {
        let (i, f, g, o) = (sigmoid(a[0]), sigmoid(a[1]), a[2].tanh(), sigmoid(a[3]));
        let new_c = f * c + i * g;
        let dc = dc + dh * o * (1.0 - new_c.tanh().powi(2));
        let arguments = vec![
            dc * g * i * (1.0 - i),
            dc * c * f * (1.0 - f),
            dc * i * (1.0 - g * g),
            dh * new_c.tanh() * o * (1.0 - o),
        ];
        (arguments, dc * f)
    }
}

impl Oracle for Rnn {
    const GATES: usize = 1;

    fn step(&self, a: &[f64], _c: f64) -> (f64, f64) {
        match self.nonlinearity {
            Nonlinearity::Tanh => (a[0].tanh(), 0.0),
            Nonlinearity::Relu => (if a[0] < 0.0 { 0.0 } else { a[0] }, 0.0),
        }
    }

    fn step_back(&self, a: &[f64], _c: f64, dh: f64, _dc: f64) -> (Vec<f64>, f64) {
        let slope = match self.nonlinearity {
            Nonlinearity::Tanh => 1.0 - a[0].tanh().powi(2),
            Nonlinearity::Relu => f64::from(a[0] > 0.0),
        };
        (vec![dh * slope], 0.0)
    }
}

/// The sizes of a pass.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// T, time steps.
    pub steps: usize,
    /// B, rows of the batch.
    pub rows: usize,
    /// I, input features.
    pub input: usize,
    /// H, hidden units.
    pub hidden: usize,
    /// Whether the layer has biases.
    pub bias: bool,
}

/// What a pass takes: arrays (T, B, I), (B, H), (B, H) and the layer's flat parameters.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The layer's parameters, flat.
    pub params: Vec<f64>,
    /// (T, B, I)
    pub x: Vec<f64>,
    /// Initial h (B, H).
    pub h: Vec<f64>,
    /// Initial c (B, H).
    pub c: Vec<f64>,
}

/// What a forward pass gives: y (T, B, H), the final h and c (B, H).
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// Every h, (T, B, H).
    pub y: Vec<f64>,
    /// Final h (B, H).
    pub h: Vec<f64>,
    /// Final c (B, H).
    pub c: Vec<f64>,
}

/// The forward pass.
pub fn forward<O: Oracle>(cell: &O, sizes: Sizes, inputs: &Inputs) -> Outputs {
    let Sizes { steps, rows, hidden, .. } = sizes;
    let mut out =
        Outputs { y: vec![0.0; steps * rows * hidden], h: inputs.h.clone(), c: inputs.c.clone() };
    for t in 0..steps {
        let before = out.h.clone();
        for b in 0..rows {
            for j in 0..hidden {
                let a = arguments::<O>(sizes, inputs, &before, t, b, j);
                let (h, c) = cell.step(&a, out.c[b * hidden + j]);
                (out.h[b * hidden + j], out.c[b * hidden + j]) = (h, c);
            }
        }
        out.y[t * rows * hidden..][..rows * hidden].copy_from_slice(&out.h);
    }
    out
}

/// The arguments of the gates of unit j in row b: `W_ih x + b_ih + W_hh h + b_hh`.
fn arguments<O: Oracle>(
    sizes: Sizes,
    inputs: &Inputs,
    h: &[f64],
    t: usize,
    b: usize,
    j: usize,
) -> Vec<f64> {
    let Sizes { rows, input, hidden, bias, .. } = sizes;
    let n = O::GATES * hidden;
    let (w_ih, rest) = inputs.params.split_at(n * input);
    let (w_hh, biases) = rest.split_at(n * hidden);
    let gate = |g: usize| {
        let row = g * hidden + j;
        let mut sum = if bias { biases[row] + biases[n + row] } else { 0.0 };
        for k in 0..input {
            sum += w_ih[row * input + k] * inputs.x[(t * rows + b) * input + k];
        }
        for k in 0..hidden {
            sum += w_hh[row * hidden + k] * h[b * hidden + k];
        }
        sum
    };
    (0..O::GATES).map(gate).collect()
}

/// Backpropagation through time: from the gradients of the outputs to those of the inputs.
pub fn backward<O: Oracle>(cell: &O, sizes: Sizes, inputs: &Inputs, d: &Outputs) -> Inputs {
    let Sizes { steps, rows, input, hidden, bias } = sizes;
    let n = O::GATES * hidden;
    // The states before every step.
    let mut states = vec![(inputs.h.clone(), inputs.c.clone())];
    for t in 0..steps {
        let one = Sizes { steps: 1, ..sizes };
        let (h, c) = states[t].clone();
        let x = inputs.x[t * rows * input..][..rows * input].to_vec();
        let out = forward(cell, one, &Inputs { params: inputs.params.clone(), x, h, c });
        states.push((out.h, out.c));
    }
    let mut grads = Inputs {
        params: vec![0.0; inputs.params.len()],
        x: vec![0.0; inputs.x.len()],
        h: d.h.clone(),
        c: d.c.clone(),
    };
    let hh = n * input;
    let biases = hh + n * hidden;
    for t in (0..steps).rev() {
        let (h, c) = &states[t];
        let mut dh_before = vec![0.0; rows * hidden];
        for b in 0..rows {
            for j in 0..hidden {
                let at = b * hidden + j;
                let dh = grads.h[at] + d.y[t * rows * hidden + at];
                let a = arguments::<O>(sizes, inputs, h, t, b, j);
                let (da, dc) = cell.step_back(&a, c[at], dh, grads.c[at]);
                grads.c[at] = dc;
                for (g, &da) in da.iter().enumerate() {
                    let row = g * hidden + j;
                    for k in 0..input {
                        let x = (t * rows + b) * input + k;
                        grads.params[row * input + k] += da * inputs.x[x];
                        grads.x[x] += da * inputs.params[row * input + k];
                    }
                    for k in 0..hidden {
                        grads.params[hh + row * hidden + k] += da * h[b * hidden + k];
                        dh_before[b * hidden + k] += da * inputs.params[hh + row * hidden + k];
                    }
                    if bias {
                        grads.params[biases + row] += da;
                        grads.params[biases + n + row] += da;
                    }
                }
            }
        }
        grads.h = dh_before;
    }
    grads
}
