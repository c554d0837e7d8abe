//! Models and training from Rust: what is refused, and that a step does the work of its parts. Python's
//! tests compare the loss curves with PyTorch's.

use std::time::{Duration, Instant};

use bptt::Compiled;
use bptt::cell::{Lstm, Nonlinearity, Rnn};
use bptt::{
    BatchSizes, Dataset, Embedding, Gradients, IGNORED, Input, Inputs, LSTM, Layer, Linear, Loss,
    Metric, Network, Optimizer, Progress, RNN, Rate, Recurrent, Rule, Seq, SeqMut, Sequential,
    Shape, State, TakenStep, Tape, Targets, Trainer, clip_by_global_norm,
};

/// The sizes of a batch of sequences of three steps.
fn sizes(rows: usize) -> BatchSizes {
    BatchSizes::new(rows, vec![rows; 3]).unwrap()
}

fn model() -> Sequential<f64> {
    let layers = vec![
        Layer::OneHot(3),
        Layer::RNN(RNN::new(3, 7, Nonlinearity::Tanh, true).unwrap()),
        Layer::LSTM(LSTM::new(7, 5, true).unwrap()),
        Layer::Linear(Linear::new(5, 3, true).unwrap()),
    ];
    let mut model = Sequential::new(layers).unwrap();
    for (i, p) in model.params.iter_mut().enumerate() {
        *p = 0.5 * (i as f64 * 1.3).sin();
    }
    model
}

const TOKENS: [u32; 6] = [0, 1, 2, 2, 0, 1];
const NEXT: [u32; 6] = [1, 2, 0, 0, 1, 2];

fn data() -> Dataset<'static, f64> {
    Dataset::new(Inputs::Tokens(&TOKENS), Targets::Classes(&NEXT), &[0, 3, 6]).unwrap()
}

#[test]
fn one_sgd_step_goes_down_the_slope_of_the_whole_model() {
    let lr = 1e-3;
    let optimizer = Optimizer::sgd(lr, 0.0).unwrap();
    let mut trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
    trainer.step(&data(), &[0, 1]).unwrap();
    let stepped = trainer.model.params.clone();
    for i in (0..stepped.len()).step_by(11) {
        let loss = |shift: f64| {
            let mut model = model();
            model.params[i] += shift;
            let mut trainer = Trainer::new(model, Loss::cross_entropy(), optimizer, None).unwrap();
            trainer.evaluate(&data()).unwrap()
        };
        let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        let taken = (model().params[i] - stepped[i]) / lr;
        assert!((slope - taken).abs() < 1e-8, "parameter {i}: {slope} and {taken}");
    }
}

#[test]
fn a_step_changes_only_the_rows_of_the_batch() {
    let model = || {
        let layers = vec![
            Layer::Embedding(Embedding::new(9, 5).unwrap()),
            Layer::LSTM(LSTM::new(5, 4, true).unwrap()),
            Layer::Linear(Linear::new(4, 3, true).unwrap()),
        ];
        let mut model = Sequential::<f32>::new(layers).unwrap();
        for (i, p) in model.params.iter_mut().enumerate() {
            *p = (i as f32 * 1.3).sin();
        }
        model
    };
    let (tokens, next) = ([7, 2, 7, 3, 2, 2], [1, 2, 0, 0, 1, 2]);
    let data = Dataset::new(Inputs::Tokens(&tokens), Targets::Classes(&next), &[0, 3, 6]).unwrap();
    let betas = (0.9, 0.99);
    let mut results = Vec::new();
    for rule in [
        Rule::SGD { momentum: 0.0, nesterov: false },
        Rule::Adagrad { lr_decay: 0.1, eps: 1e-10 },
        Rule::SparseAdam { betas, eps: 1e-8 },
    ] {
        let optimizer = Optimizer::new(rule, 0.1, 0.0).unwrap();
        let trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, Some(0.3));
        let mut trainer = trainer.unwrap();
        for sequences in [&[0, 1][..], &[1], &[0]] {
            trainer.step(&data, sequences).unwrap();
        }
        for (n, (p, before)) in trainer.model.params.iter().zip(model().params).enumerate() {
            let read = n >= 45 || tokens.contains(&((n / 5) as u32));
            assert_eq!(*p != before, read, "{rule:?}, parameter {n}");
        }
        results.push(trainer.model.params);
    }
    // The steps of gradient descent, with the gradients of all rows.
    let mut whole = model();
    for sequences in [&[0, 1][..], &[1], &[0]] {
        let rows = sequences.len();
        let of = |all: &[u32; 6]| -> Vec<u32> {
            (0..3).flat_map(|t| sequences.iter().map(move |row| all[row * 3 + t])).collect()
        };
        let (tokens, next) = (of(&tokens), of(&next));
        whole.forward(Input::Tokens(&tokens), &sizes(rows), true).unwrap();
        let (outputs, gradient) = whole.output_and_gradient().unwrap();
        let targets = Targets::Classes(&next);
        Loss::cross_entropy().of(outputs, targets, None, Some(gradient)).unwrap();
        let mut grads = vec![0.0; whole.params.len()];
        whole.backward(Input::Tokens(&tokens), &sizes(rows), &mut grads).unwrap();
        clip_by_global_norm(&mut grads, 0.3);
        whole.params.iter_mut().zip(&grads).for_each(|(p, g)| *p -= 0.1f32 * g);
    }
    assert!(whole.params == results[0], "the same bits");
}

