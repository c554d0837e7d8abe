//! The contracts with users: gradients are the slopes of the outputs, results have the same bits for any
//! number of threads, rows do not depend on each other, a pass can be split in time, and NaN and infinity
//! follow IEEE.

use crate::common::reference::{self, Inputs, Oracle, Outputs, Sizes};
use crate::common::{kernels, oracle, problem};
use bptt::Compiled;
use bptt::cell::{Gru, Lstm, Nonlinearity, Rnn};
use bptt::simd::Level;
use bptt::{Recurrent, Seq, SeqMut, Shape, State, Tape, set_num_threads};

const TANH: Rnn = Rnn { nonlinearity: Nonlinearity::Tanh };
const RELU: Rnn = Rnn { nonlinearity: Nonlinearity::Relu };

/// Compares the gradient of `sum(outputs * d)` with respect to all inputs with central differences of the
/// oracle.
fn gradcheck<C: Compiled + Oracle>(cell: C) {
    for (seed, hidden) in [(1, 1), (2, 3), (3, 17)] {
        let sizes = Sizes { steps: 4, rows: 3, input: 2, hidden, bias: true };
        let layer = Recurrent::with_cell(cell, 2, hidden, true).unwrap();
        let (inputs, d) = problem::<C>(sizes, C::HAS_C, seed);
        let (_, analytic) = kernels::<f64, C>(&layer, sizes, &inputs, &d);
        let fields: [fn(&mut Inputs) -> &mut Vec<f64>; 4] =
            [|i| &mut i.params, |i| &mut i.x, |i| &mut i.h, |i| &mut i.c];
        for field in fields {
            let gradient = field(&mut analytic.clone()).clone();
            let scale = gradient.iter().fold(1e-2, |m: f64, g| m.max(g.abs()));
            for (index, &gradient) in gradient.iter().enumerate() {
                let loss = |shift: f64| {
                    let mut inputs = inputs.clone();
                    field(&mut inputs)[index] += shift;
                    let (out, _) = oracle_forward(&cell, sizes, &inputs);
                    let dot =
                        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                    dot(&out.y, &d.y) + dot(&out.h, &d.h) + dot(&out.c, &d.c)
                };
                // The difference formula of fourth order.
                let step = 1e-3;
                let slope = (8.0 * (loss(step) - loss(-step))
                    - (loss(2.0 * step) - loss(-2.0 * step)))
                    / (12.0 * step);
                let error = (slope - gradient).abs() / scale;
                assert!(error <= 1e-6, "relative error {error:e} at {index} of {sizes:?}");
            }
        }
    }
}

fn oracle_forward<C: Oracle>(cell: &C, sizes: Sizes, inputs: &Inputs) -> (Outputs, ()) {
    let mut inputs = inputs.clone();
    let has_c = !inputs.c.is_empty();
    inputs.c.resize(sizes.rows * sizes.hidden, 0.0);
    let mut out = reference::forward(cell, sizes, &inputs);
    if !has_c {
        out.c.clear();
    }
    (out, ())
}

#[test]
fn gradcheck_lstm() {
    gradcheck(Lstm::default());
}

#[test]
fn gradcheck_rnn() {
    gradcheck(TANH);
}

fn bits(results: &(Outputs, Inputs)) -> Vec<u64> {
    let (o, i) = results;
    [&o.y, &o.h, &o.c, &i.params, &i.x, &i.h, &i.c]
        .into_iter()
        .flat_map(|array| array.iter().map(|x| x.to_bits()))
        .collect()
}

