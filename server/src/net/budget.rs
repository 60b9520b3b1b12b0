//! Bytes that peers can make the process hold, over all connections: a budget, and who loses his place once it is
//! spent. Never here: sockets, records, calls.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a peer may hold part of a budget that others wait for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often those who wait look for a peer that has held its part for too long.
const LOOK: Duration = Duration::from_millis(100);

type Peer = (Instant, u64);

/// Bytes that all connections share. While it is spent, whoever needs some waits, and the peers that have kept
/// theirs longest are cut off one by one.
pub(super) struct Budget {
    bytes: Arc<Semaphore>,
    total: u32,
    patience: Duration,
    /// Those that only their peer can make give back what they hold.
    waits_for_peer: Mutex<BTreeMap<Peer, CancellationToken>>,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Self::with_patience(bytes, PATIENCE)
    }

    fn with_patience(bytes: usize, patience: Duration) -> Arc<Self> {
        let total = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::new(Self {
            patience,
            bytes: Arc::new(Semaphore::new(total as usize)),
            total,
            waits_for_peer: Mutex::default(),
        })
    }

    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.total);
        let mut taken = pin!(Arc::clone(&self.bytes).acquire_many_owned(bytes));
        loop {
            match timeout(LOOK, &mut taken).await {
                Ok(taken) => return taken.expect("a budget is never closed"),
                Err(_) => self.cut_the_slowest(),
            }
        }
    }

    fn cut_the_slowest(&self) {
        let mut waiting = self.waits_for_peer.lock();
        if let Some(entry) = waiting.first_entry()
            && entry.key().0.elapsed() >= self.patience
        {
            tracing::debug!("memory is short: the slowest peer is cut off");
            entry.remove().cancel();
        }
    }
}

/// One connection's part of a budget.
pub(super) struct Part {
    budget: Arc<Budget>,
    connection: u64,
    cut: CancellationToken,
    held: Option<OwnedSemaphorePermit>,
    since: Option<Instant>,
}

impl Part {
    /// Of a connection that `cut` ends.
    pub fn new(budget: &Arc<Budget>, connection: u64, cut: CancellationToken) -> Self {
        Self {
            budget: Arc::clone(budget),
            connection,
            cut,
            held: None,
            since: None,
        }
    }

    /// Holds at least so many bytes from now on.
    pub async fn grow_to(&mut self, bytes: usize) {
        let held = self
            .held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        if bytes > held {
            let more = self.budget.take(bytes - held).await;
            match &mut self.held {
                Some(held) => held.merge(more),
                None => self.held = Some(more),
            }
        }
    }

    /// All of it, for whoever goes on with what the peer has sent.
    pub fn hand_over(&mut self) -> Option<OwnedSemaphorePermit> {
        self.peer_is_done();
        self.held.take()
    }

    /// From here on until [`Part::peer_is_done`] it is the peer that others wait for.
    pub fn waits_for_peer(&mut self) {
        if self.since.is_none() {
            let since = Instant::now();
            self.since = Some(since);
            let mut waiting = self.budget.waits_for_peer.lock();
            waiting.insert((since, self.connection), self.cut.clone());
        }
    }

    pub fn peer_is_done(&mut self) {
        if let Some(since) = self.since.take() {
            let mut waiting = self.budget.waits_for_peer.lock();
            waiting.remove(&(since, self.connection));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.peer_is_done();
    }
}

/// Room for one reply, from before it is made until it is sent.
pub(super) struct ReplyRoom {
    budget: Arc<Budget>,
    held: Option<OwnedSemaphorePermit>,
}

impl ReplyRoom {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            held: None,
        }
    }

    /// What the reply takes, now that it is there.
    pub async fn fit(&mut self, bytes: usize) {
        let Some(held) = &mut self.held else {
            return mds::ReplyRoom::take(self, bytes).await;
        };
        let unused = held.num_permits().saturating_sub(bytes);
        drop(held.split(unused));
        let missing = bytes.saturating_sub(held.num_permits());
        // Whoever holds some doesn't wait for more, or all would wait for each other: the frame around what was
        // asked for must do without where there is no more.
        if let Ok(more) = Arc::clone(&self.budget.bytes).try_acquire_many_owned(missing as u32) {
            held.merge(more);
        }
    }
}

impl mds::ReplyRoom for ReplyRoom {
    fn take(&mut self, bytes: usize) -> futures_util::future::BoxFuture<'_, ()> {
        Box::pin(async move {
            let more = self.budget.take(bytes).await;
            match &mut self.held {
                Some(held) => held.merge(more),
                None => self.held = Some(more),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_keeps_others_waiting_longest_is_cut_off_and_no_other() {
        let budget = Budget::with_patience(100, Duration::ZERO);
        let (old, young) = (CancellationToken::new(), CancellationToken::new());
        let mut first = Part::new(&budget, 1, old.clone());
        first.grow_to(60).await;
        first.waits_for_peer();
        let mut second = Part::new(&budget, 2, young.clone());
        second.grow_to(40).await;
        second.waits_for_peer();
        let mut third = Part::new(&budget, 3, CancellationToken::new());
        let cut = async {
            old.cancelled().await;
            drop(first);
        };
        tokio::join!(third.grow_to(50), cut);
        assert!(!young.is_cancelled());
        assert_eq!(budget.bytes.available_permits(), 10);
    }

    #[tokio::test]
    async fn who_has_sent_all_of_it_is_not_cut_off_for_what_the_server_has_still_to_do() {
        let budget = Budget::with_patience(100, Duration::ZERO);
        let slow = CancellationToken::new();
        let mut part = Part::new(&budget, 1, slow.clone());
        part.grow_to(100).await;
        part.waits_for_peer();
        let handed = part.hand_over().expect("it holds some");
        assert_eq!(handed.num_permits(), 100);
        let more = timeout(3 * LOOK, budget.take(1)).await;
        assert!(more.is_err() && !slow.is_cancelled());
    }

    #[tokio::test]
    async fn a_reply_holds_what_it_takes_and_no_more() {
        let budget = Budget::new(100);
        let mut room = ReplyRoom::new(&budget);
        mds::ReplyRoom::take(&mut room, 80).await;
        room.fit(20).await;
        assert_eq!(budget.bytes.available_permits(), 80);
        room.fit(30).await;
        assert_eq!(budget.bytes.available_permits(), 70);
        let mut other = ReplyRoom::new(&budget);
        mds::ReplyRoom::take(&mut other, 70).await;
        room.fit(40).await;
        drop((room, other));
        assert_eq!(budget.bytes.available_permits(), 100);
        // More than there will ever be: all of it must do.
        mds::ReplyRoom::take(&mut ReplyRoom::new(&budget), 1000).await;
    }
}