/// Six sequences of different lengths: inputs, targets and offsets.
fn ragged() -> (Vec<u32>, Vec<u32>, Vec<usize>) {
    let offsets = vec![0, 3, 4, 9, 11, 15, 17];
    let x: Vec<_> = (0..17).map(|i| i * i % 7 % 3).collect();
    let y = x.iter().map(|x| (x + 1) % 3).collect();
    (x, y, offsets)
}

#[test]
fn accumulated_batches_are_one_larger_batch() {
    let (x, mut y, offsets) = ragged();
    (y[0], y[5]) = (IGNORED, IGNORED);
    let weighted = Loss::CrossEntropy { label_smoothing: 0.1, weight: Some(vec![1.0, 2.0, 0.5]) };
    let data = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y), &offsets).unwrap();
    let data = data.with_weights(&[1.0, 0.5, 2.0, 1.0, 0.0, 3.0]).unwrap();
    let params_after = |batch_size: usize, accumulate: usize, order: &[usize]| {
        let optimizer = Optimizer::sgd(0.1, 0.9).unwrap();
        let trainer = Trainer::new(model(), weighted.clone(), optimizer, Some(0.5)).unwrap();
        let mut trainer = trainer.with_accumulation(accumulate).unwrap();
        for _ in 0..3 {
            let mut progress = Progress::default();
            while progress.done < order.len() {
                // The time limit ends every call after one batch.
                let until = Instant::now();
                progress = trainer.train(&data, order, batch_size, progress, until).unwrap();
            }
            trainer.finish_epoch();
        }
        trainer.model.params
    };
    for (order, batch_size, accumulate) in [
        (&[0, 1, 2, 3, 4, 5][..], 2, 3),
        (&[0, 1, 2, 3, 4], 1, 2), // the last step has only one batch
        (&[5, 4, 3, 2], 1, 100),
    ] {
        let whole = params_after(batch_size * accumulate, 1, order);
        let parts = params_after(batch_size, accumulate, order);
        assert_ne!(whole, model().params);
        for (whole, part) in whole.iter().zip(&parts) {
            assert!((whole - part).abs() < 1e-13, "{order:?}: {whole} {part}");
        }
    }
    let optimizer = Optimizer::adam(0.1).unwrap();
    let trainer = || Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
    assert!(trainer().with_accumulation(0).is_err());
    let both = |error: bptt::Error| assert!(error.to_string().contains("one of the two"));
    both(trainer().with_accumulation(2).unwrap().with_tbptt(5).err().unwrap());
    both(trainer().with_tbptt(5).unwrap().with_accumulation(2).err().unwrap());
}