/// This is one test, because the number of threads is global. The problems are large enough for several
/// tasks.
#[test]
fn the_same_bits_for_1_to_8_threads_and_every_repetition() {
    fn check<C: Compiled + Oracle>(cell: C, (steps, rows, hidden): (usize, usize, usize)) {
        let sizes = Sizes { steps, rows, input: 40, hidden, bias: true };
        let layer = Recurrent::with_cell(cell, 40, hidden, true).unwrap();
        let (inputs, d) = problem::<C>(sizes, C::HAS_C, 5);
        for level in Level::available() {
            level.scope(|| {
                set_num_threads(1).unwrap();
                let single = bits(&kernels::<f32, C>(&layer, sizes, &inputs, &d));
                let double = bits(&kernels::<f64, C>(&layer, sizes, &inputs, &d));
                for threads in 1..=8 {
                    set_num_threads(threads).unwrap();
                    for _ in 0..2 {
                        let got = bits(&kernels::<f32, C>(&layer, sizes, &inputs, &d));
                        assert!(got == single, "f32, {threads} threads, {level:?}");
                        let got = bits(&kernels::<f64, C>(&layer, sizes, &inputs, &d));
                        assert!(got == double, "f64, {threads} threads, {level:?}");
                    }
                }
            });
        }
    }
    // Threads divide the rows.
    check(Lstm::default(), (7, 53, 100));
    check(TANH, (7, 53, 100));
    // With so many steps and rows, weight gradients are sums of two groups.
    check(Lstm::default(), (11, 53, 40));
    check(Gru, (11, 53, 40));
    // Threads divide the units, an odd number of vectors, with one row and with a few rows. Some threads
    // have none.
    for (rows, hidden) in [(1, 232), (3, 144), (7, 129)] {
        check(Lstm::default(), (12, rows, hidden));
        check(Gru, (12, rows, hidden));
        check(TANH, (12, rows, 2 * hidden));
    }
    // The callers are threads of another pool. There are more of them than helpers.
    set_num_threads(2).unwrap();
    let sizes = Sizes { steps: 12, rows: 1, input: 40, hidden: 256, bias: true };
    let layer = Recurrent::with_cell(Lstm::default(), 40, 256, true).unwrap();
    let (inputs, d) = problem::<Lstm>(sizes, true, 5);
    let want = bits(&kernels::<f32, Lstm>(&layer, sizes, &inputs, &d));
    let pool = rayon_core::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    pool.broadcast(|_| {
        for _ in 0..10 {
            assert!(bits(&kernels::<f32, Lstm>(&layer, sizes, &inputs, &d)) == want);
        }
    });
}

/// Row b of a (T, B, F) array as (T, 1, F).
fn row(array: &[f64], steps: usize, rows: usize, b: usize) -> Vec<f64> {
    let width = array.len() / (steps * rows);
    (0..steps).flat_map(|t| array[(t * rows + b) * width..][..width].to_vec()).collect()
}

#[test]
fn a_rows_results_do_not_depend_on_the_rows_beside_it() {
    fn check<C: Compiled + Oracle>(cell: C) {
        let sizes = Sizes { steps: 3, rows: 13, input: 5, hidden: 33, bias: true };
        let layer = Recurrent::with_cell(cell, 5, 33, true).unwrap();
        let (inputs, d) = problem::<C>(sizes, C::HAS_C, 6);
        for level in Level::available() {
            let run = |sizes, inputs: &Inputs, d: &Outputs| {
                level.scope(|| kernels::<f32, C>(&layer, sizes, inputs, d))
            };
            let (all, all_grads) = run(sizes, &inputs, &d);
            for b in 0..13 {
                let one = |array: &[f64], steps| match array.len() {
                    0 => vec![],
                    _ => row(array, steps, 13, b),
                };
                let inputs = Inputs {
                    params: inputs.params.clone(),
                    x: one(&inputs.x, 3),
                    h: one(&inputs.h, 1),
                    c: one(&inputs.c, 1),
                };
                let d = Outputs { y: one(&d.y, 3), h: one(&d.h, 1), c: one(&d.c, 1) };
                let (alone, grads) = run(Sizes { rows: 1, ..sizes }, &inputs, &d);
                assert_eq!(alone.y, one(&all.y, 3), "y of row {b}, {level:?}");
                assert_eq!(alone.c, one(&all.c, 1), "c of row {b}, {level:?}");
                assert_eq!(grads.x, one(&all_grads.x, 3), "dx of row {b}, {level:?}");
                assert_eq!(grads.h, one(&all_grads.h, 1), "dh of row {b}, {level:?}");
            }
        }
    }
    check(Lstm::default());
    check(RELU);
}

#[test]
fn two_halves_with_the_state_carried_over_are_the_whole() {
    let sizes = Sizes { steps: 8, rows: 4, input: 3, hidden: 20, bias: true };
    let layer = Recurrent::with_cell(Lstm::default(), 3, 20, true).unwrap();
    let (inputs, d) = problem::<Lstm>(sizes, true, 7);
    let (whole, _) = kernels::<f32, Lstm>(&layer, sizes, &inputs, &d);
    let half = |x: &[f64], h: &[f64], c: &[f64]| {
        let sizes = Sizes { steps: 4, ..sizes };
        let inputs =
            Inputs { params: inputs.params.clone(), x: x.into(), h: h.into(), c: c.into() };
        let d = Outputs { y: vec![0.0; 4 * 4 * 20], ..d.clone() };
        kernels::<f32, Lstm>(&layer, sizes, &inputs, &d).0
    };
    let first = half(&inputs.x[..4 * 4 * 3], &inputs.h, &inputs.c);
    let second = half(&inputs.x[4 * 4 * 3..], &first.h, &first.c);
    assert_eq!([first.y, second.y].concat(), whole.y);
    assert_eq!((second.h, second.c), (whole.h, whole.c));
}

