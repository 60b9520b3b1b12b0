//! Questions shared by all who ask them at the same time: about one thing at most one is being asked, and one waits for
//! it to end. Nobody gets an answer to a question that was asked before he came.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

type Round<V> = Shared<BoxFuture<'static, V>>;

/// Kept alive from here, a round that all have left would keep everything that it needs, for ever.
struct Known<V> {
    number: u64,
    round: WeakShared<BoxFuture<'static, V>>,
}

struct Asked<V> {
    running: Option<Known<V>>,
    waiting: Option<Known<V>>,
}

struct Table<K, V> {
    asked: HashMap<K, Asked<V>>,
    next: u64,
}

pub(crate) struct Rounds<K, V>(Arc<Mutex<Table<K, V>>>);

impl<K, V> Default for Rounds<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Table {
            asked: HashMap::new(),
            next: 0,
        })))
    }
}

impl<K, V> Rounds<K, V>
where
    K: Hash + Eq + Copy + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer of the next round about `key` that begins: `ask`, or what somebody else brought for the same round.
    pub async fn share(&self, key: K, ask: impl Future<Output = V> + Send + 'static) -> V {
        self.join(key, ask).await
    }

    fn join(&self, key: K, ask: impl Future<Output = V> + Send + 'static) -> Round<V> {
        let alive = |known: &Option<Known<V>>| known.as_ref()?.round.upgrade();
        let mut table = self.0.lock();
        table.next += 1;
        let number = table.next;
        let asked = table.asked.entry(key).or_insert(Asked {
            running: None,
            waiting: None,
        });
        if let Some(waiting) = alive(&asked.waiting) {
            return waiting;
        }
        let before = alive(&asked.running);
        let place = Place {
            rounds: Arc::clone(&self.0),
            key,
            number,
        };
        let round = async move {
            if let Some(before) = before {
                before.await;
            }
            place.begin();
            ask.await
        };
        let round = round.boxed().shared();
        asked.waiting = round.downgrade().map(|round| Known { number, round });
        round
    }
}

/// A round's place in the table, from its making to its end, whichever way it ends.
struct Place<K: Hash + Eq, V> {
    rounds: Arc<Mutex<Table<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Hash + Eq, V> Place<K, V> {
    /// From here on whoever comes needs a round of his own.
    fn begin(&self) {
        if let Some(asked) = self.rounds.lock().asked.get_mut(&self.key) {
            asked.running = asked.waiting.take();
        }
    }
}

impl<K: Hash + Eq, V> Drop for Place<K, V> {
    fn drop(&mut self) {
        let mut table = self.rounds.lock();
        let Some(asked) = table.asked.get_mut(&self.key) else {
            return;
        };
        for known in [&mut asked.running, &mut asked.waiting] {
            if known
                .as_ref()
                .is_some_and(|known| known.number == self.number)
            {
                *known = None;
            }
        }
        if asked.running.is_none() && asked.waiting.is_none() {
            table.asked.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    const LONG: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_an_answer_that_was_asked_before_he_came() {
        let rounds = Rounds::<u32, usize>::default();
        let written = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let written = Arc::clone(&written);
            rounds.share(7, async move {
                let found = written.load(Relaxed);
                sleep(LONG).await;
                found
            })
        };
        for round in 1..50_usize {
            let writing = async {
                sleep(Duration::from_millis(round as u64 % 25)).await;
                written.store(round, Relaxed);
                ask().await
            };
            let (_, seen) = tokio::join!(ask(), writing);
            assert_eq!(seen, round);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_a_round_and_rounds_follow_each_other() {
        let rounds = Rounds::<u32, ()>::default();
        let (asked, under_way) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = |after: u64| {
            let (asked, under_way) = (Arc::clone(&asked), Arc::clone(&under_way));
            let rounds = &rounds;
            async move {
                sleep(Duration::from_millis(after)).await;
                let round = async move {
                    asked.fetch_add(1, Relaxed);
                    assert_eq!(under_way.fetch_add(1, Relaxed), 0, "one at a time");
                    sleep(LONG).await;
                    under_way.fetch_sub(1, Relaxed);
                };
                rounds.share(7, round).await;
            }
        };
        // The first begins at once; the others come while it goes on.
        futures_util::future::join_all((0..100).map(|number| ask(number % 10))).await;
        assert!((2..=3).contains(&asked.load(Relaxed)), "{asked:?}");
        assert!(rounds.0.lock().asked.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_all_have_left_keeps_nothing_and_hinders_nobody() {
        let rounds = Rounds::<u32, ()>::default();
        let kept = Arc::new(());
        let ask = || {
            let kept = Arc::clone(&kept);
            rounds.share(7, async move {
                sleep(LONG).await;
                drop(kept);
            })
        };
        // One that began, and one that never did.
        let left = async { tokio::join!(ask(), ask()) };
        assert!(timeout(LONG / 4, left).await.is_err());
        assert_eq!(Arc::strong_count(&kept), 1);
        assert!(rounds.0.lock().asked.is_empty());
        ask().await;
        // The second goes on with the first's, which nobody else waits for.
        let first = ask();
        let second = async {
            sleep(LONG / 4).await;
            ask().await;
        };
        let (first, ()) = tokio::join!(timeout(LONG / 2, first), second);
        assert!(first.is_err());
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}
