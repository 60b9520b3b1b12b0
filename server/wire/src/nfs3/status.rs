//! `nfsstat3` (RFC 1813 §2.6), in the RFC's words. Never here: what a status means to us.

use crate::xdr_enum;

xdr_enum! {
    /// Why a procedure was refused. NFS3_OK is none of these: it is the `Ok` of an
    /// [`Outcome`](super::Outcome).
    pub enum Nfsstat3 {
        Perm = 1,
        Noent = 2,
        Io = 5,
        Nxio = 6,
        Acces = 13,
        Exist = 17,
        Xdev = 18,
        Nodev = 19,
        Notdir = 20,
        Isdir = 21,
        Inval = 22,
        Fbig = 27,
        Nospc = 28,
        Rofs = 30,
        Mlink = 31,
        Nametoolong = 63,
        Notempty = 66,
        Dquot = 69,
        Stale = 70,
        Remote = 71,
        Badhandle = 10001,
        NotSync = 10002,
        BadCookie = 10003,
        Notsupp = 10004,
        Toosmall = 10005,
        Serverfault = 10006,
        Badtype = 10007,
        Jukebox = 10008,
    }
}

impl Nfsstat3 {
    /// The name in the RFC, for logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perm => "NFS3ERR_PERM",
            Self::Noent => "NFS3ERR_NOENT",
            Self::Io => "NFS3ERR_IO",
            Self::Nxio => "NFS3ERR_NXIO",
            Self::Acces => "NFS3ERR_ACCES",
            Self::Exist => "NFS3ERR_EXIST",
            Self::Xdev => "NFS3ERR_XDEV",
            Self::Nodev => "NFS3ERR_NODEV",
            Self::Notdir => "NFS3ERR_NOTDIR",
            Self::Isdir => "NFS3ERR_ISDIR",
            Self::Inval => "NFS3ERR_INVAL",
            Self::Fbig => "NFS3ERR_FBIG",
            Self::Nospc => "NFS3ERR_NOSPC",
            Self::Rofs => "NFS3ERR_ROFS",
            Self::Mlink => "NFS3ERR_MLINK",
            Self::Nametoolong => "NFS3ERR_NAMETOOLONG",
            Self::Notempty => "NFS3ERR_NOTEMPTY",
            Self::Dquot => "NFS3ERR_DQUOT",
            Self::Stale => "NFS3ERR_STALE",
            Self::Remote => "NFS3ERR_REMOTE",
            Self::Badhandle => "NFS3ERR_BADHANDLE",
            Self::NotSync => "NFS3ERR_NOT_SYNC",
            Self::BadCookie => "NFS3ERR_BAD_COOKIE",
            Self::Notsupp => "NFS3ERR_NOTSUPP",
            Self::Toosmall => "NFS3ERR_TOOSMALL",
            Self::Serverfault => "NFS3ERR_SERVERFAULT",
            Self::Badtype => "NFS3ERR_BADTYPE",
            Self::Jukebox => "NFS3ERR_JUKEBOX",
        }
    }
}

impl std::fmt::Display for Nfsstat3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