#[test]
fn nan_and_infinity_stay_in_their_row_and_go_through_as_ieee_says() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        // With 17 units, padding lanes compute infinity times a padding weight of zero.
        let sizes = Sizes { steps: 3, rows: 7, input: 2, hidden: 17, bias: true };
        let layer = Recurrent::with_cell(Lstm::default(), 2, 17, true).unwrap();
        let (inputs, d) = problem::<Lstm>(sizes, true, 8);
        let mut hit = inputs.clone();
        hit.x[(7 + 4) * 2] = bad; // step 1, row 4
        for level in Level::available() {
            level.scope(|| {
                let (good, good_grads) = kernels::<f32, Lstm>(&layer, sizes, &inputs, &d);
                let (got, grads) = kernels::<f32, Lstm>(&layer, sizes, &hit, &d);
                let (want, want_grads) = oracle(&Lstm::default(), sizes, &hit, &d);
                for b in 0..7 {
                    let y = row(&got.y, 3, 7, b);
                    let dx = row(&grads.x, 3, 7, b);
                    if b != 4 {
                        assert_eq!(y, row(&good.y, 3, 7, b), "row {b} of y, {bad}, {level:?}");
                        assert_eq!(dx, row(&good_grads.x, 3, 7, b), "row {b} of dx, {bad}");
                        continue;
                    }
                    let pairs = y.iter().zip(row(&want.y, 3, 7, b));
                    let pairs = pairs.chain(dx.iter().zip(row(&want_grads.x, 3, 7, b)));
                    for (got, want) in pairs {
                        assert_eq!(
                            got.is_nan(),
                            want.is_nan(),
                            "{got} for {want}, {bad}, {level:?}"
                        );
                        assert!(got.is_nan() || (got - want).abs() < 1e-5, "{got} for {want}");
                    }
                }
            });
        }
    }
}

#[test]
fn both_array_layouts_give_the_same_bits() {
    let (steps, rows, input, hidden) = (5, 3, 4, 19);
    let layer = Recurrent::with_cell(TANH, input, hidden, true).unwrap();
    let sizes = Sizes { steps, rows, input, hidden, bias: true };
    let (inputs, _) = problem::<Rnn>(sizes, false, 9);
    let run = |x: &[f64], x_shape, y_shape| {
        let mut y = vec![0.0; steps * rows * hidden];
        let mut state = State::zeros(&layer, rows).unwrap();
        let (x, out) = (Seq::new(x, x_shape).unwrap(), SeqMut::new(&mut y, y_shape).unwrap());
        layer.forward(&inputs.params, x, &mut state, out, &mut Tape::for_inference()).unwrap();
        y
    };
    let time_major = run(
        &inputs.x,
        Shape::time_major(steps, rows, input),
        Shape::time_major(steps, rows, hidden),
    );
    let x: Vec<f64> = (0..rows).flat_map(|b| row(&inputs.x, steps, rows, b)).collect();
    let batch_major =
        run(&x, Shape::batch_major(steps, rows, input), Shape::batch_major(steps, rows, hidden));
    let want: Vec<f64> = (0..rows).flat_map(|b| row(&time_major, steps, rows, b)).collect();
    assert_eq!(batch_major, want);
}

