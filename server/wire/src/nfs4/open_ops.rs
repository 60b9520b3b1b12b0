//! OPEN and what lives off it: delegations, byte-range locks, stateids (RFC 8881 §18), and the operations
//! that NFSv4.0 alone has, which a decoder must be able to step over.

use bytes::Bytes;

use super::attributes::Fattr4;
use super::codec::OperationError;
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_enum;

pub const OPEN4_SHARE_ACCESS_READ: u32 = 1;
pub const OPEN4_SHARE_ACCESS_WRITE: u32 = 2;
pub const OPEN4_SHARE_ACCESS_BOTH: u32 = 3;
pub const OPEN4_SHARE_DENY_NONE: u32 = 0;
pub const OPEN4_SHARE_DENY_READ: u32 = 1;
pub const OPEN4_SHARE_DENY_WRITE: u32 = 2;
pub const OPEN4_SHARE_DENY_BOTH: u32 = 3;

/// What delegation the client wants: one of these, under the mask.
pub const OPEN4_SHARE_ACCESS_WANT_DELEG_MASK: u32 = 0xff00;
pub const OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE: u32 = 0;
pub const OPEN4_SHARE_ACCESS_WANT_READ_DELEG: u32 = 0x100;
pub const OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG: u32 = 0x200;
pub const OPEN4_SHARE_ACCESS_WANT_ANY_DELEG: u32 = 0x300;
pub const OPEN4_SHARE_ACCESS_WANT_NO_DELEG: u32 = 0x400;
pub const OPEN4_SHARE_ACCESS_WANT_CANCEL: u32 = 0x500;
pub const OPEN4_SHARE_ACCESS_WANT_SIGNAL_DELEG_WHEN_RESRC_AVAIL: u32 = 0x1_0000;
pub const OPEN4_SHARE_ACCESS_WANT_PUSH_DELEG_WHEN_UNCONTENDED: u32 = 0x2_0000;
/// RFC 9754.
pub const OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS: u32 = 0x10_0000;
pub const OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION: u32 = 0x20_0000;

pub const OPEN4_RESULT_CONFIRM: u32 = 2;
pub const OPEN4_RESULT_LOCKTYPE_POSIX: u32 = 4;
pub const OPEN4_RESULT_PRESERVE_UNLINKED: u32 = 8;
/// RFC 9754.
pub const OPEN4_RESULT_NO_OPEN_STATEID: u32 = 0x10;
pub const OPEN4_RESULT_MAY_NOTIFY_LOCK: u32 = 0x20;

