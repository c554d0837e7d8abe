//! Recurrent dropout, zoneout, layer normalisation and peepholes, for every cell that has them; and
//! checkpoints, which never change results.

use crate::common::problem::Problem;
use crate::common::reference::{self, Inputs, Sizes};
use crate::common::{Rng, cast, distance, widen};
use bptt::Compiled;
use bptt::cell::{Gru, GruResetFirst, Lstm, Nonlinearity, Rnn};
use bptt::simd::Level;
use bptt::{LSTM, Recurrent, Seq, SeqMut, Shape, State, Tape, set_num_threads};

const LENGTHS: [&[usize]; 4] = [&[5, 5, 5], &[6, 4, 4, 1, 0], &[3], &[]];
const TANH: Rnn = Rnn { nonlinearity: Nonlinearity::Tanh };
const PEEPHOLES: Lstm = Lstm { peepholes: true };

/// Calls `check` with layers of every combination of these options, alone and together with the other
/// options.
fn every_option<C: Compiled>(cell: C, mut check: impl FnMut(Recurrent<C>, &[usize], String)) {
    for norm in [false, true] {
        for (dropout, zoneout) in [(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.4, 0.3)] {
            for (layers, both, projection, bias) in
                [(1, false, 0, true), (2, true, 0, false), (1, true, 4, true)]
            {
                let layer = Recurrent::with_cell(cell, 5, 9, bias)
                    .and_then(|layer| layer.with_layers(layers))
                    .and_then(|layer| layer.with_projection(projection))
                    .and_then(|layer| layer.with_recurrent_dropout(dropout))
                    .and_then(|layer| layer.with_zoneout(zoneout))
                    .and_then(|layer| if norm { layer.with_layer_norm() } else { Ok(layer) });
                let Ok(layer) = layer else {
                    assert!((!C::HAS_C && projection > 0) || (C::RESETS && norm));
                    continue;
                };
                let layer = if both { layer.bidirectional() } else { layer };
                for lengths in LENGTHS {
                    let what = format!(
                        "norm {norm}, dropout {dropout}, zoneout {zoneout}, {:?}, {lengths:?}",
                        layer.parameters()
                    );
                    check(layer, lengths, what);
                }
            }
        }
    }
}

fn gradients<C: Compiled>(cell: C) {
    every_option(cell, |layer, lengths, what| {
        Problem::new(layer, lengths, 11).check_gradients(&what);
    });
}

#[test]
fn gradients_of_lstm() {
    gradients(Lstm::default());
}

#[test]
fn gradients_of_lstm_with_peepholes() {
    gradients(PEEPHOLES);
}

#[test]
fn gradients_of_gru() {
    gradients(Gru);
}

#[test]
fn gradients_of_gru_with_the_reset_first() {
    gradients(GruResetFirst);
}

#[test]
fn gradients_of_rnn() {
    gradients(TANH);
}

fn levels<C: Compiled>(cell: C) {
    every_option(cell, |layer, lengths, what| {
        let problem = Problem::new(layer, lengths, 5);
        let want = Level::PORTABLE.scope(|| problem.run());
        for level in Level::available() {
            let found = level.scope(|| problem.run());
            for (a, b) in found.iter().zip(&want) {
                assert!(distance(a, b) < 1e-12, "{level:?} {what}");
            }
        }
    });
}

#[test]
fn levels_agree() {
    levels(PEEPHOLES);
    levels(Gru);
    levels(TANH);
}

/// Checkpoints change no bit of the results, also if a block of the weights' gradients has fewer rows than
/// the batch, and if a time chunk has several blocks.
#[test]
fn checkpoints_do_not_show() {
    fn check<C: Compiled>(cell: C) {
        every_option(cell, |layer, lengths, what| {
            let mut problem = Problem::new(layer, lengths, 5);
            let whole = problem.run();
            problem.checkpoints = true;
            assert!(problem.run() == whole, "{what}");
        });
    }
    check(PEEPHOLES);
    check(Gru);
    check(GruResetFirst);
    check(TANH);
    let long: Vec<_> = (0..40).rev().map(|n| 30 + 2 * n).collect();
    for lengths in [&[700][..], &[60; 300], &[90; 40], &long] {
        let layer = Recurrent::with_cell(PEEPHOLES, 3, 11, true).unwrap().bidirectional();
        let layer = layer.with_layers(2).unwrap().with_dropout(0.3).unwrap();
        let layer = layer.with_zoneout(0.2).unwrap().with_layer_norm().unwrap();
        let mut problem = Problem::new(layer, lengths, 5);
        let whole = problem.run();
        problem.checkpoints = true;
        assert!(problem.run() == whole, "{lengths:?}");
    }
}

