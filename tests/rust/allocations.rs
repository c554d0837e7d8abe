//! Memory that runs out: the n-th allocation of a step fails, for every n, and the step returns an error.
//!
//! Allocations below [`SMALL`] succeed: their sizes depend on layers and threads, not on data, and Rust's
//! own collections abort without them.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bptt::{
    BatchSizes, Dataset, Embedding, GRU, Gradients, Inputs, LSTM, Layer, LayerNorm, Linear, Loss,
    Optimizer, Progress, RNN, Seq, SeqMut, Sequential, SequentialStepper, Shape, State, Tape,
    Targets, Trainer, cell::Nonlinearity, set_num_threads,
};

/// Allocations of fewer bytes never fail.
const SMALL: usize = 16 << 10;

/// How many large allocations succeed before one fails; `usize::MAX` if none fails.
static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator, one of whose large allocations fails.
struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

impl Failing {
    fn fails(size: usize) -> bool {
        size >= SMALL
            && LEFT.load(Ordering::Relaxed) != usize::MAX
            && LEFT.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

// SAFETY: the system's allocator does all work; a null pointer says that an allocation failed.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Self::fails(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match Self::fails(layout.size()) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match Self::fails(size) {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's.
            false => unsafe { System.realloc(data, layout, size) },
        }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(data, layout) }
    }
}

const ROWS: usize = 24;
const STEPS: usize = 40;
/// The steps of a sequence whose lengths alone are large allocations.
const LONG: usize = 3000;

fn offsets() -> Vec<usize> {
    (0..=ROWS).map(|row| row * STEPS - row / 2).collect()
}

fn filled(layers: Vec<Layer>) -> bptt::Result<Sequential<f32>> {
    let mut model = Sequential::new(layers)?;
    model.params.iter_mut().enumerate().for_each(|(i, p)| *p = 0.1 * (i as f32).sin());
    Ok(model)
}

fn features() -> bptt::Result<Sequential<f32>> {
    filled(vec![
        Layer::LSTM(LSTM::new(32, 48, true).unwrap().bidirectional()),
        Layer::LayerNorm(LayerNorm::new(96, 1e-5, true, true).unwrap()),
        Layer::Dropout(0.1),
        Layer::GRU(GRU::new(96, 40, true).unwrap()),
        Layer::Linear(Linear::new(40, 40, true).unwrap()),
    ])
}

fn tokens() -> bptt::Result<Sequential<f32>> {
    filled(vec![
        Layer::Embedding(Embedding::new(300, 32).unwrap()),
        Layer::LSTM(LSTM::new(32, 64, true).unwrap()),
        Layer::LastStep,
        Layer::Linear(Linear::new(64, 5, true).unwrap()),
    ])
}

