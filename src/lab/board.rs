//! Two threads on one sequence, each with some of the units.
//!
//! What one has to tell the other lies on a board of atomic numbers. Between writing there and reading,
//! they meet. Meetings are a few cache lines that travel between two cores, some hundred cycles: both
//! threads wait actively, and sequences that nobody came for are done by one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::buffer::zeros;
use crate::error::{Result, ensure};

/// The leader, who walks through the data, and the helper.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Leader,
    Helper,
}

/// A number in a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicUsize);

/// What two threads share.
pub(super) struct Team {
    /// The helper is there.
    joined: AtomicBool,
    /// The sequence that both work on, from 1; [`OVER`] when the leader has left.
    sequence: Line,
    /// How often each came to a meeting.
    met: [Line; 2],
    /// One of them failed: nobody may wait for it.
    broken: AtomicBool,
    board: Vec<AtomicU64>,
}

const OVER: usize = usize::MAX;

impl Team {
    /// A team with room for so many numbers on its board.
    pub fn new(board: usize) -> Result<Self> {
        let board = zeros::<f64>(board)?.into_iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            joined: AtomicBool::new(false),
            sequence: Line::default(),
            met: Default::default(),
            broken: AtomicBool::new(false),
            board,
        })
    }

    /// For the leader: whether the helper takes part in sequence `n`.
    pub fn begin(&self, n: usize) -> bool {
        let joined = self.joined.load(Ordering::Acquire);
        if joined {
            self.sequence.0.store(n + 1, Ordering::Release);
        }
        joined
    }

    /// For the helper: calls `work` with every sequence that the leader begins, until it has left.
    pub fn help(&self, mut work: impl FnMut(usize) -> Result<()>) -> Result<()> {
        self.guarded(|| {
            self.joined.store(true, Ordering::Release);
            let mut last = 0;
            loop {
                self.wait(|| self.sequence.0.load(Ordering::Acquire) != last)?;
                last = self.sequence.0.load(Ordering::Acquire);
                if last == OVER {
                    return Ok(());
                }
                work(last - 1)?;
            }
        })
    }

    /// For the leader: calls `work`, and lets the helper go when it ends.
    pub fn lead(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.guarded(work)
    }

    /// Calls one thread's work, and lets the other go if it fails, which then has nothing to report.
    fn guarded(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut guard = Guard { team: self, failed: true };
        let result = work();
        if result.is_err() && self.broken.load(Ordering::Relaxed) {
            return Ok(());
        }
        guard.failed = result.is_err();
        result
    }

    /// Waits for the other to come to the same meeting; what it wrote before can then be read.
    ///
    /// # Errors
    /// If it failed, or panicked.
    pub fn meet(&self, who: Who) -> Result<()> {
        let [mine, other] = match who {
            Who::Leader => [0, 1],
            Who::Helper => [1, 0],
        };
        let meeting = self.met[mine].0.fetch_add(1, Ordering::Release) + 1;
        self.wait(|| self.met[other].0.load(Ordering::Acquire) >= meeting)
    }

    /// Writes numbers on the board from `first` on.
    pub fn write(&self, first: usize, numbers: &[f64]) {
        for (place, number) in self.board[first..][..numbers.len()].iter().zip(numbers) {
            place.store(number.to_bits(), Ordering::Relaxed);
        }
    }

    /// Reads numbers from the board.
    pub fn read(&self, first: usize, numbers: &mut [f64]) {
        for (place, number) in self.board[first..][..numbers.len()].iter().zip(numbers) {
            *number = f64::from_bits(place.load(Ordering::Relaxed));
        }
    }

    fn wait(&self, ready: impl Fn() -> bool) -> Result<()> {
        let mut spins = 0u32;
        while !ready() {
            ensure!(!self.broken.load(Ordering::Relaxed), "the other thread failed");
            spins = spins.saturating_add(1);
            if spins < 10_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}

/// Lets the other thread go, whatever ends this one's work.
struct Guard<'a> {
    team: &'a Team,
    failed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.team.broken.store(true, Ordering::Relaxed);
        }
        self.team.sequence.0.store(OVER, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn numbers_reach_the_other_thread() {
        let team = Team::new(2).unwrap();
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| {
                team.help(|n| {
                    team.write(1, &[n as f64 + 0.5]);
                    team.meet(Who::Helper)?;
                    team.meet(Who::Helper)
                })
            });
            team.lead(|| {
                while !team.begin(0) {}
                for n in 0..100 {
                    assert!(n == 0 || team.begin(n));
                    team.meet(Who::Leader)?;
                    let mut read = [0.0];
                    team.read(1, &mut read);
                    assert_eq!(read[0], n as f64 + 0.5);
                    team.meet(Who::Leader)?;
                }
                Ok(())
            })
            .unwrap();
            helper.join().unwrap().unwrap();
        });
    }

    #[test]
    fn nobody_waits_for_one_that_failed() {
        let team = Team::new(0).unwrap();
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| team.help(|_| Err(Error::new("no memory"))));
            let led = team.lead(|| {
                while !team.begin(0) {}
                team.meet(Who::Leader)
            });
            assert!(led.is_ok(), "the helper reports it");
            assert!(helper.join().unwrap().unwrap_err().to_string().contains("no memory"));
        });
        let team = Team::new(0).unwrap();
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| team.help(|_| team.meet(Who::Helper)));
            let led = team.lead(|| {
                while !team.begin(0) {}
                Err(Error::new("no memory"))
            });
            assert!(led.unwrap_err().to_string().contains("no memory"));
            assert!(helper.join().unwrap().is_ok());
        });
    }
}
