//! Work in rounds. One thread does it, or a team (team.rs) shares it.

#![allow(unsafe_code)]

use std::ops::Range;

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

/// The team goes through this many rounds at a time. Between two such groups, late threads join, and the leader
/// announces the number of members.
const AT_ONCE: usize = 4;

/// A member's part of some rounds.
struct Part<'a, 'm, W> {
    work: &'a mut W,
    rounds: Range<usize>,
    member: &'a mut Member<'m>,
    /// Whether to call `begin` before these rounds, and `end` after them.
    around: (bool, bool),
}

impl<E: Element, W: Rounds<E>> Kernel<E> for Part<'_, '_, W> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { work, rounds, member, around: (begins, ends) } = self;
        if begins {
            work.begin(s);
        }
        let first = rounds.start;
        for n in rounds {
            if W::MEETS && n > first {
                member.meet()?;
            }
            work.round(s, n, member)?;
        }
        if ends {
            work.end(s);
        }
        Ok(())
    }
}

/// Goes through all rounds on this thread.
///
/// # Errors
/// Never: only members of a team can fail.
pub(crate) fn run_alone<E: Element, W: Rounds<E>>(level: Level, mut work: W) -> Result<()> {
    let rounds = 0..work.rounds();
    let member = &mut Member::alone();
    level.run(Part { work: &mut work, rounds, member, around: (true, true) })
}

/// Goes through all rounds with up to `most` threads.
///
/// # Errors
/// If a thread failed.
pub(crate) fn run_shared<E: Element, W: Rounds<E>>(
    level: Level,
    mut work: W,
    most: usize,
) -> Result<()> {
    let rounds = work.rounds();
    let group = |work: &mut W, n: usize, member: &mut Member<'_>| {
        let rounds = n * AT_ONCE..rounds.min((n + 1) * AT_ONCE);
        level.run(Part { work, rounds, member, around: (false, false) })
    };
    let around = |work: &mut W, around| {
        level.run(Part { work, rounds: 0..0, member: &mut Member::alone(), around })
    };
    around(&mut work, (true, false))?;
    // SAFETY: from here on each handle is used for rounds only, by one member of one team. Nobody uses `work` itself
    // until all rounds are over.
    let alias = |_| unsafe { work.alias() };
    let (mut own, helpers) = (alias(0), (1..most).map(alias).collect());
    team::run(
        |leader| {
            (0..rounds.div_ceil(AT_ONCE))
                .try_for_each(|n| leader.round(n, |member| group(&mut own, n, member)))
        },
        helpers,
        |helper, n, member| group(helper, n, member),
    )?;
    around(&mut work, (false, true))
}
