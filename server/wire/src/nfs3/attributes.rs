//! Procedures about attributes and file systems: GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF
//! (RFC 1813 §3.3.1, §3.3.2, §3.3.4, §3.3.18 to §3.3.20). Never here: other procedures.

use super::{Fattr3, Fh3, Nfstime3, Outcome, PostOpAttr, Sattr3, WccData};
use crate::xdr_struct;

xdr_struct! {
    pub struct Getattr3args {
        pub object: Fh3,
    }
}

pub type Getattr3res = Outcome<Fattr3, ()>;

xdr_struct! {
    pub struct Setattr3args {
        pub object: Fh3,
        pub new_attributes: Sattr3,
        /// `sattrguard3`: do nothing (NFS3ERR_NOT_SYNC) unless this is the object's ctime.
        pub guard: Option<Nfstime3>,
    }
}

pub type Setattr3res = Outcome<WccData, WccData>;

pub const ACCESS3_READ: u32 = 0x0001;
pub const ACCESS3_LOOKUP: u32 = 0x0002;
pub const ACCESS3_MODIFY: u32 = 0x0004;
pub const ACCESS3_EXTEND: u32 = 0x0008;
pub const ACCESS3_DELETE: u32 = 0x0010;
pub const ACCESS3_EXECUTE: u32 = 0x0020;

xdr_struct! {
    pub struct Access3args {
        pub object: Fh3,
        pub access: u32,
    }
}

xdr_struct! {
    pub struct Access3resok {
        pub obj_attributes: PostOpAttr,
        pub access: u32,
    }
}

pub type Access3res = Outcome<Access3resok, PostOpAttr>;

xdr_struct! {
    pub struct Fsstat3args {
        pub fsroot: Fh3,
    }
}

xdr_struct! {
    pub struct Fsstat3resok {
        pub obj_attributes: PostOpAttr,
        /// Total, free, and available bytes, then the same of files.
        pub tbytes: u64,
        pub fbytes: u64,
        pub abytes: u64,
        pub tfiles: u64,
        pub ffiles: u64,
        pub afiles: u64,
        /// Seconds for which this is not expected to change.
        pub invarsec: u32,
    }
}

pub type Fsstat3res = Outcome<Fsstat3resok, PostOpAttr>;

pub const FSF3_LINK: u32 = 0x0001;
pub const FSF3_SYMLINK: u32 = 0x0002;
pub const FSF3_HOMOGENEOUS: u32 = 0x0008;
pub const FSF3_CANSETTIME: u32 = 0x0010;

xdr_struct! {
    pub struct Fsinfo3args {
        pub fsroot: Fh3,
    }
}

xdr_struct! {
    pub struct Fsinfo3resok {
        pub obj_attributes: PostOpAttr,
        pub rtmax: u32,
        pub rtpref: u32,
        pub rtmult: u32,
        pub wtmax: u32,
        pub wtpref: u32,
        pub wtmult: u32,
        pub dtpref: u32,
        pub maxfilesize: u64,
        pub time_delta: Nfstime3,
        pub properties: u32,
    }
}

pub type Fsinfo3res = Outcome<Fsinfo3resok, PostOpAttr>;

xdr_struct! {
    pub struct Pathconf3args {
        pub object: Fh3,
    }
}

xdr_struct! {
    pub struct Pathconf3resok {
        pub obj_attributes: PostOpAttr,
        pub linkmax: u32,
        pub name_max: u32,
        pub no_trunc: bool,
        pub chown_restricted: bool,
        pub case_insensitive: bool,
        pub case_preserving: bool,
    }
}

pub type Pathconf3res = Outcome<Pathconf3resok, PostOpAttr>;
