//! What the RFCs say of each operation: where, whether a server must have it, and with what it may fail.
//! RFC 8881 §15.2, §15.3 and §17, RFC 7862 §11.2, §11.3 and §13, RFC 8276 §8. What Headrace makes of it is not known here.
//! Where a text names an error that its table left out, it is here too.

use std::collections::BTreeSet;

use wire::nfs4::Nfsstat4::{self, *};
use wire::nfs4::{CbOpnum, Opnum};

/// RFC 8881 §17.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Required,
    Recommended,
    Optional,
    /// "Mandatory to not implement": of version 4.0.
    Forbidden,
}

#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub op: Opnum,
    /// "8881 §18.1".
    pub section: &'static str,
    pub need: Need,
    /// Whether it works on the current filehandle.
    pub on_file: bool,
    own: &'static [&'static [Nfsstat4]],
}

impl Operation {
    pub fn of(op: Opnum) -> Option<&'static Operation> {
        OPERATIONS.iter().find(|row| row.op == op)
    }

    /// Its errors but those that every operation has.
    pub fn own_errors(&self) -> impl Iterator<Item = Nfsstat4> {
        self.own.iter().flat_map(|set| set.iter().copied())
    }

    /// All its errors, each once.
    pub fn errors(&self) -> BTreeSet<Nfsstat4> {
        let file = FILE.iter().filter(|_| self.on_file);
        ANY.iter()
            .chain(file)
            .copied()
            .chain(self.own_errors())
            .collect()
    }

    pub fn may_answer(&self, status: Nfsstat4) -> bool {
        status == Ok || self.errors().contains(&status)
    }
}

/// What any operation may answer in a session. (A few in the RFC's tables lack one or the other, where that
/// operation has no arguments or takes no time.)
pub const ANY: &[Nfsstat4] = &[
    Badxdr,
    Deadsession,
    Delay,
    OpNotInSession,
    RepTooBig,
    RepTooBigToCache,
    ReqTooBig,
    RetryUncachedRep,
    Serverfault,
    TooManyOps,
];

/// What any operation on a file may answer.
pub const FILE: &[Nfsstat4] = &[Fhexpired, Moved, Nofilehandle, Stale];

const NAME: &[Nfsstat4] = &[Badchar, Badname, Inval, Nametoolong, Notdir];
/// Of stateids of opens and locks.
const OPENED: &[Nfsstat4] = &[AdminRevoked, BadStateid, Expired, OldStateid];
/// Of stateids that may be of a delegation.
const STATE: &[Nfsstat4] = &[AdminRevoked, BadStateid, DelegRevoked, Expired, OldStateid];
const DATA: &[Nfsstat4] = &[Access, Grace, Inval, Io, Isdir, Symlink, WrongType];
/// Of what reads or writes bytes itself.
const BYTES: &[Nfsstat4] = &[Locked, Openmode, PnfsIoHole, PnfsNoLayout];
const WRITING: &[Nfsstat4] = &[Dquot, Fbig, Nospc, Rofs];
const ATTRIBUTES: &[Nfsstat4] = &[Attrnotsupp, Badchar, Inval];
const LAYOUT: &[Nfsstat4] = &[
    Grace,
    Inval,
    Isdir,
    NoGrace,
    Notsupp,
    UnknownLayouttype,
    WrongCred,
    WrongType,
];
const RECLAIM: &[Nfsstat4] = &[Grace, NoGrace, ReclaimBad, ReclaimConflict];
/// NOTSUPP of all four by §8.4.
const XATTR: &[Nfsstat4] = &[Access, Inval, Io, Nametoolong, Notsupp, Perm, WrongType];
const XATTR_CHANGE: &[Nfsstat4] = &[Badchar, Dquot, Exist, Nospc, Noxattr, Rofs];

/// With what any callback behind CB_SEQUENCE may be answered.
const CALLED: &[Nfsstat4] = &[
    Badxdr,
    Delay,
    OpNotInSession,
    RepTooBig,
    RepTooBigToCache,
    ReqTooBig,
    RetryUncachedRep,
    Serverfault,
    TooManyOps,
];

