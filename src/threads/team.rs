//! Threads that share every step of a pass, each with some of the hidden units.
//!
//! A leader goes through rounds; whoever has joined by the beginning of a round takes part in it, so nobody
//! waits for a thread that is still asleep, and a leader that nobody comes to does everything. Within a round
//! the members meet: what one wrote before a meeting, the others can read after it. They wait actively, a
//! meeting being a few cache lines that travel between cores, and let other threads run if it takes long.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Result, ensure};

/// A number in a cache line (and the one fetched with it) of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicUsize);

/// What the members share.
#[derive(Default)]
pub(crate) struct Team {
    /// Helpers that have come.
    joined: Line,
    /// How often anybody came to a meeting.
    arrived: Line,
    /// The round, from 1, times [`MOST`], plus its members; or [`OVER`]. And how many had `arrived` before it.
    round: Line,
    before: AtomicUsize,
    /// How long a meeting may take before the leader goes on alone, and whether it does: who is so late has no
    /// core of its own.
    patience: Duration,
    late: AtomicBool,
    /// How many nanoseconds the leader waited, in meetings that took long.
    waited: AtomicU64,
    /// Somebody failed: nobody may wait for it.
    broken: AtomicBool,
}

/// More than the members of any team.
pub(super) const MOST: usize = 1 << 12;
pub(super) const OVER: usize = usize::MAX;

/// How often to look, some 10 us, before others may run: the one waited for may have no core.
const SPINS: u32 = 500;

/// A member in a round: which one of how many.
pub(crate) struct Member<'a> {
    pub index: usize,
    pub count: usize,
    team: Option<&'a Team>,
    /// How many have come to the next meeting once all have.
    meeting: usize,
}