messages! {
    pub struct Open4Args {
        pub seqid: Seqid4,
        pub share_access: u32,
        pub share_deny: u32,
        pub owner: StateOwner4,
        pub openhow: Openflag4,
        pub claim: OpenClaim4,
    }

    pub struct Creatverfattr {
        pub verf: Verifier4,
        pub attrs: Fattr4,
    }

    pub struct OpenClaimDelegateCur4 {
        pub delegate_stateid: Stateid4,
        pub file: Component4 = NAME_LIMIT,
    }

    pub struct Open4Ok {
        pub stateid: Stateid4,
        pub cinfo: ChangeInfo4,
        pub rflags: u32,
        pub attrset: Bitmap4,
        pub delegation: OpenDelegation4,
    }

    pub struct OpenReadDelegation4 {
        pub stateid: Stateid4,
        pub recall: bool,
        pub permissions: Nfsace4,
    }

    pub struct OpenWriteDelegation4 {
        pub stateid: Stateid4,
        pub recall: bool,
        pub space_limit: NfsSpaceLimit4,
        pub permissions: Nfsace4,
    }

    pub struct NfsModifiedLimit4 {
        pub num_blocks: u32,
        pub bytes_per_block: u32,
    }

    pub struct OpenDowngrade4Args {
        pub open_stateid: Stateid4,
        pub seqid: Seqid4,
        pub share_access: u32,
        pub share_deny: u32,
    }

    pub struct OpenDowngrade4Ok {
        pub open_stateid: Stateid4,
    }

    pub struct Close4Args {
        pub seqid: Seqid4,
        pub open_stateid: Stateid4,
    }

    pub struct Close4Ok {
        pub open_stateid: Stateid4,
    }

    pub struct Delegpurge4Args {
        pub clientid: Clientid4,
    }

    pub struct Delegreturn4Args {
        pub deleg_stateid: Stateid4,
    }

    pub struct GetDirDelegation4Args {
        pub signal_deleg_avail: bool,
        pub notification_types: Bitmap4,
        pub child_attr_delay: Nfstime4,
        pub dir_attr_delay: Nfstime4,
        pub child_attributes: Bitmap4,
        pub dir_attributes: Bitmap4,
    }

    pub struct DirDelegation4 {
        pub cookieverf: Verifier4,
        pub stateid: Stateid4,
        pub notification: Bitmap4,
        pub child_attributes: Bitmap4,
        pub dir_attributes: Bitmap4,
    }

    pub struct WantDelegation4Args {
        pub want: u32,
        pub claim: DelegClaim4,
    }

    pub struct WantDelegation4Ok {
        pub delegation: OpenDelegation4,
    }

    pub struct FreeStateid4Args {
        pub stateid: Stateid4,
    }

    pub struct TestStateid4Args {
        pub stateids: Vec<Stateid4> = LIST_LIMIT,
    }

    pub struct TestStateid4Ok {
        pub status_codes: Vec<Nfsstat4> = LIST_LIMIT,
    }

    pub struct Lock4Args {
        pub locktype: LockType4,
        pub reclaim: bool,
        pub offset: u64,
        pub length: u64,
        pub locker: Locker4,
    }

    pub struct OpenToLockOwner4 {
        pub open_seqid: Seqid4,
        pub open_stateid: Stateid4,
        pub lock_seqid: Seqid4,
        pub lock_owner: StateOwner4,
    }

    pub struct ExistLockOwner4 {
        pub lock_stateid: Stateid4,
        pub lock_seqid: Seqid4,
    }

    pub struct Lock4Ok {
        pub lock_stateid: Stateid4,
    }

    /// The lock in the way.
    pub struct Lock4Denied {
        pub offset: u64,
        pub length: u64,
        pub locktype: LockType4,
        pub owner: StateOwner4,
    }

    pub struct Lockt4Args {
        pub locktype: LockType4,
        pub offset: u64,
        pub length: u64,
        pub owner: StateOwner4,
    }

    pub struct Locku4Args {
        pub locktype: LockType4,
        pub seqid: Seqid4,
        pub lock_stateid: Stateid4,
        pub offset: u64,
        pub length: u64,
    }

    pub struct Locku4Ok {
        pub lock_stateid: Stateid4,
    }
}

// NFSv4.0 alone.
messages! {
    pub struct OpenConfirm4Args {
        pub open_stateid: Stateid4,
        pub seqid: Seqid4,
    }

    pub struct OpenConfirm4Ok {
        pub open_stateid: Stateid4,
    }

    pub struct Renew4Args {
        pub clientid: Clientid4,
    }

    pub struct Setclientid4Args {
        pub verifier: Verifier4,
        pub id: Bytes = OPAQUE_LIMIT,
        pub cb_program: u32,
        pub cb_location: Netaddr4,
        pub callback_ident: u32,
    }

    pub struct Setclientid4Ok {
        pub clientid: Clientid4,
        pub setclientid_confirm: Verifier4,
    }

    pub struct SetclientidConfirm4Args {
        pub clientid: Clientid4,
        pub setclientid_confirm: Verifier4,
    }

    pub struct ReleaseLockowner4Args {
        pub lock_owner: StateOwner4,
    }
}

xdr_enum! {
    pub enum OpenDelegationType4 {
        None = 0,
        Read = 1,
        Write = 2,
        NoneExt = 3,
        ReadAttrsDeleg = 4,
        WriteAttrsDeleg = 5,
    }
}

xdr_enum! {
    pub enum LockType4 {
        ReadLt = 1,
        WriteLt = 2,
        ReadwLt = 3,
        WritewLt = 4,
    }
}

impl LockType4 {
    pub fn is_write(self) -> bool {
        matches!(self, Self::WriteLt | Self::WritewLt)
    }

    /// The client would wait for the lock.
    pub fn is_blocking(self) -> bool {
        matches!(self, Self::ReadwLt | Self::WritewLt)
    }
}

