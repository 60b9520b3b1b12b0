//! Bytes of every record: one version byte, then the fields. The only place that knows them.
//! Never keys (those are in `keys`), never a decision.

use crate::inode::{FileKind, InodeId, Timestamp};
use crate::records::{ClientRecord, DataServerRecord, Order, OrderKind, PoolEntry, WriteIntent};
use bytes::{BufMut, Bytes, BytesMut};
use layout::{DataServerId, Extent, ExtentState, Mirror, ObjectId, ObjectRef, Owner};

mod adopted;
mod names;
mod xattrs;

pub(crate) use adopted::{Found, Reached};
pub(crate) use names::{Bucket, ColdInode, Named};
pub(crate) use xattrs::{XattrBucket, XattrNamed, XattrValue};

/// A record that can't be read, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("{record} has version {found}, and this program knows versions up to {known}")]
    Version {
        record: &'static str,
        found: u8,
        known: u8,
    },
    #[error("{record} ends inside {field}")]
    Short {
        record: &'static str,
        field: &'static str,
    },
    #[error("{record} has a wrong value in {field}")]
    Value {
        record: &'static str,
        field: &'static str,
    },
    #[error("{record} has {bytes} bytes too many")]
    Long { record: &'static str, bytes: usize },
}

impl From<RecordError> for crate::Error {
    fn from(error: RecordError) -> Self {
        crate::Error::Corrupt(error.to_string())
    }
}

/// The version that is written; older ones would be read by their own arms.
const VERSION: u8 = 1;

/// Something with bytes of its own in the store.
pub(crate) trait Record: Sized {
    const NAME: &'static str;
    fn put(&self, to: &mut Writer);
    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError>;

    fn encode(&self) -> Bytes {
        let mut to = Writer(BytesMut::with_capacity(128));
        to.byte(VERSION);
        self.put(&mut to);
        to.0.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut from = Fields {
            record: Self::NAME,
            rest: bytes,
        };
        let found = from.byte("version")?;
        if found != VERSION {
            return Err(RecordError::Version {
                record: Self::NAME,
                found,
                known: VERSION,
            });
        }
        let value = Self::take(&mut from)?;
        if from.rest.is_empty() {
            Ok(value)
        } else {
            Err(RecordError::Long {
                record: Self::NAME,
                bytes: from.rest.len(),
            })
        }
    }
}

/// Appends fields.
pub(crate) struct Writer(pub(crate) BytesMut);

impl Writer {
    pub(crate) fn byte(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    /// Seven bits a byte, least first; the top bit says that more follow.
    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    /// Small absolute values take few bytes, whatever their sign.
    fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.0.put_slice(value);
    }

    fn time(&mut self, value: Timestamp) {
        self.signed(value.seconds);
        self.number(value.nanos.into());
    }

    fn inode_id(&mut self, value: InodeId) {
        self.number(value.home);
        self.number(value.number);
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.byte(0),
            Some(value) => {
                self.byte(1);
                put(self, value);
            }
        }
    }

    pub(crate) fn list<T>(&mut self, values: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.number(values.len() as u64);
        for value in values {
            put(self, value);
        }
    }

    fn object(&mut self, value: &ObjectRef) {
        self.number(value.server.0.into());
        self.0.put_u128(value.object.0);
        self.bytes(&value.handle);
        self.number(value.owner.uid.into());
        self.number(value.owner.gid.into());
        self.number(value.generation.into());
    }

    fn extent(&mut self, value: &Extent) {
        self.number(value.offset);
        self.number(value.length);
        self.number(value.stripe_unit.into());
        self.list(&value.mirrors, |to, mirror| {
            to.list(&mirror.stripes, Writer::object);
            to.byte(u8::from(mirror.stale));
        });
        self.byte(match value.state {
            ExtentState::Unbound => 0,
            ExtentState::Bound => 1,
            ExtentState::Frozen => 2,
        });
    }
}

