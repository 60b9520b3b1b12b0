//! PULL of the metadata server's own program (`wire::ds`): bytes of an object of this server, or of
//! another one, into an object here. They never pass the metadata server.
//!
//! What it fetched is unstable, as after a WRITE; it answers how many bytes that is, within a bounded
//! time. No gate is held while the other server is waited for, so that no fence waits for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wire::ds::*;
use wire::nfs3::{Nfsstat3, StableHow, Write3head};

use crate::engine::Engine;
use crate::fetcher::Source;
use crate::handle::Target;
use crate::identity::Right;
use crate::procedures::attributes::FILE_MAX_BYTES;
use crate::procedures::io::{judge, write};
use crate::procedures::ranges::both;
use crate::service::Context;
use crate::status;
use crate::store::Object;

const PULL_BYTES: u32 = 16 << 20;
/// Of all READs of one call: less than the metadata server waits for the answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// PULL
pub async fn pull<E: Engine>(args: &PullArgs, cx: &Context<'_, E>) -> PullRes {
    cx.order()?;
    let length = args.length.min(PULL_BYTES);
    let end = args.offset.saturating_add(u64::from(length));
    if end > FILE_MAX_BYTES || args.source_offset > FILE_MAX_BYTES - u64::from(length) {
        return Err(Nfsstat3::Fbig.into());
    }
    // Its own handle is told by its signature, whatever address comes with it.
    match cx.target(&args.source) {
        Ok(Target::Object { .. }) => local(args, length, cx).await,
        Ok(_) => Err(Nfsstat3::Inval.into()),
        Err(_) => remote(args, length, cx).await,
    }
}

async fn local<E: Engine>(args: &PullArgs, length: u32, cx: &Context<'_, E>) -> PullRes {
    let source = cx.object(&args.source).await?;
    let object = cx.object(&args.object).await?;
    let passing = both(&source, &object).await;
    judge(cx, &object, Right::Write)?;
    if source.is_removed() {
        return Err(Nfsstat3::Stale.into());
    }
    // Before the bytes, as for a WRITE: a sync that fails meanwhile may lose them.
    let verf = cx.service.verifier.current();
    let _promise = if object.allocated_bytes() < args.offset + u64::from(length) {
        let promise = cx.service.space.promise(u64::from(length));
        Some(promise.ok_or(Nfsstat3::Nospc)?)
    } else {
        None
    };
    object.wrote_unstable();
    let (from, to) = (Arc::clone(&source.file), Arc::clone(&object.file));
    let (source_offset, offset) = (args.source_offset, args.offset);
    cx.blocking(move || copy(&from, source_offset, &to, offset, length as usize))
        .await?;
    account(&object, cx)?;
    drop(passing);
    Ok(Pulled {
        count: length,
        verf,
    })
}

/// All of it; zeros for what lies past the source's end.
fn copy(from: &File, source_offset: u64, to: &File, offset: u64, length: usize) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let (mut out, mut into) = (source_offset + done as u64, offset + done as u64);
        let left = length - done;
        let copied = rustix::fs::copy_file_range(from, Some(&mut out), to, Some(&mut into), left);
        match copied {
            Ok(0) => return to.write_all_at(&vec![0; left], offset + done as u64),
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV) => {
                let mut bytes = vec![0; left];
                let got = fill(from, &mut bytes, source_offset + done as u64);
                got?;
                return to.write_all_at(&bytes, offset + done as u64);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// As much as there is before the end.
fn fill(from: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match from.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(())
}

async fn remote<E: Engine>(args: &PullArgs, length: u32, cx: &Context<'_, E>) -> PullRes {
    let began = Instant::now();
    let source = Source {
        address: args.origin.0,
        uid: args.uid,
        gid: args.gid,
    };
    let fetcher = &cx.service.fetcher;
    let _place = fetcher.place().await;
    let mut done = 0;
    let mut verf = None;
    while done < length {
        let want = (length - done).min(cx.service.transfer_bytes);
        let from = args.source_offset + u64::from(done);
        let left = PATIENCE.saturating_sub(began.elapsed());
        let fetched = if left.is_zero() {
            Err(Nfsstat3::Jukebox)
        } else {
            fetcher.fetch(&source, &args.source, from, want, left).await
        };
        let got = match fetched {
            Ok(got) => got,
            Err(_) if done > 0 => break,
            Err(status) => return Err(status.into()),
        };
        let count = if got.eof { want } else { got.data.len() as u32 };
        let mut buffer = cx.service.pool.acquire(count as usize).await;
        let (held, past) = buffer.bytes_mut().split_at_mut(got.data.len());
        held.copy_from_slice(&got.data);
        past.fill(0);
        drop(got);
        let head = Write3head {
            file: args.object.clone(),
            offset: args.offset + u64::from(done),
            count,
            stable: StableHow::Unstable,
        };
        let wrote = match write(&head, Some(buffer), cx).await {
            Ok(wrote) => wrote,
            Err(_) if done > 0 => break,
            Err(failed) => return Err(failed.status.into()),
        };
        // The first one's: if another came meanwhile, those bytes may be lost.
        verf.get_or_insert(wrote.verf);
        done += wrote.count;
        if wrote.count < count {
            break;
        }
    }
    Ok(Pulled {
        count: done,
        verf: verf.unwrap_or_else(|| cx.service.verifier.current()),
    })
}

fn account<E: Engine>(object: &Object, cx: &Context<'_, E>) -> Result<(), Nfsstat3> {
    let stat = object.stat().map_err(|error| status::of(&error))?;
    object.account(&stat, &cx.service.space);
    Ok(())
}
