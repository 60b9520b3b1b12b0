//! READ, WRITE and COMMIT of a file in a junction: RFC 8881 §18.22, §18.32, §18.3. The bytes pass this
//! server; what can be read directly is read by layout (`layout`).

use super::Place;
use crate::attributes::{MAX_FILE_BYTES, without_set_id};
use crate::compound::{Compound, File};
use crate::junction::inode_of;
use crate::ops::io::{READ_AROUND_BYTES, by_mode, regular};
use crate::state::{IoGrant, IoKind};
use crate::status::Refusal;
use backend::Stability;
use backend::tree::NodeChanges;
use bytes::Bytes;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{
    Commit4Ok, Nfsstat4, Read4Args, Read4Ok, StableHow4, Stateid4, Verifier4, Write4Args, Write4Ok,
};

/// By the open that the stateid names; for a special stateid by the mode bits, or by the tree itself.
pub(super) async fn allowed(
    stateid: Stateid4,
    kind: IoKind,
    file: &File,
    place: &Place,
    cx: &Compound<'_>,
) -> Result<(), Refusal> {
    let (client, stateid) = (cx.client()?, cx.resolve(stateid)?);
    let granted = cx
        .server
        .authorize_io(client, stateid, file.id, kind)
        .await?;
    if granted != IoGrant::Special || place.can.judges {
        return Ok(());
    }
    let inode = inode_of(file.id, &place.stat().await?);
    regular(&inode)?;
    by_mode(kind, &place.credential, &inode, cx)
}

pub(super) async fn read(args: &Read4Args, cx: &Compound<'_>) -> Result<Read4Ok, Refusal> {
    let file = cx.file()?;
    let place = Place::of(file, cx).await?;
    allowed(args.stateid, IoKind::Read, file, &place, cx).await?;
    let room = cx.room.saturating_sub(READ_AROUND_BYTES) as u32;
    let count = args.count.min(room).min(place.can.read_bytes);
    if args.offset > MAX_FILE_BYTES {
        return Ok(Read4Ok {
            eof: true,
            data: Bytes::new(),
        });
    }
    let read = place
        .tree()
        .read(&place.caller, &place.handle, args.offset, count);
    let fetched = place.heard(read.await)?;
    let bytes = fetched.data.len() as u64;
    place
        .junction
        .counters()
        .read_bytes
        .fetch_add(bytes, Relaxed);
    cx.server.metrics.proxy_read_bytes.fetch_add(bytes, Relaxed);
    Ok(Read4Ok {
        eof: fetched.at_end,
        data: fetched.data,
    })
}

pub(super) async fn write(args: Write4Args, cx: &Compound<'_>) -> Result<Write4Ok, Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    let place = Place::of(&file, cx).await?;
    let end = args.offset.checked_add(args.data.len() as u64);
    if end.is_none_or(|end| end > place.can.largest_file_bytes) {
        return Err(Nfsstat4::Fbig.into());
    }
    allowed(args.stateid, IoKind::Write, &file, &place, cx).await?;
    let stability = match args.stable {
        StableHow4::Unstable => Stability::Unstable,
        StableHow4::DataSync | StableHow4::FileSync => Stability::Durable,
    };
    let most = args.data.len().min(place.can.write_bytes as usize);
    let data = args.data.slice(..most);
    let write = place
        .tree()
        .write(&place.caller, &place.handle, args.offset, data, stability);
    let written = place.heard(write.await)?;
    drop_set_id(&place).await?;
    let bytes = u64::from(written.count);
    let counters = place.junction.counters();
    counters.written_bytes.fetch_add(bytes, Relaxed);
    cx.server
        .metrics
        .proxy_written_bytes
        .fetch_add(bytes, Relaxed);
    Ok(Write4Ok {
        count: written.count,
        committed: if written.durable {
            StableHow4::FileSync
        } else {
            StableHow4::Unstable
        },
        writeverf: Verifier4(written.verifier),
    })
}

/// Who isn't root takes set-id bits away by writing. A tree that judges does that by itself.
pub(super) async fn drop_set_id(place: &Place) -> Result<(), Refusal> {
    if place.can.judges || place.credential.is_root() {
        return Ok(());
    }
    let mode = place.stat().await?.mode;
    if mode == without_set_id(mode) {
        return Ok(());
    }
    let changes = NodeChanges {
        mode: Some(without_set_id(mode)),
        ..NodeChanges::default()
    };
    let set = place.tree().set(&place.caller, &place.handle, &changes);
    place.heard(set.await)?;
    Ok(())
}

/// Of the whole file, whatever range was asked for.
pub(super) async fn commit(cx: &Compound<'_>) -> Result<Commit4Ok, Refusal> {
    let place = Place::of(cx.file()?, cx).await?;
    let commit = place.tree().commit(&place.caller, &place.handle);
    let verifier = place.heard(commit.await)?;
    Ok(Commit4Ok {
        writeverf: Verifier4(verifier),
    })
}
