//! Truncated BPTT and stateful training: comparison with layers run chunk by chunk and with whole sequences,
//! and interruptions.

use std::time::{Duration, Instant};

use bptt::cell::Nonlinearity;
use bptt::{
    BatchSizes, Dataset, GRU, Gradients, Input, Inputs, LSTM, Layer, Linear, Loss, Optimizer,
    Progress, RNN, Seq, SeqMut, Sequential, State, Tape, Targets, Trainer, set_num_threads,
};

/// Numbers that look random.
fn numbers(len: usize) -> Vec<f64> {
    (0..len).map(|i| (i as f64 * 1.7 + (i * i) as f64 * 0.013).sin()).collect()
}

fn lstm() -> LSTM {
    LSTM::new(2, 5, true).unwrap()
}

fn gru() -> GRU {
    GRU::new(5, 3, true).unwrap()
}

fn model_of(layers: Vec<Layer>) -> Sequential<f64> {
    let mut model = Sequential::new(layers).unwrap();
    for (p, number) in model.params.iter_mut().zip(numbers(100_000)) {
        *p = 0.5 * number;
    }
    model
}

fn trainer_of(layers: Vec<Layer>, optimizer: Optimizer) -> Trainer<f64> {
    Trainer::new(model_of(layers), Loss::MeanSquaredError, optimizer, Some(1.0)).unwrap()
}

fn trainer(optimizer: Optimizer) -> Trainer<f64> {
    trainer_of(vec![Layer::LSTM(lstm()), Layer::GRU(gru())], optimizer)
}

fn adam() -> Optimizer {
    Optimizer::adam(0.05).unwrap()
}

fn frozen() -> Optimizer {
    Optimizer::sgd(0.0, 0.0).unwrap()
}

/// Inputs (sum of T, 2), targets (sum of T, 3) and offsets of sequences.
struct Data(Vec<f64>, Vec<f64>, Vec<usize>);

impl Data {
    fn of_lengths(lengths: &[usize]) -> Self {
        let mut offsets = vec![0];
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        let steps = offsets[lengths.len()];
        Self(numbers(2 * steps), numbers(3 * steps), offsets)
    }

    fn set(&self) -> Dataset<'_, f64> {
        Dataset::new(Inputs::Features(&self.0), Targets::Values(&self.1), &self.2).unwrap()
    }
}

/// The mean losses of all epochs. If `sliced`, the time limit ends every call after one step of the
/// optimiser.
fn train(
    trainer: &mut Trainer<f64>,
    data: &Data,
    batch_size: usize,
    epochs: usize,
    sliced: bool,
) -> Vec<f64> {
    let order: Vec<_> = (0..data.set().len()).collect();
    let pause = if sliced { Duration::ZERO } else { Duration::from_secs(3600) };
    let epoch = |_| {
        let mut progress = Progress::default();
        while progress.done < order.len() {
            let until = Instant::now() + pause;
            progress = trainer.train(&data.set(), &order, batch_size, progress, until).unwrap();
        }
        progress.loss_sum / progress.count
    };
    (0..epochs).map(epoch).collect()
}

