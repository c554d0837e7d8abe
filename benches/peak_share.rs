//! The speed of LSTM passes at every level, in percent of the machine's FMA peak in the same run. Run it with
//! `cargo bench --bench peak_share`.
//!
//! A round times every pass once, each between two measurements of the peak. The medians over all rounds are
//! printed. On a machine that other programs use too, absolute times change from hour to hour, but these
//! percentages change much less.

mod common;

use std::time::Instant;

use bptt::cell::Lstm;
use bptt::simd::peak::fma_peak;
use bptt::simd::{Element, Level};
use common::{Layer, Size};

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
    let rounds: usize = rounds.unwrap_or(25);
    let threads = bptt::num_threads().unwrap();
    table::<f32>(threads, rounds);
    table::<f64>(threads, rounds);
}

fn table<E: Element>(threads: usize, rounds: usize) {
    let mut levels = Level::available();
    levels.reverse();
    let best = levels[0];
    println!("\nLSTM {}, {threads} threads, % of the FMA peak (of {})", E::NAME, best.name());
    print!("{:<16}", "T,B,I,H");
    for level in &levels {
        print!("{:>18}{:>8}", format!("{} infer", level.name()), "train");
    }
    println!();

    let mut peaks = Vec::new();
    for size in SIZES {
        let mut layers: Vec<_> =
            levels.iter().map(|_| Layer::<_, E>::new(Lstm::default(), size)).collect();
        let mut shares = vec![Vec::new(); 2 * levels.len()];
        for _ in 0..rounds {
            let peak_now = || fma_peak::<E>(best, threads, 0.01) / 1e9;
            let mut before = peak_now();
            for (index, (level, layer)) in levels.iter().zip(&mut layers).enumerate() {
                for train in [false, true] {
                    let flops = size.flops::<Lstm>() * if train { 3 } else { 1 };
                    let pass = || if train { layer.train() } else { layer.infer() };
                    let rate = level.scope(|| rate(flops, pass));
                    let after = peak_now();
                    let share = 100.0 * rate / ((before + after) / 2.0);
                    shares[2 * index + usize::from(train)].push(share);
                    peaks.push(after);
                    before = after;
                }
            }
        }
        print!("{size:<16}");
        for pair in shares.chunks(2) {
            print!("{:>18.1}{:>8.1}", median(&pair[0]), median(&pair[1]));
        }
        println!();
    }
    println!("(the peak was {:.0} GFLOP/s, {rounds} rounds)", median(&peaks));
}

/// The rate of some work, in GFLOP/s. Short work is repeated until the clock can measure it.
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
