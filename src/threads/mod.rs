//! Threads: their number, and the number of tasks that work is split into.
//!
//! [`run`] hands tasks to the pool (pool.rs). A team (team.rs) shares work that goes in rounds (rounds.rs), but not while
//! other threads want the cores (backoff.rs).

pub(crate) mod backoff;
mod pool;
pub(crate) mod rounds;
pub(crate) mod team;

pub(crate) use pool::run;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result, ensure};

/// Work of fewer operations is not worth a second thread: waking it takes as long as about 4 million operations on one
/// core.
pub(crate) const MIN_FLOPS: usize = 4_000_000;

/// Copying or packing a number takes about as long as this many operations.
pub(crate) const FLOPS_PER_COPY: usize = 25;

/// With this many rows of a batch, a task's register tiles are well filled.
const ROWS_PER_TASK: usize = 12;

/// More threads than any machine this is for.
const MAX_THREADS: usize = 1024;

/// The number of threads; 0 until it is set.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that kernels use: what [`set_num_threads`] set, else `BPTT_NUM_THREADS`,
/// else one for each core.
///
/// # Errors
/// If `BPTT_NUM_THREADS` is not a whole number above zero.
pub fn num_threads() -> Result<usize> {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let threads: usize = match std::env::var("BPTT_NUM_THREADS") {
                Ok(text) => text.trim().parse().ok().filter(|&n| n > 0).ok_or_else(|| {
                    Error::new(format!(
                        "BPTT_NUM_THREADS is {text:?}; it must be a whole number above zero"
                    ))
                })?,
                Err(_) => {
                    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
                }
            };
            check_threads(threads)?;
            // If another thread has set it meanwhile, its number is the right one.
            match THREADS.compare_exchange(0, threads, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => Ok(threads),
                Err(set) => Ok(set),
            }
        }
        threads => Ok(threads),
    }
}

/// Sets the number of threads that kernels use from now on. Results do not depend on it.
///
/// # Errors
/// If `threads` is zero or above 1024.
pub fn set_num_threads(threads: usize) -> Result<()> {
    check_threads(threads)?;
    THREADS.store(threads, Ordering::Relaxed);
    Ok(())
}

fn check_threads(threads: usize) -> Result<()> {
    ensure!(
        (1..=MAX_THREADS).contains(&threads),
        "the number of threads must be between 1 and {MAX_THREADS}, got {threads}"
    );
    Ok(())
}

/// The number of tasks into which to split a batch of rows whose computation takes `flops` operations.
pub(crate) fn tasks(rows: usize, flops: usize) -> Result<usize> {
    let threads = num_threads()?;
    if threads == 1 || flops < MIN_FLOPS {
        return Ok(1);
    }
    // With a few tasks for each thread, other work on the machine delays the whole less.
    Ok(threads * (rows / (ROWS_PER_TASK * threads)).clamp(1, 4))
}

/// The number of rows of each task.
pub(crate) fn split_rows(rows: usize, flops: usize) -> Result<Vec<usize>> {
    Ok(split(rows, tasks(rows, flops)?))
}

/// Splits `total` into at most `parts` sizes that differ by at most one.
pub(crate) fn split(total: usize, parts: usize) -> Vec<usize> {
    let parts = parts.min(total).max(1);
    (0..parts).map(|part| total / parts + usize::from(part < total % parts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_even() {
        assert_eq!(split(10, 4), [3, 3, 2, 2]);
        assert_eq!(split(2, 4), [1, 1]);
        assert_eq!(split(0, 4), [0]);
    }
}
