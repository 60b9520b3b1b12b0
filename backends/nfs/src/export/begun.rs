//! What was asked of the filer, may have been done, and wasn't answered: so that who asks again isn't
//! told that the name is taken by himself, or is gone.
//!
//! Never here: asking the filer.

use backend::tree::{Caller, Node};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Beyond it the oldest are forgotten.
const CALLS_MAX: usize = 4096;
/// Clients ask again within a quarter of it. Who asks later is somebody else.
const KEPT: Duration = Duration::from_mins(1);

/// Whether it is the same call again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) folder: Bytes,
    pub(super) name: Bytes,
    pub(super) caller: Caller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    Create,
    Make,
    Remove,
    Rename,
    Link,
    /// Done: an exclusive create, whose verifier the filer forgets when the times are set.
    Made([u8; 8]),
}

/// What was true when the call was first made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing had the name.
    Absent,
    /// The name had this.
    There(Bytes),
    /// A create by this verifier is ours.
    Verifier([u8; 8]),
}

impl Before {
    pub(super) fn is(&self, node: &Node) -> bool {
        matches!(self, Self::There(handle) if *handle == node.handle)
    }
}

#[derive(Debug, Default)]
pub(super) struct Begun {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    known: HashMap<Asked, (Before, Instant)>,
    order: VecDeque<(Asked, Instant)>,
}

impl Begun {
    pub(super) fn keep(&self, asked: &Asked, before: Before, now: Instant) {
        let mut calls = self.calls.lock();
        calls.known.insert(asked.clone(), (before, now));
        calls.order.push_back((asked.clone(), now));
        calls.forget_the_old(now);
    }

    /// One asks again, and no second one may: two callers of one kind are never both told that they did it.
    pub(super) fn take(&self, asked: &Asked, now: Instant) -> Option<Before> {
        let mut calls = self.calls.lock();
        calls.forget_the_old(now);
        calls.known.remove(asked).map(|(before, _)| before)
    }

    pub(super) fn look(&self, asked: &Asked, now: Instant) -> Option<Before> {
        let mut calls = self.calls.lock();
        calls.forget_the_old(now);
        calls.known.get(asked).map(|(before, _)| before.clone())
    }
}

impl Calls {
    fn forget_the_old(&mut self, now: Instant) {
        while let Some((asked, since)) = self.order.front()
            && (self.order.len() > CALLS_MAX || now.duration_since(*since) > KEPT)
        {
            if self.known.get(asked).is_some_and(|(_, kept)| kept == since) {
                self.known.remove(asked);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(number: u32) -> Asked {
        Asked {
            what: What::Make,
            folder: Bytes::from_static(b"folder"),
            name: number.to_string().into(),
            caller: Caller::root(),
        }
    }

    #[test]
    fn one_asks_again_and_no_second_one() {
        let (begun, now) = (Begun::default(), Instant::now());
        begun.keep(&asked(1), Before::Absent, now);
        assert_eq!(begun.take(&asked(2), now), None);
        assert_eq!(begun.take(&asked(1), now), Some(Before::Absent));
        assert_eq!(begun.take(&asked(1), now), None);
    }

    #[test]
    fn old_calls_and_too_many_are_forgotten() {
        let (begun, now) = (Begun::default(), Instant::now());
        begun.keep(&asked(0), Before::Absent, now);
        let later = now + KEPT + Duration::from_secs(1);
        assert_eq!(begun.take(&asked(0), later), None);
        for number in 0..=CALLS_MAX as u32 {
            begun.keep(&asked(number), Before::Absent, later);
        }
        assert_eq!(begun.take(&asked(0), later), None);
        assert!(begun.take(&asked(1), later).is_some());
        assert!(begun.calls.lock().order.len() <= CALLS_MAX);
    }
}
