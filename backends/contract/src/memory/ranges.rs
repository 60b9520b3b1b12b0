//! Ranges of the in-memory server's objects, in steps small enough that a test of few bytes sees a
//! server that stops on the way; and the rack, over which servers fetch from each other.
//!
//! Never here: the fallbacks of a server that has none of this.

use super::{Inner, MemoryServer, Object, RecentWrite};
use crate::{Error, ErrorKind, Origin, RangeAbilities, Seek, Sought, Stability, Written};
use bytes::Bytes;
use layout::{Owner, Stripe};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Weak};

/// What one call gets done at most, bytes.
const STEP_BYTES: u64 = 1 << 20;

/// Servers that reach each other.
#[derive(Debug, Clone, Default)]
pub struct Rack(Arc<Mutex<BTreeMap<SocketAddr, Weak<Mutex<Inner>>>>>);

impl MemoryServer {
    /// With everything that a server can do with ranges. Without, a server is like a stranger's.
    #[must_use]
    pub fn with_ranges(mut self) -> Self {
        self.capabilities.ranges = RangeAbilities {
            sparse: true,
            reserve: true,
            clone_block_bytes: Some(crate::content::PAGE_BYTES as u32),
            pull: self.place.is_some(),
        };
        self
    }

    /// In a rack, whose servers fetch bytes from each other.
    #[must_use]
    pub fn in_rack(mut self, rack: &Rack) -> Self {
        let mut servers = rack.0.lock();
        let number = servers.len() as u16 + 1;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
        servers.insert(address, Arc::downgrade(&self.inner));
        drop(servers);
        self.place = Some((address, rack.clone()));
        self.with_ranges()
    }

    pub(super) fn find(
        &self,
        handle: &Bytes,
        within: &Range<u64>,
        stripe: Stripe,
        what: Seek,
    ) -> Result<Sought, Error> {
        let stop = within.end.min(within.start.saturating_add(STEP_BYTES));
        self.on(handle, |object, _| {
            for run in stripe.runs(within.start..stop) {
                let found = match what {
                    Seek::Data => object.current.next_data(run.start),
                    Seek::Hole => Some(object.current.next_hole(run.start)),
                };
                if let Some(at) = found.filter(|at| run.contains(at)) {
                    return Ok(Sought::At(at));
                }
            }
            let left = stripe.run(&(stop..within.end)).is_some();
            let data_ends = what == Seek::Data && object.current.size() <= stop;
            Ok(if left && !data_ends {
                Sought::NotBefore(stop)
            } else {
                Sought::Nowhere
            })
        })
    }

    pub(super) fn punch(&self, handle: &Bytes, range: &Range<u64>) -> Result<u64, Error> {
        self.on(handle, |object, moment| {
            let reached = range.end.min(range.start.saturating_add(STEP_BYTES));
            let cut = range.start..reached;
            object.current.punch(&cut);
            object.durable.punch(&cut);
            forget_writes(object, &cut);
            object.mtime = moment.now;
            object.ctime = moment.now;
            let past_the_end = object.current.size().max(object.durable.size()) <= reached;
            Ok(if past_the_end { range.end } else { reached })
        })
    }

    pub(super) fn set_aside(
        &self,
        handle: &Bytes,
        range: &Range<u64>,
        stripe: Stripe,
    ) -> Result<u64, Error> {
        if range.end > self.capabilities.largest_object_bytes {
            return Err(self.error(ErrorKind::TooLarge, "past the largest object"));
        }
        self.on(handle, |object, moment| {
            let reached = range.end.min(range.start.saturating_add(STEP_BYTES));
            let mut free = moment.free;
            for run in stripe.runs(range.start..reached) {
                let needed = object.current.needs(&run);
                if needed > free {
                    return Err(self.error(ErrorKind::Full, "no space to set aside"));
                }
                free -= needed;
                object.current.reserve(&run);
                object.durable.reserve(&run);
            }
            object.ctime = moment.now;
            Ok(reached)
        })
    }

    pub(super) fn share(
        &self,
        source: &Bytes,
        source_offset: u64,
        handle: &Bytes,
        range: &Range<u64>,
    ) -> Result<u64, Error> {
        let block = u64::from(self.capabilities.ranges.clone_block_bytes.unwrap_or(1));
        if !source_offset.is_multiple_of(block) || !range.start.is_multiple_of(block) {
            return Err(self.error(ErrorKind::Unsupported, "a clone within a block"));
        }
        let reached = range.end.min(range.start.saturating_add(STEP_BYTES));
        let held = self.on(source, |object, _| Ok(object.current.clone()))?;
        if source_offset.saturating_add(reached - range.start) > held.size() {
            return Err(self.error(ErrorKind::Unsupported, "a clone past the source's end"));
        }
        self.on(handle, |object, moment| {
            let target = range.start..reached;
            object.current.share(&held, source_offset, &target);
            object.durable.share(&held, source_offset, &target);
            forget_writes(object, &target);
            object.mtime = moment.now;
            object.ctime = moment.now;
            Ok(reached)
        })
    }

    pub(super) fn reached_at(&self, handle: &Bytes, owner: Owner) -> Option<Origin> {
        let (address, _) = self.place.as_ref()?;
        Some(Origin {
            address: *address,
            handle: handle.clone(),
            reader: owner,
        })
    }

    pub(super) fn fetch_from(
        &self,
        origin: &Origin,
        origin_offset: u64,
        length: u32,
    ) -> Result<Bytes, Error> {
        let unreachable = || {
            self.error(
                ErrorKind::Unsupported,
                "there is no such server to fetch from",
            )
        };
        let (_, rack) = self.place.as_ref().ok_or_else(unreachable)?;
        let inner = rack.0.lock().get(&origin.address).and_then(Weak::upgrade);
        let neighbour = Self {
            inner: inner.ok_or_else(unreachable)?,
            ..self.clone()
        };
        let length = length.min(self.capabilities.write_bytes);
        let got = neighbour.client_read(origin.reader, &origin.handle, origin_offset, length);
        let got = got.map_err(|error| Error::new(ErrorKind::Unsupported, error.detail))?;
        let mut data = got.data.to_vec();
        data.resize(length as usize, 0);
        Ok(data.into())
    }

    pub(super) fn pull_in(
        &self,
        origin: &Origin,
        origin_offset: u64,
        handle: &Bytes,
        offset: u64,
        length: u32,
    ) -> Result<Written, Error> {
        let data = self.fetch_from(origin, origin_offset, length)?;
        self.on(handle, |object, moment| {
            self.put(object, moment, offset, &data, Stability::Unstable)
        })
    }
}

/// What was written in the range is no longer to come back, whatever of it was durable.
fn forget_writes(object: &mut Object, range: &Range<u64>) {
    let writes = std::mem::take(&mut object.recent);
    for write in writes {
        let end = write.offset + write.data.len() as u64;
        for kept in [
            write.offset..end.min(range.start),
            write.offset.max(range.end)..end,
        ] {
            if kept.start < kept.end {
                let from = (kept.start - write.offset) as usize;
                let to = (kept.end - write.offset) as usize;
                object.recent.push(RecentWrite {
                    offset: kept.start,
                    data: write.data.slice(from..to),
                    durable: write.durable,
                });
            }
        }
    }
}