#[test]
fn chunks_are_what_layers_do_by_hand() {
    let (lr, lengths) = (0.3, [3, 7, 4]);
    let data = Data::of_lengths(&lengths);
    let model = model_of(vec![Layer::LSTM(lstm()), Layer::GRU(gru())]);
    let (lower, upper) = model.params.split_at(lstm().parameter_len());
    let (mut lower, mut upper) = (lower.to_vec(), upper.to_vec());
    let sgd = Optimizer::sgd(lr, 0.0).unwrap();
    let trainer = Trainer::new(model, Loss::MeanSquaredError, sgd, None).unwrap();
    let mut trainer = trainer.with_tbptt(3).unwrap();
    let loss = trainer.step(&data.set(), &[0, 1, 2]).unwrap();

    // Sequences 1, 2 and 0 have 7, 4 and 3 steps. The chunks have 3 3 3, 2 1 1 and 1 rows per step.
    let order = [1, 2, 0];
    let mut states = (State::zeros(&lstm(), 3).unwrap(), State::zeros(&gru(), 3).unwrap());
    let mut total = 0.0;
    for (first, counts) in [(0, vec![3, 3, 3]), (3, vec![2, 1, 1]), (6, vec![1])] {
        let sizes = BatchSizes::new(3, counts).unwrap();
        let (mut x, mut targets) = (Vec::new(), Vec::new());
        for t in 0..sizes.steps() {
            for &n in &order[..sizes.count(t)] {
                let step = data.2[n] + first + t;
                x.extend_from_slice(&data.0[2 * step..][..2]);
                targets.extend_from_slice(&data.1[3 * step..][..3]);
            }
        }
        let n = sizes.total();
        let (mut h, mut y, mut dh) = (vec![0.0; 5 * n], vec![0.0; 3 * n], vec![0.0; 5 * n]);
        let (mut lower_tape, mut upper_tape) = (Tape::new(), Tape::new());
        let x = Seq::packed(&x, &sizes, 2).unwrap();
        let to = SeqMut::packed(&mut h, &sizes, 5).unwrap();
        lstm().forward(&lower, x, &mut states.0, to, &mut lower_tape).unwrap();
        let h = Seq::packed(&h, &sizes, 5).unwrap();
        let to = SeqMut::packed(&mut y, &sizes, 3).unwrap();
        gru().forward(&upper, h, &mut states.1, to, &mut upper_tape).unwrap();

        let errors: Vec<_> = y.iter().zip(&targets).map(|(y, target)| y - target).collect();
        total += errors.iter().map(|e| e * e).sum::<f64>() / 3.0;
        let dy: Vec<_> = errors.iter().map(|e| 2.0 / (3 * n) as f64 * e).collect();

        let (mut dlower, mut dupper) = (vec![0.0; lower.len()], vec![0.0; upper.len()]);
        let mut dstate = State::zeros(&gru(), 3).unwrap();
        let dx = Some(SeqMut::packed(&mut dh, &sizes, 5).unwrap());
        let (y, dy) = (Seq::packed(&y, &sizes, 3).unwrap(), Seq::packed(&dy, &sizes, 3).unwrap());
        let gradients = Gradients { params: Some(&mut dupper), x: dx };
        gru().backward(&upper, h, y, &mut upper_tape, dy, &mut dstate, gradients).unwrap();
        let mut dstate = State::zeros(&lstm(), 3).unwrap();
        let dh = Seq::packed(&dh, &sizes, 5).unwrap();
        let gradients = Gradients { params: Some(&mut dlower), x: None };
        lstm().backward(&lower, x, h, &mut lower_tape, dh, &mut dstate, gradients).unwrap();
        for (params, grads) in [(&mut lower, &dlower), (&mut upper, &dupper)] {
            for (p, g) in params.iter_mut().zip(grads) {
                *p -= lr * g;
            }
        }
    }
    let want = [lower, upper].concat();
    for (i, (got, want)) in trainer.model.params.iter().zip(&want).enumerate() {
        assert!((got - want).abs() < 1e-14, "parameter {i}: {got} {want}");
    }
    assert!((loss - total / 14.0).abs() < 1e-14, "{loss} {}", total / 14.0);
}

