//! The oracle: recurrent layers in plain `f64` loops, without SIMD and without optimisations, for tests.
//!
//! Arrays are contiguous, (T, B, F). Parameters have the layout of [`Recurrent`](bptt::Recurrent). A test
//! can add a cell of its own, because an [`Oracle`] is only the pointwise part of one hidden unit.

use bptt::cell::{Gru, Lstm, Nonlinearity, Rnn};

/// The pointwise part of a cell, on one hidden unit. A gate's argument has two terms: what x contributes,
/// `W_ih x + b_ih`, and what h contributes, `W_hh h + b_hh`.
pub trait Oracle {
    /// The number of gates.
    const GATES: usize;
    /// Computes (h, c) after a step from both terms of the gates' arguments and (h, c) before the step.
    fn step(&self, x: &[f64], h: &[f64], before: (f64, f64)) -> (f64, f64);
    /// Computes the gradients of the arguments of `step` from `d`, those of the new h and c.
    fn step_back(&self, x: &[f64], h: &[f64], before: (f64, f64), d: (f64, f64)) -> Back;
}

/// The gradients of the arguments of [`Oracle::step`].
pub struct Back {
    /// The gradients of x's term in every gate's argument.
    pub x: Vec<f64>,
    /// The gradients of h's term.
    pub h: Vec<f64>,
    /// The gradients of (h, c) before the step, without what the gates' arguments add.
    pub before: (f64, f64),
}

impl Back {
    /// The gradients of a cell that only reads the sum of both terms.
    pub fn of_sums(arguments: Vec<f64>, dc: f64) -> Self {
        Self { x: arguments.clone(), h: arguments, before: (0.0, dc) }
    }
}

/// The sums of both terms.
pub fn sums(x: &[f64], h: &[f64]) -> Vec<f64> {
    x.iter().zip(h).map(|(x, h)| x + h).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Oracle for Lstm {
    const GATES: usize = 4;

    fn step(&self, x: &[f64], h: &[f64], (_, c): (f64, f64)) -> (f64, f64) {
        let a = sums(x, h);
        let c = sigmoid(a[1]) * c + sigmoid(a[0]) * a[2].tanh();
        (sigmoid(a[3]) * c.tanh(), c)
    }

    fn step_back(&self, x: &[f64], h: &[f64], before: (f64, f64), d: (f64, f64)) -> Back {
        let (a, (_, c), (dh, dc)) = (sums(x, h), before, d);
        let (i, f, g, o) = (sigmoid(a[0]), sigmoid(a[1]), a[2].tanh(), sigmoid(a[3]));
        let new_c = f * c + i * g;
        let dc = dc + dh * o * (1.0 - new_c.tanh().powi(2));
        let arguments = vec![
            dc * g * i * (1.0 - i),
            dc * c * f * (1.0 - f),
            dc * i * (1.0 - g * g),
            dh * new_c.tanh() * o * (1.0 - o),
        ];
        Back::of_sums(arguments, dc * f)
    }
}

impl Oracle for Gru {
    const GATES: usize = 3;

    fn step(&self, x: &[f64], h: &[f64], (before, _): (f64, f64)) -> (f64, f64) {
        let (r, z) = (sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1]));
        let n = (x[2] + r * h[2]).tanh();
        ((1.0 - z) * n + z * before, 0.0)
    }

    fn step_back(&self, x: &[f64], h: &[f64], before: (f64, f64), d: (f64, f64)) -> Back {
        let ((before, _), (dh, _)) = (before, d);
        let (r, z) = (sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1]));
        let n = (x[2] + r * h[2]).tanh();
        let dn = dh * (1.0 - z) * (1.0 - n * n);
        let dz = dh * (before - n) * z * (1.0 - z);
        let dr = dn * h[2] * r * (1.0 - r);
        Back { x: vec![dr, dz, dn], h: vec![dr, dz, dn * r], before: (dh * z, 0.0) }
    }
}

impl Oracle for Rnn {
    const GATES: usize = 1;

    fn step(&self, x: &[f64], h: &[f64], _before: (f64, f64)) -> (f64, f64) {
        let a = x[0] + h[0];
        match self.nonlinearity {
            Nonlinearity::Tanh => (a.tanh(), 0.0),
            Nonlinearity::Relu => (if a < 0.0 { 0.0 } else { a }, 0.0),
        }
    }

    fn step_back(&self, x: &[f64], h: &[f64], _before: (f64, f64), (dh, _): (f64, f64)) -> Back {
        let a = x[0] + h[0];
        let slope = match self.nonlinearity {
            Nonlinearity::Tanh => 1.0 - a.tanh().powi(2),
            Nonlinearity::Relu => f64::from(a > 0.0),
        };
        Back::of_sums(vec![dh * slope], 0.0)
    }
}

