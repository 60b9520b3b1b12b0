//! From an RPC call to its reply: COMPOUND's own rules (RFC 8881 §2.10.6, §16.2.3) around the
//! operations, which `ops/` holds.

use crate::compound::Compound;
use crate::connection::Connection;
use crate::identity::Credential;
use crate::ops::{self, Row};
use crate::server::Server;
use crate::state::{Admitted, SequenceRequest, Sequenced, SlotRef};
use crate::status::sequence_status;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::nfs4::{
    ArgOp, Compound4Args, NFS_V4, NFS4_PROGRAM, NFSPROC4_COMPOUND, NFSPROC4_NULL, Nfsstat4, Opnum,
    ResOp, Sequence4Args, Sequence4Ok,
};
use wire::record::{Frame, begin};
use wire::rpc::{AUTH_SYS, Accepted, AuthStat, CallHeader, Denied, ReplyHeader};
use wire::xdr::{Decoder, Encoder};
use wire::{Xdr, mount, nfs3};

/// Decoded at most, whatever a session negotiated: more is TOO_MANY_OPS.
const OPERATIONS_LIMIT: usize = 1024;
/// Largest reply outside a session: EXCHANGE_ID and the like.
const SESSIONLESS_REPLY_BYTES: usize = 64 * 1024;

/// SEQUENCE's result.
const SEQUENCED_BYTES: usize = 44;

/// Where a reply's bytes are accounted for.
pub trait ReplyRoom: Send {
    /// Returns once so many bytes may be made.
    fn take(&mut self, bytes: usize) -> BoxFuture<'_, ()>;
}

/// What the client lets the large results of a request take.
fn asked_bytes(operations: &[ArgOp]) -> usize {
    let asked = operations.iter().map(|operation| match operation {
        ArgOp::Read(args) => args.count,
        ArgOp::Readdir(args) => args.maxcount,
        ArgOp::ReadPlus(args) => args.count,
        ArgOp::Listxattrs(args) => args.maxcount,
        _ => 0,
    });
    asked.fold(0, |all, bytes| all.saturating_add(bytes as usize))
}

/// A reply, and how long it is to wait before it is sent.
pub struct Answered {
    pub frame: Frame,
    pub wait: Duration,
}

impl From<Frame> for Answered {
    fn from(frame: Frame) -> Self {
        Self {
            frame,
            wait: Duration::ZERO,
        }
    }
}

/// Whether a client is told to ask again after a while.
fn is_for_later(status: Nfsstat4) -> bool {
    use Nfsstat4::{Delay, Grace, Layouttrylater, Recallconflict};
    matches!(status, Delay | Grace | Layouttrylater | Recallconflict)
}

/// Why a request never reached its operations.
enum Unsequenced {
    /// A retry whose first reply is kept: sent again as it was.
    Replay(Bytes),
    Refused(Nfsstat4),
    /// A retry whose reply was not kept (RFC 8881 §2.10.6.1.3).
    Uncached(Sequence4Ok),
}

impl Server {
    /// Answers one call. `arguments` stands behind the header. A large reply waits for room before it is made.
    pub async fn call(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        header: CallHeader,
        arguments: Decoder,
        request_bytes: usize,
        room: &mut dyn ReplyRoom,
    ) -> Answered {
        let refuse = |status| {
            let mut out = begin();
            ReplyHeader::accepted(header.xid, status).encode(&mut out);
            Answered::from(Frame::new(out))
        };
        match (header.program, header.version, &self.legacy) {
            (NFS4_PROGRAM, NFS_V4, _) => {}
            (NFS4_PROGRAM, nfs3::VERSION, Some(legacy))
            | (mount::PROGRAM, mount::VERSION, Some(legacy)) => {
                let call = self.legacy_call(legacy, connection, header, arguments, room);
                return Box::pin(call).await.into();
            }
            (NFS4_PROGRAM, _, legacy) => {
                let low = if legacy.is_some() {
                    nfs3::VERSION
                } else {
                    NFS_V4
                };
                return refuse(Accepted::ProgMismatch { low, high: NFS_V4 });
            }
            (mount::PROGRAM, _, Some(_)) => {
                return refuse(Accepted::ProgMismatch {
                    low: mount::VERSION,
                    high: mount::VERSION,
                });
            }
            _ => return refuse(Accepted::ProgUnavail),
        }
        match header.procedure {
            NFSPROC4_NULL => refuse(Accepted::Success),
            NFSPROC4_COMPOUND => match caller(&header) {
                Ok((caller, principal)) => {
                    let mut arguments = arguments;
                    let before = arguments.clone();
                    match Compound4Args::decode_bounded(&mut arguments, OPERATIONS_LIMIT) {
                        Ok(request) => {
                            let digest = digest(before, &principal);
                            let largest = asked_bytes(&request.ops);
                            if largest > 0 {
                                let limit = self.state.lock().limits().response_bytes as usize;
                                room.take(largest.min(limit)).await;
                            }
                            self.compound(
                                connection,
                                header.xid,
                                (caller, principal),
                                request,
                                digest,
                                request_bytes,
                            )
                            .await
                        }
                        Err(_) => refuse(Accepted::GarbageArgs),
                    }
                }
                Err(why) => {
                    let mut out = begin();
                    ReplyHeader::denied(header.xid, Denied::AuthError(why)).encode(&mut out);
                    Frame::new(out).into()
                }
            },
            _ => refuse(Accepted::ProcUnavail),
        }
    }

