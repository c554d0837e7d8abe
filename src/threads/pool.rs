//! A private pool of threads, and one way to hand it work.
//!
//! The calling thread works too. Every thread starts with tasks of its own, the same in every call, because its cache
//! still has their memory. Then it takes tasks that no other thread has started. The caller waits only for tasks that
//! another thread has started: waking a sleeping thread takes longer (50 to 200 us) than a small call. A thread that
//! wakes late finds no task left. For the same reason a thread of the pool looks for more work before it sleeps
//! ([`PATIENCE`]): a pass is several short parallel sections.
//!
//! A pool belongs to one process id. A fork does not copy threads, so a forked child makes its own pool.

#![allow(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rayon_core::ThreadPool;

use super::num_threads;
use crate::error::{Error, Result};

/// In a job of this length, a thread that was woken should come. After two such jobs in a row without helpers the
/// caller sleeps for 20 us.
const LONG: Duration = Duration::from_micros(200);

/// How long a thread of the pool looks for more work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(200);

/// Calls `work` with every task, on the calling thread and the pool's, and returns the first error. If a task panics,
/// this panics with the same payload, after all tasks have ended. The caller starts with the first task, so other tasks
/// may wait for that one (team.rs).
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
    // SAFETY: only the lifetime changes. `call` is called once for each task, and below we wait until all these calls
    // have returned. Nothing in between unwinds.
    let call: &'static (dyn Fn(usize) -> Result<()> + Sync) = unsafe { std::mem::transmute(call) };
    let job = Arc::new(Job {
        call,
        taken: (0..tasks.len()).map(|_| AtomicBool::new(false)).collect(),
        threads: helpers + 1,
        ended: AtomicUsize::new(0),
        failure: Mutex::new(None),
    });
    // Without a pool, the caller does everything.
    let pool = pool(threads);
    let mut missed = 0;
    if let Some(pool) = &pool {
        pool.desk.give(&job, helpers);
        missed = pool.desk.missed.load(Ordering::Relaxed);
        if missed > 1 {
            // They may wait for this thread's core, and get it while this thread sleeps.
            std::thread::sleep(Duration::from_micros(20));
            missed = 0;
        }
    }
    let start = Instant::now();
    let alone = job.work(0) == job.taken.len();
    if let Some(pool) = pool.filter(|_| !alone || start.elapsed() > LONG) {
        pool.desk.missed.store(if alone { missed + 1 } else { 0 }, Ordering::Relaxed);
    }
    let mut spins = 0u32;
    while job.ended.load(Ordering::Acquire) < job.taken.len() {
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
    /// Borrowed from [`run`], which does not return before every task has been taken and has ended. With all tasks taken,
    /// nobody calls it.
    call: &'static (dyn Fn(usize) -> Result<()> + Sync),
    taken: Vec<AtomicBool>,
    threads: usize,
    ended: AtomicUsize,
    failure: Mutex<Option<Failure>>,
}

enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Job {
    /// Takes tasks, the thread's own first, and returns their number. `thread` is 0 for the caller.
    fn work(&self, thread: usize) -> usize {
        let mut done = 0;
        let thread = thread % self.threads;
        let (count, first) = (self.taken.len(), thread * self.taken.len() / self.threads);
        for index in (first..count).chain(0..first) {
            if self.taken[index].swap(true, Ordering::Relaxed) {
                continue;
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
                    // Dropping a panic's payload may panic, and nothing here may panic.
                    Some(_) => std::mem::forget(failure),
                }
            }
            self.ended.fetch_add(1, Ordering::Release);
            done += 1;
        }
        done
    }
}

/// The threads beside the calling ones. They are rayon's, but each of them takes jobs from our desk for as long as the
/// pool lives. Rayon's own threads yield while they look for work. Beside a thread of another library that waits actively
/// (OpenBLAS's do, for tens of milliseconds), a thread that yields hardly runs again.
struct Pool {
    _threads: ThreadPool,
    desk: Arc<Desk>,
}

/// Where threads of the pool look for jobs.
#[derive(Default)]
struct Desk {
    /// The number of jobs on the desk, to be read without the lock.
    lying: AtomicUsize,
    state: Mutex<OnDesk>,
    wakes: Condvar,
    /// The number of long jobs in a row without helpers.
    missed: AtomicUsize,
}

#[derive(Default)]
struct OnDesk {
    /// One entry for every thread that is wanted.
    jobs: Vec<Arc<Job>>,
    /// The number of threads that look actively.
    looking: usize,
    closed: bool,
}

impl Pool {
    fn new(threads: usize) -> Option<Self> {
        let pool = rayon_core::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("bptt-{index}"))
            .build()
            .ok()?;
        let desk = Arc::<Desk>::default();
        for thread in 1..=threads {
            let desk = Arc::clone(&desk);
            pool.spawn(move || {
                while let Some(job) = desk.next() {
                    job.work(thread);
                }
            });
        }
        Some(Self { _threads: pool, desk })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.wakes.notify_all();
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, OnDesk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for so many helpers for a job. Threads that are awake come first.
    fn give(&self, job: &Arc<Job>, helpers: usize) {
        let mut state = self.lock();
        // Jobs that are over, and that no helper came for.
        state.jobs.retain(|job| job.ended.load(Ordering::Relaxed) < job.taken.len());
        state.jobs.extend((0..helpers).map(|_| Arc::clone(job)));
        self.lying.store(state.jobs.len(), Ordering::Relaxed);
        let asleep = helpers.saturating_sub(state.looking);
        drop(state);
        for _ in 0..asleep {
            self.wakes.notify_one();
        }
    }

    /// Waits for a job, actively at first. Returns `None` once the pool is dropped.
    fn next(&self) -> Option<Arc<Job>> {
        self.lock().looking += 1;
        let start = Instant::now();
        while self.lying.load(Ordering::Relaxed) == 0 && start.elapsed() < PATIENCE {
            for _ in 0..50 {
                std::hint::spin_loop();
            }
        }
        let mut state = self.lock();
        state.looking -= 1;
        loop {
            if let Some(job) = state.jobs.pop() {
                self.lying.store(state.jobs.len(), Ordering::Relaxed);
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.wakes.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The pool of this process for so many threads, the caller included. `None` if another thread has it locked, or if its
/// threads cannot be started.
fn pool(threads: usize) -> Option<Arc<Pool>> {
    /// The process, how many threads, and the pool.
    static POOL: Mutex<Option<(u32, usize, Arc<Pool>)>> = Mutex::new(None);
    let process = std::process::id();
    // Another thread may be making the pool. In a child that was forked meanwhile, nobody will ever unlock it.
    let mut current = match POOL.try_lock() {
        Ok(current) => current,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    if let Some((of_process, of_threads, pool)) = &*current
        && (*of_process, *of_threads) == (process, threads)
    {
        return Some(Arc::clone(pool));
    }
    let pool = Arc::new(Pool::new(threads - 1)?);
    let old = current.replace((process, threads, Arc::clone(&pool)));
    if let Some(old) = old.filter(|old| old.0 != process) {
        // Its threads are the parent's. They may have held its locks at the fork.
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
}
