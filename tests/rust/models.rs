//! Models with every kind of layer: gradients, last steps, and what is refused.

use bptt::{
    BatchSizes, Dataset, Embedding, GRU, Input, Inputs, Layer, LayerNorm, Linear, Loss, Optimizer,
    Sequential, SequentialStepper, Targets, Trainer, set_num_threads,
};

fn gru(input: usize, hidden: usize) -> Layer {
    Layer::GRU(GRU::new(input, hidden, true).unwrap())
}

fn both_ways(input: usize, hidden: usize) -> Layer {
    Layer::GRU(GRU::new(input, hidden, true).unwrap().bidirectional())
}

fn linear(input: usize, output: usize) -> Layer {
    Layer::Linear(Linear::new(input, output, true).unwrap())
}

fn embedding(size: usize) -> Layer {
    Layer::Embedding(Embedding::new(3, size).unwrap())
}

fn layer_norm(features: usize) -> Layer {
    Layer::LayerNorm(LayerNorm::new(features, 1e-5, true, true).unwrap())
}

fn numbers(len: usize, seed: f64) -> Vec<f64> {
    (0..len).map(|n| 0.7 * (n as f64 * 1.7 + seed).sin()).collect()
}

/// A model with some parameters.
fn model_of(layers: Vec<Layer>) -> Sequential<f64> {
    let mut model = Sequential::new(layers).unwrap();
    model.params = numbers(model.params.len(), 0.3);
    model.set_seed(5);
    model
}

/// Compares the gradients of sum(dy y) with respect to the parameters with central differences.
fn check_gradients(mut model: Sequential<f64>, lengths: &[usize]) {
    let sizes = BatchSizes::of_lengths(lengths).unwrap();
    let tokens: Vec<_> = (0..sizes.total()).map(|n| (n * n % 3) as u32).collect();
    let x = numbers(sizes.total() * model.in_features().unwrap_or(0), 1.0);
    let input = match model.in_features() {
        None => Input::Tokens(&tokens),
        Some(_) => Input::Features(&x),
    };
    let seed = model.seed();
    let y = model.forward(input, &sizes, true).unwrap().to_vec();
    let dy = numbers(y.len(), 2.0);
    let (_, mut gradient) = model.output_and_gradient().unwrap();
    for row in 0..gradient.count() {
        let features = dy.len() / gradient.count();
        gradient.row_mut(row).copy_from_slice(&dy[row * features..][..features]);
    }
    let mut grads = vec![0.0; model.params.len()];
    model.backward(input, &sizes, &mut grads).unwrap();
    let of = |model: &mut Sequential<f64>| -> f64 {
        model.set_seed(seed); // the same dropout
        let y = model.forward(input, &sizes, true).unwrap();
        y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
    };
    for (n, &grad) in grads.iter().enumerate() {
        let (kept, step) = (model.params[n], 1e-5);
        model.params[n] = kept + step;
        let up = of(&mut model);
        model.params[n] = kept - step;
        let down = of(&mut model);
        model.params[n] = kept;
        let slope = (up - down) / (2.0 * step);
        assert!((slope - grad).abs() < 1e-8, "parameter {n}: {slope} {grad}");
    }
}

#[test]
fn gradients_through_the_last_step() {
    for lengths in [&[4, 4][..], &[5, 3, 3, 1], &[1]] {
        check_gradients(model_of(vec![gru(2, 3), Layer::LastStep, linear(3, 2)]), lengths);
        check_gradients(
            model_of(vec![Layer::OneHot(3), linear(3, 4), gru(4, 3), Layer::LastStep]),
            lengths,
        );
        check_gradients(model_of(vec![Layer::LastStep, linear(2, 2), linear(2, 1)]), lengths);
        let dropout = Layer::Dropout(0.3);
        check_gradients(
            model_of(vec![both_ways(2, 3), dropout, Layer::LastStep, dropout, linear(6, 2)]),
            lengths,
        );
    }
}

#[test]
fn gradients_of_embedding_dropout_and_layer_norm() {
    let plain = |weight| Layer::LayerNorm(LayerNorm::new(4, 0.1, weight, false).unwrap());
    for lengths in [&[4, 4][..], &[5, 3, 3, 1, 0], &[]] {
        check_gradients(model_of(vec![embedding(2), gru(2, 3)]), lengths);
        check_gradients(
            model_of(vec![Layer::Dropout(0.4), linear(2, 3), Layer::Dropout(0.3)]),
            lengths,
        );
        check_gradients(model_of(vec![linear(2, 17), layer_norm(17), linear(17, 1)]), lengths);
        check_gradients(model_of(vec![linear(2, 4), plain(true), plain(false)]), lengths);
        let all = vec![embedding(5), layer_norm(5), Layer::Dropout(0.5), gru(5, 3), linear(3, 2)];
        check_gradients(model_of(all), lengths);
    }
}

