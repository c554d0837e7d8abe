//! Products in bf16: comparison with the oracle, which rounds the same numbers, and the contracts with users.

use crate::common::linear::Linear;
use crate::common::problem::Problem;
use crate::common::reference::{Inputs, Oracle, Outputs, Sizes, bf16};
use crate::common::{assert_close, kernels, oracle_in, problem};
use bptt::Compiled;
use bptt::cell::{Gru, GruResetFirst, Lstm, Nonlinearity, Rnn};
use bptt::simd::Level;
use bptt::{Compute, LSTM, Recurrent, Seq, SeqMut, Shape, State, Stepper, Tape, set_num_threads};

const TANH: Rnn = Rnn { nonlinearity: Nonlinearity::Tanh };

fn layer<C: Compiled>(cell: C, input: usize, hidden: usize) -> Recurrent<C> {
    Recurrent::with_cell(cell, input, hidden, true).unwrap().with_compute(Compute::Bf16)
}

/// Compares passes of many sizes with the oracle. After several steps, or with a cell that does more than
/// add, a number may lie on the other side of a tie than the oracle's. Then the two differ in the last bit
/// of bf16.
fn every_size<C: Compiled + Oracle>(cell: C, steps: &[usize], tolerance: f64) {
    let mut seed = 0;
    for hidden in [1, 7, 8, 15, 16, 17, 33, 50, 65] {
        for rows in [1, 2, 5, 13] {
            for &steps in steps {
                seed += 1;
                let input = [1, 3, 16, 35][seed as usize % 4];
                let sizes = Sizes { steps, rows, input, hidden, bias: true };
                let (inputs, d) = problem::<C>(sizes, C::HAS_C, seed);
                let want = oracle_in(&cell, sizes, &inputs, &d, bf16);
                for level in Level::available() {
                    let layer = layer(cell, input, hidden);
                    let got = level.scope(|| kernels::<f32, C>(&layer, sizes, &inputs, &d));
                    assert_close(&got, &want, tolerance, &format!("{sizes:?} at {level:?}"));
                }
            }
        }
    }
}

#[test]
fn one_step_of_sums_is_exact() {
    every_size(Linear, &[0, 1], 1e-6);
}

#[test]
fn cells_over_many_steps() {
    every_size(Lstm::default(), &[1, 9], 2e-3);
    every_size(Gru, &[1, 9], 2e-3);
    every_size(TANH, &[1, 9], 2e-3);
}

/// Uses few different numbers, so that the sums are exact and do not depend on rounding.
#[test]
fn products_of_numbers_that_bf16_holds_are_those_of_float32() {
    let sizes = Sizes { steps: 1, rows: 5, input: 9, hidden: 33, bias: true };
    let (mut inputs, mut d) = problem::<Linear>(sizes, true, 3);
    let arrays = [&mut inputs.params, &mut inputs.x, &mut inputs.h, &mut d.y, &mut d.h, &mut d.c];
    for array in arrays {
        // Multiples of 1/8 up to 1; bf16 holds them, and all results of one step.
        array.iter_mut().for_each(|x| *x = (*x * 8.0).round() / 8.0);
    }
    let plain = Recurrent::with_cell(Linear, 9, 33, true).unwrap();
    let rounded = plain.with_compute(Compute::Bf16);
    for level in Level::available() {
        let [a, b] =
            [plain, rounded].map(|l| level.scope(|| kernels::<f32, _>(&l, sizes, &inputs, &d)));
        assert_eq!(bits(&a), bits(&b), "{level:?}");
    }
}

fn bits(results: &(Outputs, Inputs)) -> Vec<u64> {
    let (o, i) = results;
    let arrays = [&o.y, &o.h, &o.c, &i.params, &i.x, &i.h, &i.c];
    arrays.into_iter().flat_map(|array| array.iter().map(|x| x.to_bits())).collect()
}

/// This is one test, because the number of threads is global.
#[test]
fn the_same_bits_for_1_to_8_threads() {
    fn check<C: Compiled + Oracle>(cell: C, (steps, rows, hidden): (usize, usize, usize)) {
        let sizes = Sizes { steps, rows, input: 41, hidden, bias: true };
        let layer = layer(cell, 41, hidden);
        let (inputs, d) = problem::<C>(sizes, C::HAS_C, 5);
        for level in Level::available() {
            level.scope(|| {
                set_num_threads(1).unwrap();
                let single = bits(&kernels::<f32, C>(&layer, sizes, &inputs, &d));
                for threads in 1..=8 {
                    set_num_threads(threads).unwrap();
                    let got = bits(&kernels::<f32, C>(&layer, sizes, &inputs, &d));
                    assert!(got == single, "{threads} threads, {level:?}");
                }
            });
        }
    }
    check(Lstm::default(), (7, 53, 100));
    check(Gru, (7, 53, 51));
    // With so few rows, threads would divide the units in f32.
    check(Lstm::default(), (12, 3, 144));
    set_num_threads(2).unwrap();
}

