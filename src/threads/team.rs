//! A team: threads that share work, round after round.
//!
//! The leader announces rounds. Helpers that have joined by the start of a round take part in it. Threads that are not
//! awake when a round starts skip it, so a leader without helpers does everything itself. Within a round the members
//! meet: after a meeting, each can read what the others wrote before it. A meeting is a few cache lines that travel
//! between two cores, so members wait actively. After about 10 us they let other threads run.
//!
//! A member that comes [`LATE`] to a meeting was descheduled. From the next round on the leader works alone, and the
//! helpers leave.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{backoff, pool};
use crate::error::{Result, ensure};

/// The work between two meetings takes up to some 10 us, and is about equal for all members. A thread that loses its core
/// is away for at least a millisecond. So a thread this late was descheduled.
const LATE: Duration = Duration::from_micros(200);

/// More than the members of any team.
const MOST: u64 = 1 << 12;
const OVER: u64 = u64::MAX;

/// How often a waiting thread looks before it lets others run: about 10 us. The thread it waits for may have no core.
const SPINS: u32 = 500;

/// Runs a team. `lead` goes through rounds with [`Leader::round`], on the calling thread. Each of `helpers` is a thread's
/// own value, with which it calls `help` for every round in which it takes part.
///
/// # Errors
/// The first error of any member. The others stop when they next wait.
pub(crate) fn run<H: Send>(
    lead: impl FnOnce(&mut Leader<'_>) -> Result<()> + Send,
    helpers: Vec<H>,
    help: impl Fn(&mut H, usize, &mut Member<'_>) -> Result<()> + Sync,
) -> Result<()> {
    enum Task<L, H> {
        Lead(L),
        Help(H),
    }
    let team = Team::new(1 + helpers.len(), LATE);
    let (start, end) = (Instant::now(), OnceLock::new());
    let mut tasks = vec![Task::Lead(lead)];
    tasks.extend(helpers.into_iter().map(Task::Help));
    pool::run(tasks, |task| match task {
        Task::Lead(lead) => {
            let led = team.lead(lead);
            end.get_or_init(Instant::now);
            led
        }
        Task::Help(mut helper) => team.help(|n, member| help(&mut helper, n, member)),
    })?;
    // After its last round the leader waits for the helpers.
    let waited = team.waited() + end.get().map_or(Duration::ZERO, Instant::elapsed);
    backoff::after(waited, start.elapsed());
    Ok(())
}

/// A number in a cache line of its own, and in the next line, which is fetched with it.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// What the leader announces, in one cache line.
#[repr(align(128))]
#[derive(Default)]
struct Announcement {
    /// The number of the round plus 1, times [`MOST`], plus its members; or [`OVER`].
    round: AtomicU64,
    /// The number of the round's first meeting.
    meeting: AtomicU64,
}

/// What the members share.
pub(crate) struct Team {
    announced: Announcement,
    /// The number of helpers that have joined.
    joined: Line,
    /// The last meeting that each member came to.
    came: Vec<Line>,
    /// A member that comes this late to a meeting was descheduled.
    patience: Duration,
    /// A member came late to a meeting. From now on the leader works alone.
    late: AtomicBool,
    /// The nanoseconds that all members together waited, in waits of more than [`SPINS`].
    waited: AtomicU64,
    /// A member failed: nobody may wait for it.
    broken: AtomicBool,
}

/// A member in a round: its index and the number of members.
pub(crate) struct Member<'a> {
    pub index: usize,
    pub count: usize,
    team: Option<&'a Team>,
    /// The number of the next meeting.
    meeting: u64,
}

impl Member<'_> {
    /// The only member, without a team.
    pub fn alone() -> Self {
        Self { index: 0, count: 1, team: None, meeting: 0 }
    }

    /// This member's part of so many things, in order.
    #[inline(always)]
    pub fn part(&self, things: usize) -> Range<usize> {
        match self.count {
            1 => 0..things,
            count => self.index * things / count..(self.index + 1) * things / count,
        }
    }

    /// Waits until all members have come to the same meeting.
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
        self.come(team);
        let (meeting, members) = (self.meeting, &team.came[..self.count]);
        self.meeting += 1;
        let all_came = || members.iter().all(|came| came.0.load(Ordering::Acquire) >= meeting);
        let waited = team.wait(all_came)?;
        if waited > team.patience {
            team.late.store(true, Ordering::Relaxed);
        }
        if !waited.is_zero() {
            team.waited.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Comes to the next meeting, without waiting for the others.
    fn come(&self, team: &Team) {
        team.came[self.index].0.store(self.meeting, Ordering::Release);
    }
}

/// The member that goes through the rounds.
pub(crate) struct Leader<'a> {
    team: &'a Team,
    member: Member<'a>,
}