#[test]
fn states_go_through_chunks_and_stay_where_a_row_has_ended() {
    let mut model = model_of(vec![Layer::LSTM(lstm()), Layer::GRU(gru())]);
    let counts = vec![3, 3, 2, 1, 1];
    let whole = BatchSizes::new(3, counts.clone()).unwrap();
    let x = numbers(2 * whole.total());
    let mut want = model.states(3).unwrap();
    let y = model.forward_from(Input::Features(&x), &whole, &mut want, false).unwrap().to_vec();
    assert_eq!(y, model.forward(Input::Features(&x), &whole, false).unwrap());
    let mut states = model.states(3).unwrap();
    let mut parts = Vec::new();
    for first in 0..5 {
        let sizes = BatchSizes::new(3, vec![counts[first]]).unwrap();
        let x = &x[2 * whole.offset(first)..][..2 * counts[first]];
        let input = Input::Features(x);
        parts.extend_from_slice(model.forward_from(input, &sizes, &mut states, false).unwrap());
    }
    assert_eq!(parts, y);
    for (got, want) in states.iter().zip(&want) {
        assert_eq!((&got.h[..], &got.c[..]), (&want.h[..], &want.c[..]));
    }

    let one = BatchSizes::new(2, vec![2]).unwrap();
    let input = Input::Features(&x[..4]);
    let error = model.forward_from(input, &one, &mut states, false).unwrap_err().to_string();
    assert!(error.contains("for 2 rows"), "{error}");
    let error = model.forward_from(input, &one, &mut states[1..], false).unwrap_err().to_string();
    assert!(error.contains("got 1 states, but the model needs 2"), "{error}");
    assert_eq!(&states[0].h[..], &want[0].h[..]);
}

#[test]
fn chunks_as_long_as_the_sequences_are_whole_sequences() {
    let data = Data::of_lengths(&[4, 9, 1, 6, 5, 9, 2]);
    let deep = LSTM::new(2, 5, true).unwrap().with_layers(2).unwrap().with_dropout(0.4).unwrap();
    let new = || {
        let mut trainer = trainer_of(vec![Layer::LSTM(deep), Layer::GRU(gru())], adam());
        trainer.model.set_seed(7);
        trainer
    };
    let mut whole = new();
    let losses = train(&mut whole, &data, 3, 3, false);
    for steps in [9, 10, usize::MAX] {
        let mut chunked = new().with_tbptt(steps).unwrap();
        assert_eq!(train(&mut chunked, &data, 3, 3, false), losses);
        assert_eq!(chunked.model.params, whole.model.params);
    }
    let mut chunked = new().with_tbptt(8).unwrap();
    assert_ne!(train(&mut chunked, &data, 3, 3, false), losses);
}

#[test]
fn the_loss_of_chunks_is_that_of_their_tokens() {
    let data = Data::of_lengths(&[4, 9, 1, 6]);
    let whole = trainer(frozen()).step(&data.set(), &[0, 1, 2, 3]).unwrap();
    for steps in [1, 2, 5] {
        let mut chunked = trainer(frozen()).with_tbptt(steps).unwrap();
        let loss = chunked.step(&data.set(), &[0, 1, 2, 3]).unwrap();
        assert!((loss - whole).abs() < 1e-14, "{steps}: {loss} {whole}");
    }
}

#[test]
fn pieces_that_carry_their_states_are_one_sequence() {
    // Two sequences of 12 steps, and the same in pieces of 4 steps: the first of both, the second of both,
    // ...
    let whole = Data::of_lengths(&[12, 12]);
    let mut pieces = Data::of_lengths(&[4; 6]);
    for piece in 0..6 {
        let (from, to) = ((piece % 2) * 12 + piece / 2 * 4, piece * 4);
        pieces.0[2 * to..][..8].copy_from_slice(&whole.0[2 * from..][..8]);
        pieces.1[3 * to..][..12].copy_from_slice(&whole.1[3 * from..][..12]);
    }
    for steps in [4, 2] {
        let mut by_chunks = trainer(adam()).with_tbptt(steps).unwrap();
        let want = train(&mut by_chunks, &whole, 2, 3, false);
        for tbptt in [None, Some(2)] {
            let mut stateful = trainer(adam()).stateful().unwrap();
            if let Some(steps) = tbptt {
                stateful = stateful.with_tbptt(steps).unwrap();
            }
            let losses = train(&mut stateful, &pieces, 2, 3, false);
            let same = tbptt.unwrap_or(4) == steps;
            assert_eq!(stateful.model.params == by_chunks.model.params, same);
            if same {
                for (loss, want) in losses.iter().zip(&want) {
                    assert!((loss - want).abs() < 1e-14, "{loss} {want}");
                }
            }
        }
    }
    let mut forgetful = trainer(adam());
    let mut stateful = trainer(adam()).stateful().unwrap();
    train(&mut forgetful, &pieces, 2, 1, false);
    train(&mut stateful, &pieces, 2, 1, false);
    assert_ne!(forgetful.model.params, stateful.model.params);
}

