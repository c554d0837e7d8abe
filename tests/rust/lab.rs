//! The lab's networks: every level trains alike, exact gradients lower their loss, and sizes that do not fit
//! are refused. (Python's tests compare the numbers with the notebook's.)

use std::time::{Duration, Instant};

use crate::common::Rng;
use bptt::lab::{Gradient, Kind, LabNetwork, Progress, Training};
use bptt::simd::Level;
use bptt::{Dataset, Inputs, Targets, set_num_threads};

const KINDS: [(Kind, Gradient); 4] = [
    (Kind::Rnn, Gradient::Published),
    (Kind::Rnn, Gradient::Exact),
    (Kind::Lstm, Gradient::Published),
    (Kind::Lstm, Gradient::Exact),
];

fn training(kind: Kind, gradient: Gradient, hidden: usize) -> Training {
    let network = LabNetwork::new(kind, hidden, 3).unwrap();
    let params = Rng(5).vec(network.parameter_len(), 0.4);
    Training::new(network, params, 0.05, 0.25, gradient).unwrap()
}

/// The losses of some epochs over two sequences. One has a single step.
fn losses(kind: Kind, gradient: Gradient, hidden: usize) -> Vec<f64> {
    let mut training = training(kind, gradient, hidden);
    let tokens = [0, 0, 1, 1, 0];
    let data =
        Dataset::new(Inputs::Tokens(&tokens), Targets::Classes(&[0, 1, 1, 2, 1]), &[0, 4, 5]);
    let data = data.unwrap();
    let until = Instant::now() + Duration::from_secs(100);
    (0..30).map(|_| training.train(&data, Progress::default(), until).unwrap().loss_sum).collect()
}

#[test]
fn every_level_trains_alike() {
    for (kind, gradient) in KINDS {
        for hidden in [1, 7, 8, 17, 50] {
            let want = Level::PORTABLE.scope(|| losses(kind, gradient, hidden));
            assert!(want.last() < want.first(), "{kind:?} {gradient:?} {want:?}");
            for level in Level::available() {
                let found = level.scope(|| losses(kind, gradient, hidden));
                for (a, b) in found.iter().zip(&want) {
                    assert!((a - b).abs() < 1e-9 * b, "{level:?} {kind:?} {gradient:?} {hidden}");
                }
            }
        }
    }
}

/// Two threads divide a sequence, or other work on the machine keeps the second one away: the results have the
/// same bits.
#[test]
fn threads_do_not_show() {
    let bits = |threads, hidden| {
        set_num_threads(threads).unwrap();
        let mut training = training(Kind::Lstm, Gradient::Published, hidden);
        let tokens: Vec<u32> = (0..900).map(|n| n * n % 3).collect();
        let offsets: Vec<usize> = (0..=30).map(|n| n * n).collect();
        let data = Dataset::new(Inputs::Tokens(&tokens), Targets::Classes(&tokens), &offsets);
        let data = data.unwrap();
        let until = Instant::now() + Duration::from_secs(100);
        let mut bits = Vec::new();
        for _ in 0..20 {
            bits.push(training.train(&data, Progress::default(), until).unwrap().loss_sum);
            bits.push(training.evaluate(&data, Progress::default(), until).unwrap().loss_sum);
        }
        bits.extend(training.params());
        bits.iter().map(|number| number.to_bits()).collect::<Vec<_>>()
    };
    for hidden in [33, 50] {
        assert_eq!(bits(1, hidden), bits(2, hidden));
    }
}

#[test]
fn an_interrupted_epoch_goes_on_where_it_was() {
    let data =
        Dataset::new(Inputs::Tokens(&[0, 1, 1]), Targets::Classes(&[1, 1, 2]), &[0, 1, 2, 3]);
    let data = data.unwrap();
    let mut whole = training(Kind::Lstm, Gradient::Published, 6);
    let mut parts = training(Kind::Lstm, Gradient::Published, 6);
    let later = Instant::now() + Duration::from_secs(100);
    let at_once = whole.train(&data, Progress::default(), later).unwrap();
    let mut progress = Progress::default();
    for done in 1..=3 {
        progress = parts.train(&data, progress, Instant::now()).unwrap();
        assert_eq!(progress.done, done);
    }
    assert_eq!(progress, at_once);
    assert_eq!(parts.params(), whole.params());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut lstm = LabNetwork::new(Kind::Lstm, 5, 3).unwrap();
    assert!(LabNetwork::new(Kind::Rnn, 0, 3).is_err());
    assert!(lstm.import(&[&[0.0; 3]]).is_err());
    let params = vec![0.1; lstm.parameter_len()];
    lstm.pass.x = vec![0.0; 4]; // not a multiple of V
    assert!(lstm.forward(&params, &[0.0; 5], &[0.0; 5]).is_err());
    lstm.pass.x = vec![0.0; 6];
    assert!(lstm.forward(&params, &[0.0; 5], &[]).is_err());
    assert!(lstm.forward(&params[1..], &[0.0; 5], &[0.0; 5]).is_err());
    lstm.forward(&params, &[0.0; 5], &[0.0; 5]).unwrap();
    let mut grads = vec![7.0; params.len()];
    assert!(lstm.backward(&params, &[0.0; 3], Gradient::Exact, &mut grads).is_err());
    lstm.pass.gates[2].pop();
    assert!(lstm.backward(&params, &[0.0; 6], Gradient::Published, &mut grads).is_err());
    assert!(grads.iter().all(|&g| g == 7.0));
    let mut training = training(Kind::Rnn, Gradient::Exact, 4);
    let data = Dataset::new(Inputs::Tokens(&[3]), Targets::Classes(&[0]), &[0, 1]).unwrap();
    let error = training.train(&data, Progress::default(), Instant::now()).unwrap_err();
    assert!(error.to_string().contains("token 3"));
}