/// With what a callback may be answered: RFC 8881 §15.3, RFC 7862 §11.3.
pub fn callback_errors(op: CbOpnum) -> Vec<Nfsstat4> {
    let own: &[Nfsstat4] = match op {
        CbOpnum::Getattr => &[Badhandle, Inval],
        CbOpnum::Recall | CbOpnum::Offload => &[Badhandle, BadStateid],
        CbOpnum::Layoutrecall => &[
            Badhandle,
            Badiomode,
            BadStateid,
            Inval,
            NomatchingLayout,
            Notsupp,
            UnknownLayouttype,
            WrongType,
        ],
        CbOpnum::Notify => &[Badhandle, BadStateid, Inval, Notsupp],
        CbOpnum::PushDeleg => &[Badhandle, Inval, Notsupp, RejectDeleg, WrongType],
        CbOpnum::RecallAny => &[Inval],
        CbOpnum::RecallableObjAvail | CbOpnum::NotifyDeviceid => &[Inval, Notsupp],
        CbOpnum::RecallSlot => &[BadHighSlot],
        CbOpnum::WantsCancelled => &[Notsupp],
        CbOpnum::NotifyLock => &[Badhandle, BadStateid, Notsupp],
        CbOpnum::Sequence => {
            return vec![
                Badsession,
                Badslot,
                Badxdr,
                BadHighSlot,
                ConnNotBoundToSession,
                Delay,
                RepTooBig,
                RepTooBigToCache,
                ReqTooBig,
                RetryUncachedRep,
                SequencePos,
                SeqFalseRetry,
                SeqMisordered,
                TooManyOps,
            ];
        }
        CbOpnum::Illegal => return vec![Badxdr, OpIllegal],
    };
    [CALLED, own].concat()
}

/// One row for each operation: number, section, need, "on a file" or "of none", sets of errors.
macro_rules! operations {
    (@file on) => { true };
    (@file none) => { false };
    ($($op:ident $section:literal $need:ident $file:ident [$($set:expr),*];)*) => {
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            op: Opnum::$op,
            section: $section,
            need: Need::$need,
            on_file: operations!(@file $file),
            own: &[$($set),*],
        }),*];
    };
}

