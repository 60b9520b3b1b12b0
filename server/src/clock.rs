//! The system's clocks, for the metadata server that takes time as an argument.

use catalog::Timestamp;
use mds::Clock;
use mds::state::Time;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Time {
        Time::ZERO.plus(self.started.elapsed())
    }

    fn wall(&self) -> Timestamp {
        wall()
    }
}

pub fn wall() -> Timestamp {
    // A clock set before 1970 shows files of 1970.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
    }
}