/// The sizes of a pass.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// T, the number of time steps.
    pub steps: usize,
    /// B, the number of rows.
    pub rows: usize,
    /// I, the number of input features.
    pub input: usize,
    /// H, the number of hidden units.
    pub hidden: usize,
    /// Whether the layer has biases.
    pub bias: bool,
}

/// The inputs of a pass.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The layer's parameters, flat.
    pub params: Vec<f64>,
    /// x (T, B, I).
    pub x: Vec<f64>,
    /// The initial h (B, H).
    pub h: Vec<f64>,
    /// The initial c (B, H).
    pub c: Vec<f64>,
}

/// The results of a forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// Every h, (T, B, H).
    pub y: Vec<f64>,
    /// The final h (B, H).
    pub h: Vec<f64>,
    /// The final c (B, H).
    pub c: Vec<f64>,
}

/// The forward pass of an LSTM, optionally with peepholes, layer normalisation and the average of zoneout.
/// The parameters have the layout of [`Recurrent`](bptt::Recurrent), without a projection.
pub fn regularised_lstm(
    (peepholes, layer_norm, zoneout): (bool, bool, f64),
    sizes: Sizes,
    inputs: &Inputs,
) -> Outputs {
    let Sizes { steps, rows, input, hidden, bias } = sizes;
    let mut rest =
        &inputs.params[4 * hidden * (input + hidden) + if bias { 8 * hidden } else { 0 }..];
    let mut take = |wanted: bool, len: usize| match wanted {
        true => rest.split_off(..len).expect("the layer's parameters"),
        false => &[],
    };
    let peephole = take(peepholes, 3 * hidden);
    let (gain_ih, gain_hh) = (take(layer_norm, 4 * hidden), take(layer_norm, 4 * hidden));
    let (gain_c, bias_c) = (take(layer_norm, hidden), take(layer_norm, hidden));
    let peep =
        |n: usize, j: usize, c: f64| if peepholes { peephole[n * hidden + j] * c } else { 0.0 };
    let biases = &inputs.params[4 * hidden * (input + hidden)..];
    let bias_of = |n: usize| if bias { biases[n] } else { 0.0 };
    let without = Inputs {
        params: inputs.params[..4 * hidden * (input + hidden)].to_vec(),
        ..inputs.clone()
    };
    let mut out =
        Outputs { y: vec![0.0; steps * rows * hidden], h: inputs.h.clone(), c: inputs.c.clone() };
    for t in 0..steps {
        let before = out.h.clone();
        for b in 0..rows {
            let (mut from_x, mut from_h) = (vec![0.0; 4 * hidden], vec![0.0; 4 * hidden]);
            for j in 0..hidden {
                let sizes = Sizes { bias: false, ..sizes };
                let (x, h) = arguments::<Lstm>(sizes, &without, &before, (t, b, j), |x| x);
                for gate in 0..4 {
                    (from_x[gate * hidden + j], from_h[gate * hidden + j]) = (x[gate], h[gate]);
                }
            }
            if layer_norm {
                normalise(&mut from_x, gain_ih);
                normalise(&mut from_h, gain_hh);
            }
            let a = |gate: usize, j: usize| {
                let n = gate * hidden + j;
                from_x[n] + bias_of(n) + from_h[n] + bias_of(4 * hidden + n)
            };
            let mut o = vec![0.0; hidden];
            for (j, o) in o.iter_mut().enumerate() {
                let c = out.c[b * hidden + j];
                let (i, f) = (sigmoid(a(0, j) + peep(0, j, c)), sigmoid(a(1, j) + peep(1, j, c)));
                let c = f * c + i * a(2, j).tanh();
                *o = sigmoid(a(3, j) + peep(2, j, c));
                out.c[b * hidden + j] = c;
            }
            let mut c = out.c[b * hidden..][..hidden].to_vec();
            if layer_norm {
                normalise(&mut c, gain_c);
                c.iter_mut().zip(bias_c).for_each(|(c, b)| *c += b);
            }
            for (j, (o, c)) in o.iter().zip(c).enumerate() {
                let at = b * hidden + j;
                out.h[at] = (1.0 - zoneout) * o * c.tanh() + zoneout * before[at];
            }
        }
        out.y[t * rows * hidden..][..rows * hidden].copy_from_slice(&out.h);
    }
    out
}

/// Normalises to mean 0 and variance 1 (with 1e-5 added to the variance), then multiplies with the gains.
fn normalise(numbers: &mut [f64], gains: &[f64]) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    for (x, gain) in numbers.iter_mut().zip(gains) {
        *x = gain * (*x - mean) / (variance + 1e-5).sqrt();
    }
}