#[test]
fn dropout_keeps_its_share_and_draws_anew_in_every_recorded_pass() {
    let layers = vec![Layer::Dropout(0.25), linear(100, 1)];
    let mut model = model_of(layers);
    model.params.fill(1.0); // the output is 1 plus the sum of the numbers that dropout keeps
    let sizes = BatchSizes::new(200, vec![200]).unwrap();
    let x = vec![1.0; 100 * 200];
    let of = |model: &mut Sequential<f64>, record| {
        model.forward(Input::Features(&x), &sizes, record).unwrap().to_vec()
    };
    assert_eq!(of(&mut model, false), [101.0; 200]);
    let (first, second) = (of(&mut model, true), of(&mut model, true));
    assert_ne!(first, second);
    model.set_seed(5);
    assert_eq!(of(&mut model, false), [101.0; 200]); // no dropout
    assert_eq!(of(&mut model, true), first);
    let seed = model.seed();
    model.set_seed(0);
    model.set_seed(seed);
    assert_eq!(of(&mut model, true), second);
    let mean = first.iter().sum::<f64>() / 200.0;
    // 5 deviations are 5 * 100 sqrt(p / (1 - p)) / sqrt 20000.
    assert!((mean - 101.0).abs() < 1.5, "{mean}");
}

/// A model with LastStep equals a model without it whose loss counts only the last steps.
#[test]
fn the_last_step_is_what_the_model_without_it_gives_there() {
    let layers = vec![gru(2, 3), linear(3, 2)];
    let mut every = model_of(layers.clone());
    let mut last = model_of(vec![layers[0], Layer::LastStep, layers[1]]);
    let x = numbers(2 * 9, 0.0);
    let offsets = [0, 2, 6, 9];
    let data = Dataset::without_targets(Inputs::Features(&x), &offsets).unwrap();
    let (every, last) = (every.predict(&data).unwrap(), last.predict(&data).unwrap());
    let want: Vec<_> =
        offsets[1..].iter().flat_map(|end| every[(end - 1) * 2..][..2].to_vec()).collect();
    assert_eq!(last, want);
}

/// Each of two directions gives what a separate layer gives for the sequences in that direction.
#[test]
fn the_last_step_of_two_directions_is_where_each_ends() {
    let offsets = [0, 2, 6, 7, 10];
    let x = numbers(2 * 10, 0.0);
    let mut back = Vec::new();
    for ends in offsets.windows(2) {
        (ends[0]..ends[1]).rev().for_each(|t| back.extend_from_slice(&x[2 * t..][..2]));
    }
    let predict = |model: &mut Sequential<f64>, x: &[f64]| {
        let data = Dataset::without_targets(Inputs::Features(x), &offsets).unwrap();
        model.predict(&data).unwrap()
    };
    let mut both = model_of(vec![both_ways(2, 3), Layer::Dropout(0.3), Layer::LastStep]);
    let got = predict(&mut both, &x);
    let half = both.params.len() / 2;
    for (direction, x) in [x, back].iter().enumerate() {
        let mut one = model_of(vec![gru(2, 3), Layer::LastStep]);
        one.params.copy_from_slice(&both.params[direction * half..][..half]);
        let want = predict(&mut one, x);
        for row in 0..4 {
            assert_eq!(got[6 * row + 3 * direction..][..3], want[3 * row..][..3]);
        }
    }
}

#[test]
fn training_and_evaluation_with_a_target_for_every_sequence() {
    let layers = vec![gru(1, 4), Layer::LastStep, linear(4, 2)];
    let x = [1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.5, -1.0];
    let classes = [1, 0, 1, 0]; // whether the first step is above 0
    let offsets = [0, 2, 5, 7, 8];
    let x = Inputs::Features(&x);
    let data = Dataset::per_sequence(x, Targets::Classes(&classes), &offsets).unwrap();
    let optimizer = Optimizer::adam(0.05).unwrap();
    let mut trainer =
        Trainer::new(model_of(layers), Loss::cross_entropy(), optimizer, None).unwrap();
    let before = trainer.evaluate(&data).unwrap();
    let step = trainer.step(&data, &[3, 0, 2, 1]).unwrap();
    assert!((step - before).abs() < 1e-12, "the mean over the sequences: {step} {before}");
    for _ in 0..100 {
        trainer.step(&data, &[0, 1, 2, 3]).unwrap();
    }
    assert!(trainer.evaluate(&data).unwrap() < 0.2 * before);
}

