//! COPY, RFC 7862 §15.2, within this server.
//!
//! State: an open of each file; a long copy goes on behind a stateid of its own, until CB_OFFLOAD.
//! Gate: both files, shared, for one stretch at a time, so that a truncate waits for a stretch at most.
//! Catalog: as for durable writes, stretch by stretch: a crash leaves what a copy by hand would leave.
//! Linux: asks for an asynchronous copy, takes a short count and asks for the rest, and compares the
//! verifier with that of the COMMIT behind a synchronous one.

use super::io::{Writer, allowed, regular, writable};
use crate::callbacks::CallbackFailure;
use crate::compound::Compound;
use crate::state::{GateMode, IoKind, OffloadFault, State, Stateid};
use crate::status::{Refusal, offload_status};
use catalog::InodeId;
use objects::Place;
use std::ops::ControlFlow;
use std::time::Duration;
use wire::nfs4::{
    CbArgOp, CbOffload4Args, Copy4Args, Copy4Ok, CopyRequirements4, Fh4, Nfsstat4, OffloadInfo4,
    StableHow4, Verifier4, WriteResponse4,
};

/// What is copied inside the gates at once.
const STRETCH_BYTES: u64 = 64 << 20;
/// A copy no longer than this is answered when it is done, whatever was asked for.
const AT_ONCE_BYTES: u64 = 4 << 20;
/// Between two tries to tell a client that its copy has ended.
const RETRY: Duration = Duration::from_millis(500);

/// What one COPY copies, checked.
#[derive(Clone)]
struct Job {
    source: InodeId,
    source_offset: u64,
    target: InodeId,
    target_offset: u64,
    length: u64,
    writer: Writer,
}

impl Job {
    /// What comes at once, after what is copied.
    fn stretch_from(&self, copied: u64) -> Self {
        Self {
            source_offset: self.source_offset + copied,
            target_offset: self.target_offset + copied,
            length: (self.length - copied).min(STRETCH_BYTES),
            ..self.clone()
        }
    }
}

pub(crate) async fn copy(args: &Copy4Args, cx: &mut Compound<'_>) -> Result<Copy4Ok, Refusal> {
    // From another server it would have to be fetched: COPY_NOTIFY isn't spoken either.
    if !args.source_server.is_empty() {
        return Err(Nfsstat4::Notsupp.into());
    }
    let job = checked(args, cx).await?;
    if !args.synchronous && job.length > AT_ONCE_BYTES {
        let begun = cx.server.state.lock().offload_begin(job.writer.client);
        // Where no more may go on, the client gets a beginning and asks for the rest.
        if let Ok(stateid) = begun {
            let fh = cx.handle_of(cx.file()?);
            let response = WriteResponse4 {
                callback_id: Some(stateid.into()),
                count: 0,
                committed: StableHow4::Unstable,
                writeverf: Verifier4::default(),
            };
            let background = Background { job, stateid, fh };
            cx.server.tasks.spawn(background.run());
            return Ok(answer(response, false));
        }
    }
    let (count, verifier) = stretch(&job.stretch_from(0)).await?;
    let response = WriteResponse4 {
        callback_id: None,
        count,
        committed: StableHow4::FileSync,
        writeverf: Verifier4(verifier),
    };
    Ok(answer(response, true))
}

fn answer(response: WriteResponse4, synchronous: bool) -> Copy4Ok {
    let requirements = CopyRequirements4 {
        consecutive: true,
        synchronous,
    };
    Copy4Ok {
        response,
        requirements,
    }
}

async fn checked(args: &Copy4Args, cx: &Compound<'_>) -> Result<Job, Refusal> {
    let source = cx.saved_file()?.clone();
    let inode = cx.server.fresh_inode(source.id).await?;
    regular(&inode)?;
    let from = cx.saved_or(args.src_stateid)?;
    allowed(from, IoKind::Read, &source, &inode, cx).await?;
    cx.server.not_pending(source.id)?;
    // §15.2.3: nothing is copied from past the end, and a count of 0 means up to there.
    let rest = inode
        .size
        .checked_sub(args.src_offset)
        .ok_or(Nfsstat4::Inval)?;
    let length = if args.count == 0 { rest } else { args.count };
    if length > rest {
        return Err(Nfsstat4::Inval.into());
    }
    let target = writable(args.dst_stateid, args.dst_offset, length, cx).await?;
    let distance = args.src_offset.abs_diff(args.dst_offset);
    if source.id == target.id && distance < length {
        return Err(Nfsstat4::Inval.into());
    }
    Ok(Job {
        source: source.id,
        source_offset: args.src_offset,
        target: target.id,
        target_offset: args.dst_offset,
        length,
        writer: Writer::of(&target, cx)?,
    })
}

