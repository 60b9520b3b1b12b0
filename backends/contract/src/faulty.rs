//! Faults in front of any data server, by seed. Never here: which faults there are.

use crate::fate::{Fate, Fates, Faults, Injected};
use crate::tree::Direct;
use crate::upstream::{Demand, Version};
use crate::{
    Capabilities, DataServer, Error, Fetched, FoundObject, Nanos, ObjectStat, Origin, Seek, Sought,
    Space, Stability, WriteVerifier, Written,
};
use async_trait::async_trait;
use bytes::Bytes;
use layout::{ObjectId, Owner, Stripe};
use std::ops::Range;
use std::sync::Arc;

pub struct Faulty {
    inner: Arc<dyn DataServer>,
    fates: Fates,
}

/// A beginning of a range.
fn half(fate: &Fate, range: &Range<u64>) -> Range<u64> {
    let length = range.end.saturating_sub(range.start);
    range.start..range.start + fate.of(length)
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
            fates: Fates::new(seed, faults, Box::new(restart)),
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.fates.set_faults(faults);
    }

    /// No call gets an answer until it is back.
    pub fn set_away(&self, away: bool) {
        self.fates.set_away(away);
    }

    /// Writes and creates find no space.
    pub fn set_full(&self, full: bool) {
        self.fates.set_full(full);
    }

    /// Calls that came in, refused ones included.
    pub fn calls(&self) -> u64 {
        self.fates.calls()
    }

    fn reply<T>(&self, fate: &Fate, answer: Result<T, Error>) -> Result<T, Error> {
        self.fates.replies(fate)?;
        answer
    }
}

#[async_trait]
impl DataServer for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let answer = self.inner.create(object, owner).await;
        self.reply(&fate, answer)
    }

    /// May break half-way.
    async fn create_all(&self, objects: &[(ObjectId, Owner)]) -> Result<Vec<Bytes>, Error> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let count = fate.of(objects.len() as u64) as usize;
        let answer = self.inner.create_all(&objects[..count]).await;
        if count < objects.len() {
            return Err(Injected::Busy("it broke half-way").into());
        }
        self.reply(&fate, answer)
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.stat(handle).await;
        self.reply(&fate, answer)
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.set_size(handle, size).await;
        self.reply(&fate, answer)
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.extend(handle, size).await;
        self.reply(&fate, answer)
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.fence(handle, owner).await;
        self.reply(&fate, answer)
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let fate = self.fates.next().await?;
        let count = fate.of(u64::from(count)) as u32;
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
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let take = fate.of(data.len() as u64) as usize;
        let answer = self
            .inner
            .write(handle, offset, data.slice(..take), stability)
            .await;
        self.reply(&fate, answer)
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.commit(handle).await;
        self.reply(&fate, answer)
    }

    async fn remove_found(&self, file: &FoundObject) -> Result<(), Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.remove_found(file).await;
        self.reply(&fate, answer)
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.remove(object).await;
        self.reply(&fate, answer)
    }

    async fn space(&self) -> Result<Space, Error> {
        let fate = self.fates.next().await?;
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
        let fate = self.fates.next().await?;
        let searched = half(&fate, &within);
        let answer = self
            .inner
            .seek(handle, searched.clone(), stripe, what)
            .await;
        let answer = answer.map(|found| match found {
            Sought::Nowhere if searched.end < within.end => Sought::NotBefore(searched.end),
            found => found,
        });
        self.reply(&fate, answer)
    }

    async fn deallocate(&self, handle: &Bytes, range: Range<u64>) -> Result<u64, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.deallocate(handle, half(&fate, &range)).await;
        self.reply(&fate, answer)
    }

    async fn allocate(
        &self,
        handle: &Bytes,
        range: Range<u64>,
        stripe: Stripe,
    ) -> Result<u64, Error> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let answer = self
            .inner
            .allocate(handle, half(&fate, &range), stripe)
            .await;
        self.reply(&fate, answer)
    }

    async fn clone_range(
        &self,
        source: &Bytes,
        source_offset: u64,
        handle: &Bytes,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        let fate = self.fates.next().await?;
        self.fates.room()?;
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
        let fate = self.fates.next().await?;
        self.fates.room()?;
        let length = fate.of(u64::from(length)) as u32;
        let answer = self
            .inner
            .pull(origin, origin_offset, handle, offset, length)
            .await;
        self.reply(&fate, answer)
    }

    async fn offer(
        &self,
        backend: &str,
        version: &Version,
        mtime: Nanos,
        reader: Owner,
    ) -> Result<Bytes, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.offer(backend, version, mtime, reader).await;
        self.reply(&fate, answer)
    }

    async fn withdraw(&self, handle: &Bytes) -> Result<(), Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.withdraw(handle).await;
        self.reply(&fate, answer)
    }

    async fn cached(&self, handle: &Bytes) -> Result<Option<Direct>, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.cached(handle).await;
        self.reply(&fate, answer)
    }

    async fn demand(&self, backend: &str) -> Result<Demand, Error> {
        let fate = self.fates.next().await?;
        let answer = self.inner.demand(backend).await;
        self.reply(&fate, answer)
    }
}