/// The steps of one epoch of gradient descent, and how far each moved the parameters, divided by its rate.
/// `until` is when a call of `train` ends.
fn epoch_of(
    mut trainer: Trainer<f64>,
    data: &Dataset<'_, f64>,
    order: &[usize],
    until: impl Fn() -> Instant,
) -> (Vec<TakenStep>, Vec<f64>) {
    let (mut steps, mut moved, mut progress) = (Vec::new(), Vec::new(), Progress::default());
    let mut before = trainer.model.params.clone();
    while progress.done < order.len() {
        progress = trainer.train(data, order, 2, progress, until()).unwrap();
        let taken = trainer.take_steps();
        assert!(trainer.take_steps().is_empty(), "they are forgotten");
        if let [step] = taken[..] {
            let squares = before.iter().zip(&trainer.model.params).map(|(p, q)| (p - q).powi(2));
            moved.push(squares.sum::<f64>().sqrt() / step.lr);
            before.clone_from(&trainer.model.params);
        }
        steps.extend(taken);
    }
    trainer.finish_epoch();
    steps.extend(trainer.take_steps());
    (steps, moved)
}

#[test]
fn taken_steps_have_the_loss_the_norm_and_the_rate() {
    let (x, y, offsets) = ragged();
    let data = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y), &offsets).unwrap();
    let order = [0, 1, 2, 3, 4, 5];
    let rates = [0.3, 0.2, 0.1].map(|lr| Rate { lr, momentum: None });
    let trainer = |clip_norm| {
        let optimizer = Optimizer::sgd(7.0, 0.0).unwrap();
        let mut trainer =
            Trainer::new(model(), Loss::cross_entropy(), optimizer, clip_norm).unwrap();
        trainer.set_rates(rates.to_vec()).unwrap();
        trainer
    };
    let (now, later) = (Instant::now, || Instant::now() + Duration::from_secs(1000));
    let (steps, moved) = epoch_of(trainer(None), &data, &order, now);
    assert_eq!((steps.len(), moved.len()), (3, 3));
    for (n, (step, moved)) in steps.iter().zip(&moved).enumerate() {
        assert_eq!(step.lr, rates[n].lr);
        assert!((step.gradient_norm - moved).abs() < 1e-12, "{step:?} moved by {moved}");
    }
    assert_eq!(epoch_of(trainer(None), &data, &order, later).0, steps, "calls do not show");

    // The loss is that of the batch, before the step.
    let mut alone = trainer(None);
    assert_eq!(alone.step(&data, &order[..2]).unwrap(), steps[0].loss);
    assert_eq!(alone.take_steps(), steps[..1]);
    alone.step(&data, &order[2..4]).unwrap();
    alone.step(&data, &order[4..]).unwrap();
    assert_eq!(alone.take_steps(), steps[2..], "only the last call's");

    // The norm is the one before clipping.
    let bound = steps[0].gradient_norm / 2.0;
    let (clipped, moved) = epoch_of(trainer(Some(bound)), &data, &order, now);
    assert_eq!(clipped[0], steps[0]);
    assert!((moved[0] - bound).abs() < 1e-6, "{} is not {bound}", moved[0]);

    // Accumulated batches are one step, like one larger batch; the last has the rest.
    let accumulated = trainer(None).with_accumulation(2).unwrap();
    let (accumulated, _) = epoch_of(accumulated, &data, &order, later);
    let mut whole = trainer(None);
    for (step, batch) in accumulated.iter().zip([&order[..4], &order[4..]]) {
        whole.step(&data, batch).unwrap();
        let one = whole.take_steps()[0];
        assert!((step.loss - one.loss).abs() < 1e-13, "{step:?} {one:?}");
        assert!((step.gradient_norm - one.gradient_norm).abs() < 1e-13, "{step:?} {one:?}");
    }
    assert_eq!(accumulated.len(), 2);
}

#[test]
fn every_chunk_is_a_step_and_a_loss_of_nothing_is_nan() {
    let (x, mut y, offsets) = ragged();
    y[4..6].fill(IGNORED); // the first two steps of sequence 2, which has five
    let data = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y), &offsets).unwrap();
    let optimizer = Optimizer::sgd(0.1, 0.0).unwrap();
    let trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
    let mut trainer = trainer.with_tbptt(2).unwrap();
    let loss = trainer.step(&data, &[2]).unwrap();
    let steps = trainer.take_steps();
    assert_eq!(steps.len(), 3);
    assert!(steps[0].loss.is_nan() && steps[0].gradient_norm == 0.0, "{steps:?}");
    assert!((loss - (2.0 * steps[1].loss + steps[2].loss) / 3.0).abs() < 1e-14);

    // A step that is not taken leaves nothing.
    trainer.model.params[0] = f64::NAN;
    assert!(!trainer.step(&data, &[0]).unwrap().is_finite());
    assert_eq!(trainer.take_steps(), []);
}