    async fn compound(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        xid: u32,
        (caller, principal): (Option<Credential>, Bytes),
        request: Compound4Args,
        digest: u64,
        request_bytes: usize,
    ) -> Answered {
        self.metrics.compounds.fetch_add(1, Relaxed);
        let mut reply = Reply::new(xid, &request.tag);
        if !(1..=2).contains(&request.minorversion) {
            reply.status = Nfsstat4::MinorVersMismatch;
            return reply.finish().into();
        }
        let mut cx = Compound::new(
            self,
            connection,
            (caller, principal),
            request.minorversion,
            SESSIONLESS_REPLY_BYTES,
        );
        let claimed = request.ops_claimed as usize;
        let between_servers = request.ops.iter().any(ops::is_between_servers);
        cx.lays_out_to_write = request.ops.iter().any(ops::lays_out_to_write);
        let mut operations = request.ops.into_iter();
        match operations.next() {
            None => {}
            Some(ArgOp::Sequence(args)) => {
                let sizes = (claimed, reply.len() + SEQUENCED_BYTES);
                match self.admit(&args, &mut cx, digest, request_bytes, sizes) {
                    Ok((answer, slot)) => {
                        reply.push(&ResOp::Sequence(Ok(answer)));
                        // Also when the connection's task dies: the slot must not stay "executing".
                        let mut guard = SlotGuard {
                            server: self,
                            slot: Some(slot),
                        };
                        run(&mut cx, &mut reply, operations, between_servers).await;
                        let status = reply.status;
                        let frame = reply.finish();
                        let keep = cx
                            .admitted
                            .as_ref()
                            .is_some_and(|admitted| admitted.cache_this);
                        guard.complete(if keep { kept(&frame) } else { Bytes::new() });
                        let wait = match &cx.admitted {
                            Some(admitted) if is_for_later(status) => {
                                let now = self.clock.monotonic();
                                self.state.lock().told_to_wait(now, admitted.client)
                            }
                            _ => Duration::ZERO,
                        };
                        return Answered { frame, wait };
                    }
                    Err(Unsequenced::Replay(body)) => return Reply::replay(xid, &body).into(),
                    Err(Unsequenced::Refused(status)) => {
                        reply.push(&ResOp::failed(Opnum::Sequence, status));
                    }
                    Err(Unsequenced::Uncached(answer)) => {
                        reply.push(&ResOp::Sequence(Ok(answer)));
                        if let Some(next) = operations.next() {
                            reply.push(&ResOp::failed(next.opnum(), Nfsstat4::RetryUncachedRep));
                        }
                    }
                }
            }
            Some(first) => {
                let row = Row::of(first.opnum());
                let status = match &first {
                    ArgOp::Illegal(_) => Some(Nfsstat4::OpIllegal),
                    ArgOp::Malformed { .. } => Some(Nfsstat4::Badxdr),
                    _ if !row.without_session => Some(Nfsstat4::OpNotInSession),
                    // RFC 8881 §18.34.3: alone, or behind SEQUENCE.
                    _ if claimed > 1 => Some(Nfsstat4::NotOnlyOp),
                    _ => None,
                };
                match status {
                    Some(status) => reply.push(&ResOp::failed(first.opnum(), status)),
                    None => run(&mut cx, &mut reply, std::iter::once(first), false).await,
                }
            }
        }
        reply.finish().into()
    }

