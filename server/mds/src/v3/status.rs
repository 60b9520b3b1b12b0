//! What NFSv3 calls a refusal of NFSv4 (RFC 1813 §2.6): it knows fewer, and is never told another.

use wire::mount::Mountstat3;
use wire::nfs3::Nfsstat3;
use wire::nfs4::Nfsstat4;

pub(super) fn of(status: Nfsstat4) -> Nfsstat3 {
    use Nfsstat4::*;
    match status {
        Perm => Nfsstat3::Perm,
        Noent => Nfsstat3::Noent,
        Io => Nfsstat3::Io,
        Nxio => Nfsstat3::Nxio,
        Exist => Nfsstat3::Exist,
        Xdev => Nfsstat3::Xdev,
        Notdir => Nfsstat3::Notdir,
        Isdir => Nfsstat3::Isdir,
        Fbig => Nfsstat3::Fbig,
        Nospc => Nfsstat3::Nospc,
        Rofs => Nfsstat3::Rofs,
        Mlink => Nfsstat3::Mlink,
        Nametoolong => Nfsstat3::Nametoolong,
        Notempty => Nfsstat3::Notempty,
        Dquot => Nfsstat3::Dquot,
        Stale | Fhexpired => Nfsstat3::Stale,
        Badhandle => Nfsstat3::Badhandle,
        BadCookie => Nfsstat3::BadCookie,
        Toosmall => Nfsstat3::Toosmall,
        Badtype => Nfsstat3::Badtype,
        // Of a guard; a listing tells by itself what its verifier's change means.
        NotSame => Nfsstat3::NotSync,
        // What another server has can't be pointed to.
        Moved | LeaseMoved => Nfsstat3::Remote,
        Delay | Grace | Layouttrylater | Recallconflict | Returnconflict | FileOpen => {
            Nfsstat3::Jukebox
        }
        // What an open of NFSv4 denies. It may for days: a client that waited would hang.
        Access | ShareDenied | Locked | Denied | Openmode | Wrongsec | WrongCred => Nfsstat3::Acces,
        // A kind, a name or a value that doesn't fit.
        Inval | Symlink | WrongType | Badchar | Badname | BadRange | Badowner | Attrnotsupp
        | Badxdr | WrongLfs | Badlabel => Nfsstat3::Inval,
        Notsupp | LockNotsupp | UnionNotsupp | Layoutunavailable | UnknownLayouttype
        | DirdelegUnavail | OffloadDenied | OffloadNoReqs | PartnerNotsupp | PartnerNoAuth
        | HashAlgUnsupp | EncrAlgUnsupp | Noxattr | Xattr2big => Nfsstat3::Notsupp,
        // Of sessions, state and requests that no call here has.
        Ok
        | Serverfault
        | Same
        | Expired
        | ClidInuse
        | Resource
        | Nofilehandle
        | MinorVersMismatch
        | StaleClientid
        | StaleStateid
        | OldStateid
        | BadStateid
        | BadSeqid
        | LockRange
        | Restorefh
        | NoGrace
        | ReclaimBad
        | ReclaimConflict
        | LocksHeld
        | OpIllegal
        | Deadlock
        | AdminRevoked
        | CbPathDown
        | Badiomode
        | Badlayout
        | BadSessionDigest
        | Badsession
        | Badslot
        | CompleteAlready
        | ConnNotBoundToSession
        | DelegAlreadyWanted
        | BackChanBusy
        | NomatchingLayout
        | SeqMisordered
        | SequencePos
        | ReqTooBig
        | RepTooBig
        | RepTooBigToCache
        | RetryUncachedRep
        | UnsafeCompound
        | TooManyOps
        | OpNotInSession
        | ClientidBusy
        | PnfsIoHole
        | SeqFalseRetry
        | BadHighSlot
        | Deadsession
        | PnfsNoLayout
        | NotOnlyOp
        | RejectDeleg
        | DelegRevoked => Nfsstat3::Serverfault,
    }
}

/// Of a procedure on a name: what should be a folder and is a symbolic link is none.
pub(super) fn in_folder(status: Nfsstat4) -> Nfsstat3 {
    match status {
        Nfsstat4::Symlink => Nfsstat3::Notdir,
        status => of(status),
    }
}

/// Why a path isn't mounted.
pub(super) fn of_mount(status: Nfsstat3) -> Mountstat3 {
    use Nfsstat3::*;
    match status {
        Perm => Mountstat3::Perm,
        Noent | Stale => Mountstat3::Noent,
        Io | Nxio => Mountstat3::Io,
        Acces => Mountstat3::Acces,
        Notdir => Mountstat3::Notdir,
        Inval => Mountstat3::Inval,
        Nametoolong => Mountstat3::Nametoolong,
        Notsupp | Remote => Mountstat3::Notsupp,
        Exist | Xdev | Nodev | Isdir | Fbig | Nospc | Rofs | Mlink | Notempty | Dquot
        | Badhandle | NotSync | BadCookie | Toosmall | Serverfault | Badtype | Jukebox => {
            Mountstat3::Serverfault
        }
    }
}
