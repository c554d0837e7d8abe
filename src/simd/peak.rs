//! The FMA peak: how fast the machine multiplies and adds when nothing else limits it. No kernel can be
//! faster. Benchmarks print their speed as a percentage of the peak, measured in the same run.
//!
//! The loop consists of independent chains `a = a * f + f` in registers, without a load or a store. Every
//! step of a chain waits for the step before. So there must be more chains than multiply-adds in flight,
//! which are units times latency: 2 x 4 on recent x86-64, 4 x 4 on the larger aarch64 cores. On Zen 5, 8
//! chains were not always enough, and 10 to 28 gave the same. The start of the threads is not timed: with it,
//! a loop of 1.3 ms showed 85 % of the peak there.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::level::Level;
use super::vector::{Element, Kernel, Simd};

/// Runs `iterations` iterations of the loop on the calling thread and returns their number of floating-point
/// operations. A multiply-add of one lane counts as two.
pub fn fma<E: Element>(level: Level, iterations: u64) -> u64 {
    level.run::<E, _>(Fma(iterations))
}

/// Measures the FMA peak of `threads` threads together, in operations per second. It takes about `seconds`
/// seconds.
///
/// # Examples
/// ```
/// use bptt::simd::{Level, peak::fma_peak};
///
/// let rate = fma_peak::<f32>(Level::current()?, 1, 0.001);
/// println!("{:.0} GFLOP/s", rate / 1e9);
/// # Ok::<(), bptt::Error>(())
/// ```
pub fn fma_peak<E: Element>(level: Level, threads: usize, seconds: f64) -> f64 {
    // About 10 us, so that reading the clock costs next to nothing.
    const ITERATIONS: u64 = 4096;
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    // All threads begin together and each times itself, so the start of threads is not timed.
    let barrier = Barrier::new(threads.max(1));
    let one = || {
        barrier.wait();
        let (mut operations, start) = (0, Instant::now());
        loop {
            operations += fma::<E>(level, ITERATIONS);
            let elapsed = start.elapsed();
            if elapsed >= limit {
                return operations as f64 / elapsed.as_secs_f64();
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mine = one();
        mine + others.into_iter().map(|other| other.join().expect("no panic")).sum::<f64>()
    })
}

struct Fma(u64);

impl<E: Element> Kernel<E> for Fma {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> u64 {
        // Below AVX-512, x86-64 has 16 registers; the other targets of interest have 32.
        if cfg!(target_arch = "x86_64") && S::LANES * size_of::<E>() < 64 {
            chains::<E, S, 12>(s, self.0)
        } else {
            chains::<E, S, 24>(s, self.0)
        }
    }
}

#[inline(always)]
fn chains<E: Element, S: Simd<E>, const CHAINS: usize>(s: S, iterations: u64) -> u64 {
    // `black_box` hides the factor from the compiler, which could compute the result otherwise. The chains
    // converge to f / (1 - f) = 1e6.
    let factor = s.splat(black_box(E::from_f64(0.999_999)));
    let mut chains = [factor; CHAINS];
    for _ in 0..iterations {
        for chain in &mut chains {
            *chain = s.mul_add(*chain, factor, factor);
        }
    }
    let mut sum = factor;
    for chain in chains {
        sum = s.add(sum, chain);
    }
    let mut out = [E::ZERO; 16];
    s.store(&mut out, sum);
    black_box(out);
    iterations * (2 * CHAINS * S::LANES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted() {
        for level in Level::available() {
            let one = fma::<f32>(level, 1);
            assert_eq!(one % (2 * level.lanes::<f32>() as u64), 0);
            assert_eq!((fma::<f32>(level, 3), fma::<f64>(level, 0)), (3 * one, 0));
        }
    }

    #[test]
    fn the_peak_is_a_rate() {
        for level in Level::available() {
            let rate = fma_peak::<f32>(level, 2, 0.002);
            assert!(rate.is_finite() && rate > 0.0, "{rate}");
        }
    }
}
