//! LSTM passes as shares of the FMA peak measured in the same run: `cargo bench --bench share`.
//!
//! Everything is timed in turn, round after round, and medians are compared, because the machine
//! may be shared: absolute times move from hour to hour, these shares much less.

mod common;

use std::time::Instant;

use bptt::simd::{Element, Level};
use common::{Layer, Size, peak, peak_flops};

const SIZES: [Size; 6] = [
    Size(16, 1, 4, 50),
    Size(100, 1, 64, 64),
    Size(100, 32, 32, 64),
    Size(100, 32, 64, 128),
    Size(100, 64, 128, 256),
    Size(50, 64, 256, 512),
];

fn main() {
    let rounds = std::env::args().find_map(|arg| arg.strip_prefix("--rounds=")?.parse().ok());
    let rounds = rounds.unwrap_or(25);
    let threads = bptt::num_threads().unwrap();
    for level in Level::available().into_iter().rev() {
        level.scope(|| {
            table::<f32>(level, threads, rounds);
            table::<f64>(level, threads, rounds);
        });
    }
}

fn table<E: Element>(level: Level, threads: usize, rounds: usize) {
    let mut layers = SIZES.map(Layer::<E>::new);
    // For inference and training of every size, the share in every round: each work is measured
    // between two measurements of the peak.
    let mut shares = vec![Vec::new(); 2 * SIZES.len()];
    let mut peaks = Vec::new();
    for _ in 0..rounds {
        let mut before = rate(peak_flops::<E>(level, threads), || peak::<E>(level, threads));
        let mut measure = |column: usize, flops: u64, work: &mut dyn FnMut()| {
            let rate_of_work = rate(flops, work);
            let after = rate(peak_flops::<E>(level, threads), || peak::<E>(level, threads));
            shares[column].push(100.0 * rate_of_work / ((before + after) / 2.0));
            peaks.push(after);
            before = after;
        };
        for (index, (layer, size)) in layers.iter_mut().zip(SIZES).enumerate() {
            measure(2 * index, size.flops(), &mut || layer.infer());
            measure(2 * index + 1, 3 * size.flops(), &mut || layer.train());
        }
    }
    println!(
        "\nLSTM {}, {}, {threads} threads, {rounds} rounds; share of the FMA peak",
        E::NAME,
        level.name()
    );
    println!("{:<16} {:>9} {:>9}", "T,B,I,H", "infer", "train");
    for (size, shares) in SIZES.iter().zip(shares.chunks(2)) {
        println!("{size:<16} {:>8.1}% {:>8.1}%", median(&shares[0]), median(&shares[1]));
    }
    println!("(peak {:.0} GFLOP/s in this run)", median(&peaks));
}

/// GFLOP/s of some work; small work is repeated until the clock can see it.
fn rate(flops: u64, mut work: impl FnMut()) -> f64 {
    let repeats = (100_000_000 / flops).max(1);
    let start = Instant::now();
    (0..repeats).for_each(|_| work());
    (flops * repeats) as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
