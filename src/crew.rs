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
use crate::parallel;
use crate::rest;
use crate::simd::{Element, Level, Simd, Task};

/// A number in a cache line (and the one fetched with it) of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicUsize);

/// What the members share.
#[derive(Default)]
pub(crate) struct Crew {
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

/// Steps take some 10 us, and members' parts are equal; who lost its core is away for a millisecond or more.
const LATE: Duration = Duration::from_micros(200);

/// More than the members of any crew.
const MOST: usize = 1 << 12;
const OVER: usize = usize::MAX;

/// How often to look, some 10 us, before others may run: the one waited for may have no core.
const SPINS: u32 = 500;

/// A member in a round: which one of how many.
pub(crate) struct Member<'a> {
    pub index: usize,
    pub count: usize,
    crew: Option<&'a Crew>,
    /// How many have come to the next meeting once all have.
    meeting: usize,
}

impl Member<'_> {
    /// Somebody who works alone.
    pub fn alone() -> Self {
        Self { index: 0, count: 1, crew: None, meeting: 0 }
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
        match self.crew {
            Some(crew) if self.count > 1 => self.meet_others(crew),
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn meet_others(&mut self, crew: &Crew) -> Result<()> {
        crew.arrived.0.fetch_add(1, Ordering::AcqRel);
        let meeting = self.meeting;
        self.meeting += self.count;
        let waited = crew.wait(|| crew.arrived.0.load(Ordering::Acquire) >= meeting)?;
        if waited > crew.patience {
            crew.late.store(true, Ordering::Relaxed);
        }
        if self.index == 0 {
            crew.waited.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Crew {
    /// One that leaves behind who is so late.
    pub fn new(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// For the leader: calls `work`, which goes through rounds, and then lets the helpers go.
    ///
    /// # Errors
    /// If `work` fails, here or at a helper's.
    pub fn lead(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut guard = Guard { crew: self, failed: true };
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
        let mut member = Member { index: 0, count, crew: Some(self), meeting: before + count };
        work(&mut member)?;
        member.meet()
    }

    /// For a helper: calls `work` with every round from now on.
    ///
    /// # Errors
    /// If `work` fails. Failures of others are reported by them.
    pub fn help(&self, mut work: impl FnMut(usize, &mut Member<'_>) -> Result<()>) -> Result<()> {
        let mut guard = Guard { crew: self, failed: true };
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
                result = work(n, &mut Member { index, count, crew: Some(self), meeting });
                if result.is_ok() {
                    self.arrived.0.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        let reported = self.broken.load(Ordering::Relaxed);
        guard.failed = result.is_err();
        if reported { Ok(()) } else { result }
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
    crew: &'a Crew,
    failed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.crew.broken.store(true, Ordering::Relaxed);
        }
        self.crew.round.0.store(OVER, Ordering::Release);
    }
}

/// Work in rounds that threads can share.
///
/// # Safety
/// What a member writes between two meetings, no other member reads or writes between them, whole slices
/// included; nor until the next round, if there is no meeting between rounds.
pub(crate) unsafe trait Rounds<E: Element>: Send + Sized {
    /// Whether members must meet between two rounds.
    const MEETS: bool;

    /// How many rounds.
    fn rounds(&self) -> usize;

    /// Before the first round, and after the last one.
    fn begin<S: Simd<E>>(&mut self, s: S);
    fn end<S: Simd<E>>(&mut self, s: S);

    /// A member's part of round `n`.
    ///
    /// # Errors
    /// If another member failed.
    fn round<S: Simd<E>>(&mut self, s: S, n: usize, member: &mut Member<'_>) -> Result<()>;

    /// The same work, on the same memory.
    ///
    /// # Safety
    /// Both may only be used for the parts of members that meet.
    unsafe fn alias(&self) -> Self;
}

/// All rounds, by one thread.
pub(crate) struct Alone<W>(pub W);

impl<E: Element, W: Rounds<E>> Task<E> for Alone<W> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) -> Result<()> {
        self.0.begin(s);
        for n in 0..self.0.rounds() {
            self.0.round(s, n, &mut Member::alone())?;
        }
        self.0.end(s);
        Ok(())
    }
}

/// What comes before all rounds, or after them.
enum Around<'a, W> {
    Begin(&'a mut W),
    End(&'a mut W),
}

impl<E: Element, W: Rounds<E>> Task<E> for Around<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        match self {
            Self::Begin(work) => work.begin(s),
            Self::End(work) => work.end(s),
        }
    }
}

/// So many rounds are one of the crew's: who comes later joins at the next one, and only there does the leader
/// tell everybody how many they are.
const AT_ONCE: usize = 4;

/// A member's part of [`AT_ONCE`] rounds.
struct Chunk<'a, 'm, W>(&'a mut W, usize, &'a mut Member<'m>);

impl<E: Element, W: Rounds<E>> Task<E> for Chunk<'_, '_, W> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self(work, n, member) = self;
        let first = n * AT_ONCE;
        for round in first..work.rounds().min(first + AT_ONCE) {
            if W::MEETS && round > first {
                member.meet()?;
            }
            work.round(s, round, member)?;
        }
        Ok(())
    }
}

/// Goes through all rounds with up to so many threads.
///
/// # Errors
/// If a thread failed.
pub(crate) fn share<E: Element, W: Rounds<E>>(
    level: Level,
    mut work: W,
    most: usize,
) -> Result<()> {
    let rounds = work.rounds().div_ceil(AT_ONCE);
    if rounds >= OVER / MOST - 1 {
        return level.run(Alone(work)); // on small machines they could not be counted
    }
    level.run(Around::Begin(&mut work));
    // SAFETY: from here on all of them are used for rounds alone, by the members of one crew.
    let helpers = (1..most).map(|_| unsafe { work.alias() });
    let mut tasks: Vec<_> = helpers.map(|work| (false, work)).collect();
    // SAFETY: as above; `work` itself rests until all rounds are over.
    tasks.insert(0, (true, unsafe { work.alias() }));
    let (crew, start) = (Crew::new(LATE), Instant::now());
    parallel::run(tasks, |(leads, mut work)| match leads {
        true => crew.lead(|| {
            (0..rounds)
                .try_for_each(|n| crew.round(n, |member| level.run(Chunk(&mut work, n, member))))
        }),
        false => crew.help(|n, member| level.run(Chunk(&mut work, n, member))),
    })?;
    level.run(Around::End(&mut work));
    if crew.joined.0.into_inner() > 0 {
        let waited = Duration::from_nanos(crew.waited.into_inner());
        rest::after(2 * waited > start.elapsed());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn members_read_what_others_wrote_before_a_meeting() {
        let crew = Crew::new(Duration::MAX);
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
            let helpers: Vec<_> = (0..2).map(|_| scope.spawn(|| crew.help(work))).collect();
            crew.lead(|| {
                let mut n = 0;
                // The helpers come when they come.
                while together < 100 {
                    crew.round(n, |member| {
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
            let crew = Crew::new(Duration::MAX);
            let fails = |fails: bool, member: &mut Member<'_>| {
                ensure!(!fails || member.count == 1, "no memory");
                member.meet()
            };
            std::thread::scope(|scope| {
                let helper = scope.spawn(|| crew.help(|_, member| fails(!leader_fails, member)));
                let led = crew.lead(|| {
                    (0..).try_for_each(|n| crew.round(n, |member| fails(leader_fails, member)))
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
