//! Versions of objects that somebody else keeps: READ (RFC 1813 §3.3.6) out of chunks that are here or
//! are fetched, what is told of them, and the metadata server's OFFER, WITHDRAW and DEMAND (`wire::ds`).
//!
//! A version that isn't served any more is STALE: Linux gives its layout back with that and asks the
//! metadata server. A keeper that is away is JUKEBOX, which it waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use buffers::Buffer;
use chunks::{Failed as Missed, Held, Offer, Part, Store};
use wire::ds::*;
use wire::nfs3::*;

use crate::engine::Engine;
use crate::handle::Target;
use crate::identity::Right;
use crate::record::Record;
use crate::service::{Context, time};
use crate::status;

/// Nobody may write it; who may read it was said when it was offered.
const MODE: u32 = 0o440;

/// READ of a version.
pub async fn read<E: Engine>(
    args: &Read3args,
    id: chunks::ObjectId,
    cx: &Context<'_, E>,
) -> Outcome<(Read3head, Buffer), PostOpAttr> {
    let (store, held) = served(id, cx)?;
    let attributes = attributes_of(&held, cx);
    let about = |status| Failed {
        status,
        about: Some(attributes),
    };
    if !may_read(&held, cx) {
        return Err(about(Nfsstat3::Acces));
    }
    let size = held.offer.version.size;
    let most = u64::from(args.count.min(cx.service.transfer_bytes));
    let end = args.offset.saturating_add(most).min(size);
    let pieces = pieces(args.offset..end, store.chunk_bytes());
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        let range = piece.offset..piece.offset + piece.count as u64;
        let part = store.part(&held, piece.chunk, range).await;
        parts.push(part.map_err(|missed| about(status_of(missed)))?);
    }
    // Only now: a keeper that is slow holds up no buffers.
    let count = end.saturating_sub(args.offset) as usize;
    let mut buffer = cx.service.pool.acquire(count).await;
    let mut got = 0;
    for (piece, part) in pieces.iter().zip(&parts) {
        let until = got + piece.count;
        match part {
            Part::InMemory(slices) => {
                for slice in slices {
                    buffer.bytes_mut()[got..got + slice.len()].copy_from_slice(slice);
                    got += slice.len();
                }
            }
            Part::OnDisk(file) => {
                let mut offset = piece.offset;
                while got < until {
                    let (read, filled) = cx.engine.read(file, offset, buffer, got).await;
                    buffer = filled;
                    let read = read.map_err(|error| about(status::of(&error)))?;
                    if read == 0 {
                        // Shorter than it was when it was written or checked.
                        store.damaged(&held, piece.chunk);
                        return Err(about(Nfsstat3::Jukebox));
                    }
                    offset += read as u64;
                    // What lies behind the chunk's bytes is written over by the next one, or not sent.
                    got = (got + read).min(until);
                }
            }
        }
    }
    if held.is_gone() {
        return Err(Nfsstat3::Stale.into());
    }
    let given = &held.demand.read_bytes;
    given.fetch_add(count as u64, Ordering::Relaxed);
    let head = Read3head {
        file_attributes: Some(attributes),
        count: count as u32,
        eof: args.offset.saturating_add(count as u64) >= size,
    };
    Ok((head, buffer))
}

/// A part of one chunk.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    chunk: u64,
    /// Within the chunk.
    offset: u64,
    count: usize,
}

fn pieces(range: std::ops::Range<u64>, chunk_bytes: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let (chunk, offset) = (at / chunk_bytes, at % chunk_bytes);
        let count = (chunk_bytes - offset).min(range.end - at);
        pieces.push(Piece {
            chunk,
            offset,
            count: count as usize,
        });
        at += count;
    }
    pieces
}

fn status_of(missed: Missed) -> Nfsstat3 {
    match missed {
        Missed::Later => Nfsstat3::Jukebox,
        Missed::Gone => Nfsstat3::Stale,
        Missed::Broken => Nfsstat3::Io,
    }
}

fn served<'a, E: Engine>(
    id: chunks::ObjectId,
    cx: &Context<'a, E>,
) -> Result<(&'a Store, Arc<Held>), Nfsstat3> {
    let cache = cx.service.cache.as_ref().ok_or(Nfsstat3::Stale)?;
    let held = cache.store.object(id).ok_or(Nfsstat3::Stale)?;
    Ok((&cache.store, held))
}

fn may_read<E: Engine>(held: &Held, cx: &Context<'_, E>) -> bool {
    let record = Record {
        mode: MODE,
        uid: held.offer.uid,
        gid: held.offer.gid,
        generation: 0,
        term: 0,
        incarnation: 0,
        create_verifier: [0; 8],
    };
    cx.caller.may(Right::Read, &record)
}

