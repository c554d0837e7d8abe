//! Work in rounds. One thread does it, or a team (team.rs) shares it.

#![allow(unsafe_code)]

use super::team::{self, Member};
use crate::error::Result;
use crate::simd::{Element, Kernel, Level, Simd};

/// Work in rounds that threads can share.
///
/// # Safety
/// Between two meetings, no member reads or writes what another member writes there; a slice counts as a whole.
/// Without a meeting between rounds, this also holds until the next round.
pub(crate) unsafe trait Rounds<E: Element>: Send + Sized {
    /// Whether members must meet between two rounds.
    const MEETS: bool;

    /// The number of rounds.
    fn rounds(&self) -> usize;

    /// One thread calls this before the first round.
    fn begin<S: Simd<E>>(&mut self, s: S);
    /// One thread calls this after the last round.
    fn end<S: Simd<E>>(&mut self, s: S);

    /// A member's part of round `n`.
    ///
    /// # Errors
    /// If another member failed.
    fn round<S: Simd<E>>(&mut self, s: S, n: usize, member: &mut Member<'_>) -> Result<()>;

    /// A second handle to the same work and the same memory.
    ///
    /// # Safety
    /// Each handle is only used for the part of one member of a team.
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

/// What one thread does before the first round, or after the last one.
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

/// The team goes through this many rounds at a time. Between two such groups, late threads join, and the leader
/// announces the number of members.
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

/// Goes through all rounds with up to `most` threads.
///
/// # Errors
/// If a thread failed.
pub(crate) fn run_rounds<E: Element, W: Rounds<E>>(
    level: Level,
    mut work: W,
    most: usize,
) -> Result<()> {
    level.run(Around::Begin(&mut work));
    // SAFETY: from here on each handle is used for rounds only, by one member of one team. Nobody uses `work` itself
    // until all rounds are over.
    let alias = |_| unsafe { work.alias() };
    let (mut own, helpers) = (alias(0), (1..most).map(alias).collect());
    let rounds = work.rounds().div_ceil(AT_ONCE);
    team::run(
        |leader| {
            (0..rounds)
                .try_for_each(|n| leader.round(n, |member| level.run(Chunk(&mut own, n, member))))
        },
        helpers,
        |helper, n, member| level.run(Chunk(helper, n, member)),
    )?;
    level.run(Around::End(&mut work));
    Ok(())
}
