//! The types that procedures share (RFC 1813 §2.5 and §2.6). Never here: a procedure's own.

use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::{xdr_enum, xdr_opaque, xdr_struct};

pub type Cookieverf3 = [u8; 8];
pub type Createverf3 = [u8; 8];
pub type Writeverf3 = [u8; 8];

xdr_opaque! {
    /// Filehandle, `nfs_fh3`
    pub struct Fh3 <= 64;
}

xdr_opaque! {
    /// `filename3`. The RFC sets no limit; a server says NFS3ERR_NAMETOOLONG long before this one.
    pub struct Filename3 <= 4096;
}

xdr_opaque! {
    /// `nfspath3`: what a symbolic link holds.
    pub struct Nfspath3 <= 4096;
}

xdr_enum! {
    pub enum Ftype3 {
        Reg = 1,
        Dir = 2,
        Blk = 3,
        Chr = 4,
        Lnk = 5,
        Sock = 6,
        Fifo = 7,
    }
}

xdr_struct! {
    /// Major and minor number of a device.
    #[derive(Copy, Default)]
    pub struct Specdata3 {
        pub major: u32,
        pub minor: u32,
    }
}

xdr_struct! {
    #[derive(Copy, Default, PartialOrd, Ord)]
    pub struct Nfstime3 {
        pub seconds: u32,
        pub nseconds: u32,
    }
}

xdr_struct! {
    #[derive(Copy)]
    pub struct Fattr3 {
        pub ftype: Ftype3,
        pub mode: u32,
        pub nlink: u32,
        pub uid: u32,
        pub gid: u32,
        pub size: u64,
        /// Bytes of disk.
        pub used: u64,
        pub rdev: Specdata3,
        pub fsid: u64,
        pub fileid: u64,
        pub atime: Nfstime3,
        pub mtime: Nfstime3,
        pub ctime: Nfstime3,
    }
}

/// `post_op_attr`
pub type PostOpAttr = Option<Fattr3>;

/// `post_op_fh3`
pub type PostOpFh3 = Option<Fh3>;

xdr_struct! {
    /// What tells whether a file changed between two operations.
    #[derive(Copy)]
    pub struct WccAttr {
        pub size: u64,
        pub mtime: Nfstime3,
        pub ctime: Nfstime3,
    }
}

impl From<&Fattr3> for WccAttr {
    fn from(attributes: &Fattr3) -> Self {
        Self {
            size: attributes.size,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
        }
    }
}

xdr_struct! {
    /// Attributes before and after (weak cache consistency).
    #[derive(Copy, Default)]
    pub struct WccData {
        pub before: Option<WccAttr>,
        pub after: PostOpAttr,
    }
}

/// How a time is set (`set_atime`, `set_mtime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetTime {
    #[default]
    DontChange,
    ToServerTime,
    ToClientTime(Nfstime3),
}

impl Xdr for SetTime {
    fn encode(&self, out: &mut Encoder) {
        match self {
            SetTime::DontChange => out.u32(0),
            SetTime::ToServerTime => out.u32(1),
            SetTime::ToClientTime(time) => {
                out.u32(2);
                time.encode(out);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        match input.u32()? {
            0 => Ok(SetTime::DontChange),
            1 => Ok(SetTime::ToServerTime),
            2 => Nfstime3::decode(input).map(SetTime::ToClientTime),
            value => Err(input.bad_discriminant("time_how", value)),
        }
    }
}

xdr_struct! {
    /// Attributes to set; the default sets none.
    #[derive(Copy, Default)]
    pub struct Sattr3 {
        pub mode: Option<u32>,
        pub uid: Option<u32>,
        pub gid: Option<u32>,
        pub size: Option<u64>,
        pub atime: SetTime,
        pub mtime: SetTime,
    }
}

xdr_struct! {
    /// A name in a directory.
    pub struct Diropargs3 {
        pub dir: Fh3,
        pub name: Filename3,
    }
}