    /// SEQUENCE, RFC 8881 §18.46: everything that must hold before the first operation runs.
    fn admit(
        &self,
        args: &Sequence4Args,
        cx: &mut Compound<'_>,
        digest: u64,
        request_bytes: usize,
        (claimed, reply_bytes): (usize, usize),
    ) -> Result<(Sequence4Ok, SlotRef), Unsequenced> {
        let sequenced = self.state.lock().sequence(
            cx.time,
            SequenceRequest {
                connection: crate::state::ConnectionId(cx.connection.id),
                session: crate::state::SessionId(args.sessionid.0),
                slot: args.slotid,
                sequence: args.sequenceid,
                highest_slot: args.highest_slotid,
                cache_this: args.cachethis,
                digest,
                request_bytes,
                operations: claimed,
                reply_bytes,
            },
        );
        let answer = |answer: crate::state::SequenceAnswer| Sequence4Ok {
            sessionid: args.sessionid,
            sequenceid: args.sequenceid,
            slotid: args.slotid,
            highest_slotid: answer.highest_slot,
            target_highest_slotid: answer.target_highest_slot,
            status_flags: answer.status_flags,
        };
        let admitted: Admitted = match sequenced {
            Ok(Sequenced::Execute(admitted)) => admitted,
            Ok(Sequenced::Replay(body)) => return Err(Unsequenced::Replay(body)),
            Ok(Sequenced::Uncached(flags)) => return Err(Unsequenced::Uncached(answer(flags))),
            Err(refusal) => return Err(Unsequenced::Refused(sequence_status(refusal))),
        };
        cx.connection.used_by(admitted.client);
        let slot = admitted.slot;
        cx.room = if admitted.cache_this {
            admitted.max_response_bytes.min(admitted.max_cached_bytes) as usize
        } else {
            admitted.max_response_bytes as usize
        };
        let answer = answer(admitted.answer);
        cx.admitted = Some(admitted);
        Ok((answer, slot))
    }
}

struct SlotGuard<'a> {
    server: &'a Server,
    slot: Option<SlotRef>,
}

impl SlotGuard<'_> {
    fn complete(&mut self, reply: Bytes) {
        if let Some(slot) = self.slot.take() {
            let now = self.server.clock.monotonic();
            self.server.state.lock().complete(now, slot, reply);
        }
    }
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.complete(Bytes::new());
    }
}

/// Runs operations in order until one fails.
async fn run(
    cx: &mut Compound<'_>,
    reply: &mut Reply,
    operations: impl Iterator<Item = ArgOp>,
    between_servers: bool,
) {
    let limit = cx.room;
    let mut operations = operations.peekable();
    while let Some(operation) = operations.next() {
        cx.is_last = operations.peek().is_none();
        let opnum = operation.opnum();
        cx.puts_foreign = between_servers
            && opnum == Opnum::Putfh
            && matches!(operations.peek(), Some(ArgOp::Savefh));
        let started = std::time::Instant::now();
        let row = Row::of(opnum);
        cx.room = limit.saturating_sub(reply.len());
        let result = match &operation {
            ArgOp::Illegal(_) => ResOp::failed(Opnum::Illegal, Nfsstat4::OpIllegal),
            ArgOp::Malformed { .. } => ResOp::failed(opnum, Nfsstat4::Badxdr),
            // A minor version has the operations of its own table (RFC 8881 §2.7).
            _ if row.minor > cx.minor => ResOp::failed(Opnum::Illegal, Nfsstat4::OpIllegal),
            ArgOp::Sequence(_) => ResOp::failed(opnum, Nfsstat4::SequencePos),
            _ if cx.room < row.least_reply_bytes => ResOp::failed(opnum, too_big(cx)),
            _ => ops::dispatch(operation, cx).await,
        };
        let before = reply.len();
        reply.push(&result);
        let mut status = result.status();
        if reply.len() > limit && status == Nfsstat4::Ok {
            // An operation that changes something has a small result, for which there was room.
            debug_assert!(!row.changes, "{opnum:?} has done what its reply can't tell");
            reply.take_back(before);
            status = too_big(cx);
            reply.push(&ResOp::failed(opnum, status));
        }
        cx.server
            .metrics
            .operation(opnum, status, started.elapsed());
        if status != Nfsstat4::Ok {
            break;
        }
    }
}

