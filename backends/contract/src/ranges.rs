//! The words for ranges of objects: data and holes, space set aside, blocks shared, bytes fetched
//! from another server; and what stands in where a server can't do any of that.
//!
//! Never here: a file's geometry, beyond the share of one object.

use crate::{DataServer, Error, ErrorKind, Stability};
use bytes::Bytes;
use layout::{Owner, Stripe};
use std::net::SocketAddr;
use std::ops::Range;

/// What a server can do with a range of an object, beyond reading and writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeAbilities {
    /// Tells holes from data, and makes holes.
    pub sparse: bool,
    /// Sets space aside for writes to come.
    pub reserve: bool,
    /// Has two objects share their blocks, which are so many bytes long.
    pub clone_block_bytes: Option<u32>,
    /// Fetches bytes of an object by itself: its own, or of a server that has an [`Origin`] for it.
    pub pull: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seek {
    Data,
    Hole,
}

/// What became of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// Here it begins.
    At(u64),
    /// Not before this offset: the server stopped there, and is to be asked on from there.
    NotBefore(u64),
    /// Not in the range.
    Nowhere,
}

/// How another server reads an object: for [`DataServer::pull`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub address: SocketAddr,
    pub handle: Bytes,
    /// Ids that may read it.
    pub reader: Owner,
}

/// [`DataServer::seek`] where holes can't be told: every byte up to the object's end is data.
pub async fn seek_by_size<S: DataServer + ?Sized>(
    server: &S,
    handle: &Bytes,
    within: Range<u64>,
    stripe: Stripe,
    what: Seek,
) -> Result<Sought, Error> {
    let size = server.stat(handle).await?.size;
    let searched = match what {
        Seek::Data => within.start..within.end.min(size),
        Seek::Hole => within.start.max(size)..within.end,
    };
    Ok(match stripe.run(&searched) {
        Some(run) => Sought::At(run.start),
        None => Sought::Nowhere,
    })
}

/// [`DataServer::deallocate`] where no hole can be made: writes zeros over what isn't zero, one piece
/// a call. A piece that is found zero may not be durable before a COMMIT.
pub async fn deallocate_by_zeros<S: DataServer + ?Sized>(
    server: &S,
    handle: &Bytes,
    range: Range<u64>,
) -> Result<u64, Error> {
    if range.is_empty() {
        return Ok(range.end);
    }
    let can = server.capabilities();
    let step = u64::from(can.read_bytes.min(can.write_bytes).max(1));
    let want = step.min(range.end - range.start) as u32;
    // No more than is read, so that nothing grows.
    let found = server.read(handle, range.start, want).await?;
    let reached = if found.at_end {
        range.end
    } else {
        range.start + found.data.len() as u64
    };
    if is_zero(&found.data) {
        return Ok(reached);
    }
    let zeros = Bytes::from(vec![0; found.data.len()]);
    let written = server
        .write(handle, range.start, zeros, Stability::Durable)
        .await?;
    let done = u64::from(written.count);
    Ok(if done == found.data.len() as u64 {
        reached
    } else {
        range.start + done
    })
}

pub fn is_zero(data: &[u8]) -> bool {
    data.iter().all(|byte| *byte == 0)
}

pub(crate) fn cannot(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the data server can't {what}"),
    )
}
