//! Threads: a private pool, and one way to hand it work.
//!
//! The calling thread works too, and takes tasks from the same counter as the pool's threads. It
//! waits only for tasks that another thread has begun: waking a sleeping thread takes longer
//! (50 to 200 us) than a small call, so a thread that wakes late finds nothing left and leaves.
//!
//! The pool is keyed by process id: a forked child, whose threads fork did not copy, builds its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use rayon::ThreadPool;

use crate::error::{Error, Result, ensure};

/// Below this much arithmetic a second thread costs more than it brings: waking it takes as long as
/// about 4 million operations on one core.
const MIN_FLOPS: usize = 4_000_000;

/// Rows of a batch from which on a task's register tiles are well filled.
const ROWS_PER_TASK: usize = 12;

/// More threads than any machine this is for.
const MAX_THREADS: usize = 1024;

/// 0 until set; then the number of threads.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that kernels use: what [`set_num_threads`] set, else `BPTT_NUM_THREADS`,
/// else one a core.
///
/// # Errors
/// If `BPTT_NUM_THREADS` is not a whole number above zero.
pub fn num_threads() -> Result<usize> {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let threads: usize = match std::env::var("BPTT_NUM_THREADS") {
                Ok(text) => text.trim().parse().ok().filter(|&n| n > 0).ok_or_else(|| {
                    Error::new(format!(
                        "BPTT_NUM_THREADS is {text:?}; it takes a whole number above zero"
                    ))
                })?,
                Err(_) => {
                    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
                }
            };
            check_threads(threads)?;
            // Whoever sets it at the same time is right.
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

/// Into how many tasks to split a batch of rows whose computation takes `flops`.
pub(crate) fn tasks(rows: usize, flops: usize) -> Result<usize> {
    let threads = num_threads()?;
    if threads == 1 || flops < MIN_FLOPS {
        return Ok(1);
    }
    // A few tasks a thread even out what else the machine does.
    Ok(threads * (rows / (ROWS_PER_TASK * threads)).clamp(1, 4))
}

/// How many rows each task takes.
pub(crate) fn split_rows(rows: usize, flops: usize) -> Result<Vec<usize>> {
    Ok(split(rows, tasks(rows, flops)?))
}

/// Splits `total` into at most `parts` sizes that differ by at most one.
pub(crate) fn split(total: usize, parts: usize) -> Vec<usize> {
    let parts = parts.min(total).max(1);
    (0..parts).map(|part| total / parts + usize::from(part < total % parts)).collect()
}

/// Calls `work` with every task, on the calling thread and the pool's, and gives the first error. A
/// panic in a task is raised again here, after all tasks have ended.
pub(crate) fn run<T: Send>(tasks: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let threads = num_threads()?;
    if threads.min(tasks.len()) <= 1 {
        return tasks.into_iter().try_for_each(work);
    }
    let helpers = threads.min(tasks.len()) - 1;
    let tasks: Vec<Mutex<Option<T>>> = tasks.into_iter().map(|task| Some(task).into()).collect();
    let call = |index: usize| {
        let task = tasks[index].lock().unwrap_or_else(PoisonError::into_inner).take();
        work(task.expect("each index is drawn once"))
    };
    let call: &(dyn Fn(usize) -> Result<()> + Sync) = &call;
    // SAFETY: only the lifetime changes. `call` is used for indices below `total` alone, and below
    // we wait until the calls for all of those have returned.
    let call: &'static (dyn Fn(usize) -> Result<()> + Sync) = unsafe { std::mem::transmute(call) };
    let job = Arc::new(Job {
        call,
        total: tasks.len(),
        next: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        failure: Mutex::new(None),
    });
    // Without a pool, the caller does everything.
    if let Some(pool) = pool(threads) {
        for _ in 0..helpers {
            let job = Arc::clone(&job);
            pool.spawn(move || job.work());
        }
    }
    job.work();
    let mut spins = 0u32;
    while job.ended.load(Ordering::Acquire) < job.total {
        spins = spins.saturating_add(1);
        if spins < 10_000 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
    let failure = job.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failure {
        None => Ok(()),
        Some(Failure::Error(error)) => Err(error),
        Some(Failure::Panic(payload)) => resume_unwind(payload),
    }
}

/// Tasks that several threads draw from.
struct Job {
    /// Borrowed from [`run`], which outlives every call with an index below `total`.
    call: &'static (dyn Fn(usize) -> Result<()> + Sync),
    total: usize,
    next: AtomicUsize,
    ended: AtomicUsize,
    failure: Mutex<Option<Failure>>,
}

enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Job {
    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.total {
                return;
            }
            let failure = match catch_unwind(AssertUnwindSafe(|| (self.call)(index))) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Failure::Error(error)),
                Err(payload) => Some(Failure::Panic(payload)),
            };
            if let Some(failure) = failure {
                let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                match &*first {
                    None => *first = Some(failure),
                    // Dropping a panic's payload may panic, and here nothing may.
                    Some(_) => std::mem::forget(failure),
                }
            }
            self.ended.fetch_add(1, Ordering::Release);
        }
    }
}

/// The pool of this process for that many threads, the caller's being one of them; none if it cannot
/// be had now.
fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    struct Pool {
        process: u32,
        threads: usize,
        pool: Arc<ThreadPool>,
    }
    static POOL: Mutex<Option<Pool>> = Mutex::new(None);
    let process = std::process::id();
    // Somebody may be making the pool; and in a child forked meanwhile, nobody will ever unlock it.
    let mut current = match POOL.try_lock() {
        Ok(current) => current,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    if let Some(pool) = &*current
        && (pool.process, pool.threads) == (process, threads)
    {
        return Some(Arc::clone(&pool.pool));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads - 1)
        .thread_name(|index| format!("bptt-{index}"))
        .build()
        .ok()?;
    let pool = Arc::new(pool);
    let old = current.replace(Pool { process, threads, pool: Arc::clone(&pool) });
    if let Some(old) = old.filter(|old| old.process != process) {
        // Its threads are the parent's; ending them from here would wait for ever.
        std::mem::forget(old);
    }
    Some(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let hits: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
        run((0..100).collect(), |i: usize| {
            hits[i].fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_tasks_ended() {
        let ended = AtomicUsize::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run((0..8).collect(), |i: usize| {
                ended.fetch_add(1, Ordering::Relaxed);
                assert!(i != 3, "task three");
                Ok(())
            })
        }));
        assert!(outcome.is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn the_first_error_is_given() {
        let error = run((0..8).collect(), |i: usize| match i {
            5 => Err(Error::new("task five")),
            _ => Ok(()),
        });
        assert_eq!(error.unwrap_err().to_string(), "task five");
    }

    #[test]
    fn splits_are_even() {
        assert_eq!(split(10, 4), [3, 3, 2, 2]);
        assert_eq!(split(2, 4), [1, 1]);
        assert_eq!(split(0, 4), [0]);
    }
}
