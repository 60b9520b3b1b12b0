//! A data server in memory, for tests: it keeps what is durable apart from what isn't, so that a
//! restart loses what a real one may lose.
//!
//! Never here: faults that a healthy server doesn't have (they are in `faulty`).

use crate::chance::Chance;
use crate::content::Content;
use crate::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, Nanos, ObjectStat, Origin,
    RangeAbilities, Seek, Sought, Space, Stability, WriteVerifier, Written, ranges as fallback,
};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use layout::{ObjectId, Owner, Stripe};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

mod client;
mod ranges;

pub use client::LateWrite;
pub use ranges::Rack;

#[derive(Debug)]
struct Object {
    incarnation: u64,
    owner: Owner,
    /// Raised by each fence.
    fences: u64,
    /// What a reader sees.
    current: Content,
    /// What a restart can't take away.
    durable: Content,
    /// Writes since the last COMMIT, in the order of arrival. A durable one is kept among them, so
    /// that an unstable one before it doesn't win after a restart.
    recent: Vec<RecentWrite>,
    mtime: Nanos,
    ctime: Nanos,
}

impl Object {
    fn stat(&self) -> ObjectStat {
        ObjectStat {
            owner: self.owner,
            size: self.current.size(),
            used: self.current.used(),
            mtime: self.mtime,
            ctime: self.ctime,
            atime: self.mtime,
        }
    }
}

#[derive(Debug)]
struct RecentWrite {
    offset: u64,
    data: Bytes,
    durable: bool,
}

#[derive(Debug)]
struct Inner {
    objects: BTreeMap<ObjectId, Object>,
    /// Ticks with each call, in place of a clock.
    now: Nanos,
    next_incarnation: u64,
    starts: u64,
    capacity_bytes: u64,
    /// Bytes of READs and WRITEs that were not a client's.
    served_bytes: u64,
}

/// Clones share one server.
#[derive(Debug, Clone)]
pub struct MemoryServer {
    name: String,
    capabilities: Capabilities,
    inner: Arc<Mutex<Inner>>,
    /// Where its neighbours find it.
    place: Option<(SocketAddr, Rack)>,
}

impl MemoryServer {
    pub fn new(name: &str, fence: FenceGrade) -> Self {
        Self {
            name: name.to_owned(),
            capabilities: Capabilities {
                fence,
                direct: true,
                read_bytes: 1 << 20,
                write_bytes: 1 << 20,
                largest_object_bytes: i64::MAX as u64,
                ranges: RangeAbilities::default(),
            },
            place: None,
            inner: Arc::new(Mutex::new(Inner {
                objects: BTreeMap::new(),
                now: 1_000_000_000,
                next_incarnation: 1,
                starts: 1,
                capacity_bytes: 1 << 40,
                served_bytes: 0,
            })),
        }
    }

    /// One that no client reaches.
    #[must_use]
    pub fn indirect(mut self) -> Self {
        self.capabilities.fence = FenceGrade::Exact;
        self.capabilities.direct = false;
        self
    }

    /// Small transfers, so that a test of few bytes has several of them.
    #[must_use]
    pub fn with_transfer_bytes(mut self, bytes: u32) -> Self {
        self.capabilities.read_bytes = bytes;
        self.capabilities.write_bytes = bytes;
        self
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.inner.lock().capacity_bytes = bytes;
    }

    /// Bytes that the metadata server has read and written here.
    pub fn served_bytes(&self) -> u64 {
        self.inner.lock().served_bytes
    }

    /// Every object that is there.
    pub fn list(&self) -> Vec<ObjectId> {
        self.inner.lock().objects.keys().copied().collect()
    }

    /// A restart: of the unstable writes any part may be lost, chosen by `seed`, torn ones among them.
    pub fn restart(&self, seed: u64) {
        let mut inner = self.inner.lock();
        inner.starts += 1;
        let mut chance = Chance::new(seed);
        for object in inner.objects.values_mut() {
            let mut survivor = object.durable.clone();
            for RecentWrite {
                offset,
                data,
                durable,
            } in object.recent.drain(..)
            {
                let torn = chance.below(data.len() as u64 + 1) as usize;
                match chance.below(3) {
                    _ if durable => survivor.write(offset, &data),
                    0 => {}
                    1 => survivor.write(offset, &data),
                    _ => survivor.write(offset, &data[..torn]),
                }
            }
            object.current = survivor.clone();
            object.durable = survivor;
        }
    }

