//! A record's head into a request with its caller: RPC and XDR, and the refusals that RPC has.
//! Never touches an object; what a request does is in `procedures`.

use std::net::IpAddr;

use bytes::Bytes;
use wire::nfs3::*;
use wire::rpc::{Accepted, CallHeader, Denied, Message, ReplyHeader};
use wire::{Decoder, Xdr, ds, mount};

use crate::config::Network;
use crate::identity::Caller;

#[derive(Debug)]
pub struct Call {
    pub xid: u32,
    pub caller: Caller,
    pub request: Request,
}

#[derive(Debug)]
pub enum Request {
    Null,
    Getattr(Getattr3args),
    Setattr(Setattr3args),
    Lookup(Lookup3args),
    Access(Access3args),
    Read(Read3args),
    /// Its data is the record's payload.
    Write(Write3head),
    Create(Create3args),
    Mkdir(Mkdir3args),
    Remove(Remove3args),
    Readdir(Readdir3args),
    Readdirplus(Readdirplus3args),
    Fsstat(Fsstat3args),
    Fsinfo(Fsinfo3args),
    Pathconf(Pathconf3args),
    Commit(Commit3args),
    /// Of NFSv3, and not of a data server.
    Unsupported(Procedure),
    Mount(MountRequest),
    Ranges(RangeRequest),
}

/// Of the metadata server's own program.
#[derive(Debug)]
pub enum RangeRequest {
    Abilities,
    Seek(ds::SeekArgs),
    Allocate(ds::AllocateArgs),
    Deallocate(ds::DeallocateArgs),
    Clone(ds::CloneArgs),
    Pull(ds::PullArgs),
    Offer(ds::OfferArgs),
    Withdraw(ds::WithdrawArgs),
    Demand(ds::DemandArgs),
    Make(ds::MakeArgs),
}

/// What a request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    Nfs(Procedure),
    Ranges(ds::Procedure),
    Mount,
}

#[derive(Debug)]
pub enum MountRequest {
    Null,
    Mnt(mount::Dirpath),
    Dump,
    Umnt,
    Export,
}

impl Request {
    pub fn called(&self) -> Called {
        Called::Nfs(match self {
            Self::Null => Procedure::Null,
            Self::Getattr(_) => Procedure::Getattr,
            Self::Setattr(_) => Procedure::Setattr,
            Self::Lookup(_) => Procedure::Lookup,
            Self::Access(_) => Procedure::Access,
            Self::Read(_) => Procedure::Read,
            Self::Write(_) => Procedure::Write,
            Self::Create(_) => Procedure::Create,
            Self::Mkdir(_) => Procedure::Mkdir,
            Self::Remove(_) => Procedure::Remove,
            Self::Readdir(_) => Procedure::Readdir,
            Self::Readdirplus(_) => Procedure::Readdirplus,
            Self::Fsstat(_) => Procedure::Fsstat,
            Self::Fsinfo(_) => Procedure::Fsinfo,
            Self::Pathconf(_) => Procedure::Pathconf,
            Self::Commit(_) => Procedure::Commit,
            Self::Unsupported(procedure) => *procedure,
            Self::Mount(_) => return Called::Mount,
            Self::Ranges(request) => {
                return Called::Ranges(match request {
                    RangeRequest::Abilities => ds::Procedure::Abilities,
                    RangeRequest::Seek(_) => ds::Procedure::Seek,
                    RangeRequest::Allocate(_) => ds::Procedure::Allocate,
                    RangeRequest::Deallocate(_) => ds::Procedure::Deallocate,
                    RangeRequest::Clone(_) => ds::Procedure::Clone,
                    RangeRequest::Pull(_) => ds::Procedure::Pull,
                    RangeRequest::Offer(_) => ds::Procedure::Offer,
                    RangeRequest::Withdraw(_) => ds::Procedure::Withdraw,
                    RangeRequest::Demand(_) => ds::Procedure::Demand,
                    RangeRequest::Make(_) => ds::Procedure::Make,
                });
            }
        })
    }
}

/// Why a record isn't a call to answer.
#[derive(Debug)]
pub enum Refused {
    /// It gets this reply.
    Reply(ReplyHeader),
    /// There is nothing to reply to: the connection is closed.
    Garbage,
}

