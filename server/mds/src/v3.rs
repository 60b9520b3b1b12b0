//! NFSv3 (RFC 1813) and MOUNT for clients that have nothing newer: the whole namespace, by the operations of
//! NFSv4. A call is put together out of `ops`, so that rights, exports, junctions, delegations and layouts of
//! others count for it as for any client's.
//!
//! Here: which procedure is which operations, what NFSv3 shows otherwise, and the replies that are kept for
//! calls that come again. Never here: what an operation does.
//! Linux: mounts it with `nolock`, for there is no lock manager beside it.

mod attributes;
mod call;
mod io;
mod listing;
mod mount;
mod names;
mod replies;
mod status;
mod systems;

pub(crate) use attributes::Guard;

use crate::connection::Connection;
use crate::execute::{ReplyRoom, caller};
use crate::server::Server;
use bytes::Bytes;
use call::Call;
use replies::{Asked, Replies};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::nfs3::{self, Nfsstat3, Procedure};
use wire::record::{Frame, begin};
use wire::rpc::{Accepted, CallHeader, Denied, ReplyHeader};
use wire::xdr::{Decoder, Encoder};
use wire::{DecodeError, Xdr, mount as mount3};

const PROCEDURES: usize = Procedure::Commit as usize + 1;
const MOUNT_PROCEDURES: usize = mount3::Procedure::Export as usize + 1;

/// What the server keeps for all clients of NFSv3.
#[derive(Default)]
pub(crate) struct Legacy {
    replies: Replies,
    mounts: mount::Mounts,
    calls: [AtomicU64; PROCEDURES],
    mount_calls: [AtomicU64; MOUNT_PROCEDURES],
}

/// Whether a call that comes again must not run again.
fn changes(procedure: Procedure) -> bool {
    use Procedure::*;
    match procedure {
        Setattr | Create | Mkdir | Symlink | Mknod | Remove | Rmdir | Rename | Link => true,
        // A WRITE that comes again writes the same.
        Null | Getattr | Lookup | Access | Readlink | Read | Write | Readdir | Readdirplus
        | Fsstat | Fsinfo | Pathconf | Commit => false,
    }
}

/// The arguments, which end the record.
fn arguments<A: Xdr>(mut input: Decoder) -> Result<A, DecodeError> {
    let arguments = A::decode(&mut input)?;
    input.finish()?;
    Ok(arguments)
}

impl Server {
    /// Procedures of NFSv3 and of MOUNT by which somebody called, and how often.
    pub fn legacy_calls(&self) -> Vec<(&'static str, &'static str, u64)> {
        let Some(legacy) = &self.legacy else {
            return Vec::new();
        };
        let nfs = legacy.calls.iter().zip(0..).filter_map(|(count, number)| {
            let procedure = Procedure::from_u32(number)?;
            Some(("NFS", procedure.name(), count.load(Relaxed)))
        });
        let mounts = legacy.mount_calls.iter().zip(0..);
        let mounts = mounts.filter_map(|(count, number)| {
            let procedure = mount3::Procedure::from_u32(number)?;
            Some(("MOUNT", mount::name(procedure), count.load(Relaxed)))
        });
        nfs.chain(mounts).filter(|(.., count)| *count > 0).collect()
    }