/// Products have the same bits at every level, because the order of additions is the same. Cells at AVX2 and
/// AVX-512 also have the same bits, and a cell that only adds has the same bits at every level.
#[test]
fn levels_have_the_same_bits() {
    fn check<C: Compiled + Oracle>(cell: C, levels: &[Level]) {
        let sizes = Sizes { steps: 4, rows: 13, input: 21, hidden: 48, bias: true };
        let layer = layer(cell, 21, 48);
        let (inputs, d) = problem::<C>(sizes, C::HAS_C, 6);
        let run =
            |level: &Level| bits(&level.scope(|| kernels::<f32, C>(&layer, sizes, &inputs, &d)));
        let want = run(&levels[0]);
        assert!(levels.iter().all(|level| run(level) == want), "{levels:?}");
    }
    let levels = Level::available();
    check(Linear, &levels);
    if let Some(vectors @ [_, ..]) = levels.get(1..) {
        check(Lstm::default(), vectors);
        check(Gru, vectors);
        check(TANH, vectors);
    }
}

/// Row b of a (T, B, F) array as (T, 1, F).
fn row(array: &[f64], steps: usize, rows: usize, b: usize) -> Vec<f64> {
    let width = array.len() / (steps * rows);
    (0..steps).flat_map(|t| array[(t * rows + b) * width..][..width].to_vec()).collect()
}

#[test]
fn rows_do_not_depend_on_others_and_keep_their_nan_and_infinity() {
    let sizes = Sizes { steps: 3, rows: 13, input: 5, hidden: 17, bias: true };
    let layer = layer(Lstm::default(), 5, 17);
    let (inputs, d) = problem::<Lstm>(sizes, true, 6);
    for level in Level::available() {
        let run = |sizes, inputs: &Inputs, d: &Outputs| {
            level.scope(|| kernels::<f32, Lstm>(&layer, sizes, inputs, d))
        };
        let (all, all_grads) = run(sizes, &inputs, &d);
        for b in 0..13 {
            let one = |array: &[f64], steps| row(array, steps, 13, b);
            let inputs = Inputs {
                params: inputs.params.clone(),
                x: one(&inputs.x, 3),
                h: one(&inputs.h, 1),
                c: one(&inputs.c, 1),
            };
            let d = Outputs { y: one(&d.y, 3), h: one(&d.h, 1), c: one(&d.c, 1) };
            let (alone, grads) = run(Sizes { rows: 1, ..sizes }, &inputs, &d);
            assert_eq!(alone.y, one(&all.y, 3), "y of row {b}, {level:?}");
            assert_eq!(grads.x, one(&all_grads.x, 3), "dx of row {b}, {level:?}");
        }
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut hit = inputs.clone();
            hit.x[(13 + 4) * 5 + 4] = bad; // step 1, row 4, the feature without a neighbour
            let (got, grads) = run(sizes, &hit, &d);
            let (want, want_grads) = oracle_in(&Lstm::default(), sizes, &hit, &d, |x| x);
            for b in 0..13 {
                let [y, dx] = [&got.y, &grads.x].map(|array| row(array, 3, 13, b));
                if b != 4 {
                    assert_eq!(y, row(&all.y, 3, 13, b), "row {b} of y, {bad}, {level:?}");
                    assert_eq!(dx, row(&all_grads.x, 3, 13, b), "row {b} of dx, {bad}");
                    continue;
                }
                let [want, want_dx] = [&want.y, &want_grads.x].map(|array| row(array, 3, 13, b));
                for (got, want) in y.iter().chain(&dx).zip(want.iter().chain(&want_dx)) {
                    assert_eq!(got.is_nan(), want.is_nan(), "{got} for {want}, {bad}, {level:?}");
                }
            }
        }
    }
}

/// Layers with every option give the results of float32, apart from rounding. With checkpoints, results have
/// the same bits.
#[test]
fn options_and_checkpoints() {
    fn check<C: Compiled + std::fmt::Debug>(cell: C) {
        for (norm, regular) in [(false, 0.0), (true, 0.0), (false, 0.3), (true, 0.3)] {
            for (layers, both, projection) in [(1, false, 0), (2, true, 0), (1, true, 5)] {
                let layer = Recurrent::with_cell(cell, 5, 9, true)
                    .and_then(|layer| layer.with_layers(layers))
                    .and_then(|layer| layer.with_projection(projection))
                    .and_then(|layer| layer.with_recurrent_dropout(regular))
                    .and_then(|layer| layer.with_zoneout(regular))
                    .and_then(|layer| if norm { layer.with_layer_norm() } else { Ok(layer) });
                let Ok(layer) = layer else { continue };
                let layer = if both { layer.bidirectional() } else { layer };
                for lengths in [&[7, 7, 7][..], &[8, 5, 5, 1, 0]] {
                    let what = format!("{:?}, {lengths:?}", layer.with_compute(Compute::Bf16));
                    let plain = Problem::new(layer, lengths, 11).run_in::<f32>();
                    let mut problem = Problem::new(layer.with_compute(Compute::Bf16), lengths, 11);
                    let whole = problem.run_in::<f32>();
                    // Rounding only the weights and x shows which errors to expect.
                    let mut nearby = Problem::new(layer, lengths, 11);
                    for numbers in [&mut nearby.params, &mut nearby.x] {
                        numbers.iter_mut().for_each(|x| *x = bf16(*x));
                    }
                    let nearby = nearby.run_in::<f32>();
                    for (n, ((a, b), c)) in whole.iter().zip(&plain).zip(&nearby).enumerate() {
                        let (distance, usual) =
                            (crate::common::distance(a, b), crate::common::distance(c, b));
                        let limit = usual + 0.03;
                        assert!(
                            distance < limit,
                            "array {n} is off by {distance} and not {usual} in {what}"
                        );
                        assert!(a.is_empty() || a != b, "array {n} is that of float32 in {what}");
                    }
                    problem.checkpoints = true;
                    assert!(problem.run_in::<f32>() == whole, "checkpoints show in {what}");
                }
            }
        }
    }
    check(Lstm::default());
    check(Lstm { peepholes: true });
    check(Gru);
    check(GruResetFirst);
    check(TANH);
}