unions! {
    pub enum Openflag4 {
        NoCreate = 0,
        Create(how: Createhow4) = 1,
    }

    pub enum Createhow4 {
        Unchecked(createattrs: Fattr4) = 0,
        Guarded(createattrs: Fattr4) = 1,
        Exclusive(createverf: Verifier4) = 2,
        Exclusive41(createboth: Creatverfattr) = 3,
    }

    pub enum OpenClaim4 {
        Null(file: Component4 = NAME_LIMIT) = 0,
        Previous(delegate_type: OpenDelegationType4) = 1,
        DelegateCur(info: OpenClaimDelegateCur4) = 2,
        DelegatePrev(file: Component4 = NAME_LIMIT) = 3,
        Fh = 4,
        DelegCurFh(delegate_stateid: Stateid4) = 5,
        DelegPrevFh = 6,
    }

    pub enum OpenDelegation4 {
        None = 0,
        Read(read: OpenReadDelegation4) = 1,
        Write(write: OpenWriteDelegation4) = 2,
        NoneExt(whynone: OpenNoneDelegation4) = 3,
        /// With the right to say what the times are (RFC 9754).
        ReadAttrs(read: OpenReadDelegation4) = 4,
        WriteAttrs(write: OpenWriteDelegation4) = 5,
    }

    pub enum OpenNoneDelegation4 {
        NotWanted = 0,
        Contention(server_will_push_deleg: bool) = 1,
        Resource(server_will_signal_avail: bool) = 2,
        NotSuppFtype = 3,
        WriteDelegNotSuppFtype = 4,
        NotSuppUpgrade = 5,
        NotSuppDowngrade = 6,
        Cancelled = 7,
        IsDir = 8,
    }

    pub enum NfsSpaceLimit4 {
        Size(filesize: u64) = 1,
        Blocks(mod_blocks: NfsModifiedLimit4) = 2,
    }

    pub enum Locker4 {
        Existing(lock_owner: ExistLockOwner4) = 0,
        New(open_owner: OpenToLockOwner4) = 1,
    }

    pub enum GetDirDelegation4Ok {
        Ok(delegation: DirDelegation4) = 0,
        Unavail(will_signal_deleg_avail: bool) = 1,
    }

    pub enum DelegClaim4 {
        Previous(delegate_type: OpenDelegationType4) = 1,
        Fh = 4,
        DelegPrevFh = 6,
    }
}

/// LOCK and LOCKT say which lock is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock4Error {
    Denied(Lock4Denied),
    Status(Nfsstat4),
}

impl OperationError for Lock4Error {
    fn status(&self) -> Nfsstat4 {
        match self {
            Self::Denied(_) => Nfsstat4::Denied,
            Self::Status(status) => *status,
        }
    }

    /// DENIED without a lock to name can't be written down: it becomes DELAY.
    fn from_status(status: Nfsstat4) -> Self {
        Self::Status(if status == Nfsstat4::Denied {
            Nfsstat4::Delay
        } else {
            status
        })
    }

    fn encode_rest(&self, out: &mut Encoder) {
        if let Self::Denied(denied) = self {
            denied.encode(out);
        }
    }

    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError> {
        match status {
            Nfsstat4::Denied => Lock4Denied::decode(input).map(Self::Denied),
            status => Ok(Self::Status(status)),
        }
    }
}

/// SETCLIENTID says who uses the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setclientid4Error {
    ClidInuse(Netaddr4),
    Status(Nfsstat4),
}

impl OperationError for Setclientid4Error {
    fn status(&self) -> Nfsstat4 {
        match self {
            Self::ClidInuse(_) => Nfsstat4::ClidInuse,
            Self::Status(status) => *status,
        }
    }

    fn from_status(status: Nfsstat4) -> Self {
        match status {
            Nfsstat4::ClidInuse => Self::ClidInuse(Netaddr4 {
                netid: Bytes::new(),
                uaddr: Bytes::new(),
            }),
            status => Self::Status(status),
        }
    }

    fn encode_rest(&self, out: &mut Encoder) {
        if let Self::ClidInuse(client_using) = self {
            client_using.encode(out);
        }
    }

    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError> {
        match status {
            Nfsstat4::ClidInuse => Netaddr4::decode(input).map(Self::ClidInuse),
            status => Ok(Self::Status(status)),
        }
    }
}