/// What each scenario does after its data are there. `fail` lets one allocation fail from then on.
fn scenario(name: &str, fail: impl FnOnce()) -> bptt::Result<()> {
    let offsets = offsets();
    let total = offsets[ROWS];
    let x: Vec<f32> = (0..total * 32).map(|i| (i as f32).cos()).collect();
    let y: Vec<f32> = (0..total * 40).map(|i| (i as f32).sin()).collect();
    let words: Vec<u32> = (0..total).map(|i| (i * i % 300) as u32).collect();
    let classes: Vec<u32> = (0..ROWS).map(|row| (row % 5) as u32).collect();
    let numbers = Dataset::new(Inputs::Features(&x), Targets::Values(&y), &offsets).unwrap();
    let words = Dataset::per_sequence(Inputs::Tokens(&words), Targets::Classes(&classes), &offsets)
        .unwrap();
    let order: Vec<usize> = (0..ROWS).collect();
    let long = vec![0.5f32; 3 * LONG];
    let until = Instant::now() + Duration::from_secs(600);
    let adam = Optimizer::adam(0.01)?;
    let layer = LSTM::new(32, 48, true)?.with_layers(2)?.with_dropout(0.1)?;
    let params = vec![0.1f32; layer.parameter_len()];
    let (mut grads, mut output, mut dx) = (params.clone(), [0.0; 40 * 4 * 48], [0.0; 40 * 4 * 32]);
    fail();
    match name {
        "train on features" => {
            let trainer = Trainer::new(features()?, Loss::MeanSquaredError, adam, Some(1.0))?;
            let mut trainer = trainer.with_accumulation(2)?;
            trainer.train(&numbers, &order, 16, Progress::default(), until)?;
            trainer.evaluate(&numbers)?;
        }
        "train in chunks" => {
            let layers = vec![Layer::LSTM(LSTM::new(32, 40, true)?)];
            let model = filled(layers)?;
            let trainer = Trainer::new(model, Loss::MeanSquaredError, adam, None)?;
            trainer.with_tbptt(7)?.step(&numbers, &order)?;
        }
        "train on tokens" => {
            let mut trainer = Trainer::new(tokens()?, Loss::cross_entropy(), adam, None)?;
            trainer.train(&words, &order, 16, Progress::default(), until)?;
            trainer.evaluate(&words)?;
        }
        "predict" => {
            features()?.predict(&numbers)?;
            tokens()?.predict(&words)?;
        }
        "step" => {
            let layers = vec![
                Layer::LSTM(LSTM::new(32, 64, true)?),
                Layer::Linear(Linear::new(64, 64, true)?),
            ];
            let mut stepper = SequentialStepper::new(&filled(layers)?, ROWS)?;
            stepper.step(bptt::Input::Features(&x[..ROWS * 32]))?;
        }
        "a layer with checkpoints" => {
            let sizes = BatchSizes::of_lengths(&[40, 3, 20, 7])?;
            let shape = |features| Shape::time_major(40, 4, features);
            let (mut state, mut tape) = (State::zeros(&layer, 4)?, Tape::new());
            tape.set_checkpoints(true);
            let input = Seq::padded(&x[..40 * 4 * 32], shape(32), &sizes)?;
            let y = SeqMut::padded(&mut output, shape(48), &sizes)?;
            layer.forward(&params, input, &mut state, y, &mut tape)?;
            let y = Seq::padded(&output, shape(48), &sizes)?;
            let dx = Some(SeqMut::padded(&mut dx, shape(32), &sizes)?);
            let gradients = Gradients { params: Some(&mut grads), x: dx };
            layer.backward(&params, input, y, &mut tape, y, &mut state, gradients)?;
        }
        "one long sequence" => {
            let lengths = [LONG, LONG / 2, 1];
            let sizes = BatchSizes::of_lengths(&lengths)?;
            let offsets = [0, LONG, LONG + LONG / 2, LONG + LONG / 2 + 1];
            let x = &long[..offsets[3]];
            let data = Dataset::new(Inputs::Features(x), Targets::Values(x), &offsets)?;
            let model = || filled(vec![Layer::RNN(RNN::new(1, 1, Nonlinearity::Tanh, true)?)]);
            let trainer = Trainer::new(model()?, Loss::MeanSquaredError, adam, None)?;
            trainer.with_tbptt(LONG - 10)?.step(&data, &[0, 1, 2])?;
            model()?.predict(&data)?;
            let shape = Shape::time_major(LONG, 3, 1);
            Seq::padded(&long, shape, &sizes.copied()?)?;
        }
        name => unreachable!("{name}"),
    }
    Ok(())
}

const SCENARIOS: [&str; 7] = [
    "train on features",
    "train in chunks",
    "train on tokens",
    "predict",
    "step",
    "a layer with checkpoints",
    "one long sequence",
];

/// One run in a process of its own, because a failure here would fail other tests' allocations too.
#[test]
#[ignore = "the_nth_allocation_fails_for_every_n starts it"]
fn one_run() {
    let argument = |name| std::env::var(name).unwrap();
    let (name, n) = (argument("BPTT_TEST_SCENARIO"), argument("BPTT_TEST_FAIL").parse().unwrap());
    set_num_threads(argument("BPTT_TEST_THREADS").parse().unwrap()).unwrap();
    let result = scenario(&name, || LEFT.store(n, Ordering::Relaxed));
    let left = LEFT.swap(usize::MAX, Ordering::Relaxed);
    let failed = left > n;
    match result {
        Ok(()) => assert!(!failed, "an allocation failed, and nobody was told"),
        Err(error) => {
            assert!(failed && error.to_string().contains("memory"), "{error}");
        }
    }
    println!("{}", if failed { "an allocation failed" } else { "none failed" });
}

#[test]
fn the_nth_allocation_fails_for_every_n() {
    for name in SCENARIOS {
        for threads in ["1", "2"] {
            for n in 0.. {
                let run = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "allocations::one_run", "--ignored", "--nocapture"])
                    .env("BPTT_TEST_SCENARIO", name)
                    .env("BPTT_TEST_FAIL", n.to_string())
                    .env("BPTT_TEST_THREADS", threads)
                    .output()
                    .unwrap();
                let told = String::from_utf8_lossy(&run.stdout);
                let errors = String::from_utf8_lossy(&run.stderr);
                assert!(run.status.success(), "{name}, allocation {n}: {told} {errors}");
                if told.contains("none failed") {
                    assert!(n > 3, "{name}: there are allocations");
                    break;
                }
            }
        }
    }
}
