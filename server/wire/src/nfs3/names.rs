//! Procedures that find, make, move and remove names: LOOKUP, READLINK, CREATE, MKDIR, SYMLINK,
//! MKNOD, REMOVE, RMDIR, RENAME, LINK (RFC 1813 §3.3.3, §3.3.5, §3.3.8 to §3.3.15). Never here:
//! other procedures.

use super::{
    Createverf3, Diropargs3, Fh3, Ftype3, Nfspath3, Outcome, PostOpAttr, PostOpFh3, Sattr3,
    Specdata3, WccData,
};
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_struct;

xdr_struct! {
    pub struct Lookup3args {
        pub what: Diropargs3,
    }
}

xdr_struct! {
    pub struct Lookup3resok {
        pub object: Fh3,
        pub obj_attributes: PostOpAttr,
        pub dir_attributes: PostOpAttr,
    }
}

/// What is said about a failure are the directory's attributes.
pub type Lookup3res = Outcome<Lookup3resok, PostOpAttr>;

xdr_struct! {
    pub struct Readlink3args {
        pub symlink: Fh3,
    }
}

xdr_struct! {
    pub struct Readlink3resok {
        pub symlink_attributes: PostOpAttr,
        pub data: Nfspath3,
    }
}

pub type Readlink3res = Outcome<Readlink3resok, PostOpAttr>;

/// `createhow3`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Createhow3 {
    Unchecked(Sattr3),
    Guarded(Sattr3),
    Exclusive(Createverf3),
}

impl Xdr for Createhow3 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Createhow3::Unchecked(attributes) => {
                out.u32(0);
                attributes.encode(out);
            }
            Createhow3::Guarded(attributes) => {
                out.u32(1);
                attributes.encode(out);
            }
            Createhow3::Exclusive(verifier) => {
                out.u32(2);
                verifier.encode(out);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        match input.u32()? {
            0 => Sattr3::decode(input).map(Createhow3::Unchecked),
            1 => Sattr3::decode(input).map(Createhow3::Guarded),
            2 => Createverf3::decode(input).map(Createhow3::Exclusive),
            value => Err(input.bad_discriminant("createmode3", value)),
        }
    }
}

xdr_struct! {
    pub struct Create3args {
        pub target: Diropargs3,
        pub how: Createhow3,
    }
}

xdr_struct! {
    /// What CREATE, MKDIR, SYMLINK and MKNOD answer.
    pub struct Create3resok {
        pub obj: PostOpFh3,
        pub obj_attributes: PostOpAttr,
        pub dir_wcc: WccData,
    }
}

pub type Create3res = Outcome<Create3resok, WccData>;

xdr_struct! {
    pub struct Mkdir3args {
        pub target: Diropargs3,
        pub attributes: Sattr3,
    }
}

pub type Mkdir3res = Create3res;

xdr_struct! {
    /// `target` is where the link goes, `data` what it says.
    pub struct Symlink3args {
        pub target: Diropargs3,
        pub attributes: Sattr3,
        pub data: Nfspath3,
    }
}

pub type Symlink3res = Create3res;

/// `mknoddata3`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mknoddata3 {
    Chr(Sattr3, Specdata3),
    Blk(Sattr3, Specdata3),
    Sock(Sattr3),
    Fifo(Sattr3),
    /// A type that MKNOD doesn't make: to be answered with NFS3ERR_BADTYPE.
    Other(NotMknod),
}

/// A type that MKNOD doesn't make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMknod {
    Reg,
    Dir,
    Lnk,
}

impl Xdr for Mknoddata3 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Mknoddata3::Chr(attributes, device) => {
                Ftype3::Chr.encode(out);
                attributes.encode(out);
                device.encode(out);
            }
            Mknoddata3::Blk(attributes, device) => {
                Ftype3::Blk.encode(out);
                attributes.encode(out);
                device.encode(out);
            }
            Mknoddata3::Sock(attributes) => {
                Ftype3::Sock.encode(out);
                attributes.encode(out);
            }
            Mknoddata3::Fifo(attributes) => {
                Ftype3::Fifo.encode(out);
                attributes.encode(out);
            }
            Mknoddata3::Other(NotMknod::Reg) => Ftype3::Reg.encode(out),
            Mknoddata3::Other(NotMknod::Dir) => Ftype3::Dir.encode(out),
            Mknoddata3::Other(NotMknod::Lnk) => Ftype3::Lnk.encode(out),
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match Ftype3::decode(input)? {
            Ftype3::Chr => Mknoddata3::Chr(Sattr3::decode(input)?, Specdata3::decode(input)?),
            Ftype3::Blk => Mknoddata3::Blk(Sattr3::decode(input)?, Specdata3::decode(input)?),
            Ftype3::Sock => Mknoddata3::Sock(Sattr3::decode(input)?),
            Ftype3::Fifo => Mknoddata3::Fifo(Sattr3::decode(input)?),
            Ftype3::Reg => Mknoddata3::Other(NotMknod::Reg),
            Ftype3::Dir => Mknoddata3::Other(NotMknod::Dir),
            Ftype3::Lnk => Mknoddata3::Other(NotMknod::Lnk),
        })
    }
}

xdr_struct! {
    pub struct Mknod3args {
        pub target: Diropargs3,
        pub what: Mknoddata3,
    }
}

pub type Mknod3res = Create3res;

xdr_struct! {
    /// Of REMOVE and RMDIR.
    pub struct Remove3args {
        pub object: Diropargs3,
    }
}

/// Both arms tell about the directory.
pub type Remove3res = Outcome<WccData, WccData>;

pub type Rmdir3args = Remove3args;
pub type Rmdir3res = Remove3res;

xdr_struct! {
    pub struct Rename3args {
        pub from: Diropargs3,
        pub to: Diropargs3,
    }
}

xdr_struct! {
    #[derive(Copy, Default)]
    pub struct RenameWcc {
        pub fromdir_wcc: WccData,
        pub todir_wcc: WccData,
    }
}

pub type Rename3res = Outcome<RenameWcc, RenameWcc>;

xdr_struct! {
    pub struct Link3args {
        pub file: Fh3,
        pub link: Diropargs3,
    }
}

xdr_struct! {
    #[derive(Copy, Default)]
    pub struct LinkWcc {
        pub file_attributes: PostOpAttr,
        pub linkdir_wcc: WccData,
    }
}

pub type Link3res = Outcome<LinkWcc, LinkWcc>;