#[test]
fn a_stepper_gives_the_last_step_so_far() {
    let mut model = model_of(vec![gru(2, 3), Layer::LastStep, linear(3, 2)]);
    let mut stepper = SequentialStepper::new(&model, 1).unwrap();
    let x = numbers(8, 0.0);
    for steps in 1..=4 {
        let y = stepper.step(Input::Features(&x[2 * steps - 2..2 * steps])).unwrap().to_vec();
        let sizes = BatchSizes::new(1, vec![1; steps]).unwrap();
        let whole = model.forward(Input::Features(&x[..2 * steps]), &sizes, false).unwrap();
        assert_eq!(y, whole);
    }
}

#[test]
fn a_stepper_takes_every_layer() {
    let rest = [layer_norm(4), Layer::Dropout(0.5), gru(4, 3), linear(3, 2)];
    for first in [Layer::OneHot(4), Layer::Embedding(Embedding::new(4, 4).unwrap())] {
        let mut model = model_of([&[first], &rest[..]].concat());
        let mut stepper = SequentialStepper::new(&model, 2).unwrap();
        let tokens = [0, 1, 3, 3, 2, 0];
        let whole =
            model.forward(Input::Tokens(&tokens), &BatchSizes::new(2, vec![2; 3]).unwrap(), false);
        let steps: Vec<_> = tokens
            .chunks(2)
            .flat_map(|t| stepper.step(Input::Tokens(t)).unwrap().to_vec())
            .collect();
        assert_eq!(whole.unwrap(), steps);
        let error = stepper.step(Input::Tokens(&[0, 4])).unwrap_err().to_string();
        assert!(
            error.contains("token 4 is out of range") && error.contains("4 classes"),
            "{error}"
        );
        assert!(stepper.step(Input::Tokens(&[0])).is_err());
        assert!(
            stepper
                .step(Input::Features(&[0.0; 8]))
                .unwrap_err()
                .to_string()
                .contains("takes tokens")
        );
    }
}

#[test]
fn threads_do_not_show_in_models() {
    let lengths: Vec<_> = (1..40).rev().collect();
    let sizes = BatchSizes::of_lengths(&lengths).unwrap();
    let x = numbers(sizes.total() * 8, 0.0);
    let bits = |threads| {
        set_num_threads(threads).unwrap();
        let mut model = model_of(vec![
            linear(8, 16),
            layer_norm(16),
            Layer::Dropout(0.2),
            gru(16, 32),
            Layer::LastStep,
            linear(32, 2),
        ]);
        let input = Input::Features(&x);
        let mut all = model.forward(input, &sizes, true).unwrap().to_vec();
        let (_, mut gradient) = model.output_and_gradient().unwrap();
        for row in 0..gradient.count() {
            gradient.row_mut(row).copy_from_slice(&[0.5, -0.25]);
        }
        let mut grads = vec![0.0; model.params.len()];
        model.backward(input, &sizes, &mut grads).unwrap();
        all.extend(grads);
        all.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let one = bits(1);
    for threads in 2..=4 {
        assert!(bits(threads) == one, "{threads} threads");
    }
}

#[test]
fn layers_that_make_no_sense_are_refused() {
    assert!(Embedding::new(0, 3).is_err() && Embedding::new(3, 0).is_err());
    assert!(Embedding::new(usize::MAX, 2).is_err());
    for (features, eps, weight, bias) in [
        (0, 1e-5, true, true),
        (3, 0.0, true, true),
        (3, f64::NAN, true, true),
        (3, 1e-5, false, true),
    ] {
        assert!(LayerNorm::new(features, eps, weight, bias).is_err());
    }
    for p in [-0.1, 1.0, f64::NAN] {
        assert!(Sequential::<f32>::new(vec![Layer::Dropout(p), linear(2, 2)]).is_err());
    }
}

#[test]
fn what_does_not_fit_a_last_step_is_refused() {
    let mut model = model_of(vec![gru(1, 2), Layer::LastStep]);
    let sizes = BatchSizes::of_lengths(&[2, 0]).unwrap();
    let error = model.forward(Input::Features(&[1.0; 2]), &sizes, false).unwrap_err().to_string();
    assert!(error.contains("1 of 2 have length 0"), "{error}");
    let (x, y, offsets) = (Inputs::Features(&[1.0; 3]), Targets::Values(&[1.0; 6]), [0, 1, 3]);
    let steps = Dataset::new(x, y, &offsets).unwrap();
    let optimizer = Optimizer::adam(0.05).unwrap();
    let mut trainer = Trainer::new(model, Loss::MeanSquaredError, optimizer, None).unwrap();
    assert!(trainer.evaluate(&steps).unwrap_err().to_string().contains("LastStep"));
    assert!(trainer.step(&steps, &[0]).unwrap_err().to_string().contains("for every step"));
    let error = trainer.with_tbptt(2).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("tbptt"), "{error}");
    let error = Dataset::<f64>::per_sequence(x, Targets::Classes(&[1; 3]), &offsets).unwrap_err();
    assert!(error.to_string().contains("3 target classes for 2 sequences"), "{error}");
}
