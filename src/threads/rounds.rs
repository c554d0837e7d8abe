//! Work in rounds, done by one thread or shared by a team (team.rs).

#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use super::team::{MOST, Member, OVER, Team};
use super::{backoff, run};
use crate::error::Result;
use crate::simd::{Element, Kernel, Level, Simd};

/// Steps take some 10 us, and members' parts are equal; who lost its core is away for a millisecond or more.
const LATE: Duration = Duration::from_micros(200);

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

impl<E: Element, W: Rounds<E>> Kernel<E> for Alone<W> {
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

impl<E: Element, W: Rounds<E>> Kernel<E> for Around<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) {
        match self {
            Self::Begin(work) => work.begin(s),
            Self::End(work) => work.end(s),
        }
    }
}

/// So many rounds are one of the team's: who comes later joins at the next one, and only there does the leader
/// tell everybody how many they are.
const AT_ONCE: usize = 4;

/// A member's part of [`AT_ONCE`] rounds.
struct Chunk<'a, 'm, W>(&'a mut W, usize, &'a mut Member<'m>);

impl<E: Element, W: Rounds<E>> Kernel<E> for Chunk<'_, '_, W> {
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
pub(crate) fn run_rounds<E: Element, W: Rounds<E>>(
    level: Level,
    mut work: W,
    most: usize,
) -> Result<()> {
    let rounds = work.rounds().div_ceil(AT_ONCE);
    if rounds >= OVER / MOST - 1 {
        return level.run(Alone(work)); // on small machines they could not be counted
    }
    level.run(Around::Begin(&mut work));
    // SAFETY: from here on all of them are used for rounds alone, by the members of one team.
    let helpers = (1..most).map(|_| unsafe { work.alias() });
    let mut tasks: Vec<_> = helpers.map(|work| (false, work)).collect();
    // SAFETY: as above; `work` itself rests until all rounds are over.
    tasks.insert(0, (true, unsafe { work.alias() }));
    let (team, start) = (Team::new(LATE), Instant::now());
    run(tasks, |(leads, mut work)| match leads {
        true => team.lead(|| {
            (0..rounds)
                .try_for_each(|n| team.round(n, |member| level.run(Chunk(&mut work, n, member))))
        }),
        false => team.help(|n, member| level.run(Chunk(&mut work, n, member))),
    })?;
    level.run(Around::End(&mut work));
    if let Some(waited) = team.waited() {
        backoff::after(2 * waited > start.elapsed());
    }
    Ok(())
}
