//! Names that were made or taken away while their caller was told to come again, or left: when he does, he is
//! told that it is done, and not that the name is taken, or that there is none.
//!
//! A call is told of an earlier one's change only once that one's caller doesn't wait for it any more. So of two
//! who take the same name away one is told that he did.
//!
//! Never here: requests.

use crate::mirror::Mirror;
use backend::tree::TreeError;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Changes that are remembered.
const MOST: usize = 16_384;
/// Nobody comes again after so long.
const HOLDS: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// With that token.
    Made(String),
    Removed,
}

/// A name in a folder.
type Place = (u64, Bytes);

struct Noted {
    change: Change,
    caller: Asking,
    since: Instant,
}

/// Whether who asked for a change has left without an answer that counts.
#[derive(Clone, Default)]
pub(crate) struct Asking(Arc<AtomicBool>);

#[derive(Default)]
pub(crate) struct Untold(Mutex<HashMap<Place, Noted>>);

impl Untold {
    /// Before the bucket is asked for it.
    pub(crate) fn note(&self, place: &Place, change: Change, caller: &Asking) {
        let mut noted = self.0.lock();
        if noted.len() >= MOST {
            noted.retain(|_, one| !one.caller.0.load(Relaxed) || one.since.elapsed() < HOLDS);
        }
        if noted.len() < MOST {
            let one = Noted {
                change,
                caller: caller.clone(),
                since: Instant::now(),
            };
            noted.insert(place.clone(), one);
        }
    }

    /// Whether that change was an earlier caller's who has left; from now on it is this one's.
    pub(crate) fn take_over(&self, place: &Place, change: &Change, caller: &Asking) -> bool {
        let mut noted = self.0.lock();
        let earlier = noted.get_mut(place).filter(|one| {
            one.change == *change && one.caller.0.load(Relaxed) && one.since.elapsed() < HOLDS
        });
        earlier.is_some_and(|one| {
            one.caller = caller.clone();
            true
        })
    }

    fn told(&self, place: &Place, caller: &Asking) {
        let mut noted = self.0.lock();
        if noted
            .get(place)
            .is_some_and(|one| Arc::ptr_eq(&one.caller.0, &caller.0))
        {
            noted.remove(place);
        }
    }
}

/// Says that the caller has left, when it is dropped.
struct Waiting(Asking);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

impl Mirror {
    /// Waits for the change of a name, and notes whether its caller hears of it.
    pub(crate) async fn telling<T>(
        &self,
        place: &Place,
        caller: Asking,
        work: impl Future<Output = Result<T, TreeError>>,
    ) -> Result<T, TreeError> {
        let waiting = Waiting(caller);
        let done = work.await;
        if !done.as_ref().is_err_and(TreeError::is_passing) {
            self.untold.told(place, &waiting.0);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_takes_over_what_nobody_was_told_and_nobody_else_does() {
        let untold = Untold::default();
        let place = (7, Bytes::from_static(b"name"));
        let (first, again) = (Asking::default(), Asking::default());
        untold.note(&place, Change::Removed, &first);
        assert!(!untold.take_over(&place, &Change::Removed, &again));
        drop(Waiting(first));
        assert!(!untold.take_over(&place, &Change::Made("token".into()), &again));
        assert!(untold.take_over(&place, &Change::Removed, &again));
        assert!(!untold.take_over(&place, &Change::Removed, &Asking::default()));
        untold.told(&place, &again);
        drop(Waiting(again));
        assert!(!untold.take_over(&place, &Change::Removed, &Asking::default()));
    }
}
