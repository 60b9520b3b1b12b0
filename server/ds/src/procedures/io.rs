//! READ, WRITE and COMMIT (RFC 1813 §3.3.6, §3.3.7, §3.3.21), for whom the object's record lets.
//! Each is judged behind the object's gate, so that a fence divides them into before and after.
//!
//! Refused with NFS3ERR_ACCES, never PERM: Linux answers ACCES with LAYOUTERROR and a new layout,
//! and PERM with an endless reconnect.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use buffers::Buffer;
use wire::nfs3::*;

use crate::engine::Engine;
use crate::handle::Target;
use crate::identity::{Caller, Right};
use crate::procedures::cached;
use crate::service::{Context, TERM_OVER};
use crate::status;
use crate::store::Object;
use crate::syncs::Depth;

/// READ, §3.3.6.
pub async fn read<E: Engine>(
    args: &Read3args,
    cx: &Context<'_, E>,
) -> Outcome<(Read3head, Buffer), PostOpAttr> {
    if let Ok(Target::Cached(id)) = cx.target(&args.file) {
        return cached::read(args, id, cx).await;
    }
    let object = cx.object(&args.file).await?;
    let count = args.count.min(cx.service.transfer_bytes);
    // Before the gate: nobody holds a gate while waiting for a buffer that gated I/O has.
    let buffer = cx.service.pool.acquire(count as usize).await;
    let passing = object.gate.shared().await;
    let about = |status| Failed {
        status,
        about: cx.attributes(&object).ok(),
    };
    judge(cx, &object, Right::Read).map_err(about)?;
    let (count, mut buffer) = (count as usize, buffer);
    let mut got = 0;
    let attributes = loop {
        let offset = args.offset.saturating_add(got as u64);
        if got < count && i64::try_from(offset).is_ok() {
            let (read, filled) = cx.engine.read(&object.file, offset, buffer, got).await;
            buffer = filled;
            let read = read.map_err(|error| about(status::of(&error)))?;
            got += read;
            if got < count && read > 0 {
                // Short: at the end of the file, as a rule.
                let attributes = cx.attributes(&object)?;
                if args.offset + got as u64 >= attributes.size {
                    break attributes;
                }
                continue;
            }
        }
        break cx.attributes(&object)?;
    };
    drop(passing);
    let head = Read3head {
        file_attributes: Some(attributes),
        count: got as u32,
        eof: args.offset.saturating_add(got as u64) >= attributes.size,
    };
    Ok((head, buffer))
}

/// WRITE, §3.3.7. What is written short is answered short; the client sends the rest.
pub async fn write<E: Engine>(
    args: &Write3head,
    payload: Option<Buffer>,
    cx: &Context<'_, E>,
) -> Write3res {
    let object = cx.object(&args.file).await?;
    let passing = object.gate.shared().await;
    let about = |status| failed(cx, &object, status);
    judge(cx, &object, Right::Write).map_err(about)?;
    // Taken before the write: if a sync fails meanwhile, the data may be lost with it, and the
    // verifier in this reply must then be out of date.
    let mut verifier = cx.service.verifier.current();
    let end = args.offset.saturating_add(u64::from(args.count));
    if i64::try_from(end).is_err() {
        return Err(about(Nfsstat3::Fbig));
    }
    let _promise = if object.allocated_bytes() < end {
        let promise = cx.service.space.promise(u64::from(args.count));
        Some(promise.ok_or_else(|| about(Nfsstat3::Nospc))?)
    } else {
        None
    };
    let mut depth = match args.stable {
        StableHow::Unstable => None,
        StableHow::DataSync => Some(Depth::Data),
        StableHow::FileSync => Some(Depth::All),
    };
    let count = match payload {
        Some(payload) => {
            // Write and sync in one: each would wake a thread of the kernel's, and then ours.
            let turn = depth.and_then(|_| object.syncs.turn_now());
            let through = depth.filter(|_| turn.is_some());
            if through.is_none() {
                object.wrote_unstable();
            }
            let file = &object.file;
            let written = cx.engine.write(file, args.offset, payload, through).await.0;
            if let Some(turn) = turn {
                cx.service.metrics.syncs.fetch_add(1, Ordering::Relaxed);
                turn.end(&written, || cx.service.verifier.writes_lost());
                depth = None;
                verifier = cx.service.verifier.current();
            }
            written.map_err(|error| about(status::of(&error)))?
        }
        None => 0,
    };
    if let Some(depth) = depth {
        let durable = sync(cx, &object, depth).await.map_err(about)?;
        if durable != verifier {
            // Whoever synced meanwhile was told of bytes that are lost, and this sync of none: these may be among them.
            return Err(about(Nfsstat3::Jukebox));
        }
    }
    let stat = object.stat().map_err(|error| status::of(&error))?;
    object.account(&stat, &cx.service.space);
    drop(passing);
    Ok(Write3resok {
        file_wcc: WccData {
            // Other writes pass the gate beside this one, so nothing true can be said of before.
            before: None,
            after: Some(cx.attributes_of(object.id, &object.record(), &stat)),
        },
        count: count as u32,
        committed: args.stable,
        verf: verifier,
    })
}

/// COMMIT, §3.3.21, of the whole object whatever range is named.
pub async fn commit<E: Engine>(args: &Commit3args, cx: &Context<'_, E>) -> Commit3res {
    let object = cx.object(&args.file).await?;
    let passing = object.gate.shared().await;
    let about = |status| failed(cx, &object, status);
    judge(cx, &object, Right::Write).map_err(about)?;
    let verifier = sync(cx, &object, Depth::Data).await.map_err(about)?;
    let attributes = cx.attributes(&object)?;
    drop(passing);
    Ok(Commit3resok {
        file_wcc: WccData {
            before: None,
            after: Some(attributes),
        },
        verf: verifier,
    })
}

/// Whether the caller has the right now, behind the gate.
pub(super) fn judge<E: Engine>(
    cx: &Context<'_, E>,
    object: &Object,
    right: Right,
) -> Result<(), Nfsstat3> {
    if object.is_removed() {
        return Err(Nfsstat3::Stale);
    }
    match cx.caller {
        // What a metadata server of the past writes could undo what its successor has settled.
        Caller::Mds { term } if right == Right::Write && *term < cx.service.folder.term() => {
            Err(TERM_OVER)
        }
        caller if caller.may(right, &object.record()) => Ok(()),
        _ => Err(Nfsstat3::Acces),
    }
}

/// Makes the object durable, and gives the verifier under which it is.
pub(super) async fn sync<E: Engine>(
    cx: &Context<'_, E>,
    object: &Arc<Object>,
    depth: Depth,
) -> Result<Writeverf3, Nfsstat3> {
    let run = || {
        object.sync_begins();
        cx.service.metrics.syncs.fetch_add(1, Ordering::Relaxed);
        cx.engine.sync(&object.file, depth)
    };
    let lost = || cx.service.verifier.writes_lost();
    object
        .syncs
        .sync(depth, run, lost)
        .await
        .map_err(|error| status::of(&error))?;
    Ok(cx.service.verifier.current())
}

fn failed<E: Engine>(cx: &Context<'_, E>, object: &Object, status: Nfsstat3) -> Failed<WccData> {
    Failed {
        status,
        about: WccData {
            before: None,
            after: cx.attributes(object).ok(),
        },
    }
}

#[cfg(test)]
#[path = "io_tests.rs"]
mod tests;