#[test]
fn a_stepper_and_two_halves_give_the_bits_of_the_whole() {
    let layer = LSTM::new(3, 21, true).unwrap().with_layers(2).unwrap();
    let layer = layer.with_projection(7).unwrap().with_compute(Compute::Bf16);
    let problem = Problem::new(layer, &[6, 6, 6], 4);
    let (params, x) =
        (crate::common::cast::<f32>(&problem.params), crate::common::cast::<f32>(&problem.x));
    let run = |x: &[f32], steps, state: &mut State<f32>| {
        let mut y = vec![0.0; steps * 3 * 7];
        let out = SeqMut::new(&mut y, Shape::time_major(steps, 3, 7)).unwrap();
        let x = Seq::new(x, Shape::time_major(steps, 3, 3)).unwrap();
        layer.forward(&params, x, state, out, &mut Tape::for_inference()).unwrap();
        y
    };
    let whole = run(&x, 6, &mut State::zeros(&layer, 3).unwrap());
    let mut state = State::zeros(&layer, 3).unwrap();
    let halves = [run(&x[..27], 3, &mut state), run(&x[27..], 3, &mut state)].concat();
    assert_eq!(halves, whole);
    let mut stepper = Stepper::new(layer, &params, 3).unwrap();
    let steps: Vec<_> = x.chunks(9).flat_map(|x| stepper.step(x).unwrap().to_vec()).collect();
    assert_eq!(steps, whole);
}

#[test]
fn what_does_not_fit_is_refused() {
    let layer = layer(TANH, 2, 3);
    let (params, x) = (vec![0.1; layer.parameter_len()], vec![1.0; 8]);
    let x = Seq::new(&x, Shape::time_major(2, 2, 2)).unwrap();
    let mut state = State::zeros(&layer, 2).unwrap();
    let mut y = vec![0.0; 12];
    let out = SeqMut::new(&mut y, Shape::time_major(2, 2, 3)).unwrap();
    let error = layer.forward(&params, x, &mut state, out, &mut Tape::new()).unwrap_err();
    assert!(error.to_string().contains("float64"), "{error}");
    assert!(layer.explain(x).is_err() && Stepper::new(layer, &params, 1).is_err());

    // A tape, with its packed weights, serves only one number type of products.
    let params = vec![0.1f32; layer.parameter_len()];
    let x = vec![1.0f32; 8];
    let x = Seq::new(&x, Shape::time_major(2, 2, 2)).unwrap();
    let mut tape = Tape::new();
    let pass = |layer: &Recurrent<Rnn>, tape: &mut Tape<f32>| {
        let mut y = vec![0.0; 12];
        let out = SeqMut::new(&mut y, Shape::time_major(2, 2, 3)).unwrap();
        let mut state = State::zeros(layer, 2).unwrap();
        layer.forward(&params, x, &mut state, out, tape).unwrap();
        y
    };
    let y = pass(&layer, &mut tape);
    let plain = layer.with_compute(Compute::Own);
    let gradients = bptt::Gradients { params: None, x: None };
    let y = Seq::new(&y, Shape::time_major(2, 2, 3)).unwrap();
    let mut dstate = State::zeros(&plain, 2).unwrap();
    let error = plain.backward(&params, x, y, &mut tape, y, &mut dstate, gradients).unwrap_err();
    assert!(error.to_string().contains("another pass"), "{error}");
    let fresh = pass(&plain, &mut Tape::for_inference());
    let mut kept = Tape::for_inference();
    pass(&layer, &mut kept);
    kept.set_same_weights(true);
    assert_eq!(pass(&plain, &mut kept), fresh);
    assert!(layer.explain(x).unwrap().contains("bf16"));
    assert!(!plain.explain(x).unwrap().contains("bf16"));
}