#[test]
fn states_are_forgotten_on_demand() {
    let data = Data::of_lengths(&[5, 5]);
    let mut trainer = trainer(frozen()).stateful().unwrap();
    let first = trainer.step(&data.set(), &[0]).unwrap();
    assert_ne!(trainer.step(&data.set(), &[0]).unwrap(), first);
    trainer.reset_states();
    assert_eq!(trainer.step(&data.set(), &[0]).unwrap(), first);
}

#[test]
fn time_is_looked_at_after_every_chunk_and_training_goes_on_there() {
    let data = Data::of_lengths(&[10, 3, 7, 10]);
    let mut at_once = trainer(adam()).with_tbptt(2).unwrap();
    let losses = train(&mut at_once, &data, 3, 2, false);
    let mut sliced = trainer(adam()).with_tbptt(2).unwrap();
    assert_eq!(train(&mut sliced, &data, 3, 2, true), losses);
    assert_eq!(sliced.model.params, at_once.model.params);

    // An epoch in single calls, with an evaluation of other data inside a batch.
    let mut disturbed = trainer(adam()).with_tbptt(2).unwrap();
    train(&mut disturbed, &data, 3, 1, false);
    let (mut progress, mut calls) = (Progress::default(), Vec::new());
    while progress.done < 4 {
        let order = [0, 1, 2, 3];
        progress = disturbed.train(&data.set(), &order, 3, progress, Instant::now()).unwrap();
        calls.push((progress.done, progress.steps));
        disturbed.evaluate(&Data::of_lengths(&[6, 2]).set()).unwrap();
    }
    let first = [(0, 2), (0, 4), (0, 6), (0, 8), (3, 0)];
    assert_eq!(calls[..5], first);
    assert_eq!(calls[5..], [(3, 2), (3, 4), (3, 6), (3, 8), (4, 0)]);
    assert_eq!(disturbed.model.params, at_once.model.params);
}

#[test]
fn a_place_inside_a_batch_is_only_that_of_the_last_call() {
    let data = Data::of_lengths(&[10, 10]);
    // This is not a closure, because rustc 1.95 passes a closure's argument as the call before changed it
    // (rust-lang/rust issue 155241).
    fn go(trainer: &mut Trainer<f64>, data: &Data, progress: Progress) -> bptt::Result<Progress> {
        trainer.train(&data.set(), &[0, 1], 1, progress, Instant::now())
    }
    let trainer = &mut trainer(adam()).with_tbptt(4).unwrap();
    let first = go(trainer, &data, Progress::default()).unwrap();
    let second = go(trainer, &data, first).unwrap();
    for wrong in [first, Progress { done: 1, ..second }] {
        let error = go(trainer, &data, wrong).unwrap_err().to_string();
        assert!(error.contains("inside a batch"), "{error}");
    }
    assert_eq!(go(trainer, &data, second).unwrap().done, 1);
    assert!(go(trainer, &data, second).is_err());
    assert_eq!(go(trainer, &data, Progress::default()).unwrap(), first);
}

