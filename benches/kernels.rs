//! Criterion benchmarks with throughput in FLOP/s (which criterion prints as elements): the FMA peak, the
//! cells alone, LSTM and GRU layers over a sequence, single steps, and a whole training step.
//!
//! Run it with `cargo bench --bench kernels`. `cargo bench --bench peak_share` compares layers with the peak
//! instead.

mod common;

use std::time::Duration;

use bptt::Compiled;
use bptt::cell::{Gru, Lstm, Nonlinearity, Rnn};
use bptt::simd::Level;
use bptt::simd::peak::fma;
use bptt::{
    Dataset, Inputs, LSTM, Layer as ModelLayer, Linear, Loss, Optimizer, Recurrent, Sequential,
    Stepper, Targets, Trainer,
};
use common::{Layer, Size};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Iterations of the peak's loop; they take about 0.1 ms.
const ITERATIONS: u64 = 50_000;

fn fma_peak(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fma peak f32, 1 thread");
    for level in Level::available() {
        group.throughput(Throughput::Elements(fma::<f32>(level, 1) * ITERATIONS));
        group.bench_function(level.name(), |b| b.iter(|| fma::<f32>(level, ITERATIONS)));
    }
}

/// Measures cells: with one input feature and one hidden vector, there is little other work.
fn cell(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lstm cell");
    for level in Level::available() {
        level.scope(|| {
            let size = Size(20, 256, 1, 16);
            let mut layer = Layer::<_, f32>::new(Lstm::default(), size);
            group.throughput(Throughput::Elements(size.flops::<Lstm>()));
            group.bench_function(level.name(), |b| b.iter(|| layer.infer()));
        });
    }
}

fn sequence<C: Compiled>(criterion: &mut Criterion, name: &str, cell: C) {
    let sizes = [Size(16, 1, 4, 50), Size(100, 32, 32, 64), Size(100, 64, 128, 256)];
    for level in Level::available() {
        level.scope(|| {
            let mut group = criterion.benchmark_group(format!("{name} f32 {}", level.name()));
            for size in sizes {
                let mut layer = Layer::<_, f32>::new(cell, size);
                group.throughput(Throughput::Elements(size.flops::<C>()));
                group.bench_function(BenchmarkId::new("infer", size), |b| b.iter(|| layer.infer()));
                group.throughput(Throughput::Elements(3 * size.flops::<C>()));
                group.bench_function(BenchmarkId::new("train", size), |b| b.iter(|| layer.train()));
            }
        });
    }
}

fn sequences(criterion: &mut Criterion) {
    sequence(criterion, "lstm", Lstm::default());
    sequence(criterion, "gru", Gru);
}

/// Measures one step of one row at H = 50, I = 10, with packed weights.
fn steppers(criterion: &mut Criterion) {
    fn bench<C: Compiled>(criterion: &mut Criterion, name: &str, cell: C) {
        let layer = Recurrent::with_cell(cell, 10, 50, true).unwrap();
        let params = vec![0.01f32; layer.parameter_len()];
        let mut stepper = Stepper::new(layer, &params, 1).unwrap();
        let x = [0.5; 10];
        let mut group = criterion.benchmark_group("step");
        group.throughput(Throughput::Elements(Size(1, 1, 10, 50).flops::<C>()));
        group.bench_function(name, |b| b.iter(|| stepper.step(&x).unwrap()[0]));
    }
    bench(criterion, "lstm", Lstm::default());
    bench(criterion, "gru", Gru);
    bench(criterion, "rnn", Rnn { nonlinearity: Nonlinearity::Tanh });
}

/// Measures a training step (forward, loss, backward, Adam) of the lab's part 4: LSTM(1, 50), Linear(50, 1),
/// 8 sequences of 4 steps.
fn training_step(criterion: &mut Criterion) {
    let (steps, rows, hidden) = (4, 8, 50);
    let lstm = LSTM::new(1, hidden, true).unwrap();
    let linear = Linear::new(hidden, 1, true).unwrap();
    let layers = vec![ModelLayer::LSTM(lstm), ModelLayer::Linear(linear)];
    let mut model = Sequential::<f32>::new(layers).unwrap();
    for (i, p) in model.params.iter_mut().enumerate() {
        *p = 0.1 * (i as f32 * 0.7).sin();
    }
    let x: Vec<f32> = (0..steps * rows).map(|i| (i as f32 * 0.3).sin()).collect();
    let offsets: Vec<usize> = (0..=rows).map(|row| row * steps).collect();
    let data = Dataset::new(Inputs::Features(&x), Targets::Values(&x), &offsets).unwrap();
    let order: Vec<usize> = (0..rows).collect();
    let optimizer = Optimizer::adam(1e-4).unwrap();
    let mut trainer = Trainer::new(model, Loss::MeanSquaredError, optimizer, None).unwrap();
    let flops = 3 * Size(steps, rows, 1, hidden).flops::<Lstm>();
    let mut group = criterion.benchmark_group("training step");
    group.throughput(Throughput::Elements(flops));
    group.bench_function("lab part 4", |b| b.iter(|| trainer.step(&data, &order).unwrap()));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = fma_peak, cell, sequences, steppers, training_step
}
criterion_main!(benches);
