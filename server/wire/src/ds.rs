//! What our metadata server asks of our data servers besides NFSv3: a program of their own on the
//! same port, for what NFSv3 has no procedure for. A server that isn't ours answers PROG_UNAVAIL.
//!
//! Never here: what an object is, who may ask.

use std::net::{IpAddr, SocketAddr};

use crate::nfs3::{Fh3, Nfstime3, Outcome, Writeverf3};
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::{xdr_enum, xdr_opaque, xdr_struct};

/// Of the numbers that RFC 5531 §8.4 leaves to users.
pub const PROGRAM: u32 = 0x2048_4452;
pub const VERSION: u32 = 1;

xdr_enum! {
    pub enum Procedure {
        Null = 0,
        Abilities = 1,
        Seek = 2,
        Allocate = 3,
        Deallocate = 4,
        Clone = 5,
        Pull = 6,
        Offer = 7,
        Withdraw = 8,
        Demand = 9,
        Make = 10,
    }
}

impl Procedure {
    /// For logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Abilities => "ABILITIES",
            Self::Seek => "SEEK",
            Self::Allocate => "ALLOCATE",
            Self::Deallocate => "DEALLOCATE",
            Self::Clone => "CLONE",
            Self::Pull => "PULL",
            Self::Offer => "OFFER",
            Self::Withdraw => "WITHDRAW",
            Self::Demand => "DEMAND",
            Self::Make => "MAKE",
        }
    }
}

impl std::fmt::Display for Procedure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

xdr_struct! {
    /// What ABILITIES answers, to no argument.
    #[derive(Copy)]
    pub struct Abilities {
        /// SEEK tells holes, DEALLOCATE makes them.
        pub sparse: bool,
        pub allocate: bool,
        pub pull: bool,
        /// 0: there is no CLONE.
        pub clone_block_bytes: u32,
    }
}

xdr_struct! {
    /// From `begin` up to and without `end`.
    #[derive(Copy)]
    pub struct Span {
        pub begin: u64,
        pub end: u64,
    }
}

xdr_struct! {
    /// Which bytes of an object count: unit `index` of every `count`; all of them when `count` is 1.
    #[derive(Copy)]
    pub struct Share {
        pub unit: u32,
        pub count: u32,
        pub index: u32,
    }
}

xdr_enum! {
    pub enum What {
        Data = 0,
        Hole = 1,
    }
}

xdr_struct! {
    pub struct SeekArgs {
        pub object: Fh3,
        pub within: Span,
        pub share: Share,
        pub what: What,
    }
}

xdr_enum! {
    pub enum Verdict {
        /// It begins at the offset.
        Found = 0,
        /// Not before the offset: ask on from there.
        NotBefore = 1,
        /// Not within the span.
        Nowhere = 2,
    }
}

xdr_struct! {
    #[derive(Copy)]
    pub struct SeekOk {
        pub verdict: Verdict,
        /// 0 for nowhere.
        pub offset: u64,
    }
}

pub type AbilitiesRes = Outcome<Abilities, ()>;

pub type SeekRes = Outcome<SeekOk, ()>;

xdr_struct! {
    pub struct AllocateArgs {
        pub object: Fh3,
        pub span: Span,
        pub share: Share,
    }
}

xdr_struct! {
    pub struct DeallocateArgs {
        pub object: Fh3,
        pub span: Span,
    }
}

xdr_struct! {
    pub struct CloneArgs {
        pub source: Fh3,
        pub source_offset: u64,
        pub object: Fh3,
        pub span: Span,
    }
}

xdr_struct! {
    /// ALLOCATE, DEALLOCATE and CLONE do a beginning of the span, up to here; it is on disk.
    #[derive(Copy)]
    pub struct Reached {
        pub offset: u64,
    }
}

pub type ReachedRes = Outcome<Reached, ()>;

/// An IP address with its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

const V4: u32 = 4;
const V6: u32 = 6;