impl Member<'_> {
    /// Somebody who works alone.
    pub fn alone() -> Self {
        Self { index: 0, count: 1, team: None, meeting: 0 }
    }

    /// This member's part of so many things, in order.
    #[inline(always)]
    pub fn part(&self, things: usize) -> Range<usize> {
        self.index * things / self.count..(self.index + 1) * things / self.count
    }

    /// Waits for the others to come to the same meeting.
    ///
    /// # Errors
    /// If one of them failed.
    #[inline(always)]
    pub fn meet(&mut self) -> Result<()> {
        match self.team {
            Some(team) if self.count > 1 => self.meet_others(team),
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn meet_others(&mut self, team: &Team) -> Result<()> {
        team.arrived.0.fetch_add(1, Ordering::AcqRel);
        let meeting = self.meeting;
        self.meeting += self.count;
        let waited = team.wait(|| team.arrived.0.load(Ordering::Acquire) >= meeting)?;
        if waited > team.patience {
            team.late.store(true, Ordering::Relaxed);
        }
        if self.index == 0 {
            team.waited.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Team {
    /// One that leaves behind who is so late.
    pub fn new(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// For the leader: calls `work`, which goes through rounds, and then lets the helpers go.
    ///
    /// # Errors
    /// If `work` fails, here or at a helper's.
    pub fn lead(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut guard = Guard { team: self, failed: true };
        let result = work();
        guard.failed = result.is_err();
        // A helper that failed has reported it.
        if guard.failed && self.broken.load(Ordering::Relaxed) { Ok(()) } else { result }
    }

    /// For the leader: round `n`, with whoever is there.
    ///
    /// # Errors
    /// If `work` fails, here or at a helper's.
    pub fn round(&self, n: usize, work: impl FnOnce(&mut Member<'_>) -> Result<()>) -> Result<()> {
        let late = self.late.load(Ordering::Relaxed);
        let count = if late { 1 } else { 1 + self.joined.0.load(Ordering::Acquire) };
        let before = self.arrived.0.load(Ordering::Relaxed);
        self.before.store(before, Ordering::Relaxed);
        self.round.0.store((n + 1) * MOST + count, Ordering::Release);
        let mut member = Member { index: 0, count, team: Some(self), meeting: before + count };
        work(&mut member)?;
        member.meet()
    }

    /// For a helper: calls `work` with every round from now on.
    ///
    /// # Errors
    /// If `work` fails. Failures of others are reported by them.
    pub fn help(&self, mut work: impl FnMut(usize, &mut Member<'_>) -> Result<()>) -> Result<()> {
        let mut guard = Guard { team: self, failed: true };
        let mut last = self.round.0.load(Ordering::Acquire);
        let index = 1 + self.joined.0.fetch_add(1, Ordering::AcqRel);
        let mut result = Ok(());
        // Over already if it came too late.
        while last != OVER
            && result.is_ok()
            && self.wait(|| self.round.0.load(Ordering::Acquire) != last).is_ok()
        {
            last = self.round.0.load(Ordering::Acquire);
            if last == OVER {
                break;
            }
            // Of a round that began before this helper came, nobody waits for it.
            let (n, count) = (last / MOST - 1, last % MOST);
            if index < count {
                let meeting = self.before.load(Ordering::Relaxed) + count;
                result = work(n, &mut Member { index, count, team: Some(self), meeting });
                if result.is_ok() {
                    self.arrived.0.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        let reported = self.broken.load(Ordering::Relaxed);
        guard.failed = result.is_err();
        if reported { Ok(()) } else { result }
    }

    /// How long the leader waited in meetings that took long; `None` if no helper came.
    pub fn waited(self) -> Option<Duration> {
        let came = self.joined.0.into_inner() > 0;
        came.then(|| Duration::from_nanos(self.waited.into_inner()))
    }

    /// Waits, and says how long beyond [`SPINS`].
    fn wait(&self, ready: impl Fn() -> bool) -> Result<Duration> {
        let (mut spins, mut start) = (0, None);
        while !ready() {
            ensure!(!self.broken.load(Ordering::Relaxed), "another thread of the pass failed");
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                start.get_or_insert_with(Instant::now);
                std::thread::yield_now();
            }
        }
        Ok(start.map_or(Duration::ZERO, |start| start.elapsed()))
    }
}

/// Lets the others go, whatever ends this one's work.
struct Guard<'a> {
    team: &'a Team,
    failed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.team.broken.store(true, Ordering::Relaxed);
        }
        self.team.round.0.store(OVER, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn members_read_what_others_wrote_before_a_meeting() {
        let team = Team::new(Duration::MAX);
        let numbers: Vec<_> = (0..3).map(|_| AtomicU64::new(0)).collect();
        let work = |n: usize, member: &mut Member<'_>| {
            numbers[member.index].store(n as u64 + 1, Ordering::Relaxed);
            member.meet()?;
            let sum: u64 = numbers[..member.count].iter().map(|n| n.load(Ordering::Relaxed)).sum();
            assert_eq!(sum, member.count as u64 * (n as u64 + 1));
            member.meet()
        };
        let mut together = 0;
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..2).map(|_| scope.spawn(|| team.help(work))).collect();
            team.lead(|| {
                let mut n = 0;
                // The helpers come when they come.
                while together < 100 {
                    team.round(n, |member| {
                        together += usize::from(member.count == 3);
                        work(n, member)
                    })?;
                    n += 1;
                }
                Ok(())
            })
            .unwrap();
            for helper in helpers {
                helper.join().unwrap().unwrap();
            }
        });
    }

    #[test]
    fn nobody_waits_for_one_that_failed() {
        for leader_fails in [false, true] {
            let team = Team::new(Duration::MAX);
            let fails = |fails: bool, member: &mut Member<'_>| {
                ensure!(!fails || member.count == 1, "no memory");
                member.meet()
            };
            std::thread::scope(|scope| {
                let helper = scope.spawn(|| team.help(|_, member| fails(!leader_fails, member)));
                let led = team.lead(|| {
                    (0..).try_for_each(|n| team.round(n, |member| fails(leader_fails, member)))
                });
                let helped = helper.join().unwrap();
                let results = [led, helped];
                let errors: Vec<&Error> = results.iter().filter_map(|r| r.as_ref().err()).collect();
                assert_eq!(errors.len(), 1);
                assert!(errors[0].to_string().contains("no memory"));
            });
        }
    }
}
