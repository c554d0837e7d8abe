//! Random problems, and their passes through the kernels and the oracle.

pub mod linear;
pub mod problem;
pub mod reference;

use bptt::Compiled;
use bptt::simd::Element;
use bptt::{Gradients, Recurrent, Seq, SeqMut, Shape, State, Tape};
use reference::{Inputs, Oracle, Outputs, Sizes};

/// SplitMix64. It is random enough for tests, and the same on every machine.
pub struct Rng(pub u64);

impl Rng {
    /// A number that is uniform in [-1, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn vec(&mut self, len: usize, scale: f64) -> Vec<f64> {
        (0..len).map(|_| scale * self.uniform()).collect()
    }
}

/// Inputs for a layer and gradients for its outputs. `f32` holds all numbers exactly.
pub fn problem<O: Oracle>(sizes: Sizes, has_c: bool, seed: u64) -> (Inputs, Outputs) {
    let Sizes { steps, rows, input, hidden, bias } = sizes;
    let mut rng = Rng(seed);
    let mut draw = |len: usize, scale: f64| -> Vec<f64> {
        rng.vec(len, scale).into_iter().map(|x| f64::from(x as f32)).collect()
    };
    let n = O::GATES * hidden;
    let scale = (3.0 / (input + hidden) as f64).sqrt();
    let c = if has_c { rows * hidden } else { 0 };
    let inputs = Inputs {
        params: draw(n * (input + hidden + if bias { 2 } else { 0 }), scale),
        x: draw(steps * rows * input, 1.0),
        h: draw(rows * hidden, 1.0),
        c: draw(c, 1.0),
    };
    let d = Outputs {
        y: draw(steps * rows * hidden, 1.0),
        h: draw(rows * hidden, 1.0),
        c: draw(c, 1.0),
    };
    (inputs, d)
}

pub fn cast<E: Element>(values: &[f64]) -> Vec<E> {
    values.iter().map(|&x| E::from_f64(x)).collect()
}

pub fn widen<E: Element>(values: &[E]) -> Vec<f64> {
    values.iter().map(|&x| x.to_f64()).collect()
}

fn state<E: Element, C: Compiled>(
    layer: &Recurrent<C>,
    rows: usize,
    h: &[f64],
    c: &[f64],
) -> State<E> {
    let mut state = State::zeros(layer, rows).unwrap();
    state.h.copy_from_slice(&cast::<E>(h));
    state.c.copy_from_slice(&cast::<E>(c));
    state
}

/// Runs the kernels forward and backward. The results are converted to f64, which is exact.
pub fn kernels<E: Element, C: Compiled>(
    layer: &Recurrent<C>,
    sizes: Sizes,
    inputs: &Inputs,
    d: &Outputs,
) -> (Outputs, Inputs) {
    let Sizes { steps, rows, input, hidden, .. } = sizes;
    let params = cast::<E>(&inputs.params);
    let x = cast::<E>(&inputs.x);
    let dy = cast::<E>(&d.y);
    let mut y = vec![E::ZERO; steps * rows * hidden];
    let mut dx = vec![E::ZERO; x.len()];
    let mut dparams = vec![E::ZERO; params.len()];
    let x_shape = Shape::time_major(steps, rows, input);
    let y_shape = Shape::time_major(steps, rows, hidden);
    let mut tape = Tape::new();

    let mut carried = state::<E, C>(layer, rows, &inputs.h, &inputs.c);
    let x = Seq::new(&x, x_shape).unwrap();
    let out = SeqMut::new(&mut y, y_shape).unwrap();
    layer.forward(&params, x, &mut carried, out, &mut tape).unwrap();
    let outputs = Outputs { y: widen(&y), h: widen(&carried.h), c: widen(&carried.c) };

    let mut dstate = state::<E, C>(layer, rows, &d.h, &d.c);
    let y = Seq::new(&y, y_shape).unwrap();
    let dy = Seq::new(&dy, y_shape).unwrap();
    let gradients =
        Gradients { params: Some(&mut dparams), x: Some(SeqMut::new(&mut dx, x_shape).unwrap()) };
    layer.backward(&params, x, y, &mut tape, dy, &mut dstate, gradients).unwrap();
    let grads =
        Inputs { params: widen(&dparams), x: widen(&dx), h: widen(&dstate.h), c: widen(&dstate.c) };
    (outputs, grads)
}

/// Runs the oracle forward and backward.
pub fn oracle<O: Oracle>(
    cell: &O,
    sizes: Sizes,
    inputs: &Inputs,
    d: &Outputs,
) -> (Outputs, Inputs) {
    oracle_in(cell, sizes, inputs, d, |x| x)
}

/// Same as [`oracle`], with both factors of every product rounded.
pub fn oracle_in<O: Oracle>(
    cell: &O,
    sizes: Sizes,
    inputs: &Inputs,
    d: &Outputs,
    round: fn(f64) -> f64,
) -> (Outputs, Inputs) {
    // The oracle keeps a c for every unit. Cells without a c never read it.
    let c =
        |c: &[f64]| if c.is_empty() { vec![0.0; sizes.rows * sizes.hidden] } else { c.to_vec() };
    let inputs_c = Inputs { c: c(&inputs.c), ..inputs.clone() };
    let d_c = Outputs { c: c(&d.c), ..d.clone() };
    let mut outputs = reference::forward_in(cell, sizes, &inputs_c, round);
    let mut grads = reference::backward_in(cell, sizes, &inputs_c, &d_c, round);
    if inputs.c.is_empty() {
        (outputs.c, grads.c) = (vec![], vec![]);
    }
    (outputs, grads)
}

/// The largest difference, relative to the largest number of `b`.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs())) / scale
}

pub fn assert_close(got: &(Outputs, Inputs), want: &(Outputs, Inputs), tolerance: f64, what: &str) {
    let arrays = [
        ("y", &got.0.y, &want.0.y),
        ("h_n", &got.0.h, &want.0.h),
        ("c_n", &got.0.c, &want.0.c),
        ("dparams", &got.1.params, &want.1.params),
        ("dx", &got.1.x, &want.1.x),
        ("dh_0", &got.1.h, &want.1.h),
        ("dc_0", &got.1.c, &want.1.c),
    ];
    for (name, got, want) in arrays {
        let distance = distance(got, want);
        assert!(distance <= tolerance, "{name} is off by {distance:e} in {what}");
    }
}