impl Leader<'_> {
    /// The leader's part of round `n`, with all helpers that have joined. The numbers of the rounds must grow. When this
    /// returns, helpers may still work on their parts. The next round starts after that.
    ///
    /// # Errors
    /// If `work` fails, or a helper.
    pub fn round<T>(
        &mut self,
        n: usize,
        work: impl FnOnce(&mut Member<'_>) -> Result<T>,
    ) -> Result<T> {
        let Self { team, member } = self;
        member.meet()?; // the end of the round before
        let late = team.late.load(Ordering::Relaxed);
        let joined = if late { 0 } else { team.joined.0.load(Ordering::Acquire) };
        team.announced.meeting.store(member.meeting, Ordering::Relaxed);
        team.announced.round.store((n as u64 + 1) * MOST + joined + 1, Ordering::Release);
        member.count = joined as usize + 1;
        work(member)
    }
}

impl Team {
    fn new(members: usize, patience: Duration) -> Self {
        Self {
            announced: Announcement::default(),
            joined: Line::default(),
            came: (0..members).map(|_| Line::default()).collect(),
            patience,
            late: AtomicBool::new(false),
            waited: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// For the leader: calls `work`, which goes through rounds, waits for the end of the last one, and lets the helpers
    /// leave.
    fn lead(&self, work: impl FnOnce(&mut Leader<'_>) -> Result<()>) -> Result<()> {
        let mut guard = Guard { team: self, failed: true };
        let member = Member { index: 0, count: 1, team: Some(self), meeting: 1 };
        let mut leader = Leader { team: self, member };
        // A helper that has not entered the last round yet must find it announced.
        let result = work(&mut leader).and_then(|()| leader.member.meet());
        guard.failed = result.is_err();
        // A helper that failed has reported it.
        if guard.failed && self.broken.load(Ordering::Relaxed) { Ok(()) } else { result }
    }

    /// For a helper: joins, and calls `work` for every round in which it takes part, until the leader lets it leave
    /// or works alone.
    ///
    /// # Errors
    /// If `work` fails. Another member's failure is reported by that member.
    fn help(&self, mut work: impl FnMut(usize, &mut Member<'_>) -> Result<()>) -> Result<()> {
        let mut last = self.announced.round.load(Ordering::Acquire);
        if last == OVER {
            return Ok(()); // too late to join
        }
        let mut guard = Guard { team: self, failed: true };
        let index = 1 + self.joined.0.fetch_add(1, Ordering::AcqRel) as usize;
        let mut result = Ok(());
        let round = || self.announced.round.load(Ordering::Acquire);
        // This is set in a round that all of its members have entered. So a helper that sees it here has no part in any
        // later round.
        let late = || self.late.load(Ordering::Relaxed);
        while result.is_ok() && self.wait(|| round() != last || late()).is_ok() && !late() {
            last = round();
            if last == OVER {
                break;
            }
            // A round that began before this helper joined goes on without it.
            let (n, count) = ((last / MOST - 1) as usize, (last % MOST) as usize);
            if index < count {
                let meeting = self.announced.meeting.load(Ordering::Relaxed);
                let mut member = Member { index, count, team: Some(self), meeting };
                result = work(n, &mut member);
                if result.is_ok() {
                    member.come(self);
                }
            }
        }
        let reported = self.broken.load(Ordering::Relaxed);
        guard.failed = result.is_err();
        if reported { Ok(()) } else { result }
    }

    /// How long the team waited for members that were late. If one is late, all others wait, which counts once.
    fn waited(self) -> Duration {
        let (waited, joined) = (self.waited.into_inner(), self.joined.0.into_inner());
        Duration::from_nanos(waited / joined.max(1))
    }

    /// Waits, and returns how long it took beyond [`SPINS`] looks.
    fn wait(&self, ready: impl Fn() -> bool) -> Result<Duration> {
        let (mut spins, mut start) = (0, None);
        while !ready() {
            ensure!(!self.broken.load(Ordering::Relaxed), "another thread of the team failed");
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

/// Lets the other members leave when this one does, also if its work panics.
struct Guard<'a> {
    team: &'a Team,
    failed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.team.broken.store(true, Ordering::Relaxed);
        }
        self.team.announced.round.store(OVER, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn members_read_what_others_wrote_before_a_meeting() {
        let team = Team::new(3, Duration::MAX);
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
            team.lead(|leader| {
                let mut n = 0;
                // Until the helpers have joined, rounds have fewer members.
                while together < 100 {
                    leader.round(n, |member| {
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
    fn every_member_has_its_part_of_the_last_round() {
        for _ in 0..200 {
            let (team, helped) = (Team::new(2, Duration::MAX), AtomicBool::new(false));
            std::thread::scope(|scope| {
                let helper = scope.spawn(|| {
                    team.help(|_, _| {
                        helped.store(true, Ordering::Relaxed);
                        Ok(())
                    })
                });
                while team.joined.0.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
                // The leader's part is over at once, and nobody meets.
                team.lead(|leader| leader.round(0, |_| Ok(()))).unwrap();
                helper.join().unwrap().unwrap();
            });
            assert!(helped.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn nobody_waits_for_one_that_failed() {
        for leader_fails in [false, true] {
            let team = Team::new(2, Duration::MAX);
            let fails = |fails: bool, member: &mut Member<'_>| {
                ensure!(!fails || member.count == 1, "no memory");
                member.meet()
            };
            std::thread::scope(|scope| {
                let helper = scope.spawn(|| team.help(|_, member| fails(!leader_fails, member)));
                let led = team.lead(|leader| {
                    (0..).try_for_each(|n| leader.round(n, |member| fails(leader_fails, member)))
                });
                let helped = helper.join().unwrap();
                let results = [led, helped];
                let errors: Vec<&Error> = results.iter().filter_map(|r| r.as_ref().err()).collect();
                assert_eq!(errors.len(), 1);
                assert!(errors[0].to_string().contains("no memory"));
            });
        }
    }

    #[test]
    fn a_late_member_is_left_behind() {
        let team = Team::new(2, Duration::from_millis(1));
        std::thread::scope(|scope| {
            let helper = scope.spawn(|| {
                team.help(|_, member| {
                    std::thread::sleep(Duration::from_millis(30));
                    member.meet()
                })
            });
            team.lead(|leader| {
                let mut counts = Vec::new();
                for n in 0.. {
                    let together = counts.contains(&2);
                    leader.round(n, |member| {
                        counts.push(member.count);
                        member.meet()
                    })?;
                    if together {
                        break;
                    }
                }
                assert_eq!(counts[counts.len() - 2..], [2, 1]);
                // The helper does not wait for the leader to end.
                helper.join().unwrap()
            })
            .unwrap();
        });
        assert!(!team.waited().is_zero());
    }

    #[test]
    fn a_helper_that_comes_after_the_end_does_not_join() {
        let team = Team::new(2, Duration::MAX);
        team.lead(|leader| leader.round(0, |member| member.meet())).unwrap();
        team.help(|_, _| unreachable!()).unwrap();
        assert_eq!(team.joined.0.into_inner(), 0);
    }
}
