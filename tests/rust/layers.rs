//! Tests of layers, directions, projections, dropout and sequences of different lengths, for every cell.

use crate::common::problem::Problem;
use bptt::Compiled;
use bptt::cell::{Gru, GruResetFirst, Lstm, Nonlinearity, Rnn};
use bptt::simd::Level;
use bptt::{BatchSizes, Recurrent, Seq, SeqMut, Tape, set_num_threads};

const LENGTHS: [&[usize]; 4] = [&[5, 5, 5], &[4, 6, 0, 4, 1], &[3], &[]];

/// Calls `check` with a layer of every combination of options.
fn every_option<C: Compiled>(cell: C, mut check: impl FnMut(Recurrent<C>, &[usize], String)) {
    let hidden = 9;
    for layers in [1, 2, 3] {
        for bidirectional in [false, true] {
            for projection in [0, 4] {
                for dropout in [0.0, 0.4] {
                    let Ok(layer) = Recurrent::with_cell(cell, 5, hidden, layers != 2)
                        .and_then(|layer| layer.with_layers(layers))
                        .and_then(|layer| layer.with_dropout(dropout))
                        .and_then(|layer| layer.with_projection(projection))
                    else {
                        assert!(!C::HAS_C && projection > 0);
                        continue;
                    };
                    let layer = if bidirectional { layer.bidirectional() } else { layer };
                    for lengths in LENGTHS {
                        check(layer, lengths, format!("{:?} {lengths:?}", layer.parameters()));
                    }
                }
            }
        }
    }
}

fn gradients<C: Compiled>(cell: C) {
    every_option(cell, |layer, lengths, what| {
        let mut problem = Problem::new(layer, lengths, 11);
        problem.check_gradients(&what);
        for batch_major in [false, true] {
            assert_eq!(problem.run_padded(batch_major), problem.run(), "with padding: {what}");
        }
    });
}

#[test]
fn gradients_of_lstm() {
    gradients(Lstm::default());
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
    gradients(Rnn { nonlinearity: Nonlinearity::Tanh });
}

#[test]
fn levels_agree() {
    levels(Gru);
    levels(GruResetFirst);
}

fn levels<C: Compiled>(cell: C) {
    every_option(cell, |layer, lengths, what| {
        let problem = Problem::new(layer, lengths, 5);
        let want = Level::PORTABLE.scope(|| problem.run());
        for level in Level::available() {
            let found = level.scope(|| problem.run());
            for (a, b) in found.iter().zip(&want) {
                assert!(crate::common::distance(a, b) < 1e-12, "{level:?} {what}");
            }
        }
    });
}

/// Compares the bits of all results, for problems that are large enough for several threads.
#[test]
fn threads_do_not_show() {
    let layer = Recurrent::with_cell(Lstm::default(), 24, 40, true).unwrap().bidirectional();
    let layer = layer.with_layers(2).unwrap().with_dropout(0.3).unwrap();
    let lengths: Vec<_> = (0..50).rev().map(|n| n / 2).collect();
    let problem = Problem::new(layer, &lengths, 3);
    let bits = |threads| {
        set_num_threads(threads).unwrap();
        problem.run().map(|numbers| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
    };
    let one = bits(1);
    for threads in 2..=8 {
        assert!(bits(threads) == one, "{threads} threads");
    }
}

/// A row in a batch of different lengths has the same bits as alone.
#[test]
fn a_row_of_a_ragged_batch_is_as_if_alone() {
    every_option(Lstm::default(), |layer, lengths, what| {
        if layer.with_dropout(0.0).unwrap() != layer {
            return; // dropout depends on the place in the batch
        }
        let problem = Problem::new(layer, lengths, 2);
        let [y, h, c, ..] = problem.run();
        let rows = lengths.len();
        let directions = layer.num_layers() * layer.directions();
        let (h_size, c_size) = layer.state_sizes();
        for b in 0..rows {
            let length = lengths[problem.sizes.place(b)];
            let of_row = |numbers: &[f64], size: usize| -> Vec<f64> {
                (0..directions)
                    .flat_map(|d| numbers[(d * rows + b) * size..][..size].to_vec())
                    .collect()
            };
            let of_steps = |numbers: &[f64], size: usize| -> Vec<f64> {
                let start = |t| (problem.sizes.offset(t) + b) * size;
                (0..length).flat_map(|t| numbers[start(t)..][..size].to_vec()).collect()
            };
            let mut alone = Problem::new(layer, &[length], 2);
            alone.params.clone_from(&problem.params);
            alone.x = of_steps(&problem.x, layer.input_size());
            alone.state = (of_row(&problem.state.0, h_size), of_row(&problem.state.1, c_size));
            let [y_alone, h_alone, c_alone, ..] = alone.run();
            assert_eq!(y_alone, of_steps(&y, layer.output_size()), "{what} row {b}");
            assert_eq!(h_alone, of_row(&h, h_size), "{what} row {b}");
            assert_eq!(c_alone, of_row(&c, c_size), "{what} row {b}");
        }
    });
}

#[test]
fn dropout_zeroes_its_share_and_only_when_recorded() {
    let layer = Recurrent::with_cell(Rnn { nonlinearity: Nonlinearity::Relu }, 3, 64, false);
    let layer = layer.unwrap().with_layers(2).unwrap();
    let outputs = |dropout: f64, seed: u64| {
        let layer = layer.with_dropout(dropout).unwrap();
        let mut problem = Problem::new(layer, &[30; 20], 1);
        problem.seed = seed;
        problem.run()[0].clone()
    };
    assert_eq!(outputs(0.5, 1), outputs(0.5, 1));
    assert_ne!(outputs(0.5, 1), outputs(0.5, 2));
    // Every pass with the same tape draws new numbers.
    let problem = Problem::new(layer.with_dropout(0.5).unwrap(), &[4], 1);
    let mut tape = Tape::new();
    let mut pass = |records: bool| {
        tape.set_recording(records);
        let x = Seq::packed(&problem.x, &problem.sizes, 3).unwrap();
        let mut y = vec![0.0; 4 * 64];
        let out = SeqMut::packed(&mut y, &problem.sizes, 64).unwrap();
        let mut state = problem.state(&problem.state);
        problem.layer.forward(&problem.params, x, &mut state, out, &mut tape).unwrap();
        y
    };
    assert_ne!(pass(true), pass(true));
    assert_eq!(pass(false), pass(false));
}

#[test]
fn what_does_not_fit_is_refused() {
    let lstm = Recurrent::with_cell(Lstm::default(), 3, 5, true).unwrap();
    assert!(lstm.with_layers(0).is_err());
    assert!(lstm.with_projection(5).is_err());
    for bad in [1.0, -0.1, f64::NAN] {
        assert!(lstm.with_dropout(bad).is_err());
    }
    assert!(Recurrent::with_cell(Gru, 3, 5, true).unwrap().with_projection(2).is_err());
    assert!(BatchSizes::new(3, vec![2, 3]).is_err());
    assert!(BatchSizes::new(3, vec![4]).is_err());
    assert!(BatchSizes::new(3, vec![2, 0]).is_err());
    let sizes = BatchSizes::of_lengths(&[1, 3, 0, 3]).unwrap();
    assert_eq!((0..4).map(|b| sizes.place(b)).collect::<Vec<_>>(), [1, 3, 0, 2]);
    assert_eq!((sizes.total(), sizes.steps()), (7, 3));
    assert!(Seq::packed(&[0.0; 20], &sizes, 3).is_err());
}