    /// A restart on an empty disk.
    pub fn lose_everything(&self) {
        let mut inner = self.inner.lock();
        inner.starts += 1;
        inner.objects.clear();
    }

    fn verifier(starts: u64) -> WriteVerifier {
        starts.to_be_bytes()
    }

    fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("data server {}: {what}", self.name))
    }

    fn on<T>(
        &self,
        handle: &Bytes,
        act: impl FnOnce(&mut Object, Moment) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let gone = || self.error(ErrorKind::Gone, "no object has this handle");
        let (id, incarnation) = parse_handle(handle).ok_or_else(gone)?;
        let mut inner = self.inner.lock();
        inner.now += 1000;
        let used: u64 = inner
            .objects
            .values()
            .map(|object| object.current.used())
            .sum();
        let moment = Moment {
            now: inner.now,
            verifier: Self::verifier(inner.starts),
            free: inner.capacity_bytes.saturating_sub(used),
        };
        let object = inner
            .objects
            .get_mut(&id)
            .filter(|object| object.incarnation == incarnation);
        act(object.ok_or_else(gone)?, moment)
    }

    fn put(
        &self,
        object: &mut Object,
        moment: Moment,
        offset: u64,
        data: &Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let take = data.len().min(self.capabilities.write_bytes as usize);
        let data = data.slice(..take);
        if offset
            .checked_add(take as u64)
            .is_none_or(|end| end > self.capabilities.largest_object_bytes)
        {
            return Err(self.error(ErrorKind::TooLarge, "WRITE past the largest object"));
        }
        let range = offset..offset + take as u64;
        if moment.free < object.current.needs(&range) {
            return Err(self.error(ErrorKind::Full, "WRITE: no space"));
        }
        object.current.write(offset, &data);
        object.mtime = moment.now;
        object.ctime = moment.now;
        let durable = stability == Stability::Durable;
        if durable {
            object.durable.write(offset, &data);
        }
        object.recent.push(RecentWrite {
            offset,
            data,
            durable,
        });
        Ok(Written {
            count: take as u32,
            durable,
            verifier: moment.verifier,
        })
    }
}

#[derive(Clone, Copy)]
struct Moment {
    now: Nanos,
    verifier: WriteVerifier,
    free: u64,
}

fn handle_of(id: ObjectId, incarnation: u64) -> Bytes {
    let mut handle = BytesMut::with_capacity(24);
    handle.put_u128(id.0);
    handle.put_u64(incarnation);
    handle.freeze()
}

fn parse_handle(handle: &Bytes) -> Option<(ObjectId, u64)> {
    let (id, incarnation) = handle.split_at_checked(16)?;
    let id = u128::from_be_bytes(id.try_into().ok()?);
    Some((
        ObjectId(id),
        u64::from_be_bytes(incarnation.try_into().ok()?),
    ))
}

fn fetch(content: &Content, offset: u64, count: u32) -> Fetched {
    let data = Bytes::from(content.read(offset, count));
    let at_end = offset.saturating_add(data.len() as u64) >= content.size();
    Fetched { data, at_end }
}

