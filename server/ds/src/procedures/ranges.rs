//! SEEK, ALLOCATE, DEALLOCATE and CLONE of the metadata server's own program (`wire::ds`): what NFSv3
//! has no procedure for. Each does a bounded part of what it is asked, and says how far it came.
//!
//! Orders of the metadata server alone. Behind the object's gate, as a WRITE is, so that a fence
//! divides them into before and after; on disk before the answer.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use layout::Stripe;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use wire::ds::*;
use wire::nfs3::Nfsstat3;

use crate::engine::Engine;
use crate::gate::Shared;
use crate::identity::Right;
use crate::procedures::attributes::FILE_MAX_BYTES;
use crate::procedures::io::{judge, sync};
use crate::service::Context;
use crate::status;
use crate::store::{Object, share_blocks};
use crate::syncs::Depth;

/// Places that one SEEK looks at: a striped object has a hole behind each of its units.
const LOOKS_MAX: u32 = 8192;
/// Runs, and bytes of them, that one ALLOCATE sets aside.
const RUNS_MAX: usize = 1024;
const ALLOCATE_BYTES: u64 = 1 << 30;
/// What one DEALLOCATE frees, and one CLONE shares: the time it takes grows with the pieces in there.
const STEP_BYTES: u64 = 4 << 30;

/// ABILITIES
pub fn abilities<E: Engine>(cx: &Context<'_, E>) -> AbilitiesRes {
    cx.order()?;
    Ok(cx.service.abilities)
}

/// SEEK
pub async fn seek<E: Engine>(args: &SeekArgs, cx: &Context<'_, E>) -> SeekRes {
    cx.order()?;
    let stripe = stripe(args.share)?;
    let (within, what) = (args.within.begin..args.within.end, args.what);
    let object = cx.object(&args.object).await?;
    let passing = object.gate.shared().await;
    if object.is_removed() {
        return Err(Nfsstat3::Stale.into());
    }
    let file = Arc::clone(&object.file);
    let found = cx
        .blocking(move || search(&file, within, stripe, what))
        .await?;
    drop(passing);
    Ok(found)
}

fn stripe(share: Share) -> Result<Stripe, Nfsstat3> {
    Stripe::new(share.unit, share.count, share.index).ok_or(Nfsstat3::Inval)
}

fn search(file: &File, within: Range<u64>, stripe: Stripe, what: What) -> io::Result<SeekOk> {
    let answer = |verdict, offset| Ok(SeekOk { verdict, offset });
    let mut at = within.start;
    for _ in 0..LOOKS_MAX {
        let Some(run) = stripe.run(&(at..within.end)) else {
            return answer(Verdict::Nowhere, 0);
        };
        // No file reaches so far: the kernel would take the offset for a negative one.
        let found = if run.start > FILE_MAX_BYTES {
            Err(Errno::NXIO)
        } else {
            rustix::fs::seek(
                file,
                match what {
                    What::Data => SeekFrom::Data(run.start),
                    What::Hole => SeekFrom::Hole(run.start),
                },
            )
        };
        match found {
            Ok(found) if found < run.end => return answer(Verdict::Found, found),
            Ok(found) => at = found,
            // At or past the end of the file, or no data behind.
            Err(Errno::NXIO) if what == What::Hole => return answer(Verdict::Found, run.start),
            Err(Errno::NXIO) => return answer(Verdict::Nowhere, 0),
            Err(errno) => return Err(errno.into()),
        }
    }
    answer(Verdict::NotBefore, at)
}

/// ALLOCATE. The size stays: the metadata server pads all objects of a file together.
pub async fn allocate<E: Engine>(args: &AllocateArgs, cx: &Context<'_, E>) -> ReachedRes {
    cx.order()?;
    let stripe = stripe(args.share)?;
    let span = args.span.begin..args.span.end;
    if span.end > FILE_MAX_BYTES {
        return Err(Nfsstat3::Fbig.into());
    }
    let object = cx.object(&args.object).await?;
    let passing = object.gate.shared().await;
    judge(cx, &object, Right::Write)?;
    let mut reached = span.start;
    let mut left = ALLOCATE_BYTES;
    let mut failure = None;
    for _ in 0..RUNS_MAX {
        let run = stripe.run(&(reached..span.end));
        let Some(run) = run.filter(|_| left > 0) else {
            break;
        };
        let run = run.start..run.end.min(run.start + left);
        if let Err(status) = set_aside(&object, &run, cx).await {
            failure = Some(status);
            break;
        }
        left -= run.end - run.start;
        reached = run.end;
    }
    if failure.is_none() && stripe.run(&(reached..span.end)).is_none() {
        reached = args.span.end;
    }
    finish(&object, cx).await?;
    drop(passing);
    // What came before the failure is told first; the next call meets it again.
    match failure {
        Some(status) if reached == span.start => Err(status.into()),
        _ => Ok(Reached { offset: reached }),
    }
}