#[test]
fn a_sequence_of_weight_two_counts_like_two_of_it() {
    let (x, y, offsets) = ragged();
    let data = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y), &offsets).unwrap();
    let step = |data: Dataset<'_, f64>, sequences: &[usize]| {
        let optimizer = Optimizer::sgd(1.0, 0.0).unwrap();
        let mut trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
        trainer.step(&data, sequences).unwrap();
        let moved = trainer.model.params.into_iter().zip(model().params);
        moved.map(|(after, before)| after - before).collect::<Vec<_>>()
    };
    // Sequences 0 and 2 have 3 and 5 steps. The mean is over 8 steps, or over 13 with sequence 2 twice.
    let weighted = step(data.with_weights(&[1.0, 0.0, 2.0, 0.0, 0.0, 0.0]).unwrap(), &[0, 2]);
    let twice = step(data, &[0, 2, 2]);
    for (weighted, twice) in weighted.iter().zip(&twice) {
        assert!((weighted * 8.0 - twice * 13.0).abs() < 1e-12, "{weighted} {twice}");
    }
}

#[test]
fn evaluation_counts_ignored_tokens_nowhere() {
    let (x, mut y, offsets) = ragged();
    let optimizer = Optimizer::adam(0.1).unwrap();
    let mut trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
    trainer.set_metrics(&[Metric::CrossEntropy]);
    y[16] = IGNORED;
    let data = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y), &offsets).unwrap();
    let loss = trainer.evaluate(&data).unwrap();
    let metric = trainer.take_evaluated_metrics()[0];
    // Without the last step instead of ignoring it: earlier outputs do not depend on later steps.
    let offsets = [0, 3, 4, 9, 11, 15, 16];
    let short = Dataset::new(Inputs::Tokens(&x[..16]), Targets::Classes(&y[..16]), &offsets);
    assert!((loss - trainer.evaluate(&short.unwrap()).unwrap()).abs() < 1e-14);
    assert!((metric - trainer.take_evaluated_metrics()[0]).abs() < 1e-14);
    assert!((metric - loss).abs() < 1e-14, "both are means over the tokens");
    // A sequence whose tokens are all ignored changes nothing.
    y[3] = IGNORED;
    let some = Dataset::new(Inputs::Tokens(&x[..16]), Targets::Classes(&y[..16]), &offsets);
    let without = |all: &[u32]| [&all[..3], &all[4..16]].concat();
    let (x, fewer, offsets) = (without(&x), without(&y), [0, 3, 8, 10, 14, 15]);
    let fewer = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&fewer), &offsets);
    let some = trainer.evaluate(&some.unwrap()).unwrap();
    assert!((some - trainer.evaluate(&fewer.unwrap()).unwrap()).abs() < 1e-14);
    y.fill(IGNORED);
    let none = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y[..15]), &offsets);
    let error = trainer.evaluate(&none.unwrap()).unwrap_err().to_string();
    assert!(error.contains("no target counts"), "{error}");
}