#[test]
fn dropout_draws_anew_for_every_chunk() {
    // W_hh is zero and the input is constant, so steps differ only by their dropout.
    let loss = |dropout: f64, steps: usize| {
        let rnn = RNN::new(2, 16, Nonlinearity::Tanh, true).unwrap().with_layers(2).unwrap();
        let rnn = rnn.with_dropout(dropout).unwrap();
        let linear = Linear::new(16, 3, true).unwrap();
        let trainer = trainer_of(vec![Layer::RNN(rnn), Layer::Linear(linear)], frozen());
        let mut trainer = trainer.with_tbptt(1).unwrap();
        let mut params = &mut trainer.model.params[..];
        for (name, shape) in rnn.parameters() {
            let (values, rest) = params.split_at_mut(shape.iter().product());
            if name.starts_with("weight_hh") {
                values.fill(0.0);
            }
            params = rest;
        }
        trainer.model.set_seed(3);
        let data = Data(vec![0.5; 2 * steps], vec![0.25; 3 * steps], vec![0, steps]);
        trainer.step(&data.set(), &[0]).unwrap()
    };
    assert_eq!(loss(0.0, 1), loss(0.0, 2));
    assert!((loss(0.5, 1) - loss(0.5, 2)).abs() > 1e-3);
}

#[test]
fn a_chunk_that_diverges_leaves_what_the_one_before_learnt() {
    let mut data = Data::of_lengths(&[6, 6]);
    let mut good = trainer(adam()).with_tbptt(2).unwrap();
    let order = [0, 1];
    let once = good.train(&data.set(), &order, 1, Progress::default(), Instant::now()).unwrap();
    assert_eq!(once.steps, 2);
    data.1[3 * 3] = f64::NAN; // a target at step 3
    let mut bad = trainer(adam()).with_tbptt(2).unwrap();
    let until = Instant::now() + Duration::from_secs(3600);
    let progress = bad.train(&data.set(), &order, 1, Progress::default(), until).unwrap();
    assert!(progress.diverged && progress.loss_sum.is_nan());
    assert_eq!((progress.done, progress.steps), (1, 0));
    assert_eq!(bad.model.params, good.model.params);
}

#[test]
fn what_does_not_fit_is_refused() {
    fn error<T>(result: bptt::Result<T>) -> String {
        result.err().expect("refused").to_string()
    }
    assert!(error(trainer(adam()).with_tbptt(0)).contains("tbptt must be at least 1"));
    let both = || {
        let lstm = LSTM::new(3, 2, true).unwrap().bidirectional();
        trainer_of(vec![Layer::GRU(GRU::new(2, 3, true).unwrap()), Layer::LSTM(lstm)], adam())
    };
    assert!(error(both().with_tbptt(5)).contains("layer 1 has two directions"));
    assert!(error(both().stateful()).contains("(stateful)"));

    let data = Data::of_lengths(&[5, 5, 5, 4]);
    let mut stateful = trainer(adam()).stateful().unwrap();
    stateful.step(&data.set(), &[0, 1]).unwrap();
    let before = stateful.model.params.clone();
    assert!(error(stateful.step(&data.set(), &[2])).contains("cannot go on from one of 2"));
    assert!(error(stateful.step(&data.set(), &[2, 3])).contains("of one length"));
    assert_eq!(stateful.model.params, before);
    stateful.step(&data.set(), &[3, 3]).unwrap(); // a different length, but the same for both
}

#[test]
fn threads_do_not_show() {
    let data = Data::of_lengths(&(0..64).map(|n| 20 + n % 37).collect::<Vec<_>>());
    let wide = || {
        let layers = [LSTM::new(2, 40, true).unwrap(), LSTM::new(40, 3, true).unwrap()];
        trainer_of(layers.map(Layer::LSTM).to_vec(), adam()).with_tbptt(15).unwrap()
    };
    let mut want = None;
    for threads in 1..=4 {
        set_num_threads(threads).unwrap();
        let mut trainer = wide();
        let losses = train(&mut trainer, &data, 32, 2, false);
        let got = (losses, trainer.evaluate(&data.set()).unwrap(), trainer.model.params);
        assert_eq!(want.get_or_insert_with(|| got.clone()), &got, "{threads} threads");
    }
}