async fn set_aside<E: Engine>(
    object: &Arc<Object>,
    run: &Range<u64>,
    cx: &Context<'_, E>,
) -> Result<(), Nfsstat3> {
    let length = run.end - run.start;
    let space = &cx.service.space;
    let _promise = if object.allocated_bytes() < run.end {
        Some(space.promise(length).ok_or(Nfsstat3::Nospc)?)
    } else {
        None
    };
    let mode = FallocateFlags::KEEP_SIZE;
    let done = cx.engine.fallocate(&object.file, mode, run.clone()).await;
    done.map_err(|error| status::of(&error))?;
    let stat = object.stat().map_err(|error| status::of(&error))?;
    object.account(&stat, space);
    Ok(())
}

/// DEALLOCATE. The size stays.
pub async fn deallocate<E: Engine>(args: &DeallocateArgs, cx: &Context<'_, E>) -> ReachedRes {
    cx.order()?;
    let span = args.span.begin..args.span.end.min(FILE_MAX_BYTES);
    let object = cx.object(&args.object).await?;
    let passing = object.gate.shared().await;
    judge(cx, &object, Right::Write)?;
    if span.is_empty() {
        return Ok(Reached {
            offset: args.span.end,
        });
    }
    let size = object.stat().map_err(|error| status::of(&error))?.st_size as u64;
    let step = span.start.saturating_add(STEP_BYTES);
    // Past the end there is nothing but what was set aside, and that goes at once.
    let end = if step >= size {
        span.end
    } else {
        step.min(span.end)
    };
    object.wrote_unstable();
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let punch = |range| cx.engine.fallocate(&object.file, mode, range);
    let mut done = punch(span.start..end).await;
    let too_far = |error: &io::Error| error.raw_os_error() == Some(libc::EFBIG);
    if done.as_ref().is_err_and(too_far) {
        // File systems have ends of their own, past which nothing lies.
        done = if span.start < size {
            punch(span.start..end.min(size)).await
        } else {
            Ok(())
        };
    }
    done.map_err(|error| status::of(&error))?;
    finish(&object, cx).await?;
    drop(passing);
    let offset = if end == span.end { args.span.end } else { end };
    Ok(Reached { offset })
}

/// CLONE: whole blocks are shared, the bytes of a last one that isn't whole are copied.
pub async fn clone<E: Engine>(args: &CloneArgs, cx: &Context<'_, E>) -> ReachedRes {
    cx.order()?;
    let block = u64::from(cx.service.abilities.clone_block_bytes);
    if block == 0 {
        return Err(Nfsstat3::Notsupp.into());
    }
    let span = args.span.begin..args.span.end;
    if span.end > FILE_MAX_BYTES {
        return Err(Nfsstat3::Fbig.into());
    }
    if !args.source_offset.is_multiple_of(block) || !span.start.is_multiple_of(block) {
        return Err(Nfsstat3::Inval.into());
    }
    let source = cx.object(&args.source).await?;
    let object = cx.object(&args.object).await?;
    let passing = both(&source, &object).await;
    judge(cx, &object, Right::Write)?;
    if source.is_removed() {
        return Err(Nfsstat3::Stale.into());
    }
    if span.is_empty() {
        return Ok(Reached {
            offset: args.span.end,
        });
    }
    let end = span.end.min(span.start.saturating_add(STEP_BYTES));
    let held = source.stat().map_err(|error| status::of(&error))?.st_size as u64;
    if args.source_offset.saturating_add(end - span.start) > held {
        return Err(Nfsstat3::Inval.into());
    }
    object.wrote_unstable();
    let (from, to) = (Arc::clone(&source.file), Arc::clone(&object.file));
    let source_offset = args.source_offset;
    cx.blocking(move || {
        let whole = (end - span.start) / block * block;
        if whole > 0 {
            share_blocks(&from, source_offset, whole, &to, span.start)?;
        }
        let mut tail = vec![0; (end - span.start - whole) as usize];
        from.read_exact_at(&mut tail, source_offset + whole)?;
        to.write_all_at(&tail, span.start + whole)
    })
    .await?;
    finish(&object, cx).await?;
    drop(passing);
    Ok(Reached { offset: end })
}

/// The gates of two objects, in an order of their own: two clones in opposite directions, each with a
/// fence waiting in between, would wait for each other.
pub(super) async fn both(one: &Arc<Object>, other: &Arc<Object>) -> Vec<Shared> {
    if one.id == other.id {
        return vec![one.gate.shared().await];
    }
    let (first, second) = if one.id < other.id {
        (one, other)
    } else {
        (other, one)
    };
    vec![first.gate.shared().await, second.gate.shared().await]
}

/// Makes the object durable and counts what it takes.
async fn finish<E: Engine>(object: &Arc<Object>, cx: &Context<'_, E>) -> Result<(), Nfsstat3> {
    sync(cx, object, Depth::All).await?;
    let stat = object.stat().map_err(|error| status::of(&error))?;
    object.account(&stat, &cx.service.space);
    Ok(())
}