#[test]
fn evaluation_and_prediction_take_any_lengths() {
    let lengths = (0..300).map(|n| 1 + n * n % 11);
    let offsets: Vec<_> = std::iter::once(0)
        .chain(lengths.scan(0, |end, length| {
            *end += length;
            Some(*end)
        }))
        .collect();
    let x: Vec<_> = (0..offsets[300] as u32).map(|i| i * i % 7 % 3).collect();
    let y: Vec<_> = x.iter().map(|x| (x + 1) % 3).collect();
    let data = Dataset::new(Inputs::Tokens(&x), Targets::Classes(&y), &offsets).unwrap();
    let optimizer = Optimizer::adam(0.1).unwrap();
    let mut trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
    let (mut losses, mut outputs) = (0.0, Vec::new());
    for range in offsets.windows(2) {
        let (x, y) = (&x[range[0]..range[1]], &y[range[0]..range[1]]);
        let offsets = [0, x.len()];
        let one = Dataset::new(Inputs::Tokens(x), Targets::Classes(y), &offsets).unwrap();
        losses += trainer.evaluate(&one).unwrap() * x.len() as f64;
        outputs.extend(trainer.model.predict(&one).unwrap());
    }
    let loss = trainer.evaluate(&data).unwrap();
    let mean = losses / x.len() as f64;
    assert!((loss - mean).abs() < 1e-13, "{loss} {mean}");
    assert_eq!(trainer.model.predict(&data).unwrap(), outputs);
    let mut pieces = vec![f64::NAN; outputs.len()];
    let mut predict = |done, to: &mut [f64]| {
        trainer.model.predict_until(&data, done, to, std::time::Instant::now())
    };
    assert_eq!(predict(0, &mut pieces).unwrap(), 256); // the time limit ends the call after one batch
    assert_eq!(predict(256, &mut pieces).unwrap(), 300);
    assert_eq!(pieces, outputs);
    let error = predict(0, &mut pieces[1..]).unwrap_err().to_string();
    assert!(error.contains("outputs has"), "{error}");
}

#[test]
fn prediction_in_two_halves_has_the_bits_of_the_whole() {
    let (layers, all) = (model().layers().copied().collect::<Vec<_>>(), model().params);
    let mut rest = &all[..];
    let params: Vec<_> =
        layers.iter().map(|layer| rest.split_off(..layer.parameter_len()).unwrap()).collect();
    let mut network = Network::new(layers.clone()).unwrap();
    let mut predict = |x: &[u32], steps: usize, states: Option<&mut [State<f64>]>| {
        let offsets: Vec<_> = (0..=x.len() / steps).map(|n| n * steps).collect();
        let data = Dataset::without_targets(Inputs::Tokens(x), &offsets).unwrap();
        let mut outputs = vec![f64::NAN; 3 * x.len()];
        let (mut done, mut states) = (0, states);
        while done < data.len() {
            let states = states.as_deref_mut();
            let to = &mut outputs;
            done = network.predict_until(&params, &data, done, to, states, Instant::now())?;
        }
        Ok::<_, bptt::Error>(outputs)
    };
    let x: Vec<u32> = (0..300 * 6).map(|i| i * i % 7 % 3).collect(); // 300 sequences of 6 steps
    let part = |range: std::ops::Range<usize>| -> Vec<u32> {
        x.chunks(6).flat_map(|x| x[range.clone()].to_vec()).collect()
    };
    let whole = predict(&x, 6, None).unwrap();
    let mut states = Network::<f64>::new(layers).unwrap().states(300).unwrap();
    let first = predict(&part(0..2), 2, Some(&mut states)).unwrap();
    let second = predict(&part(2..6), 4, Some(&mut states)).unwrap();
    let halves = first.chunks(2 * 3).zip(second.chunks(4 * 3));
    let halves: Vec<_> = halves.flat_map(|(a, b)| [a, b].concat()).collect();
    assert_eq!(halves, whole);
    let error = predict(&x, 6, Some(&mut states[1..])).unwrap_err().to_string();
    assert!(error.contains("got 1 states, but the model needs 2"), "{error}");
}

#[test]
fn data_without_targets_cannot_be_trained_on() {
    let optimizer = Optimizer::adam(0.1).unwrap();
    let mut trainer = Trainer::new(model(), Loss::cross_entropy(), optimizer, None).unwrap();
    trainer.step(&data(), &[0, 1]).unwrap();
    let blind = Dataset::without_targets(Inputs::Tokens(&TOKENS), &[0, 3, 6]).unwrap();
    let before = trainer.model.params.clone();
    let error = trainer.step(&blind, &[0, 1]).unwrap_err().to_string();
    assert!(error.contains("no targets"), "{error}");
    assert_eq!(trainer.model.params, before);
}