/// Takes fields off the front.
pub(crate) struct Fields<'a> {
    pub(crate) record: &'static str,
    pub(crate) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn short(&self, field: &'static str) -> RecordError {
        RecordError::Short {
            record: self.record,
            field,
        }
    }

    pub(crate) fn wrong(&self, field: &'static str) -> RecordError {
        RecordError::Value {
            record: self.record,
            field,
        }
    }

    fn slice(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.short(field))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], RecordError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.short(field))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, RecordError> {
        Ok(self.array::<1>(field)?[0])
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, RecordError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.wrong(field));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.wrong(field))
    }

    fn number_u32(&mut self, field: &'static str) -> Result<u32, RecordError> {
        u32::try_from(self.number(field)?).map_err(|_| self.wrong(field))
    }

    fn signed(&mut self, field: &'static str) -> Result<i64, RecordError> {
        let value = self.number(field)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Bytes, RecordError> {
        let count = self.number(field)?;
        let count = usize::try_from(count).map_err(|_| self.wrong(field))?;
        Ok(Bytes::copy_from_slice(self.slice(count, field)?))
    }

    fn text(&mut self, field: &'static str) -> Result<String, RecordError> {
        String::from_utf8(self.bytes(field)?.to_vec()).map_err(|_| self.wrong(field))
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, RecordError> {
        match self.byte(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong(field)),
        }
    }

    fn time(&mut self, field: &'static str) -> Result<Timestamp, RecordError> {
        Ok(Timestamp {
            seconds: self.signed(field)?,
            nanos: self.number_u32(field)?,
        })
    }

    fn inode_id(&mut self, field: &'static str) -> Result<InodeId, RecordError> {
        Ok(InodeId {
            home: self.number(field)?,
            number: self.number(field)?,
        })
    }

    pub(crate) fn option<T>(
        &mut self,
        field: &'static str,
        take: impl FnOnce(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        if self.flag(field)? {
            take(self).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        mut take: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = self.number(field)?;
        // Each element takes a byte at least, so that a wrong count can't ask for memory.
        if count > self.rest.len() as u64 {
            return Err(self.short(field));
        }
        (0..count).map(|_| take(self)).collect()
    }

    fn object(&mut self) -> Result<ObjectRef, RecordError> {
        Ok(ObjectRef {
            server: DataServerId(self.number_u32("server")?),
            object: ObjectId(u128::from_be_bytes(self.array("object")?)),
            handle: self.bytes("handle")?,
            owner: Owner {
                uid: self.number_u32("owner")?,
                gid: self.number_u32("owner")?,
            },
            generation: self.number_u32("generation")?,
        })
    }

    fn extent(&mut self) -> Result<Extent, RecordError> {
        Ok(Extent {
            offset: self.number("offset")?,
            length: self.number("length")?,
            stripe_unit: self.number_u32("stripe_unit")?,
            mirrors: self.list("mirrors", |from| {
                Ok(Mirror {
                    stripes: from.list("stripes", Fields::object)?,
                    stale: from.flag("stale")?,
                })
            })?,
            state: match self.byte("state")? {
                0 => ExtentState::Unbound,
                1 => ExtentState::Bound,
                2 => ExtentState::Frozen,
                _ => return Err(self.wrong("state")),
            },
        })
    }

    fn kind(&mut self) -> Result<FileKind, RecordError> {
        Ok(match self.byte("kind")? {
            1 => FileKind::Regular,
            2 => FileKind::Directory,
            3 => FileKind::Symlink,
            4 => FileKind::Block,
            5 => FileKind::Character,
            6 => FileKind::Fifo,
            7 => FileKind::Socket,
            _ => return Err(self.wrong("kind")),
        })
    }
}

const fn kind_byte(kind: FileKind) -> u8 {
    match kind {
        FileKind::Regular => 1,
        FileKind::Directory => 2,
        FileKind::Symlink => 3,
        FileKind::Block => 4,
        FileKind::Character => 5,
        FileKind::Fifo => 6,
        FileKind::Socket => 7,
    }
}

impl Record for DataServerRecord {
    const NAME: &'static str = "a data server";

    fn put(&self, to: &mut Writer) {
        to.number(self.id.0.into());
        to.bytes(self.name.as_bytes());
        to.number(self.device_generation.into());
        to.bytes(self.address.as_bytes());
        to.bytes(self.export.as_bytes());
        to.bytes(&self.root_handle);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(DataServerRecord {
            id: DataServerId(from.number_u32("id")?),
            name: from.text("name")?,
            device_generation: from.number_u32("device_generation")?,
            address: from.text("address")?,
            export: from.text("export")?,
            root_handle: from.bytes("root_handle")?,
        })
    }
}

impl Record for ClientRecord {
    const NAME: &'static str = "a client";

    fn put(&self, to: &mut Writer) {
        to.number(self.id);
        to.bytes(&self.owner);
        to.0.put_slice(&self.verifier);
        to.bytes(&self.principal);
        to.byte(u8::from(self.reclaim_complete));
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(ClientRecord {
            id: from.number("id")?,
            owner: from.bytes("owner")?,
            verifier: from.array("verifier")?,
            principal: from.bytes("principal")?,
            reclaim_complete: from.flag("reclaim_complete")?,
        })
    }
}

impl Record for WriteIntent {
    const NAME: &'static str = "a write intent";

    fn put(&self, to: &mut Writer) {
        to.inode_id(self.inode);
        to.number(self.size_epoch);
        to.list(&self.clients, |to, client| to.number(*client));
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(WriteIntent {
            inode: from.inode_id("inode")?,
            size_epoch: from.number("size_epoch")?,
            clients: from.list("clients", |from| from.number("client"))?,
        })
    }
}

impl Record for Order {
    const NAME: &'static str = "an order";

    fn put(&self, to: &mut Writer) {
        to.inode_id(self.inode);
        match &self.kind {
            OrderKind::Truncate { size, size_epoch } => {
                to.byte(1);
                to.number(*size);
                to.number(*size_epoch);
            }
            OrderKind::Fence { objects } => {
                to.byte(3);
                to.list(objects, Writer::object);
            }
            OrderKind::Restore => to.byte(4),
        }
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let inode = from.inode_id("inode")?;
        let kind = match from.byte("kind")? {
            1 => OrderKind::Truncate {
                size: from.number("size")?,
                size_epoch: from.number("size_epoch")?,
            },
            3 => OrderKind::Fence {
                objects: from.list("objects", Fields::object)?,
            },
            4 => OrderKind::Restore,
            _ => return Err(from.wrong("kind")),
        };
        Ok(Order { inode, kind })
    }
}

impl Record for PoolEntry {
    const NAME: &'static str = "a pooled object";

    fn put(&self, to: &mut Writer) {
        match self {
            PoolEntry::Reserved { server, object } => {
                to.byte(1);
                to.number(server.0.into());
                to.0.put_u128(object.0);
            }
            PoolEntry::Pooled(object) => {
                to.byte(2);
                to.object(object);
            }
        }
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(match from.byte("state")? {
            1 => PoolEntry::Reserved {
                server: DataServerId(from.number_u32("server")?),
                object: ObjectId(u128::from_be_bytes(from.array("object")?)),
            },
            2 => PoolEntry::Pooled(from.object()?),
            _ => return Err(from.wrong("state")),
        })
    }
}

#[cfg(test)]
mod tests;
