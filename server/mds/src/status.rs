//! Refusals: an NFS status, a reason for people, and whose fault it is. Beside `ops/` the one place
//! where a status code is chosen.

use crate::identity::Unnamed;
use crate::partner::PartnerFault;
use crate::state::{
    CloseRefusal, CopyNotifyRefusal, CreateSessionRefusal, DestroyClientRefusal,
    DestroySessionRefusal, DowngradeRefusal, ExchangeIdRefusal, FreeRefusal, GraceRefusal,
    IoRefusal, LayoutRefusal, LockRefusal, OffloadFault, OpenRefusal, PartnerRefusal,
    ReclaimCompleteRefusal, SequenceRefusal, StateidRefusal, UnlockRefusal,
};
use backend::tree::{TreeError, TreeErrorKind};
use std::borrow::Cow;
use wire::nfs4::Nfsstat4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The client asked for what it can't have: nothing to log.
    Client,
    /// Something of ours is broken: one line in the log.
    Server,
    /// It passes by itself, and whatever caused it was told where it was seen.
    Nobody,
}

#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub status: Nfsstat4,
    pub reason: Cow<'static, str>,
    pub blame: Blame,
}

impl Refusal {
    pub fn client(status: Nfsstat4, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            reason: reason.into(),
            blame: Blame::Client,
        }
    }

    pub fn passing(status: Nfsstat4, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            reason: reason.into(),
            blame: Blame::Nobody,
        }
    }

    pub fn server(status: Nfsstat4, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            reason: reason.into(),
            blame: Blame::Server,
        }
    }
}

impl From<Unnamed> for Refusal {
    fn from(unnamed: Unnamed) -> Self {
        match unnamed {
            Unnamed::Nobody => Nfsstat4::Badowner.into(),
            Unnamed::NotNow => {
                Refusal::passing(Nfsstat4::Delay, "users and groups can't be asked for")
            }
        }
    }
}

impl From<Nfsstat4> for Refusal {
    fn from(status: Nfsstat4) -> Self {
        Self {
            status,
            reason: Cow::Borrowed(""),
            blame: Blame::Client,
        }
    }
}

impl From<catalog::Error> for Refusal {
    fn from(error: catalog::Error) -> Self {
        use catalog::Error::*;
        let status = match error {
            NotFound => Nfsstat4::Noent,
            Exists => Nfsstat4::Exist,
            NotDirectory => Nfsstat4::Notdir,
            IsDirectory => Nfsstat4::Isdir,
            NotEmpty => Nfsstat4::Notempty,
            Stale => Nfsstat4::Stale,
            TooManyLinks => Nfsstat4::Mlink,
            NoXattr => Nfsstat4::Noxattr,
            XattrsFull => Nfsstat4::Nospc,
            IntoItself => Nfsstat4::Inval,
            OtherKeeper => Nfsstat4::Xdev,
            NameTooLong => Nfsstat4::Nametoolong,
            TooLarge { .. } => Nfsstat4::Fbig,
            Conflict { .. } | Unscanned => Nfsstat4::Delay,
            // Whether it happened can't be told: the client asks again and sees.
            Unknown(detail) => return Self::server(Nfsstat4::Delay, detail),
            Corrupt(detail) | Store(detail) => return Self::server(Nfsstat4::Serverfault, detail),
        };
        status.into()
    }
}

impl From<backend::Error> for Refusal {
    fn from(error: backend::Error) -> Self {
        use backend::ErrorKind::*;
        let status = match error.kind {
            // Away or busy, or fenced by a fence of our own that is under way: soon another answer.
            Retry { .. } | Fenced => Nfsstat4::Delay,
            Full => Nfsstat4::Nospc,
            Gone | Broken => Nfsstat4::Io,
            TooLarge => Nfsstat4::Fbig,
            Unsupported => Nfsstat4::Notsupp,
        };
        let blame = match error.kind {
            Retry { .. } | Fenced | Full | TooLarge => Blame::Nobody,
            Gone | Unsupported | Broken => Blame::Server,
        };
        Self {
            status,
            reason: error.detail.into(),
            blame,
        }
    }
}