#[test]
fn a_tape_serves_one_backward_pass_of_its_own_sizes() {
    use bptt::Gradients;
    let layer = Recurrent::with_cell(TANH, 2, 3, false).unwrap();
    let params = vec![0.1; layer.parameter_len()];
    let (x, dy, mut y) = (vec![1.0; 8], vec![1.0; 12], vec![0.0; 12]);
    let (x_shape, y_shape) = (Shape::time_major(2, 2, 2), Shape::time_major(2, 2, 3));
    let x = Seq::new(&x, x_shape).unwrap();
    let mut tape = Tape::new();
    let mut state = State::zeros(&layer, 2).unwrap();
    let out = SeqMut::new(&mut y, y_shape).unwrap();
    layer.forward(&params, x, &mut state, out, &mut tape).unwrap();
    let y = Seq::new(&y, y_shape).unwrap();
    let dy = Seq::new(&dy, y_shape).unwrap();
    let mut grads = vec![0.0; params.len()];
    let mut back = |x: Seq<'_, f64>, y, dy, tape: &mut Tape<f64>, rows: usize| {
        let mut dstate = State::zeros(&layer, rows).unwrap();
        let gradients = Gradients { params: Some(&mut grads), x: None };
        layer.backward(&params, x, y, tape, dy, &mut dstate, gradients).map_err(|e| e.to_string())
    };
    let other = back(x.rows(0, 1), y.rows(0, 1), dy.rows(0, 1), &mut tape, 1).unwrap_err();
    assert!(other.contains("another pass"), "{other}");
    assert!(tape.is_recorded());
    back(x, y, dy, &mut tape, 2).unwrap();
    let again = back(x, y, dy, &mut tape, 2).unwrap_err();
    assert!(again.contains("no forward pass"), "{again}");
}

/// The gradients of a layer's parameters, for a pass with this tape.
fn gradients<C: Compiled>(
    layer: &Recurrent<C>,
    (steps, rows): (usize, usize),
    tape: &mut Tape<f64>,
) -> Vec<f64> {
    let number = |n: usize| ((n * 7919) % 1009) as f64 / 1009.0 - 0.5;
    let numbers = |len: usize| (0..len).map(number).collect::<Vec<_>>();
    let (input, output) = (layer.input_size(), layer.output_size());
    let (params, x) = (numbers(layer.parameter_len()), numbers(steps * rows * input));
    let (dy, mut y) = (numbers(steps * rows * output), vec![0.0; steps * rows * output]);
    let shape = |features| Shape::time_major(steps, rows, features);
    let x = Seq::new(&x, shape(input)).unwrap();
    let mut state = State::zeros(layer, rows).unwrap();
    let out = SeqMut::new(&mut y, shape(output)).unwrap();
    layer.forward(&params, x, &mut state, out, tape).unwrap();
    let (y, dy) = (Seq::new(&y, shape(output)).unwrap(), Seq::new(&dy, shape(output)).unwrap());
    let mut grads = vec![0.0; params.len()];
    let mut dstate = State::zeros(layer, rows).unwrap();
    let gradients = bptt::Gradients { params: Some(&mut grads), x: None };
    layer.backward(&params, x, y, tape, dy, &mut dstate, gradients).unwrap();
    grads
}

#[test]
fn sums_in_two_groups_know_nothing_of_a_tapes_last_pass_nor_of_checkpoints() {
    let size = (40, 20);
    let large = Recurrent::with_cell(Lstm::default(), 12, 40, true).unwrap();
    let plain = Recurrent::with_cell(Lstm::default(), 3, 20, true).unwrap();
    let layers = [
        plain,
        plain.with_peepholes(),
        plain.with_layer_norm().unwrap(),
        plain.with_projection(5).unwrap(),
        plain.bidirectional(),
    ];
    for layer in layers {
        let fresh = gradients(&layer, size, &mut Tape::new());
        let mut used = Tape::new();
        gradients(&large, size, &mut used);
        assert_eq!(gradients(&layer, size, &mut used), fresh);
        let mut checkpoints = Tape::new();
        checkpoints.set_checkpoints(true);
        assert_eq!(gradients(&layer, size, &mut checkpoints), fresh);
    }
}

#[test]
fn sums_in_two_groups_are_the_oracles() {
    fn check<C: Compiled + Oracle>(cell: C) {
        let sizes = Sizes { steps: 25, rows: 37, input: 5, hidden: 19, bias: true };
        let layer = Recurrent::with_cell(cell, 5, 19, true).unwrap();
        let (inputs, d) = problem::<C>(sizes, C::HAS_C, 7);
        let (_, want) = oracle(&cell, sizes, &inputs, &d);
        for level in Level::available() {
            let (_, got) = level.scope(|| kernels::<f64, C>(&layer, sizes, &inputs, &d));
            let scale = want.params.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            for (got, want) in got.params.iter().zip(&want.params) {
                assert!((got - want).abs() <= 1e-12 * scale, "{got} {want} {level:?}");
            }
        }
    }
    check(Lstm::default());
    check(Gru);
    check(TANH);
}