    /// Answers a call of NFSv3 or MOUNT. `input` stands behind its header.
    pub(crate) async fn legacy_call(
        self: &Arc<Self>,
        legacy: &Legacy,
        connection: &Arc<Connection>,
        header: CallHeader,
        input: Decoder,
        room: &mut dyn ReplyRoom,
    ) -> Frame {
        let xid = header.xid;
        let replied = |reply: ReplyHeader| {
            let mut out = begin();
            reply.encode(&mut out);
            out
        };
        let refused = |status| Frame::new(replied(ReplyHeader::accepted(xid, status)));
        if header.procedure == Procedure::Null as u32 {
            return refused(Accepted::Success);
        }
        let (caller, principal) = match caller(&header) {
            Ok(caller) => caller,
            Err(why) => {
                let why = Denied::AuthError(why);
                return Frame::new(replied(ReplyHeader::denied(xid, why)));
            }
        };
        let asked = Asked {
            peer: connection.peer.ip().to_canonical(),
            xid,
            procedure: header.procedure,
            digest: replies::digest(&header.credential, &input),
        };
        let mut call = Call::new(self, connection, (caller, principal), room);
        let mut out = replied(ReplyHeader::success(xid));
        let answered = if header.program == nfs3::PROGRAM {
            let Some(procedure) = Procedure::from_u32(header.procedure) else {
                return refused(Accepted::ProcUnavail);
            };
            legacy.calls[procedure as usize].fetch_add(1, Relaxed);
            if changes(procedure) {
                once(legacy, asked, procedure, input, &mut call, &mut out).await
            } else {
                answer(procedure, input, &mut call, &mut out).await
            }
        } else {
            let Some(procedure) = mount3::Procedure::from_u32(header.procedure) else {
                return refused(Accepted::ProcUnavail);
            };
            legacy.mount_calls[procedure as usize].fetch_add(1, Relaxed);
            mount::answer(procedure, input, &mut call, &legacy.mounts, &mut out).await
        };
        match answered {
            Ok(()) => Frame::new(out),
            Err(_) => refused(Accepted::GarbageArgs),
        }
    }
}

/// Runs the call, unless it ran already: then its first reply is given again.
async fn once(
    legacy: &Legacy,
    asked: Asked,
    procedure: Procedure,
    input: Decoder,
    call: &mut Call<'_>,
    out: &mut Encoder,
) -> Result<(), DecodeError> {
    let kept = legacy.replies.of(call.cx.time, asked);
    let run = async || {
        let mut reply = Encoder::new();
        answer(procedure, input, call, &mut reply).await?;
        Ok(reply.finish())
    };
    let reply: Result<&Bytes, DecodeError> = kept.get_or_try_init(run).await;
    let passes = reply.as_ref().map_or(true, |reply| {
        reply.starts_with(&(Nfsstat3::Jukebox as u32).to_be_bytes())
    });
    if passes {
        // Nothing has happened: the same call may come again, and is to be done then.
        legacy.replies.forget(&asked, &kept);
    }
    out.raw(reply?);
    Ok(())
}

/// Runs the call and appends its result.
async fn answer(
    procedure: Procedure,
    input: Decoder,
    call: &mut Call<'_>,
    out: &mut Encoder,
) -> Result<(), DecodeError> {
    /// Arguments in, result out.
    macro_rules! run {
        ($procedure:path) => {
            $procedure(arguments(input)?, call).await.encode(out)
        };
    }
    match procedure {
        Procedure::Null => {}
        Procedure::Getattr => run!(attributes::getattr),
        Procedure::Setattr => run!(attributes::setattr),
        Procedure::Lookup => run!(names::lookup),
        Procedure::Access => run!(attributes::access),
        Procedure::Readlink => run!(names::readlink),
        Procedure::Read => run!(io::read),
        Procedure::Write => run!(io::write),
        Procedure::Create => run!(names::create),
        Procedure::Mkdir => run!(names::mkdir),
        Procedure::Symlink => run!(names::symlink),
        Procedure::Mknod => run!(names::mknod),
        Procedure::Remove => run!(names::remove),
        Procedure::Rmdir => run!(names::rmdir),
        Procedure::Rename => run!(names::rename),
        Procedure::Link => run!(names::link),
        Procedure::Readdir => run!(listing::readdir),
        Procedure::Readdirplus => run!(listing::readdirplus),
        Procedure::Fsstat => run!(systems::fsstat),
        Procedure::Fsinfo => run!(systems::fsinfo),
        Procedure::Pathconf => run!(systems::pathconf),
        Procedure::Commit => run!(io::commit),
    }
    Ok(())
}