/// Copies a stretch, durably: how many bytes, and the verifier of a COMMIT.
async fn stretch(job: &Job) -> Result<(u64, [u8; 8]), Refusal> {
    let server = &job.writer.server;
    let (source, target) = (job.source, job.target);
    let _inside = server.enter_both(source, target, GateMode::Shared).await?;
    let from = server.refresh(source).await?;
    let to = job.writer.bound(target).await?;
    let copied = server
        .objects
        .copy_range(
            Place {
                extents: &from.extents,
                offset: job.source_offset,
            },
            from.size,
            Place {
                extents: &to.extents,
                offset: job.target_offset,
            },
            job.length,
            |_| ControlFlow::Continue(()),
        )
        .await?;
    job.writer.wrote_durably(&to).await?;
    let verifier = server.objects.commit(&to.extents).await?;
    Ok((copied, verifier))
}

/// A copy that goes on after its answer.
struct Background {
    job: Job,
    stateid: Stateid,
    /// Of the target, for CB_OFFLOAD.
    fh: Fh4,
}

impl Background {
    async fn run(self) {
        let client = self.job.writer.client;
        let (copied, end) = self.copy().await;
        let wanted = self
            .state()
            .offload_end(client, self.stateid, end.map(|_| ()));
        if wanted {
            self.tell(copied, end).await;
        }
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.job.writer.server.state.lock()
    }

    /// How far it came and how it ended.
    async fn copy(&self) -> (u64, Result<[u8; 8], OffloadFault>) {
        let mut copied = 0;
        loop {
            let next = self.job.stretch_from(copied);
            match stretch(&next).await {
                Ok((count, verifier)) => {
                    copied += count;
                    // A source that was cut meanwhile has no more.
                    if count < next.length || copied == self.job.length {
                        return (copied, Ok(verifier));
                    }
                }
                // A data server is away, or somebody is alone with a file: both pass.
                Err(refusal) if refusal.status == Nfsstat4::Delay => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(refusal) => return (copied, Err(fault(&refusal))),
            }
            let on = self
                .state()
                .offload_progress(self.job.writer.client, self.stateid, copied);
            if on.is_break() {
                // Called off: nobody will be told.
                return (copied, Err(OffloadFault::Broken));
            }
        }
    }

    /// CB_OFFLOAD, until the client has heard it or is gone.
    async fn tell(&self, copied: u64, end: Result<[u8; 8], OffloadFault>) {
        let info = match end {
            Ok(verifier) => OffloadInfo4::Ok(WriteResponse4 {
                callback_id: None,
                count: copied,
                committed: StableHow4::FileSync,
                writeverf: Verifier4(verifier),
            }),
            Err(fault) => OffloadInfo4::Failed {
                status: offload_status(Err(fault)),
                bytes_copied: copied,
            },
        };
        let told = CbOffload4Args {
            fh: self.fh.clone(),
            stateid: self.stateid.into(),
            info,
        };
        let (server, client) = (&self.job.writer.server, self.job.writer.client);
        let deadline = server.clock.monotonic().plus(server.identity.lease);
        while server.clock.monotonic() < deadline {
            let heard = server
                .callback(client, CbArgOp::Offload(told.clone()))
                .await;
            match heard {
                // BADHANDLE and the like: it doesn't wait for this copy any more.
                Ok(status) if status != Nfsstat4::Delay => {
                    return self.state().offload_told(client, self.stateid);
                }
                Err(CallbackFailure::Gone) => return,
                // OFFLOAD_STATUS tells it as well.
                Ok(_) | Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

fn fault(refusal: &Refusal) -> OffloadFault {
    match refusal.status {
        Nfsstat4::Nospc | Nfsstat4::Dquot => OffloadFault::Full,
        Nfsstat4::Stale | Nfsstat4::Noent => OffloadFault::Gone,
        _ => OffloadFault::Broken,
    }
}
