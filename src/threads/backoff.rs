//! When teams (team.rs) rest, because other threads want the same cores.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// For how long passes are one thread's after one whose leader mostly waited: beside other threads that want the same
/// cores, that is every pass of a team, and takes longer than one thread alone would. Twice as long each time in a
/// row, up to the second. (Being late once is no sign: who has just come has nothing in its cache.)
const REST: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];

/// When teams rest.
struct Rest {
    until: Option<Instant>,
    /// How long they do next time.
    next: Duration,
}

impl Rest {
    const fn new() -> Self {
        Self { until: None, next: REST[0] }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// After a pass of a team.
    fn after(&mut self, mostly_waited: bool, now: Instant) {
        if mostly_waited {
            self.until = Some(now + self.next);
            self.next = REST[1].min(2 * self.next);
        } else {
            *self = Self::new();
        }
    }
}

/// Of all teams of this process. Whoever finds it in use goes without it: in a child forked meanwhile, nobody would
/// ever unlock it.
static REST_OF_ALL: Mutex<Rest> = Mutex::new(Rest::new());

/// Whether passes had better be without a team now.
pub(crate) fn is_now() -> bool {
    REST_OF_ALL.try_lock().is_ok_and(|rest| !rest.is_over(Instant::now()))
}

/// After a pass of a team, whose leader waited for more than half of it or not.
pub(crate) fn after(mostly_waited: bool) {
    if let Ok(mut rest) = REST_OF_ALL.try_lock() {
        rest.after(mostly_waited, Instant::now());
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
        }
        for _ in 0..20 {
            rest.after(true, now);
        }
        assert!(rest.is_over(now + REST[1]));
        rest.after(false, now);
        assert!(rest.is_over(now));
        rest.after(true, now);
        assert!(rest.is_over(now + REST[0]));
    }
}
