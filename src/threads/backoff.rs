//! When work is done without a team (team.rs), because other threads want the same cores.
//!
//! If a team waited for more than a third of the time for members that were late, we assume contention: a team of two
//! threads is about 1.5 times as fast as one thread, so one thread would have been faster. Then there are no teams for
//! [`REST`] times as long as this one waited. So on a busy machine, teams that try again cost about 5 % of the time.
//! (A single late member is no sign of contention: a thread that has just joined has nothing in its cache.)

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many times as long as a team waited there are no teams, and the longest such time.
const REST: u32 = 20;
const LONGEST: Duration = Duration::from_secs(1);

/// The end of the rest of all teams of this process. A thread that finds it locked goes on without it: in a child that
/// was forked while it was locked, nobody would ever unlock it.
static END: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether work should be done without a team now.
pub(crate) fn is_now() -> bool {
    END.try_lock().is_ok_and(|end| end.is_some_and(|end| Instant::now() < end))
}

/// After the work of a team that took `elapsed`, of which it `waited` for members that were late.
pub(crate) fn after(waited: Duration, elapsed: Duration) {
    let rest = rest(waited, elapsed);
    if !rest.is_zero()
        && let Ok(mut end) = END.try_lock()
    {
        *end = Some(Instant::now() + rest);
    }
}

/// For how long there should be no teams.
fn rest(waited: Duration, elapsed: Duration) -> Duration {
    if 3 * waited > elapsed { LONGEST.min(REST * waited) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_rest_for_a_multiple_of_the_time_that_they_waited() {
        let ms = Duration::from_millis;
        assert_eq!(rest(ms(0), ms(0)), ms(0));
        assert_eq!(rest(ms(2), ms(6)), ms(0));
        assert_eq!(rest(ms(3), ms(6)), ms(60));
        assert_eq!(rest(ms(300), ms(400)), LONGEST);
    }
}
