//! How often a client may be told to come again later. One that asks again at once, and again, would take the
//! processors from those who wait as they were told: what it asks beyond its measure it is told late.
//! Never here: which refusals are meant.

use std::time::Duration;

use super::{ClientId, State, Time};

const SECOND: Duration = Duration::from_secs(1);

impl State {
    /// `client` is told to come again later. How long the answer must wait for that: nothing for as many as the
    /// limits allow in a second, however they come.
    pub fn told_to_wait(&mut self, now: Time, client: ClientId) -> Duration {
        let Some(between) = SECOND.checked_div(self.limits.refusals_per_second) else {
            return Duration::ZERO;
        };
        let Some(client) = self.clients.table.get_mut(&client) else {
            return Duration::ZERO;
        };
        // Each takes its part of a second, behind those before it; a client that was not refused for a while has a
        // whole second to give.
        client.refused_until = client.refused_until.max(now).plus(between);
        client.refused_until.since(now).saturating_sub(SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{open_for_business, ready};
    use super::super::{Limits, Time};
    use super::*;

    const MEASURE: u32 = 100;

    fn limited() -> Limits {
        Limits {
            refusals_per_second: MEASURE,
            ..Limits::default()
        }
    }

    #[test]
    fn who_asks_again_at_once_is_told_late_and_later_and_nobody_else_is() {
        let mut state = open_for_business(limited());
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let now = Time::ZERO.plus(SECOND);
        for _ in 0..MEASURE {
            assert_eq!(state.told_to_wait(now, a), Duration::ZERO);
        }
        let waits = [1, 2, 3].map(|_| state.told_to_wait(now, a).as_millis());
        assert_eq!(waits, [10, 20, 30]);
        assert_eq!(state.told_to_wait(now, b), Duration::ZERO);
    }

    #[test]
    fn who_waits_as_told_has_its_measure_again() {
        let mut state = open_for_business(limited());
        let a = ready(&mut state, "a");
        let now = Time::ZERO;
        for _ in 0..2 * MEASURE {
            state.told_to_wait(now, a);
        }
        let later = now.plus(3 * SECOND);
        for _ in 0..MEASURE {
            assert_eq!(state.told_to_wait(later, a), Duration::ZERO);
        }
        assert!(!state.told_to_wait(later, a).is_zero());
    }

    #[test]
    fn without_a_measure_nobody_is_told_late() {
        let mut state = open_for_business(Limits {
            refusals_per_second: 0,
            ..Limits::default()
        });
        let a = ready(&mut state, "a");
        for _ in 0..10_000 {
            assert_eq!(state.told_to_wait(Time::ZERO, a), Duration::ZERO);
        }
    }
}
