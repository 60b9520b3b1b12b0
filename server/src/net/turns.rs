//! Whose request is worked on next. The requests of a client are polled by a few tasks of the client, one poll of
//! one request at a time: so the runtime goes round by client, however many requests one of them has under way.
//! Never here: what a request does, how many there may be.

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use tokio::runtime::Handle;
use tokio::task::yield_now;

/// The shares of all clients, and with how many connections each is here.
#[derive(Default)]
pub(super) struct Shares(Mutex<HashMap<u64, (Arc<Turns>, usize)>>);

impl Shares {
    pub fn of_connection(self: &Arc<Self>) -> Share {
        Share {
            shares: Arc::clone(self),
            own: Turns::of_this_runtime(),
            client: None,
        }
    }

    fn enter(&self, client: u64) -> Arc<Turns> {
        let mut clients = self.0.lock();
        let (turns, connections) = clients
            .entry(client)
            .or_insert_with(|| (Turns::of_this_runtime(), 0));
        *connections += 1;
        Arc::clone(turns)
    }

    fn leave(&self, client: u64) {
        let mut clients = self.0.lock();
        if let Some((_, connections)) = clients.get_mut(&client) {
            *connections -= 1;
            if *connections == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// A connection's place in its client's share. With the last connection the share goes, and what is left in it.
pub(super) struct Share {
    shares: Arc<Shares>,
    /// For what comes before the client is known.
    own: Arc<Turns>,
    client: Option<(u64, Arc<Turns>)>,
}

impl Share {
    /// Where the next request of the connection goes, given the client that uses it.
    pub fn of(&mut self, client: Option<u64>) -> &Arc<Turns> {
        if let (None, Some(client)) = (&self.client, client) {
            self.client = Some((client, self.shares.enter(client)));
        }
        match &self.client {
            Some((_, turns)) => turns,
            None => &self.own,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some((client, _)) = &self.client {
            self.shares.leave(*client);
        }
    }
}

/// What one client has under way. It goes with whoever holds it: a request never keeps itself alive.
pub(super) struct Turns {
    /// Requests polled at the same time.
    most: usize,
    runtime: Handle,
    requests: Mutex<Requests>,
}

#[derive(Default)]
struct Requests {
    all: HashMap<u64, Request>,
    ready: VecDeque<u64>,
    next_key: u64,
    /// Tasks that take turns now: none while nothing is ready.
    runners: usize,
}

struct Request {
    stage: Stage,
    /// Absent while it is polled.
    work: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

enum Stage {
    Waits,
    Ready,
    Polled,
    /// Woken while it was polled: it is ready again after that.
    Woken,
}

impl Turns {
    /// A client that is alone may use every worker.
    fn of_this_runtime() -> Arc<Self> {
        let runtime = Handle::current();
        Self::new(runtime.metrics().num_workers(), runtime)
    }

    fn new(most: usize, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            most,
            runtime,
            requests: Mutex::default(),
        })
    }

    pub fn add(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        // A request that panics has said so, and takes no other along.
        let work = AssertUnwindSafe(work).catch_unwind().map(drop).boxed();
        let mut requests = self.requests.lock();
        let key = requests.next_key;
        requests.next_key += 1;
        let waker = Waker::from(Arc::new(Bell {
            turns: Arc::downgrade(self),
            key,
        }));
        let request = Request {
            stage: Stage::Ready,
            work: Some(work),
            waker,
        };
        requests.all.insert(key, request);
        requests.ready.push_back(key);
        let missing = requests.hire(self.most);
        drop(requests);
        self.run(missing);
    }

    /// A task more, if one is missing.
    fn run(self: &Arc<Self>, missing: bool) {
        if missing {
            let turns = Arc::clone(self);
            self.runtime.spawn(async move {
                while turns.turn() {
                    // Behind everybody else, and behind what has arrived for them by now.
                    yield_now().await;
                }
            });
        }
    }

    /// Polls one request once. False: nothing is ready, and the caller is off.
    fn turn(&self) -> bool {
        let mut requests = self.requests.lock();
        let Some((key, mut work, waker)) = requests.take_ready() else {
            requests.runners -= 1;
            return false;
        };
        drop(requests);
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        let waits = polled.is_pending().then_some(work);
        self.requests.lock().turned(key, waits)
    }
}

impl Requests {
    /// Whether a runner is missing; it counts from here on.
    fn hire(&mut self, most: usize) -> bool {
        let missing = self.runners < most;
        self.runners += usize::from(missing);
        missing
    }

    fn take_ready(&mut self) -> Option<(u64, BoxFuture<'static, ()>, Waker)> {
        let key = self.ready.pop_front()?;
        let request = self.all.get_mut(&key)?;
        request.stage = Stage::Polled;
        Some((key, request.work.take()?, request.waker.clone()))
    }

    /// What a poll left of a request. False: nothing is ready, and the runner that polled it is off.
    fn turned(&mut self, key: u64, left: Option<BoxFuture<'static, ()>>) -> bool {
        if left.is_none() {
            self.all.remove(&key);
        } else if let Some(request) = self.all.get_mut(&key) {
            request.work = left;
            if matches!(request.stage, Stage::Woken) {
                request.stage = Stage::Ready;
                self.ready.push_back(key);
            } else {
                request.stage = Stage::Waits;
            }
        }
        let more = !self.ready.is_empty();
        self.runners -= usize::from(!more);
        more
    }
}

/// Wakes one request. Weak: what a request waits for holds this, and the request holds what it waits for.
struct Bell {
    turns: Weak<Turns>,
    key: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(turns) = self.turns.upgrade() else {
            return;
        };
        let mut requests = turns.requests.lock();
        let Some(request) = requests.all.get_mut(&self.key) else {
            return;
        };
        match request.stage {
            Stage::Waits => request.stage = Stage::Ready,
            Stage::Polled => {
                request.stage = Stage::Woken;
                return;
            }
            Stage::Ready | Stage::Woken => return,
        }
        requests.ready.push_back(self.key);
        let missing = requests.hire(turns.most);
        drop(requests);
        turns.run(missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn, ready};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Poll;
    use tokio::sync::oneshot;

    const FLOOD: usize = 1000;

    type Polls = Arc<Mutex<Vec<&'static str>>>;

    /// Ends at its `rounds`th poll, and is ready for each of them at once.
    fn busy(name: &'static str, rounds: usize, polls: &Polls) -> impl Future<Output = ()> + use<> {
        let (polls, mut done) = (Arc::clone(polls), 0);
        poll_fn(move |cx| {
            polls.lock().push(name);
            done += 1;
            if done == rounds {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn turns(most: usize) -> Arc<Turns> {
        Turns::new(most, Handle::current())
    }

    async fn until_idle(turns: &Arc<Turns>) {
        while turns.requests.lock().runners > 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_client_with_one_request_does_not_wait_for_all_those_of_another() {
        let (many, one) = (turns(2), turns(2));
        let polls = Polls::default();
        for _ in 0..FLOOD {
            many.add(busy("many", 3, &polls));
        }
        one.add(busy("one", 3, &polls));
        until_idle(&one).await;
        // Between two of its polls each task of the other has one.
        let seen = polls.lock().len();
        assert!(seen <= 3 * 3, "{seen} polls came before its last");
        until_idle(&many).await;
        assert_eq!(polls.lock().len(), 3 * FLOOD + 3);
    }

    #[tokio::test]
    async fn who_comes_while_another_keeps_the_server_busy_has_his_turn_next() {
        let (many, one) = (turns(2), turns(2));
        let polls = Polls::default();
        for _ in 0..FLOOD {
            many.add(busy("many", 1, &polls));
        }
        while polls.lock().len() < FLOOD / 2 {
            yield_now().await;
        }
        let before = polls.lock().len();
        one.add(busy("one", 1, &polls));
        until_idle(&many).await;
        let polls = polls.lock();
        let place = polls.iter().position(|name| *name == "one");
        assert!(place.is_some_and(|place| place <= before + 2), "{place:?}");
    }

    #[tokio::test]
    async fn a_request_that_is_always_ready_keeps_no_other_of_its_client_waiting() {
        let client = turns(1);
        let polls = Polls::default();
        client.add(busy("long", FLOOD, &polls));
        client.add(busy("short", 1, &polls));
        until_idle(&client).await;
        assert_eq!(polls.lock()[..3], ["long", "short", "long"]);
    }

    #[tokio::test]
    async fn a_request_that_waits_is_polled_again_when_it_is_woken_and_not_before() {
        let client = turns(2);
        let (tell, told) = oneshot::channel::<()>();
        let polled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&polled);
        let mut told = told;
        client.add(async move {
            let wait = poll_fn(|cx| {
                counter.fetch_add(1, SeqCst);
                std::pin::Pin::new(&mut told).poll(cx)
            });
            wait.await.expect("it is told");
        });
        client.add(ready(()));
        until_idle(&client).await;
        assert_eq!(
            (polled.load(SeqCst), client.requests.lock().all.len()),
            (1, 1)
        );
        tell.send(()).expect("it waits");
        until_idle(&client).await;
        assert_eq!(
            (polled.load(SeqCst), client.requests.lock().all.len()),
            (2, 0)
        );
    }

    #[test]
    fn a_client_that_is_alone_uses_every_worker() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .expect("a runtime");
        let together = Arc::new(Barrier::new(2));
        let (done, mut all_done) = tokio::sync::mpsc::channel(2);
        runtime.block_on(async {
            let client = Turns::of_this_runtime();
            for _ in 0..2 {
                let (together, done) = (Arc::clone(&together), done.clone());
                client.add(async move {
                    // Passed only when the other is being polled at the same time.
                    together.wait();
                    let _ = done.send(()).await;
                });
            }
            drop(done);
            assert_eq!(all_done.recv().await, Some(()));
            assert_eq!(all_done.recv().await, Some(()));
            assert!(client.requests.lock().runners <= 2);
        });
    }

    #[tokio::test]
    async fn a_request_that_panics_takes_no_other_along() {
        let client = turns(1);
        let polls = Polls::default();
        client.add(async { panic!("as it should") });
        client.add(busy("next", 2, &polls));
        until_idle(&client).await;
        assert_eq!(polls.lock().len(), 2);
        assert!(client.requests.lock().all.is_empty());
    }

    #[tokio::test]
    async fn connections_of_one_client_share_and_the_last_one_takes_the_share_along() {
        let shares = Arc::new(Shares::default());
        let (mut one, mut two) = (shares.of_connection(), shares.of_connection());
        let mut other = shares.of_connection();
        assert!(!Arc::ptr_eq(one.of(None), two.of(None)));
        assert!(Arc::ptr_eq(one.of(Some(7)), two.of(Some(7))));
        assert!(!Arc::ptr_eq(one.of(None), other.of(Some(8))));
        drop((one, other));
        assert!(shares.0.lock().contains_key(&7));
        drop(two);
        assert!(shares.0.lock().is_empty());
    }

    #[tokio::test]
    async fn what_came_before_the_client_was_known_is_worked_on_to_its_end() {
        let shares = Arc::new(Shares::default());
        let mut share = shares.of_connection();
        let (tell, told) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        share.of(None).add(async move {
            let _ = done.send(told.await.is_ok());
        });
        share.of(Some(7));
        tell.send(()).expect("it waits");
        assert_eq!(is_done.await, Ok(true));
    }

    #[tokio::test]
    async fn a_server_that_is_dropped_keeps_no_request_that_waits() {
        let client = turns(2);
        let held = Arc::new(());
        let witness = Arc::downgrade(&held);
        client.add(async move {
            pending::<()>().await;
            drop(held);
        });
        until_idle(&client).await;
        drop(client);
        assert!(witness.upgrade().is_none());
    }
}
