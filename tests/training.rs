//! Models and training from Rust: what is refused, and that a step does what its parts do. The loss
//! curves are compared with PyTorch's in tests/python/test_golden.py.

use bptt::cell::{Cell, Lstm, Nonlinearity, Rnn};
use bptt::{
    BatchSizes, Dataset, Gradients, Input, Inputs, LSTM, Layer, Linear, Loss, Optimizer, RNN,
    Recurrent, Seq, SeqMut, Sequential, Shape, State, Tape, Targets, Trainer,
};

/// Batches of sequences of three steps.
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
    let mut trainer = Trainer::new(model(), Loss::CrossEntropy, optimizer, None).unwrap();
    trainer.step(&data(), &[0, 1]).unwrap();
    let stepped = trainer.model.params.clone();
    for i in (0..stepped.len()).step_by(11) {
        let loss = |shift: f64| {
            let mut model = model();
            model.params[i] += shift;
            let mut trainer = Trainer::new(model, Loss::CrossEntropy, optimizer, None).unwrap();
            trainer.evaluate(&data()).unwrap()
        };
        let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        let taken = (model().params[i] - stepped[i]) / lr;
        assert!((slope - taken).abs() < 1e-8, "parameter {i}: {slope} and {taken}");
    }
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
    let mut trainer = Trainer::new(model(), Loss::CrossEntropy, optimizer, None).unwrap();
    let (mut losses, mut outputs) = (0.0, Vec::new());
    for range in offsets.windows(2) {
        let (x, y) = (&x[range[0]..range[1]], &y[range[0]..range[1]]);
        let offsets = [0, x.len()];
        let one = Dataset::new(Inputs::Tokens(x), Targets::Classes(y), &offsets).unwrap();
        losses += trainer.evaluate(&one).unwrap();
        outputs.extend(trainer.model.predict(&one).unwrap());
    }
    let loss = trainer.evaluate(&data).unwrap();
    assert!((loss - losses / 300.0).abs() < 1e-13, "{loss} {}", losses / 300.0);
    assert_eq!(trainer.model.predict(&data).unwrap(), outputs);
}

#[test]
fn data_without_targets_cannot_be_trained_on() {
    let optimizer = Optimizer::adam(0.1).unwrap();
    let mut trainer = Trainer::new(model(), Loss::CrossEntropy, optimizer, None).unwrap();
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
    refused(&mut model, 2); // the gradient has not been written
    let (outputs, gradient) = model.output_and_gradient().unwrap();
    Loss::CrossEntropy.of(outputs, Targets::Classes(&NEXT), None, Some(gradient)).unwrap();
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
    fn record<C: Cell>(cell: C, tape: &mut Tape<f32>) -> (Recurrent<C>, Vec<f32>) {
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
