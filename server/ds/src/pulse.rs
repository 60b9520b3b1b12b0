//! Whether the threads that serve still go round: each is asked now and then, and answers as soon as it
//! comes to it. Never here: what is done about one that doesn't.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::engine::Engine;

/// Longer than any task may keep a thread for itself, on the busiest host.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Pulse {
    /// Since when each thread has owed an answer.
    asked: Mutex<Vec<Option<Instant>>>,
}

impl Pulse {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
        })
    }

    /// Asks every thread of the engine that has answered the last time.
    pub fn feel<E: Engine>(self: &Arc<Self>, engine: &E) {
        let lanes = engine.lanes();
        let mut asked = self.asked.lock();
        asked.resize(lanes.len(), None);
        for (number, lane) in lanes.into_iter().enumerate() {
            if asked[number].is_none() {
                asked[number] = Some(Instant::now());
                let pulse = Arc::clone(self);
                lane.spawn(async move { pulse.asked.lock()[number] = None });
            }
        }
    }

    pub fn is_there(&self) -> bool {
        self.is_there_within(PATIENCE)
    }

    fn is_there_within(&self, patience: Duration) -> bool {
        let asked = self.asked.lock();
        let mut owed = asked.iter().flatten();
        owed.all(|since| since.elapsed() <= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::threads::Threads;
    use crate::workers::Workers;
    use std::sync::mpsc;

    fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !what() {
            assert!(Instant::now() < deadline, "not within 30 seconds");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_no_longer_goes_round_is_missed_until_it_does_again() {
        let workers = Workers::start(1).expect("threads");
        let (engine, _runtime) = Threads::start(1, workers).expect("an engine");
        let pulse = Pulse::new();
        pulse.feel(&engine);
        until(|| pulse.is_there_within(Duration::ZERO));
        let (hold, held) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel();
        engine.spawn(async move {
            begun.send(()).expect("the test waits");
            // Ends when the other side is dropped.
            let _ = held.recv();
        });
        begins.recv().expect("it begins");
        pulse.feel(&engine);
        until(|| !pulse.is_there_within(Duration::ZERO));
        assert!(pulse.is_there());
        // Asked again and again, and owed once.
        pulse.feel(&engine);
        drop(hold);
        until(|| pulse.is_there_within(Duration::ZERO));
    }
}