#[test]
fn going_back_needs_a_recorded_pass_of_that_size() {
    let mut model = model();
    let mut grads = vec![0.0; model.params.len()];
    let input = Input::Tokens(&TOKENS);
    let mut refused = |model: &mut Sequential<f64>, rows: usize| {
        let input = Input::Tokens(&TOKENS[..3 * rows]);
        let error = model.backward(input, &sizes(rows), &mut grads).unwrap_err().to_string();
        assert!(error.contains("no pass of these sizes"), "{error}");
        assert!(grads.iter().all(|&g| g == 0.0));
    };
    refused(&mut model, 2);
    model.forward(input, &sizes(2), false).unwrap();
    refused(&mut model, 2);
    model.forward(input, &sizes(2), true).unwrap();
    refused(&mut model, 1);
    refused(&mut model, 2); // there is no gradient of the output
    let (outputs, gradient) = model.output_and_gradient().unwrap();
    Loss::cross_entropy().of(outputs, Targets::Classes(&NEXT), None, Some(gradient)).unwrap();
    let mut grads = vec![0.0; model.params.len()];
    model.backward(input, &sizes(2), &mut grads).unwrap();
    assert!(grads.iter().any(|&g| g != 0.0));
    assert!(model.backward(input, &sizes(2), &mut grads).is_err());
    model.forward(input, &sizes(2), true).unwrap();
    let stale = model.backward(input, &sizes(2), &mut grads).unwrap_err().to_string();
    assert!(stale.contains("write the gradient"), "{stale}");
}

#[test]
fn sizes_beyond_memory_are_errors() {
    let mut model = Sequential::<f32>::new(vec![Layer::LSTM(LSTM::new(1, 4, true).unwrap())]);
    let model = model.as_mut().unwrap();
    let long = BatchSizes::new(1 << 62, vec![1 << 62]).unwrap();
    assert!(model.forward(Input::Features(&[]), &long, false).is_err());
    assert!(BatchSizes::new(1 << 62, vec![1 << 62; 2]).is_err());
    assert!(BatchSizes::of_lengths(&[1 << 62]).is_err());
    let mut wide = Sequential::<f32>::new(vec![Layer::OneHot(1 << 61)]).unwrap();
    let one = BatchSizes::new(1, vec![1]).unwrap();
    assert!(wide.forward(Input::Tokens(&[0]), &one, false).unwrap_err().is_out_of_memory());
}

#[test]
fn a_tape_fits_only_the_cell_that_recorded_it() {
    fn record<C: Compiled>(cell: C, tape: &mut Tape<f32>) -> (Recurrent<C>, Vec<f32>) {
        let layer = Recurrent::with_cell(cell, 2, 3, true).unwrap();
        let params = vec![0.1; layer.parameter_len()];
        let mut state = State::zeros(&layer, 1).unwrap();
        let (x, mut y) = ([1.0; 2], [0.0; 3]);
        let x = Seq::new(&x, Shape::time_major(1, 1, 2)).unwrap();
        let y = SeqMut::new(&mut y, Shape::time_major(1, 1, 3)).unwrap();
        layer.forward(&params, x, &mut state, y, tape).unwrap();
        (layer, params)
    }
    let back = |layer: &Recurrent<Rnn>, params: &[f32], tape: &mut Tape<f32>| {
        let mut dstate = State::zeros(layer, 1).unwrap();
        let (x, y) = ([1.0; 2], [0.0; 3]);
        let x = Seq::new(&x, Shape::time_major(1, 1, 2)).unwrap();
        let y = Seq::new(&y, Shape::time_major(1, 1, 3)).unwrap();
        let mut grads = vec![0.0; params.len()];
        let gradients = Gradients { params: Some(&mut grads), x: None };
        layer.backward(params, x, y, tape, y, &mut dstate, gradients)
    };
    let mut tape = Tape::new();
    let (relu, params) = record(Rnn { nonlinearity: Nonlinearity::Relu }, &mut tape);
    let (_tanh, _) = record(Rnn { nonlinearity: Nonlinearity::Tanh }, &mut tape);
    assert!(back(&relu, &params, &mut tape).unwrap_err().to_string().contains("another pass"));
    record(Lstm::default(), &mut tape);
    assert!(back(&relu, &params, &mut tape).unwrap_err().to_string().contains("another pass"));
    record(Rnn { nonlinearity: Nonlinearity::Relu }, &mut tape);
    back(&relu, &params, &mut tape).unwrap();
}