impl From<TreeError> for Refusal {
    fn from(error: TreeError) -> Self {
        use TreeErrorKind::*;
        let status = match error.kind {
            Retry { .. } => Nfsstat4::Delay,
            Gone => Nfsstat4::Stale,
            NoEntry => Nfsstat4::Noent,
            Exists => Nfsstat4::Exist,
            Denied => Nfsstat4::Access,
            NotOwner => Nfsstat4::Perm,
            NotFolder => Nfsstat4::Notdir,
            IsFolder => Nfsstat4::Isdir,
            NotEmpty => Nfsstat4::Notempty,
            ReadOnly => Nfsstat4::Rofs,
            NameTooLong => Nfsstat4::Nametoolong,
            Invalid => Nfsstat4::Inval,
            TooManyLinks => Nfsstat4::Mlink,
            OtherDevice => Nfsstat4::Xdev,
            Full => Nfsstat4::Nospc,
            OverQuota => Nfsstat4::Dquot,
            TooLarge => Nfsstat4::Fbig,
            BadCookie => Nfsstat4::BadCookie,
            Unsupported => Nfsstat4::Notsupp,
            // There is no word for a lost race with somebody whom this server doesn't know.
            Conflict | Broken => Nfsstat4::Io,
        };
        let blame = match error.kind {
            Conflict | Broken => Blame::Server,
            Retry { .. } => Blame::Nobody,
            _ => Blame::Client,
        };
        Self {
            status,
            reason: error.detail.into(),
            blame,
        }
    }
}

impl From<objects::Error> for Refusal {
    fn from(error: objects::Error) -> Self {
        use objects::Error::*;
        let reason = error.to_string();
        match error {
            Catalog(error) => error.into(),
            Server(error) => error.into(),
            NoPlace(layout::NoPlace::Full { .. }) | Nowhere => Nfsstat4::Nospc.into(),
            // Those that are away come back.
            NoPlace(_) => Self::passing(Nfsstat4::Delay, reason),
            Pending | Unbound => Nfsstat4::Delay.into(),
            // Not NOTSUPP, after which Linux never asks for a CLONE again.
            Apart => Nfsstat4::Xdev.into(),
            Unaligned { .. } => Nfsstat4::Inval.into(),
            TooLarge => Nfsstat4::Fbig.into(),
            UnknownServer(_) | NoCopy | Setup(_) => Self::server(Nfsstat4::Io, reason),
        }
    }
}

impl From<PartnerFault> for Refusal {
    fn from(fault: PartnerFault) -> Self {
        use Nfsstat4::*;
        let reason = fault.to_string();
        let status = match fault {
            // RFC 7862 §11.1.2: what the other server says of the stateid is about the right to read.
            PartnerFault::Refused(
                PartnerNoAuth | BadStateid | OldStateid | Expired | AdminRevoked | DelegRevoked,
            ) => PartnerNoAuth,
            PartnerFault::Refused(Stale | Badhandle | Fhexpired) => Stale,
            PartnerFault::Unfit(_) => PartnerNotsupp,
            PartnerFault::Refused(_) | PartnerFault::Away(_) | PartnerFault::Nonsense(_) => {
                OffloadDenied
            }
        };
        Self::passing(status, reason)
    }
}

pub(crate) fn stateid_status(refusal: StateidRefusal) -> Nfsstat4 {
    match refusal {
        // A session tells of a restart by itself: STALE_STATEID is of version 4.0 (RFC 8881 §15.1.16).
        StateidRefusal::Bad | StateidRefusal::Stale => Nfsstat4::BadStateid,
        StateidRefusal::Old => Nfsstat4::OldStateid,
        StateidRefusal::Expired => Nfsstat4::Expired,
        StateidRefusal::Revoked => Nfsstat4::AdminRevoked,
        StateidRefusal::DelegationRevoked => Nfsstat4::DelegRevoked,
    }
}