/// Compares the bits of all results, for problems that are large enough for several threads.
#[test]
fn threads_do_not_show() {
    fn check<C: Compiled>(cell: C, norm: bool) {
        let layer = Recurrent::with_cell(cell, 24, 40, true).unwrap().bidirectional();
        let layer = layer.with_layers(2).unwrap().with_dropout(0.3).unwrap();
        let layer = layer.with_recurrent_dropout(0.2).unwrap().with_zoneout(0.2).unwrap();
        let layer = if norm { layer.with_layer_norm().unwrap() } else { layer };
        let lengths: Vec<_> = (0..50).rev().map(|n| n / 2).collect();
        let mut problem = Problem::new(layer, &lengths, 3);
        let mut bits = |threads, checkpoints| {
            set_num_threads(threads).unwrap();
            problem.checkpoints = checkpoints;
            problem.run().map(|numbers| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        let one = bits(1, false);
        for threads in 1..=8 {
            assert!(bits(threads, false) == one, "{threads} threads");
            assert!(bits(threads, true) == one, "{threads} threads, checkpoints");
        }
    }
    check(PEEPHOLES, true);
    check(Gru, true);
    check(GruResetFirst, false);
}

/// Compares inference at every level with the oracle, for sizes that fill no vector exactly.
#[test]
fn lstm_is_the_oracles() {
    let mut seed = 0;
    for options in [(true, false, 0.0), (false, true, 0.0), (true, true, 0.2), (false, false, 0.2)]
    {
        for hidden in [1, 7, 16, 17, 50, 65] {
            for rows in [1, 2, 7, 13] {
                seed += 1;
                let sizes = Sizes { steps: 6, rows, input: 3, hidden, bias: seed % 3 > 0 };
                let mut layer = LSTM::new(3, hidden, sizes.bias).unwrap();
                layer = layer.with_zoneout(options.2).unwrap();
                if options.0 {
                    layer = layer.with_peepholes();
                }
                if options.1 {
                    layer = layer.with_layer_norm().unwrap();
                }
                let mut rng = Rng(seed);
                let inputs = Inputs {
                    params: rng.vec(layer.parameter_len(), 1.0),
                    x: rng.vec(6 * rows * 3, 1.0),
                    h: rng.vec(rows * hidden, 1.0),
                    c: rng.vec(rows * hidden, 1.0),
                };
                let want = reference::regularised_lstm(options, sizes, &inputs);
                for level in Level::available() {
                    let mut state = State::zeros(&layer, rows).unwrap();
                    state.h.copy_from_slice(&inputs.h);
                    state.c.copy_from_slice(&inputs.c);
                    let mut y = vec![0.0; want.y.len()];
                    let x = Seq::new(&inputs.x, Shape::time_major(6, rows, 3)).unwrap();
                    let shape = Shape::time_major(6, rows, hidden);
                    let out = SeqMut::new(&mut y, shape).unwrap();
                    let mut tape = Tape::for_inference();
                    level
                        .scope(|| layer.forward(&inputs.params, x, &mut state, out, &mut tape))
                        .unwrap();
                    let what = format!("{options:?} {sizes:?} {level:?}");
                    // With H = 1, the normalised c is only its bias.
                    assert!(distance(&y, &want.y) < 1e-12, "y, {what}");
                    assert!(distance(&state.c, &want.c) < 1e-12, "c, {what}");

                    let params = cast::<f32>(&inputs.params);
                    let x = cast::<f32>(&inputs.x);
                    let mut state = State::zeros(&layer, rows).unwrap();
                    state.h.copy_from_slice(&cast::<f32>(&inputs.h));
                    state.c.copy_from_slice(&cast::<f32>(&inputs.c));
                    let mut y = vec![0.0f32; want.y.len()];
                    let x = Seq::new(&x, Shape::time_major(6, rows, 3)).unwrap();
                    let out = SeqMut::new(&mut y, shape).unwrap();
                    let mut tape = Tape::for_inference();
                    level.scope(|| layer.forward(&params, x, &mut state, out, &mut tape)).unwrap();
                    if hidden > 1 {
                        let off = distance(&widen(&y), &want.y);
                        assert!(off < 2e-4, "y in float32 is off by {off:e}, {what}");
                    }
                }
            }
        }
    }
}

#[test]
fn zoneout_keeps_its_share_and_is_the_average_in_inference() {
    let layer = Recurrent::with_cell(TANH, 3, 64, true).unwrap().with_zoneout(0.25).unwrap();
    let problem = Problem::new(layer, &[40; 20], 1);
    let [y, ..] = problem.run();
    let step = 20 * 64;
    let kept = (step..y.len()).filter(|&n| y[n] == y[n - step]).count();
    let share = kept as f64 / (y.len() - step) as f64;
    assert!((share - 0.25).abs() < 0.01, "{share}");
    let mut other = Problem::new(layer, &[40; 20], 1);
    assert_eq!(other.run()[0], y);
    other.seed = 2;
    assert_ne!(other.run()[0], y);

    // One step gives 3/4 of the new h without zoneout plus 1/4 of the h before.
    let problem = Problem::new(layer, &[1; 20], 1);
    let mut plain = Problem::new(layer.with_zoneout(0.0).unwrap(), &[1; 20], 1);
    plain.params.clone_from(&problem.params);
    plain.state.clone_from(&problem.state);
    let (y, made) = (problem.infer()[0].clone(), plain.infer()[0].clone());
    for ((y, made), h) in y.iter().zip(made).zip(&problem.state.0) {
        assert!((y - (0.75 * made + 0.25 * h)).abs() < 1e-15);
    }
}

/// The products use h with the same units dropped at every step, and all of h in inference.
#[test]
fn recurrent_dropout_is_the_same_at_all_steps() {
    let relu = Rnn { nonlinearity: Nonlinearity::Relu };
    let plain = Recurrent::with_cell(relu, 1, 64, false).unwrap();
    let layer = plain.with_recurrent_dropout(0.5).unwrap();
    // h_t = 1 + h_{t-1} / 2 for every unit, and h_t = 1 if the unit is dropped.
    let mut problem = Problem::new(layer, &[6; 8], 1);
    problem.params.fill(0.0);
    problem.params[..64].fill(1.0);
    for unit in 0..64 {
        problem.params[64 + unit * 65] = 0.5;
    }
    problem.x.fill(1.0);
    problem.state.0.fill(0.0);
    let [y, ..] = problem.run();
    let mut dropped = 0;
    for row in 0..8 * 64 {
        let chain: Vec<_> = (0..6).map(|t| y[t * 8 * 64 + row]).collect();
        let grows = chain == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 0.5 times 1 / (1 - 0.5)
        assert!(grows || chain == [1.0; 6], "{chain:?}");
        dropped += usize::from(!grows);
    }
    assert!((200..312).contains(&dropped), "{dropped} of 512");
    assert_eq!(problem.infer()[0][5 * 8 * 64], 1.96875);
}

#[test]
fn probabilities_out_of_range_are_refused() {
    let layer = LSTM::new(2, 3, true).unwrap();
    for bad in [-0.1, 1.0, f64::NAN] {
        let error = layer.with_recurrent_dropout(bad).unwrap_err().to_string();
        assert!(error.contains("recurrent_dropout must be in [0, 1)"), "{error}");
        assert!(layer.with_zoneout(bad).unwrap_err().to_string().contains("zoneout"));
    }
    let gru = Recurrent::with_cell(GruResetFirst, 2, 3, true).unwrap();
    assert!(gru.with_layer_norm().unwrap_err().to_string().contains("reset_after"));
}

/// A tape of a layer with one set of options does not serve a layer with other options.
#[test]
fn tapes_know_their_options() {
    let layer = LSTM::new(2, 3, true).unwrap();
    let other = layer.with_zoneout(0.5).unwrap();
    let (x, params) = ([0.1; 8], vec![0.1; layer.parameter_len()]);
    let mut y = [0.0; 12];
    let (x_shape, y_shape) = (Shape::time_major(4, 1, 2), Shape::time_major(4, 1, 3));
    let x = Seq::new(&x, x_shape).unwrap();
    let (mut state, mut tape) = (State::zeros(&layer, 1).unwrap(), Tape::new());
    let out = SeqMut::new(&mut y, y_shape).unwrap();
    layer.forward(&params, x, &mut state, out, &mut tape).unwrap();
    let y = Seq::new(&y, y_shape).unwrap();
    let gradients = bptt::Gradients { params: None, x: None };
    let error = other.backward(&params, x, y, &mut tape, y, &mut state, gradients).unwrap_err();
    assert!(error.to_string().contains("the tape holds another pass"), "{error}");
}
