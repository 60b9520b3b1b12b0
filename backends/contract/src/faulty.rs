//! Faults in front of any data server, by seed: refusals, lost replies, delays, short transfers,
//! absence, a restart in the middle.
//!
//! Never here: a fault that the contract forbids and no real server shows.

use crate::chance::Chance;
use crate::{
    Capabilities, DataServer, Error, ErrorKind, Fetched, ObjectStat, Origin, Seek, Sought, Space,
    Stability, WriteVerifier, Written,
};
use async_trait::async_trait;
use bytes::Bytes;
use layout::{ObjectId, Owner, Stripe};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often each fault comes, in a thousand calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Refused with `Retry`; nothing happened.
    pub refused: u32,
    /// Done, and answered with `Retry`.
    pub lost_replies: u32,
    /// Refused with `Broken`; nothing happened.
    pub broken: u32,
    /// A READ or WRITE of fewer bytes than asked for.
    pub short: u32,
    /// The server restarts just before the call.
    pub restarts: u32,
    /// Up to so long before the call.
    pub delay: Duration,
}

type Restart = Box<dyn Fn(u64) + Send + Sync>;

pub struct Faulty {
    inner: Arc<dyn DataServer>,
    faults: Mutex<(Faults, Chance)>,
    restart: Restart,
    away: AtomicBool,
    full: AtomicBool,
    calls: AtomicU64,
}

/// What is to happen to one call.
struct Fate {
    lose_reply: bool,
    shorten: bool,
}

impl Fate {
    /// What is asked for of a range.
    fn half(&self, range: &Range<u64>) -> Range<u64> {
        let length = range.end.saturating_sub(range.start);
        if self.shorten {
            range.start..range.start + length.div_ceil(2)
        } else {
            range.clone()
        }
    }
}

impl Faulty {
    /// `restart` is what [`Faults::restarts`] does, given a seed.
    pub fn new(
        inner: Arc<dyn DataServer>,
        seed: u64,
        faults: Faults,
        restart: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            faults: Mutex::new((faults, Chance::new(seed))),
            restart: Box::new(restart),
            away: AtomicBool::new(false),
            full: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.faults.lock().0 = faults;
    }

    /// No call gets an answer until it is back.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Writes and creates find no space.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Calls that came in, refused ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn retry(what: &str) -> Error {
        Error::new(
            ErrorKind::Retry {
                after: Duration::from_millis(1),
            },
            format!("injected: {what}"),
        )
    }

    async fn fate(&self) -> Result<Fate, Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (refuse, broken, restart, delay, fate) = {
            let (faults, chance) = &mut *self.faults.lock();
            let mut hit = |per_mille: u32| chance.below(1000) < u64::from(per_mille);
            let refuse = hit(faults.refused);
            let broken = hit(faults.broken);
            let restart = hit(faults.restarts);
            let fate = Fate {
                lose_reply: hit(faults.lost_replies),
                shorten: hit(faults.short),
            };
            let delay = Duration::from_micros(chance.below(faults.delay.as_micros() as u64 + 1));
            (
                refuse,
                broken,
                restart.then(|| chance.below(u64::MAX)),
                delay,
                fate,
            )
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(seed) = restart {
            (self.restart)(seed);
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(Self::retry("the server is away"));
        }
        if broken {
            return Err(Error::new(
                ErrorKind::Broken,
                "injected: the disk is broken",
            ));
        }
        if refuse {
            return Err(Self::retry("busy"));
        }
        Ok(fate)
    }

    fn reply<T>(&self, fate: &Fate, answer: Result<T, Error>) -> Result<T, Error> {
        if fate.lose_reply || self.away.load(Ordering::SeqCst) {
            return Err(Self::retry("the reply was lost"));
        }
        answer
    }

    fn room(&self) -> Result<(), Error> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Full, "injected: no space"));
        }
        Ok(())
    }
}

#[async_trait]
impl DataServer for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        let fate = self.fate().await?;
        self.room()?;
        let answer = self.inner.create(object, owner).await;
        self.reply(&fate, answer)
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        let fate = self.fate().await?;
        let answer = self.inner.stat(handle).await;
        self.reply(&fate, answer)
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let fate = self.fate().await?;
        let answer = self.inner.set_size(handle, size).await;
        self.reply(&fate, answer)
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let fate = self.fate().await?;
        let answer = self.inner.extend(handle, size).await;
        self.reply(&fate, answer)
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        let fate = self.fate().await?;
        let answer = self.inner.fence(handle, owner).await;
        self.reply(&fate, answer)
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let fate = self.fate().await?;
        let count = if fate.shorten {
            count.div_ceil(2)
        } else {
            count
        };
        let answer = self.inner.read(handle, offset, count).await;
        self.reply(&fate, answer)
    }

    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let fate = self.fate().await?;
        self.room()?;
        let take = if fate.shorten {
            data.len().div_ceil(2)
        } else {
            data.len()
        };
        let answer = self
            .inner
            .write(handle, offset, data.slice(..take), stability)
            .await;
        self.reply(&fate, answer)
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        let fate = self.fate().await?;
        let answer = self.inner.commit(handle).await;
        self.reply(&fate, answer)
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        let fate = self.fate().await?;
        let answer = self.inner.remove(object).await;
        self.reply(&fate, answer)
    }

    async fn space(&self) -> Result<Space, Error> {
        let fate = self.fate().await?;
        let answer = self.inner.space().await;
        self.reply(&fate, answer)
    }

    async fn seek(
        &self,
        handle: &Bytes,
        within: Range<u64>,
        stripe: Stripe,
        what: Seek,
    ) -> Result<Sought, Error> {
        let fate = self.fate().await?;
        let half = fate.half(&within);
        let answer = self.inner.seek(handle, half.clone(), stripe, what).await;
        let answer = answer.map(|found| match found {
            Sought::Nowhere if half.end < within.end => Sought::NotBefore(half.end),
            found => found,
        });
        self.reply(&fate, answer)
    }

    async fn deallocate(&self, handle: &Bytes, range: Range<u64>) -> Result<u64, Error> {
        let fate = self.fate().await?;
        let answer = self.inner.deallocate(handle, fate.half(&range)).await;
        self.reply(&fate, answer)
    }

    async fn allocate(
        &self,
        handle: &Bytes,
        range: Range<u64>,
        stripe: Stripe,
    ) -> Result<u64, Error> {
        let fate = self.fate().await?;
        self.room()?;
        let answer = self.inner.allocate(handle, fate.half(&range), stripe).await;
        self.reply(&fate, answer)
    }

    async fn clone_range(
        &self,
        source: &Bytes,
        source_offset: u64,
        handle: &Bytes,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        let fate = self.fate().await?;
        self.room()?;
        let answer = self
            .inner
            .clone_range(source, source_offset, handle, range)
            .await;
        self.reply(&fate, answer)
    }

    fn origin(&self, handle: &Bytes, owner: Owner) -> Option<Origin> {
        self.inner.origin(handle, owner)
    }

    async fn pull(
        &self,
        origin: &Origin,
        origin_offset: u64,
        handle: &Bytes,
        offset: u64,
        length: u32,
    ) -> Result<Written, Error> {
        let fate = self.fate().await?;
        self.room()?;
        let length = if fate.shorten {
            length.div_ceil(2)
        } else {
            length
        };
        let answer = self
            .inner
            .pull(origin, origin_offset, handle, offset, length)
            .await;
        self.reply(&fate, answer)
    }
}