/// Rounds to `f32` and then to bf16, as products in bf16 do.
pub fn bf16(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    f64::from(f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000))
}

/// The forward pass.
pub fn forward<O: Oracle>(cell: &O, sizes: Sizes, inputs: &Inputs) -> Outputs {
    forward_in(cell, sizes, inputs, |x| x)
}

/// The forward pass with both factors of every product rounded, for example by [`bf16`].
pub fn forward_in<O: Oracle>(
    cell: &O,
    sizes: Sizes,
    inputs: &Inputs,
    round: fn(f64) -> f64,
) -> Outputs {
    let Sizes { steps, rows, hidden, .. } = sizes;
    let mut out =
        Outputs { y: vec![0.0; steps * rows * hidden], h: inputs.h.clone(), c: inputs.c.clone() };
    for t in 0..steps {
        let before = out.h.clone();
        for b in 0..rows {
            for j in 0..hidden {
                let (x, h) = arguments::<O>(sizes, inputs, &before, (t, b, j), round);
                let at = b * hidden + j;
                (out.h[at], out.c[at]) = cell.step(&x, &h, (before[at], out.c[at]));
            }
        }
        out.y[t * rows * hidden..][..rows * hidden].copy_from_slice(&out.h);
    }
    out
}

/// Both terms of the arguments of the gates of unit j in row b: `W_ih x + b_ih` and `W_hh h + b_hh`.
fn arguments<O: Oracle>(
    sizes: Sizes,
    inputs: &Inputs,
    h: &[f64],
    (t, b, j): (usize, usize, usize),
    round: fn(f64) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let Sizes { rows, input, hidden, bias, .. } = sizes;
    let n = O::GATES * hidden;
    let (w_ih, rest) = inputs.params.split_at(n * input);
    let (w_hh, biases) = rest.split_at(n * hidden);
    let x = &inputs.x[(t * rows + b) * input..][..input];
    let h = &h[b * hidden..][..hidden];
    let part = |weights: &[f64], biases: &[f64], from: &[f64], gate: usize| {
        let row = gate * hidden + j;
        let bias = if bias { biases[row] } else { 0.0 };
        let row = &weights[row * from.len()..][..from.len()];
        bias + row.iter().zip(from).map(|(&w, &x)| round(w) * round(x)).sum::<f64>()
    };
    let (b_ih, b_hh) = biases.split_at(if bias { n } else { 0 });
    (
        (0..O::GATES).map(|gate| part(w_ih, b_ih, x, gate)).collect(),
        (0..O::GATES).map(|gate| part(w_hh, b_hh, h, gate)).collect(),
    )
}

/// Backpropagation through time, from the gradients of the outputs to those of the inputs, with both factors
/// of every product rounded. The gradients of biases are sums of numbers that are not rounded.
pub fn backward_in<O: Oracle>(
    cell: &O,
    sizes: Sizes,
    inputs: &Inputs,
    d: &Outputs,
    round: fn(f64) -> f64,
) -> Inputs {
    let Sizes { steps, rows, input, hidden, bias } = sizes;
    let n = O::GATES * hidden;
    // The states before every step.
    let mut states = vec![(inputs.h.clone(), inputs.c.clone())];
    for t in 0..steps {
        let one = Sizes { steps: 1, ..sizes };
        let (h, c) = states[t].clone();
        let x = inputs.x[t * rows * input..][..rows * input].to_vec();
        let inputs = Inputs { params: inputs.params.clone(), x, h, c };
        let out = forward_in(cell, one, &inputs, round);
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
                let (a_x, a_h) = arguments::<O>(sizes, inputs, h, (t, b, j), round);
                let back = cell.step_back(&a_x, &a_h, (h[at], c[at]), (dh, grads.c[at]));
                grads.c[at] = back.before.1;
                dh_before[at] += back.before.0;
                for (g, (&dx, &dh)) in back.x.iter().zip(&back.h).enumerate() {
                    let row = g * hidden + j;
                    for k in 0..input {
                        let x = (t * rows + b) * input + k;
                        grads.params[row * input + k] += round(dx) * round(inputs.x[x]);
                        grads.x[x] += round(dx) * round(inputs.params[row * input + k]);
                    }
                    for k in 0..hidden {
                        grads.params[hh + row * hidden + k] += round(dh) * round(h[b * hidden + k]);
                        dh_before[b * hidden + k] +=
                            round(dh) * round(inputs.params[hh + row * hidden + k]);
                    }
                    if bias {
                        grads.params[biases + row] += dx;
                        grads.params[biases + n + row] += dh;
                    }
                }
            }
        }
        grads.h = dh_before;
    }
    grads
}