operations! {
    Access "8881 §18.1" Required on [&[Access, Inval, Io]];
    Close "8881 §18.2" Required on [OPENED, &[LocksHeld, WrongCred]];
    Commit "8881 §18.3" Required on [&[Access, Io, Isdir, Symlink, WrongType]];
    Create "8881 §18.4" Required on [NAME, ATTRIBUTES, &[Access, Badowner, Badtype, Dquot, Exist, Io, Mlink, Nospc, Perm, Rofs, UnsafeCompound]];
    Delegpurge "8881 §18.5" Optional none [&[Notsupp, WrongCred]];
    Delegreturn "8881 §18.6" Optional on [STATE, &[Inval, Notsupp, WrongCred]];
    Getattr "8881 §18.7" Required on [&[Access, Grace, Inval, Io, WrongType]];
    Getfh "8881 §18.8" Required on [];
    Link "8881 §18.9" Optional on [NAME, &[Access, Dquot, Exist, FileOpen, Grace, Isdir, Io, Mlink, Nospc, Notsupp, Rofs, Symlink, Wrongsec, WrongType, Xdev]];
    Lock "8881 §18.10" Required on [OPENED, RECLAIM, &[Access, BadRange, Deadlock, Denied, Inval, Isdir, LockNotsupp, LockRange, Openmode, Rofs, Symlink, WrongCred, WrongType]];
    Lockt "8881 §18.11" Required on [&[Access, BadRange, Denied, Expired, Grace, Inval, Isdir, LockRange, Rofs, Symlink, WrongCred, WrongType]];
    Locku "8881 §18.12" Required on [OPENED, &[Access, BadRange, Inval, LockRange, WrongCred]];
    Lookup "8881 §18.13" Required on [NAME, &[Access, Io, Noent, Symlink, Wrongsec]];
    Lookupp "8881 §18.14" Required on [&[Access, Io, Noent, Notdir, Symlink, Wrongsec]];
    Nverify "8881 §18.15" Required on [ATTRIBUTES, &[Access, Grace, Io, Same, UnknownLayouttype, WrongType]];
    Open "8881 §18.16" Required on [NAME, ATTRIBUTES, STATE, RECLAIM, WRITING, &[Access, Badowner, DelegAlreadyWanted, Exist, Isdir, Io, Noent, Perm, ShareDenied, Symlink, UnsafeCompound, Wrongsec, WrongType]];
    Openattr "8881 §18.17" Optional on [&[Access, Dquot, Io, Noent, Nospc, Notsupp, Rofs, UnsafeCompound, WrongType]];
    OpenConfirm "8881 §17" Forbidden none [&[Notsupp]];
    OpenDowngrade "8881 §18.18" Required on [OPENED, &[Inval, Rofs, WrongCred]];
    Putfh "8881 §18.19" Required none [&[Badhandle, Moved, Stale, Wrongsec]];
    Putpubfh "8881 §18.20" Required none [&[Wrongsec]];
    Putrootfh "8881 §18.21" Required none [&[Wrongsec]];
    Read "8881 §18.22" Required on [STATE, DATA, BYTES, &[PartnerNoAuth]];
    Readdir "8881 §18.23" Required on [&[Access, BadCookie, Inval, Io, Notdir, NotSame, Toosmall]];
    Readlink "8881 §18.24" Optional on [&[Access, Inval, Io, WrongType]];
    Remove "8881 §18.25" Required on [NAME, &[Access, FileOpen, Grace, Io, Noent, Notempty, Rofs]];
    Rename "8881 §18.26" Required on [NAME, &[Access, Dquot, Exist, FileOpen, Grace, Io, Mlink, Noent, Nospc, Notempty, Rofs, Wrongsec, Xdev]];
    Renew "8881 §17" Forbidden none [&[Notsupp]];
    Restorefh "8881 §18.27" Required on [&[Wrongsec]];
    Savefh "8881 §18.28" Required on [];
    Secinfo "8881 §18.29" Required on [NAME, &[Access, Noent]];
    Setattr "8881 §18.30" Required on [STATE, ATTRIBUTES, WRITING, &[Access, Badowner, Grace, Io, Locked, Openmode, Perm, UnknownLayouttype, WrongType]];
    Setclientid "8881 §17" Forbidden none [&[Notsupp]];
    SetclientidConfirm "8881 §17" Forbidden none [&[Notsupp]];
    Verify "8881 §18.31" Required on [ATTRIBUTES, &[Access, Grace, Io, NotSame, UnknownLayouttype, WrongType]];
    Write "8881 §18.32" Required on [STATE, DATA, BYTES, WRITING];
    ReleaseLockowner "8881 §17" Forbidden none [&[Notsupp]];
    BackchannelCtl "8881 §18.33" Required none [&[Inval, Noent]];
    BindConnToSession "8881 §18.34" Required none [&[BadSessionDigest, Badsession, Inval, NotOnlyOp]];
    ExchangeId "8881 §18.35" Required none [&[Badchar, ClidInuse, EncrAlgUnsupp, HashAlgUnsupp, Inval, Noent, NotOnlyOp, NotSame, Perm]];
    CreateSession "8881 §18.36" Required none [&[ClidInuse, Inval, Noent, NotOnlyOp, Nospc, SeqMisordered, StaleClientid, Toosmall, WrongCred]];
    DestroySession "8881 §18.37" Required none [&[BackChanBusy, Badsession, CbPathDown, ConnNotBoundToSession, NotOnlyOp, StaleClientid, WrongCred]];
    FreeStateid "8881 §18.38" Required none [&[BadStateid, LocksHeld, OldStateid, WrongCred]];
    GetDirDelegation "8881 §18.39" Optional on [&[Access, DirdelegUnavail, Grace, Inval, Io, Notdir, Notsupp]];
    Getdeviceinfo "8881 §18.40" Optional none [&[Inval, Noent, Notsupp, Toosmall, UnknownLayouttype]];
    Getdevicelist "8881 §18.41" Optional on [&[BadCookie, Inval, Io, Notsupp, NotSame, UnknownLayouttype]];
    Layoutcommit "8881 §18.42" Optional on [RECLAIM, &[Access, AdminRevoked, Attrnotsupp, Badiomode, Badlayout, DelegRevoked, Expired, Fbig, Inval, Io, Isdir, Notsupp, Symlink, UnknownLayouttype, WrongCred]];
    Layoutget "8881 §18.43" Optional on [&[Access, AdminRevoked, BadStateid, DelegRevoked, OldStateid, Badiomode, Badlayout, Dquot, Grace, Inval, Io, Layouttrylater, Layoutunavailable, Locked, Nospc, Notsupp, Openmode, Recallconflict, Toosmall, UnknownLayouttype, WrongType]];
    Layoutreturn "8881 §18.44" Optional on [STATE, LAYOUT];
    SecinfoNoName "8881 §18.45" Recommended on [&[Access, Inval, Noent, Notdir, Notsupp]];
    Sequence "8881 §18.46" Required none [&[BadHighSlot, Badsession, Badslot, ConnNotBoundToSession, SeqFalseRetry, SeqMisordered, SequencePos]];
    SetSsv "8881 §18.47" Required none [&[BadSessionDigest, Inval, Notsupp]];
    TestStateid "8881 §18.48" Required none [];
    WantDelegation "8881 §18.49" Optional on [RECLAIM, &[DelegAlreadyWanted, Inval, Io, Notsupp, Recallconflict, WrongType]];
    DestroyClientid "8881 §18.50" Required none [&[ClientidBusy, NotOnlyOp, StaleClientid, WrongCred]];
    ReclaimComplete "8881 §18.51" Required none [&[CompleteAlready, Fhexpired, Inval, Moved, Nofilehandle, Stale, WrongCred, WrongType]];
    Allocate "7862 §15.1" Optional on [STATE, DATA, WRITING, &[Notsupp, Openmode]];
    Copy "7862 §15.2" Optional on [STATE, DATA, BYTES, WRITING, &[Notsupp, OffloadDenied, OffloadNoReqs, PartnerNoAuth, PartnerNotsupp, Xdev]];
    CopyNotify "7862 §15.3" Optional on [STATE, DATA, BYTES, &[Notsupp]];
    Deallocate "7862 §15.4" Optional on [STATE, DATA, &[Fbig, Notsupp, Openmode, Rofs]];
    IoAdvise "7862 §15.5" Optional on [STATE, DATA, &[Fbig, Notsupp]];
    Layouterror "7862 §15.6" Optional on [STATE, LAYOUT];
    Layoutstats "7862 §15.7" Optional on [STATE, LAYOUT];
    OffloadCancel "7862 §15.8" Optional none [FILE, OPENED, &[CompleteAlready, Grace, Notsupp]];
    OffloadStatus "7862 §15.9" Optional none [FILE, OPENED, &[CompleteAlready, Grace, Notsupp]];
    ReadPlus "7862 §15.10" Optional on [STATE, DATA, BYTES, &[Notsupp, PartnerNoAuth]];
    Seek "7862 §15.11" Optional on [STATE, DATA, BYTES, &[Notsupp, Nxio, UnionNotsupp]];
    WriteSame "7862 §15.12" Optional on [STATE, DATA, BYTES, WRITING, &[Notsupp]];
    Clone "7862 §15.13" Optional on [STATE, DATA, WRITING, &[Notsupp, Openmode, Xdev]];
    Getxattr "8276 §8.4.1" Optional on [XATTR, &[Noxattr]];
    Setxattr "8276 §8.4.2" Optional on [XATTR, XATTR_CHANGE, &[Xattr2big]];
    Listxattrs "8276 §8.4.3" Optional on [XATTR, &[Noxattr, Toosmall]];
    Removexattr "8276 §8.4.4" Optional on [XATTR, XATTR_CHANGE, &[Locked, OldStateid, Openmode]];
    Illegal "8881 §18.52" Required none [&[OpIllegal]];
}
