//! When work is done without a team (team.rs), because other threads want the same cores.
//!
//! If a team waited for more than a third of the time for members that were late, we assume contention: a team of two
//! threads is about 1.5 times as fast as one thread, so one thread would have been faster. Then there are no teams for a
//! while: [`REST`]. (A single late member is no sign of contention: a thread that has just joined has nothing in its
//! cache.)

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The first rest and the longest one. A rest is twice as long as the one before, unless teams worked well in between,
/// for as long as the rest would be: so teams that try again cost little.
const REST: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// When teams rest.
struct Rest {
    until: Option<Instant>,
    /// The length of the next rest.
    next: Duration,
}

impl Rest {
    const fn new() -> Self {
        Self { until: None, next: REST[0] }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// After the work of a team.
    fn after(&mut self, contended: bool, now: Instant) {
        if contended {
            self.until = Some(now + self.next);
            self.next = REST[1].min(2 * self.next);
        } else if self.until.is_none_or(|until| now >= until + self.next) {
            *self = Self::new();
        }
    }
}

/// The rest of all teams of this process. A thread that finds it locked goes on without it: in a child that was forked
/// while it was locked, nobody would ever unlock it.
static REST_OF_ALL: Mutex<Rest> = Mutex::new(Rest::new());

/// Whether work should be done without a team now.
pub(crate) fn is_now() -> bool {
    REST_OF_ALL.try_lock().is_ok_and(|rest| !rest.is_over(Instant::now()))
}

/// After the work of a team that took `elapsed`, of which it `waited` for members that were late.
pub(crate) fn after(waited: Duration, elapsed: Duration) {
    if let Ok(mut rest) = REST_OF_ALL.try_lock() {
        rest.after(3 * waited > elapsed, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_rest_longer_each_time_until_they_work() {
        let (mut rest, mut now) = (Rest::new(), Instant::now());
        assert!(rest.is_over(now));
        for length in [REST[0], 2 * REST[0], 4 * REST[0]] {
            rest.after(true, now);
            assert!(!rest.is_over(now + length - Duration::from_micros(1)));
            now += length;
            assert!(rest.is_over(now));
            rest.after(false, now); // too early to say
        }
        for _ in 0..20 {
            rest.after(true, now);
        }
        now += REST[1];
        assert!(rest.is_over(now));
        now += REST[1];
        rest.after(false, now);
        rest.after(true, now);
        assert!(rest.is_over(now + REST[0]));
    }
}