#[async_trait]
impl DataServer for MemoryServer {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        let mut inner = self.inner.lock();
        inner.now += 1000;
        let now = inner.now;
        let known = inner
            .objects
            .get(&object)
            .map(|object| (object.incarnation, object.fences));
        let (incarnation, fences) = known.unwrap_or((inner.next_incarnation, 0));
        inner.next_incarnation += 1;
        let empty = Object {
            incarnation,
            owner,
            fences: fences + 1,
            current: Content::default(),
            durable: Content::default(),
            recent: Vec::new(),
            mtime: now,
            ctime: now,
        };
        inner.objects.insert(object, empty);
        Ok(handle_of(object, incarnation))
    }

    async fn create_all(&self, objects: &[(ObjectId, Owner)]) -> Result<Vec<Bytes>, Error> {
        if self.place.is_none() {
            return Err(crate::ranges::cannot("make many objects at once"));
        }
        let mut handles = Vec::with_capacity(objects.len());
        for (object, owner) in objects {
            handles.push(self.create(*object, *owner).await?);
        }
        Ok(handles)
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        self.on(handle, |object, _| Ok(object.stat()))
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        if size > self.capabilities.largest_object_bytes {
            return Err(self.error(
                ErrorKind::TooLarge,
                "SETATTR of a size past the largest object",
            ));
        }
        self.on(handle, |object, moment| {
            object.current.set_size(size);
            object.durable.set_size(size);
            for write in &mut object.recent {
                let kept = size
                    .saturating_sub(write.offset)
                    .min(write.data.len() as u64);
                write.data.truncate(kept as usize);
            }
            object.recent.retain(|write| !write.data.is_empty());
            object.mtime = moment.now;
            object.ctime = moment.now;
            Ok(object.stat())
        })
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        if size > self.capabilities.largest_object_bytes {
            return Err(self.error(
                ErrorKind::TooLarge,
                "SETATTR of a size past the largest object",
            ));
        }
        self.on(handle, |object, moment| {
            if object.current.size() < size {
                object.current.set_size(size);
                object.mtime = moment.now;
                object.ctime = moment.now;
            }
            let durable = object.durable.size().max(size);
            object.durable.set_size(durable);
            Ok(object.stat())
        })
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        if self.capabilities.fence < FenceGrade::Windowed {
            return Err(self.error(ErrorKind::Unsupported, "SETATTR of the owner isn't allowed"));
        }
        self.on(handle, |object, moment| {
            object.owner = owner;
            object.fences += 1;
            object.ctime = moment.now;
            Ok(())
        })
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let count = count.min(self.capabilities.read_bytes);
        let got = self.on(handle, |object, _| {
            Ok(fetch(&object.current, offset, count))
        })?;
        self.inner.lock().served_bytes += got.data.len() as u64;
        Ok(got)
    }

    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let written = self.on(handle, |object, moment| {
            self.put(object, moment, offset, &data, stability)
        })?;
        self.inner.lock().served_bytes += u64::from(written.count);
        Ok(written)
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        self.on(handle, |object, moment| {
            object.recent.clear();
            object.durable = object.current.clone();
            Ok(moment.verifier)
        })
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        self.inner.lock().objects.remove(&object);
        Ok(())
    }

    async fn space(&self) -> Result<Space, Error> {
        let inner = self.inner.lock();
        let used: u64 = inner
            .objects
            .values()
            .map(|object| object.current.used())
            .sum();
        Ok(Space {
            total: inner.capacity_bytes,
            free: inner.capacity_bytes.saturating_sub(used),
        })
    }

    async fn seek(
        &self,
        handle: &Bytes,
        within: Range<u64>,
        stripe: Stripe,
        what: Seek,
    ) -> Result<Sought, Error> {
        if self.capabilities.ranges.sparse {
            self.find(handle, &within, stripe, what)
        } else {
            fallback::seek_by_size(self, handle, within, stripe, what).await
        }
    }

    async fn deallocate(&self, handle: &Bytes, range: Range<u64>) -> Result<u64, Error> {
        if self.capabilities.ranges.sparse {
            self.punch(handle, &range)
        } else {
            fallback::deallocate_by_zeros(self, handle, range).await
        }
    }

    async fn allocate(
        &self,
        handle: &Bytes,
        range: Range<u64>,
        stripe: Stripe,
    ) -> Result<u64, Error> {
        if !self.capabilities.ranges.reserve {
            return Err(fallback::cannot("set space aside"));
        }
        self.set_aside(handle, &range, stripe)
    }

    async fn clone_range(
        &self,
        source: &Bytes,
        source_offset: u64,
        handle: &Bytes,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        if self.capabilities.ranges.clone_block_bytes.is_none() {
            return Err(fallback::cannot("share blocks"));
        }
        self.share(source, source_offset, handle, &range)
    }

    fn origin(&self, handle: &Bytes, owner: Owner) -> Option<Origin> {
        self.reached_at(handle, owner)
    }

    async fn pull(
        &self,
        origin: &Origin,
        origin_offset: u64,
        handle: &Bytes,
        offset: u64,
        length: u32,
    ) -> Result<Written, Error> {
        self.pull_in(origin, origin_offset, handle, offset, length)
    }
}
