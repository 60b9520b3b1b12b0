//! The metadata server's time in a test: as it passes, and further whenever a test says so. Leases and grace of
//! minutes then end at a test's word, however slow the machine is.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use catalog::Timestamp;
use mds::Clock;
use mds::state::Time;

pub struct Hands {
    started: Instant,
    ahead: Mutex<Duration>,
}

impl Hands {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            ahead: Mutex::default(),
        }
    }

    pub fn move_on(&self, by: Duration) {
        *self.ahead.lock().expect("nobody panics under it") += by;
    }
}

impl Clock for Hands {
    fn monotonic(&self) -> Time {
        let ahead = *self.ahead.lock().expect("nobody panics under it");
        Time::ZERO.plus(self.started.elapsed() + ahead)
    }

    fn wall(&self) -> Timestamp {
        headrace::clock::wall()
    }
}
