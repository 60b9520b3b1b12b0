//! COPY, RFC 7862 §15.2, within this server and from another one.
//!
//! State: an open of each file; a long copy goes on behind a stateid of its own, until CB_OFFLOAD.
//! Gate: both files, shared, for one stretch at a time, so that a truncate waits for a stretch at most.
//! Catalog: as for durable writes, stretch by stretch: a crash leaves what a copy by hand would leave.
//! Linux: asks for an asynchronous copy, takes a short count and asks for the rest, and compares the
//! verifier with that of the COMMIT behind a synchronous one. From another server it copies by itself after
//! OFFLOAD_DENIED and STALE, begins anew with COPY_NOTIFY when CB_OFFLOAD says PARTNER_NO_AUTH, and asks for
//! ever when COPY itself does; NOTSUPP would end COPY within this server as well.

mod background;
mod there;

use super::copied_range::CopiedRange;
use super::io::{Writer, allowed, regular, writable};
use crate::compound::Compound;
use crate::state::{ClientId, GateMode, IoKind, OffloadRefusal, Stateid};
use crate::status::Refusal;
use background::{Background, Task};
use catalog::InodeId;
use objects::Place;
use std::ops::ControlFlow;
use std::sync::Arc;
use there::{Opened, There};
use wire::nfs4::{
    ArgOp, Copy4Args, Copy4Ok, CopyRequirements4, StableHow4, Verifier4, WriteResponse4,
};

/// What is copied inside the gates at once.
const STRETCH_BYTES: u64 = 64 << 20;
/// What is fetched from another server between two commits, besides holes.
const STRETCH_BYTES_THERE: u64 = 16 << 20;
/// A copy within this server that is no longer than this is answered when it is done, whatever was asked for.
const AT_ONCE_BYTES: u64 = 4 << 20;

/// Whether the saved filehandle of a request may be another server's.
pub(crate) fn is_between_servers(operation: &ArgOp) -> bool {
    matches!(operation, ArgOp::Copy(args) if !args.source_server.is_empty())
}

/// What one COPY copies, checked.
#[derive(Clone)]
struct Job {
    source: Source,
    target: InodeId,
    range: CopiedRange,
    writer: Writer,
}

/// What was copied by one step, durably.
#[derive(Clone, Copy)]
struct Stretch {
    bytes: u64,
    /// Of a COMMIT.
    verifier: [u8; 8],
    /// The source has no more.
    ended: bool,
}

#[derive(Clone)]
enum Source {
    Here(InodeId),
    There(Arc<Opened>),
}

pub(crate) async fn copy(args: &Copy4Args, cx: &mut Compound<'_>) -> Result<Copy4Ok, Refusal> {
    if !args.source_server.is_empty() {
        return from_another_server(args, cx).await;
    }
    let job = within(args, cx).await?;
    if !args.synchronous && job.range.length > AT_ONCE_BYTES {
        let client = job.writer.client;
        let begun = begin(client, cx);
        // Where no more may go on, the client gets a beginning and asks for the rest.
        if let Ok(stateid) = begun {
            let fh = cx.handle_of(cx.file()?);
            let background = Background::of(&job.writer, stateid, fh);
            return Ok(background.begin(Task::Within(job)));
        }
    }
    Ok(done(job.stretch(0, STRETCH_BYTES).await?))
}

/// A copy that ends by CB_OFFLOAD, which may overtake COPY's answer.
fn begin(client: ClientId, cx: &Compound<'_>) -> Result<Stateid, OffloadRefusal> {
    let mut state = cx.server.state.lock();
    let stateid = state.offload_begin(client)?;
    cx.gave(&mut state, stateid);
    Ok(stateid)
}

/// Whoever asks for an answer at once gets a beginning; everybody else an answer before the source is even
/// looked for.
async fn from_another_server(args: &Copy4Args, cx: &mut Compound<'_>) -> Result<Copy4Ok, Refusal> {
    let there = There::of(args, cx).await?;
    let client = cx.client()?;
    if !args.synchronous {
        let begun = begin(client, cx);
        if let Ok(stateid) = begun {
            let fh = cx.handle_of(cx.file()?);
            let background = Background::of(&there.writer, stateid, fh);
            return Ok(background.begin(Task::FromThere(Box::new(there))));
        }
    }
    let copied = async {
        let job = there.open().await?;
        job.stretch(0, AT_ONCE_BYTES).await
    };
    let copied = copied.await;
    there.close().await;
    Ok(done(copied?))
}

fn done(stretch: Stretch) -> Copy4Ok {
    let response = WriteResponse4 {
        callback_id: None,
        count: stretch.bytes,
        committed: StableHow4::FileSync,
        writeverf: Verifier4(stretch.verifier),
    };
    answer(response, true)
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

async fn within(args: &Copy4Args, cx: &Compound<'_>) -> Result<Job, Refusal> {
    let source = cx.saved_file()?.clone();
    let inode = cx.server.fresh_inode(source.id).await?;
    regular(&inode)?;
    let from = cx.saved_or(args.src_stateid)?;
    allowed(from, IoKind::Read, &source, &inode, cx).await?;
    cx.server.not_pending(source.id)?;
    let target = cx.file()?.id;
    let asked = (args.src_offset, args.dst_offset, args.count);
    let range = CopiedRange::of(asked, inode.size, source.id == target)?;
    let target = writable(args.dst_stateid, args.dst_offset, range.length, cx).await?;
    Ok(Job {
        source: Source::Here(source.id),
        target: target.id,
        range,
        writer: Writer::of(&target, cx)?,
    })
}

impl Job {
    /// How much a stretch is to be in the background.
    fn stretch_bytes(&self) -> u64 {
        match self.source {
            Source::Here(_) => STRETCH_BYTES,
            Source::There(_) => STRETCH_BYTES_THERE,
        }
    }

    /// Copies what comes after `copied`. From another server `most` is what of it is no hole.
    async fn stretch(&self, copied: u64, most: u64) -> Result<Stretch, Refusal> {
        let range = |most| self.range.after(copied, most);
        match &self.source {
            Source::Here(source) => self.stretch_from(*source, range(most)).await,
            Source::There(opened) => {
                let rest = range(u64::MAX);
                opened.stretch(self.target, rest, most, &self.writer).await
            }
        }
    }

    async fn stretch_from(&self, source: InodeId, range: CopiedRange) -> Result<Stretch, Refusal> {
        let server = &self.writer.server;
        let _inside = server
            .enter_both(source, self.target, GateMode::Shared)
            .await?;
        let from = server.refresh(source).await?;
        let to = self.writer.bound(self.target).await?;
        let copied = server
            .objects
            .copy_range(
                Place {
                    extents: &from.extents,
                    offset: range.source_offset,
                },
                from.size,
                Place {
                    extents: &to.extents,
                    offset: range.target_offset,
                },
                range.length,
                |_| ControlFlow::Continue(()),
            )
            .await?;
        self.writer.wrote_durably(&to).await?;
        Ok(Stretch {
            bytes: copied,
            verifier: server.objects.commit(&to.extents).await?,
            ended: copied < range.length,
        })
    }
}