/// Reads a call. `payload_bytes` came apart from `head`, and belong to a WRITE alone.
pub fn parse(
    head: Bytes,
    payload_bytes: Option<usize>,
    peer: IpAddr,
    mds: &[Network],
) -> Result<Call, Refused> {
    let mut input = Decoder::new(head);
    let header = match Message::decode(&mut input) {
        Ok(Message::Call(header)) => header,
        Ok(Message::ForeignCall { xid, .. }) => {
            let why = Denied::RpcMismatch { low: 2, high: 2 };
            return Err(Refused::Reply(ReplyHeader::denied(xid, why)));
        }
        Ok(Message::Reply(_)) | Err(_) => return Err(Refused::Garbage),
    };
    let xid = header.xid;
    let refuse = |status| Refused::Reply(ReplyHeader::accepted(xid, status));
    let request = match (header.program, header.version) {
        (PROGRAM, VERSION) => nfs(&header, &mut input, payload_bytes),
        (mount::PROGRAM, mount::VERSION) => mount(&header, &mut input),
        (ds::PROGRAM, ds::VERSION) => ranges(&header, &mut input),
        (ds::PROGRAM, _) => Err(Accepted::ProgMismatch {
            low: ds::VERSION,
            high: ds::VERSION,
        }),
        (PROGRAM | mount::PROGRAM, _) => Err(Accepted::ProgMismatch { low: 3, high: 3 }),
        _ => Err(Accepted::ProgUnavail),
    }
    .map_err(refuse)?;
    // NULL is answered to anybody (RFC 1813 §3.3.0).
    let caller = match request {
        Request::Null | Request::Mount(MountRequest::Null) => Caller::nobody(),
        _ => Caller::identify(&header.credential, peer, mds)
            .map_err(|why| Refused::Reply(ReplyHeader::denied(xid, Denied::AuthError(why))))?,
    };
    Ok(Call {
        xid,
        caller,
        request,
    })
}

/// Decodes what must be the rest of the record.
fn rest<T: Xdr>(input: &mut Decoder) -> Result<T, Accepted> {
    let args = T::decode(input).map_err(|_| Accepted::GarbageArgs)?;
    input.finish().map_err(|_| Accepted::GarbageArgs)?;
    Ok(args)
}

fn nfs(
    header: &CallHeader,
    input: &mut Decoder,
    payload_bytes: Option<usize>,
) -> Result<Request, Accepted> {
    let procedure = Procedure::from_u32(header.procedure).ok_or(Accepted::ProcUnavail)?;
    Ok(match procedure {
        Procedure::Null => Request::Null,
        Procedure::Getattr => Request::Getattr(rest(input)?),
        Procedure::Setattr => Request::Setattr(rest(input)?),
        Procedure::Lookup => Request::Lookup(rest(input)?),
        Procedure::Access => Request::Access(rest(input)?),
        Procedure::Read => Request::Read(rest(input)?),
        Procedure::Write => {
            let head: Write3head = rest(input)?;
            if head.count as usize != payload_bytes.unwrap_or(0) {
                return Err(Accepted::GarbageArgs);
            }
            Request::Write(head)
        }
        Procedure::Create => Request::Create(rest(input)?),
        Procedure::Mkdir => Request::Mkdir(rest(input)?),
        Procedure::Remove => Request::Remove(rest(input)?),
        Procedure::Readdir => Request::Readdir(rest(input)?),
        Procedure::Readdirplus => Request::Readdirplus(rest(input)?),
        Procedure::Fsstat => Request::Fsstat(rest(input)?),
        Procedure::Fsinfo => Request::Fsinfo(rest(input)?),
        Procedure::Pathconf => Request::Pathconf(rest(input)?),
        Procedure::Commit => Request::Commit(rest(input)?),
        Procedure::Readlink
        | Procedure::Symlink
        | Procedure::Mknod
        | Procedure::Rmdir
        | Procedure::Rename
        | Procedure::Link => Request::Unsupported(procedure),
    })
}

fn mount(header: &CallHeader, input: &mut Decoder) -> Result<Request, Accepted> {
    let procedure = mount::Procedure::from_u32(header.procedure).ok_or(Accepted::ProcUnavail)?;
    Ok(Request::Mount(match procedure {
        mount::Procedure::Null => MountRequest::Null,
        mount::Procedure::Mnt => MountRequest::Mnt(rest(input)?),
        mount::Procedure::Dump => MountRequest::Dump,
        mount::Procedure::Umnt | mount::Procedure::Umntall => MountRequest::Umnt,
        mount::Procedure::Export => MountRequest::Export,
    }))
}

fn ranges(header: &CallHeader, input: &mut Decoder) -> Result<Request, Accepted> {
    let procedure = ds::Procedure::from_u32(header.procedure).ok_or(Accepted::ProcUnavail)?;
    Ok(Request::Ranges(match procedure {
        ds::Procedure::Null => return Ok(Request::Null),
        ds::Procedure::Abilities => RangeRequest::Abilities,
        ds::Procedure::Seek => RangeRequest::Seek(rest(input)?),
        ds::Procedure::Allocate => RangeRequest::Allocate(rest(input)?),
        ds::Procedure::Deallocate => RangeRequest::Deallocate(rest(input)?),
        ds::Procedure::Clone => RangeRequest::Clone(rest(input)?),
        ds::Procedure::Pull => RangeRequest::Pull(rest(input)?),
        ds::Procedure::Offer => RangeRequest::Offer(rest(input)?),
        ds::Procedure::Withdraw => RangeRequest::Withdraw(rest(input)?),
        ds::Procedure::Demand => RangeRequest::Demand(rest(input)?),
        ds::Procedure::Make => RangeRequest::Make(rest(input)?),
    }))
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