impl Xdr for Address {
    fn encode(&self, out: &mut Encoder) {
        match self.0.ip() {
            IpAddr::V4(ip) => {
                out.u32(V4);
                out.u32(ip.to_bits());
            }
            IpAddr::V6(ip) => {
                out.u32(V6);
                out.u64((ip.to_bits() >> 64) as u64);
                out.u64(ip.to_bits() as u64);
            }
        }
        out.u32(u32::from(self.0.port()));
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let ip = match input.u32()? {
            V4 => IpAddr::from(input.u32()?.to_be_bytes()),
            V6 => {
                let (high, low) = (input.u64()?, input.u64()?);
                IpAddr::from((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
            }
            value => return Err(input.bad_discriminant("address family", value)),
        };
        let port = input.u32()?;
        let port = u16::try_from(port).map_err(|_| input.bad_discriminant("port", port))?;
        Ok(Self(SocketAddr::new(ip, port)))
    }
}

xdr_struct! {
    pub struct PullArgs {
        /// Where the source is read, by NFSv3, unless its handle is the server's own.
        pub origin: Address,
        pub source: Fh3,
        pub source_offset: u64,
        /// Who may read it there.
        pub uid: u32,
        pub gid: u32,
        pub object: Fh3,
        pub offset: u64,
        pub length: u32,
    }
}

xdr_struct! {
    /// As an unstable WRITE's.
    #[derive(Copy)]
    pub struct Pulled {
        pub count: u32,
        pub verf: Writeverf3,
    }
}

pub type PullRes = Outcome<Pulled, ()>;

xdr_opaque! {
    /// A name that another system gave: a key, an ETag.
    pub struct Foreign <= 2048;
}

xdr_struct! {
    /// One version of an object that somebody else keeps, to be served to readers.
    pub struct OfferArgs {
        /// The name of its keeper, in both servers' configuration.
        pub backend: Foreign,
        pub key: Foreign,
        pub etag: Foreign,
        pub size: u64,
        pub mtime: Nfstime3,
        /// Who may read it.
        pub uid: u32,
        pub gid: u32,
    }
}

xdr_struct! {
    pub struct Offered {
        pub object: Fh3,
    }
}

pub type OfferRes = Outcome<Offered, ()>;

xdr_struct! {
    pub struct WithdrawArgs {
        pub object: Fh3,
    }
}

/// Nothing more of it is read.
pub type WithdrawRes = Outcome<(), ()>;

xdr_struct! {
    pub struct DemandArgs {
        pub backend: Foreign,
    }
}

xdr_struct! {
    /// What readers asked of a backend's chunks here, since this server started.
    #[derive(Copy)]
    pub struct Demand {
        /// Chunks that were here, and that had to be fetched.
        pub hits: u64,
        pub misses: u64,
        pub fetched_bytes: u64,
        pub read_bytes: u64,
        /// What chunks of all backends take, and may take.
        pub held_bytes: u64,
        pub limit_bytes: u64,
    }
}

pub type DemandRes = Outcome<Demand, ()>;

/// Objects that one MAKE makes at most: its call is a small one.
pub const MAKE_MAX: usize = 256;

xdr_struct! {
    #[derive(Copy)]
    pub struct NewObject {
        /// As its name spells it.
        pub id: [u8; 16],
        pub uid: u32,
        pub gid: u32,
    }
}

/// Objects that nobody has used yet, to be made empty and on disk, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakeArgs {
    pub mode: u32,
    /// At most [`MAKE_MAX`] are encoded and decoded.
    pub objects: Vec<NewObject>,
}

impl Xdr for MakeArgs {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.mode);
        out.list(&self.objects[..self.objects.len().min(MAKE_MAX)]);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            mode: input.u32()?,
            objects: input.list("objects", MAKE_MAX)?,
        })
    }
}

/// The handle of each, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub handles: Vec<Fh3>,
}

impl Xdr for Made {
    fn encode(&self, out: &mut Encoder) {
        out.list(&self.handles[..self.handles.len().min(MAKE_MAX)]);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            handles: input.list("handles", MAKE_MAX)?,
        })
    }
}

pub type MakeRes = Outcome<Made, ()>;

#[cfg(test)]
mod tests;