/// What GETATTR and its like tell of it.
pub fn attributes<E: Engine>(
    id: chunks::ObjectId,
    cx: &Context<'_, E>,
) -> Result<Fattr3, Nfsstat3> {
    Ok(attributes_of(&served(id, cx)?.1, cx))
}

/// With what ACCESS grants at most.
pub fn access<E: Engine>(
    id: chunks::ObjectId,
    cx: &Context<'_, E>,
) -> Result<(Fattr3, u32), Nfsstat3> {
    let (_, held) = served(id, cx)?;
    let granted = if may_read(&held, cx) { ACCESS3_READ } else { 0 };
    Ok((attributes_of(&held, cx), granted))
}

fn attributes_of<E: Engine>(held: &Held, cx: &Context<'_, E>) -> Fattr3 {
    let key = cx.service.folder.key();
    let at = time(
        held.offer.mtime.div_euclid(1_000_000_000),
        held.offer.mtime.rem_euclid(1_000_000_000),
    );
    Fattr3 {
        ftype: Ftype3::Reg,
        mode: MODE,
        nlink: 1,
        uid: held.offer.uid,
        gid: held.offer.gid,
        size: held.offer.version.size,
        used: held.offer.version.size,
        rdev: Specdata3::default(),
        fsid: key.fsid(),
        fileid: key.fileid(Target::Cached(held.id)),
        atime: at,
        mtime: at,
        ctime: at,
    }
}

/// OFFER. NOTSUPP where the backend isn't one of this server's.
pub async fn offer<E: Engine>(args: &OfferArgs, cx: &Context<'_, E>) -> OfferRes {
    cx.order()?;
    let text = |name: &Foreign| {
        String::from_utf8(name.bytes().to_vec()).map_err(|_| Failed::from(Nfsstat3::Inval))
    };
    let offer = Offer {
        upstream: text(&args.backend)?,
        version: backend::upstream::Version {
            key: text(&args.key)?,
            etag: text(&args.etag)?,
            size: args.size,
        },
        mtime: i128::from(args.mtime.seconds) * 1_000_000_000 + i128::from(args.mtime.nseconds),
        uid: args.uid,
        gid: args.gid,
    };
    let store = match &cx.service.cache {
        Some(cache) if cache.store.knows(&offer.upstream) => cache.store.clone(),
        _ => return Err(Nfsstat3::Notsupp.into()),
    };
    let held = cx.blocking(move || store.offer(offer)).await?;
    Ok(Offered {
        object: cx.handle(Target::Cached(held.id)),
    })
}

/// WITHDRAW; also of what isn't served any more.
pub async fn withdraw<E: Engine>(args: &WithdrawArgs, cx: &Context<'_, E>) -> WithdrawRes {
    cx.order()?;
    let Target::Cached(id) = cx.target(&args.object)? else {
        return Err(Nfsstat3::Inval.into());
    };
    if let Some(cache) = &cx.service.cache {
        let store = cache.store.clone();
        cx.blocking(move || store.withdraw(id)).await?;
    }
    Ok(())
}

/// DEMAND. NOTSUPP where the backend isn't one of this server's.
pub fn demand<E: Engine>(args: &DemandArgs, cx: &Context<'_, E>) -> DemandRes {
    cx.order()?;
    let name = std::str::from_utf8(args.backend.bytes());
    let store = cx.service.cache.as_ref().map(|cache| &cache.store);
    let (Ok(name), Some(store)) = (name, store) else {
        return Err(Nfsstat3::Notsupp.into());
    };
    let demand = store.demand(name).ok_or(Nfsstat3::Notsupp)?;
    Ok(Demand {
        hits: demand.hits.load(Ordering::Relaxed),
        misses: demand.misses.load(Ordering::Relaxed),
        fetched_bytes: demand.fetched_bytes.load(Ordering::Relaxed),
        read_bytes: demand.read_bytes.load(Ordering::Relaxed),
        held_bytes: store.held_bytes(),
        limit_bytes: store.limit_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_lie_one_behind_another_and_each_in_its_chunk(start in 0_u64..10_000, count in 0_u64..5000, chunk in 1_u64..3000) {
            let mut at = start;
            for piece in pieces(start..start + count, chunk) {
                prop_assert_eq!(piece.chunk * chunk + piece.offset, at);
                prop_assert!(piece.count > 0 && piece.offset + piece.count as u64 <= chunk);
                at += piece.count as u64;
            }
            prop_assert_eq!(at, start + count);
        }
    }
}