fn too_big(cx: &Compound<'_>) -> Nfsstat4 {
    match &cx.admitted {
        Some(admitted)
            if admitted.cache_this && admitted.max_cached_bytes < admitted.max_response_bytes =>
        {
            Nfsstat4::RepTooBigToCache
        }
        _ => Nfsstat4::RepTooBig,
    }
}

/// Who calls: ids for permissions, and the principal that owns clientids and sessions.
pub(crate) fn caller(header: &CallHeader) -> Result<(Option<Credential>, Bytes), AuthStat> {
    match &header.credential {
        wire::rpc::Credential::None => Ok((None, Bytes::from_static(b"none"))),
        wire::rpc::Credential::Sys(sys) => {
            let mut principal = BytesMut::with_capacity(8);
            principal.put_slice(b"sys:");
            principal.put_u32(sys.uid);
            let credential = Credential {
                uid: sys.uid,
                gid: sys.gid,
                groups: sys.gids.to_vec(),
            };
            Ok((Some(credential), principal.freeze()))
        }
        // RFC 5531 §9: a flavor that is known, and a body that makes no sense.
        wire::rpc::Credential::Other(other) if other.flavor == AUTH_SYS => Err(AuthStat::BadCred),
        wire::rpc::Credential::Other(_) => Err(AuthStat::TooWeak),
    }
}

/// Tells a false retry from a true one (RFC 8881 §2.10.6.1.3.1): same slot and sequence, other words
/// or another principal, who must not see the first one's reply.
fn digest(mut arguments: Decoder, principal: &[u8]) -> u64 {
    // Not secret: it guards a client against its own mistakes. The head of a WRITE says enough.
    const ENOUGH: usize = 1024;
    let bytes = arguments.rest();
    let mut hasher = SipHasher13::new();
    hasher.write(principal);
    hasher.write_usize(bytes.len());
    hasher.write(&bytes[..bytes.len().min(ENOUGH)]);
    hasher.finish()
}

/// A COMPOUND4res that grows by results, behind its RPC header.
struct Reply {
    status: Nfsstat4,
    out: Encoder,
    count: u32,
    count_at: usize,
}

/// Record mark and RPC header of an accepted reply, in front of the COMPOUND4res.
const HEADER_BYTES: usize = 28;

impl Reply {
    fn new(xid: u32, tag: &Bytes) -> Self {
        let mut out = begin();
        ReplyHeader::success(xid).encode(&mut out);
        debug_assert_eq!(
            out.len(),
            HEADER_BYTES,
            "the verifier of a reply is AUTH_NONE"
        );
        out.u32(0);
        out.opaque(tag);
        let count_at = out.len();
        out.u32(0);
        Self {
            status: Nfsstat4::Ok,
            out,
            count: 0,
            count_at,
        }
    }

    fn len(&self) -> usize {
        self.out.len()
    }

    fn push(&mut self, result: &ResOp) {
        result.encode(&mut self.out);
        self.status = result.status();
        self.count += 1;
    }

    fn take_back(&mut self, length: usize) {
        self.out.truncate(length);
        self.count -= 1;
    }

    fn finish(mut self) -> Frame {
        self.out.patch_u32(HEADER_BYTES, self.status as u32);
        self.out.patch_u32(self.count_at, self.count);
        Frame::new(self.out)
    }

    fn replay(xid: u32, body: &Bytes) -> Frame {
        let mut out = begin();
        ReplyHeader::success(xid).encode(&mut out);
        out.raw(body);
        Frame::new(out)
    }
}

/// What a slot keeps of a reply: the COMPOUND4res, without the header that each retry gets anew.
fn kept(frame: &Frame) -> Bytes {
    let mut whole = BytesMut::new();
    for part in frame.clone().into_parts() {
        whole.put_slice(&part);
    }
    whole.freeze().slice(HEADER_BYTES..)
}
