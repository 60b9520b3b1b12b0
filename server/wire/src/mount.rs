//! MOUNT version 3 (RFC 1813 appendix I). Never here: which paths are exported.

use crate::nfs3::Fh3;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::{xdr_enum, xdr_opaque, xdr_struct};

pub const PROGRAM: u32 = 100_005;
pub const VERSION: u32 = 3;

xdr_enum! {
    pub enum Procedure {
        Null = 0,
        Mnt = 1,
        Dump = 2,
        Umnt = 3,
        Umntall = 4,
        Export = 5,
    }
}

xdr_opaque! {
    /// `dirpath`, the argument of MNT and UMNT
    pub struct Dirpath <= 1024;
}

xdr_opaque! {
    /// `name`, of a host or a group
    pub struct Name <= 255;
}

xdr_enum! {
    /// `mountstat3` without MNT3_OK, which is the `Ok` of a [`Mountres3`].
    pub enum Mountstat3 {
        Perm = 1,
        Noent = 2,
        Io = 5,
        Acces = 13,
        Notdir = 20,
        Inval = 22,
        Nametoolong = 63,
        Notsupp = 10004,
        Serverfault = 10006,
    }
}

impl Mountstat3 {
    /// The name in the RFC, for logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perm => "MNT3ERR_PERM",
            Self::Noent => "MNT3ERR_NOENT",
            Self::Io => "MNT3ERR_IO",
            Self::Acces => "MNT3ERR_ACCES",
            Self::Notdir => "MNT3ERR_NOTDIR",
            Self::Inval => "MNT3ERR_INVAL",
            Self::Nametoolong => "MNT3ERR_NAMETOOLONG",
            Self::Notsupp => "MNT3ERR_NOTSUPP",
            Self::Serverfault => "MNT3ERR_SERVERFAULT",
        }
    }
}

impl std::fmt::Display for Mountstat3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `mountres3_ok`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mountres3ok {
    pub fhandle: Fh3,
    /// At most 16 flavors are encoded and decoded.
    pub auth_flavors: Vec<u32>,
}

const AUTH_FLAVORS_MAX: usize = 16;

impl Xdr for Mountres3ok {
    fn encode(&self, out: &mut Encoder) {
        self.fhandle.encode(out);
        out.list(&self.auth_flavors[..self.auth_flavors.len().min(AUTH_FLAVORS_MAX)]);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            fhandle: Fh3::decode(input)?,
            auth_flavors: input.list("auth flavors", AUTH_FLAVORS_MAX)?,
        })
    }
}

/// What MNT answers.
pub type Mountres3 = Result<Mountres3ok, Mountstat3>;

impl Xdr for Mountres3 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Ok(ok) => {
                out.u32(0);
                ok.encode(out);
            }
            Err(status) => status.encode(out),
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        match input.u32()? {
            0 => Mountres3ok::decode(input).map(Ok),
            value => match Mountstat3::from_u32(value) {
                Some(status) => Ok(Err(status)),
                None => Err(input.bad_discriminant("mountstat3", value)),
            },
        }
    }
}

xdr_struct! {
    /// One mount that the server remembers.
    pub struct Mountbody {
        pub hostname: Name,
        pub directory: Dirpath,
    }
}

/// What DUMP answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mountlist(pub Vec<Mountbody>);

impl Xdr for Mountlist {
    fn encode(&self, out: &mut Encoder) {
        crate::xdr::encode_chain(&self.0, out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        crate::xdr::decode_chain(input).map(Self)
    }
}

/// One exported directory, and who may mount it: everyone when no group is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exportnode {
    pub dir: Dirpath,
    pub groups: Vec<Name>,
}

impl Xdr for Exportnode {
    fn encode(&self, out: &mut Encoder) {
        self.dir.encode(out);
        crate::xdr::encode_chain(&self.groups, out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            dir: Dirpath::decode(input)?,
            groups: crate::xdr::decode_chain(input)?,
        })
    }
}

/// What EXPORT answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exports(pub Vec<Exportnode>);

impl Xdr for Exports {
    fn encode(&self, out: &mut Encoder) {
        crate::xdr::encode_chain(&self.0, out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        crate::xdr::decode_chain(input).map(Self)
    }
}

#[cfg(test)]
mod tests;