/// Refusals of `state`, by cause.
macro_rules! refusals {
    ($($type:ident: $($pattern:pat => $status:expr),+ $(,)?;)*) => {$(
        impl From<$type> for Refusal {
            fn from(refusal: $type) -> Self {
                #[allow(unused_imports, reason = "some are handed on whole")]
                use $type::*;
                let status: Nfsstat4 = match refusal { $($pattern => $status),+ };
                status.into()
            }
        }
    )*};
}

fn grace_status(refusal: GraceRefusal) -> Nfsstat4 {
    match refusal {
        GraceRefusal::InGrace | GraceRefusal::NotComplete => Nfsstat4::Grace,
        GraceRefusal::NoGrace => Nfsstat4::NoGrace,
        GraceRefusal::NotOnRecord => Nfsstat4::NoGrace,
        GraceRefusal::UnknownClient => Nfsstat4::Expired,
    }
}

refusals! {
    StateidRefusal: refusal => stateid_status(refusal);
    GraceRefusal: refusal => grace_status(refusal);
    ExchangeIdRefusal:
        NoConfirmedRecord => Nfsstat4::Noent,
        VerifierDiffers => Nfsstat4::NotSame,
        PrincipalDiffers => Nfsstat4::Perm,
        InUse => Nfsstat4::ClidInuse,
        TooMany => Nfsstat4::Delay;
    CreateSessionRefusal:
        StaleClientId => Nfsstat4::StaleClientid,
        Misordered => Nfsstat4::SeqMisordered,
        InUse => Nfsstat4::ClidInuse,
        TooSmall => Nfsstat4::Toosmall,
        TooMany => Nfsstat4::Nospc;
    DestroyClientRefusal: Stale => Nfsstat4::StaleClientid, Busy => Nfsstat4::ClientidBusy;
    DestroySessionRefusal:
        BadSession => Nfsstat4::Badsession,
        Busy => Nfsstat4::Delay,
        NotBound => Nfsstat4::ConnNotBoundToSession;
    ReclaimCompleteRefusal:
        AlreadyComplete => Nfsstat4::CompleteAlready,
        GraceEnding => Nfsstat4::Delay,
        UnknownClient => Nfsstat4::StaleClientid;
    SequenceRefusal: refusal => sequence_status(refusal);
    OpenRefusal:
        ShareDenied => Nfsstat4::ShareDenied,
        ReclaimConflict => Nfsstat4::ReclaimConflict,
        Fencing => Nfsstat4::Delay,
        // RESOURCE is of version 4.0: there the client would have to be told to ask for less.
        TooMany | MakingRoom => Nfsstat4::Delay,
        Grace(refusal) => grace_status(refusal),
        ClientGone => Nfsstat4::Expired,
        // `ops::open` waits for it first.
        Delegated(_) => Nfsstat4::Delay,
        Stateid(refusal) => stateid_status(refusal);
    DowngradeRefusal: Stateid(refusal) => stateid_status(refusal), NoSuchOpens => Nfsstat4::Inval;
    CloseRefusal:
        Stateid(refusal) => stateid_status(refusal),
        LocksHeld => Nfsstat4::LocksHeld,
        Busy => Nfsstat4::Delay;
    LockRefusal:
        // `ops::lock` answers this one with the lock in the way.
        Denied(_) => Nfsstat4::Denied,
        Stateid(refusal) => stateid_status(refusal),
        ReclaimConflict => Nfsstat4::ReclaimConflict,
        OpenMode => Nfsstat4::Openmode,
        Fencing => Nfsstat4::Delay,
        // The only status of §15.2 for LOCK that says "not now": NOSPC isn't among them.
        TooMany => Nfsstat4::Delay,
        Grace(refusal) => grace_status(refusal);
    UnlockRefusal: Stateid(refusal) => stateid_status(refusal), TooMany => Nfsstat4::Delay;
    FreeRefusal: Stateid(refusal) => stateid_status(refusal), LocksHeld => Nfsstat4::LocksHeld;
    CopyNotifyRefusal:
        Stateid(refusal) => stateid_status(refusal),
        OpenMode => Nfsstat4::Openmode,
        // Those that ended make room, within a lease at most: §11 has no other status for "full".
        TooMany => Nfsstat4::Delay;
    PartnerRefusal:
        Stateid(refusal) => stateid_status(refusal),
        NotAuthorized => Nfsstat4::PartnerNoAuth;
    LayoutRefusal:
        Stateid(refusal) => stateid_status(refusal),
        OpenMode => Nfsstat4::Openmode,
        RecallConflict => Nfsstat4::Recallconflict,
        Fencing | Busy => Nfsstat4::Delay,
        TooMany | Full => Nfsstat4::Layouttrylater,
        Grace(refusal) => grace_status(refusal);
    IoRefusal:
        Stateid(refusal) => stateid_status(refusal),
        OpenMode => Nfsstat4::Openmode,
        Denied => Nfsstat4::Locked,
        MakingWay => Nfsstat4::Delay,
        Delegated(_) => Nfsstat4::Delay,
        InGrace => Nfsstat4::Grace;
}

/// How a copy ended, for OFFLOAD_STATUS and CB_OFFLOAD.
pub(crate) fn offload_status(end: Result<(), OffloadFault>) -> Nfsstat4 {
    match end {
        Ok(()) => Nfsstat4::Ok,
        Err(OffloadFault::Full) => Nfsstat4::Nospc,
        Err(OffloadFault::Gone) => Nfsstat4::Stale,
        Err(OffloadFault::PastEnd) => Nfsstat4::Inval,
        // Linux takes this for "copy it yourself", and the next for "begin anew with COPY_NOTIFY".
        Err(OffloadFault::Denied) => Nfsstat4::OffloadDenied,
        Err(OffloadFault::NotAuthorized) => Nfsstat4::PartnerNoAuth,
        Err(OffloadFault::Unfit) => Nfsstat4::PartnerNotsupp,
        Err(OffloadFault::Broken) => Nfsstat4::Io,
    }
}

/// Why a copy in the background ends.
pub(crate) fn offload_fault(refusal: &Refusal) -> OffloadFault {
    match refusal.status {
        Nfsstat4::Nospc | Nfsstat4::Dquot => OffloadFault::Full,
        Nfsstat4::Stale | Nfsstat4::Noent => OffloadFault::Gone,
        Nfsstat4::Inval => OffloadFault::PastEnd,
        Nfsstat4::OffloadDenied => OffloadFault::Denied,
        Nfsstat4::PartnerNoAuth => OffloadFault::NotAuthorized,
        Nfsstat4::PartnerNotsupp => OffloadFault::Unfit,
        _ => OffloadFault::Broken,
    }
}

pub(crate) fn sequence_status(refusal: SequenceRefusal) -> Nfsstat4 {
    match refusal {
        SequenceRefusal::BadSession => Nfsstat4::Badsession,
        SequenceRefusal::RequestTooBig => Nfsstat4::ReqTooBig,
        SequenceRefusal::ReplyTooBig => Nfsstat4::RepTooBig,
        SequenceRefusal::ReplyTooBigToKeep => Nfsstat4::RepTooBigToCache,
        SequenceRefusal::TooManyOperations => Nfsstat4::TooManyOps,
        SequenceRefusal::ChannelsDiffer => Nfsstat4::Inval,
        SequenceRefusal::BadSlot => Nfsstat4::Badslot,
        SequenceRefusal::BadHighSlot => Nfsstat4::BadHighSlot,
        SequenceRefusal::Misordered => Nfsstat4::SeqMisordered,
        SequenceRefusal::FalseRetry => Nfsstat4::SeqFalseRetry,
        SequenceRefusal::InProgress | SequenceRefusal::MemoryShort => Nfsstat4::Delay,
        SequenceRefusal::TooManyConnections => Nfsstat4::ConnNotBoundToSession,
    }
}
