//! The basic types that many messages of NFSv4 share (RFC 8881 §3), and the limits on what a peer may send.
//! Nothing here knows an operation.

use bytes::Bytes;

use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_enum;

/// Program of NFS, and its version here.
pub const NFS4_PROGRAM: u32 = 100_003;
pub const NFS_V4: u32 = 4;
pub const NFSPROC4_NULL: u32 = 0;
pub const NFSPROC4_COMPOUND: u32 = 1;
/// The version and procedures of a callback program; its number is the client's choice.
pub const NFS4_CALLBACK: u32 = 0x4000_0000;
pub const NFS_CB_VERSION: u32 = 1;
pub const CB_NULL: u32 = 0;
pub const CB_COMPOUND: u32 = 1;

pub const FH_LIMIT: usize = 128;
/// `NFS4_OPAQUE_LIMIT`.
pub const OPAQUE_LIMIT: usize = 1024;
/// Longer than any name a server takes, so that the answer is NAMETOOLONG and not BADXDR.
pub const NAME_LIMIT: usize = 4096;
pub const PATH_LIMIT: usize = 8192;
/// Data of READ and WRITE, and bodies of layouts; the record reader bounds the whole message below it.
pub const DATA_LIMIT: usize = 64 << 20;
pub const LIST_LIMIT: usize = 65_536;
pub const TAG_LIMIT: usize = 1024;
/// Words of a bitmap that a decoder still reads.
pub const BITMAP_WORDS_LIMIT: usize = 64;

/// A filehandle, at most [`FH_LIMIT`] bytes.
pub type Fh4 = Bytes;
/// Name of one directory entry.
pub type Component4 = Bytes;
pub type Seqid4 = u32;
pub type Sequenceid4 = u32;
pub type Slotid4 = u32;
pub type Changeid4 = u64;
/// An open number: an unknown layout type is UNKNOWN_LAYOUTTYPE, not BADXDR.
pub type Layouttype4 = u32;

pub const LAYOUT4_NFSV4_1_FILES: Layouttype4 = 1;
pub const LAYOUT4_OSD2_OBJECTS: Layouttype4 = 2;
pub const LAYOUT4_BLOCK_VOLUME: Layouttype4 = 3;
pub const LAYOUT4_FLEX_FILES: Layouttype4 = 4;
pub const LAYOUT4_SCSI: Layouttype4 = 5;

/// `length4` of a range without an end.
pub const LENGTH_TO_EOF: u64 = u64::MAX;

macro_rules! fixed_opaques {
    ($($(#[$meta:meta])* pub struct $name:ident([u8; $length:expr]);)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; $length]);
        impl Xdr for $name {
            fn encode(&self, out: &mut Encoder) { out.fixed(&self.0); }
            fn decode(input: &mut Decoder) -> Result<Self, DecodeError> { input.array().map(Self) }
        }
    )*};
}

fixed_opaques! {
    pub struct Sessionid4([u8; 16]);
    pub struct Deviceid4([u8; 16]);
    pub struct Verifier4([u8; 8]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Clientid4(pub u64);

impl Xdr for Clientid4 {
    fn encode(&self, out: &mut Encoder) {
        out.u64(self.0);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        input.u64().map(Self)
    }
}

/// RFC 8881 §8.2; the special values are those of §8.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Stateid4 {
    pub seqid: u32,
    pub other: [u8; 12],
}

impl Stateid4 {
    pub const ANONYMOUS: Self = Self {
        seqid: 0,
        other: [0; 12],
    };
    /// READ bypass.
    pub const BYPASS: Self = Self {
        seqid: u32::MAX,
        other: [0xff; 12],
    };
    pub const CURRENT: Self = Self {
        seqid: 1,
        other: [0; 12],
    };
    pub const INVALID: Self = Self {
        seqid: u32::MAX,
        other: [0; 12],
    };
}

impl Xdr for Stateid4 {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.seqid);
        out.fixed(&self.other);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            seqid: input.u32()?,
            other: input.array()?,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Nfstime4 {
    pub seconds: i64,
    pub nseconds: u32,
}

impl Xdr for Nfstime4 {
    fn encode(&self, out: &mut Encoder) {
        out.i64(self.seconds);
        out.u32(self.nseconds);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            seconds: input.i64()?,
            nseconds: input.u32()?,
        })
    }
}

xdr_enum! {
    pub enum Ftype4 {
        Reg = 1,
        Dir = 2,
        Blk = 3,
        Chr = 4,
        Lnk = 5,
        Sock = 6,
        Fifo = 7,
        Attrdir = 8,
        Namedattr = 9,
    }
}

xdr_enum! {
    pub enum StableHow4 {
        Unstable = 0,
        DataSync = 1,
        FileSync = 2,
    }
}

xdr_enum! {
    pub enum Layoutiomode4 {
        Read = 1,
        Rw = 2,
        Any = 3,
    }
}

messages! {
    pub struct Specdata4 {
        pub specdata1: u32,
        pub specdata2: u32,
    }

    pub struct Fsid4 {
        pub major: u64,
        pub minor: u64,
    }

    pub struct ChangeInfo4 {
        pub atomic: bool,
        pub before: Changeid4,
        pub after: Changeid4,
    }

    /// A universal address (RFC 5665).
    pub struct Netaddr4 {
        pub netid: Bytes = OPAQUE_LIMIT,
        pub uaddr: Bytes = OPAQUE_LIMIT,
    }

    pub struct StateOwner4 {
        pub clientid: Clientid4,
        pub owner: Bytes = OPAQUE_LIMIT,
    }

    pub struct Nfsace4 {
        pub acetype: u32,
        pub flag: u32,
        pub access_mask: u32,
        pub who: Bytes = NAME_LIMIT,
    }

    /// A device that failed an operation of a client (RFC 7862 §15.6).
    pub struct DeviceError4 {
        pub deviceid: Deviceid4,
        pub status: super::status::Nfsstat4,
        /// The number of the NFSv4 operation that comes closest to what failed.
        pub opnum: u32,
    }

    /// How often and how much (RFC 7862 §15.7).
    pub struct IoInfo4 {
        pub count: u64,
        pub bytes: u64,
    }
}

impl Copy for Fsid4 {}
impl Copy for ChangeInfo4 {}
impl Copy for Specdata4 {}

/// Words 0 to 2 of a bitmap: every attribute, operation and notification that has a number today.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bitmap4(pub [u32; 3]);

impl Bitmap4 {
    pub const EMPTY: Self = Self([0; 3]);
    pub const BITS: u32 = 96;

    pub const fn of(bits: &[u32]) -> Self {
        let mut words = [0; 3];
        let mut at = 0;
        while at < bits.len() {
            words[(bits[at] / 32) as usize] |= 1 << (bits[at] % 32);
            at += 1;
        }
        Self(words)
    }

    /// Does nothing for a bit beyond [`Self::BITS`].
    pub fn set(&mut self, bit: impl Into<u32>) {
        let bit = bit.into();
        if let Some(word) = self.0.get_mut((bit / 32) as usize) {
            *word |= 1 << (bit % 32);
        }
    }

    pub fn clear(&mut self, bit: impl Into<u32>) {
        let bit = bit.into();
        if let Some(word) = self.0.get_mut((bit / 32) as usize) {
            *word &= !(1 << (bit % 32));
        }
    }

    pub fn contains(&self, bit: impl Into<u32>) -> bool {
        let bit = bit.into();
        self.0
            .get((bit / 32) as usize)
            .is_some_and(|word| word & (1 << (bit % 32)) != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 3]
    }

    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The bits that are set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..Self::BITS).filter(move |&bit| self.contains(bit))
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & !other.0[at]))
    }

    /// Bytes on the wire.
    pub fn encoded_len(&self) -> usize {
        4 + 4 * self.words()
    }

    fn words(&self) -> usize {
        self.0
            .iter()
            .rposition(|&word| word != 0)
            .map_or(0, |last| last + 1)
    }
}

impl Xdr for Bitmap4 {
    fn encode(&self, out: &mut Encoder) {
        let words = self.words();
        out.u32(words as u32);
        for &word in &self.0[..words] {
            out.u32(word);
        }
    }

    /// Bits that have no meaning yet are dropped: a peer of a later version may ask for them.
    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let length = input.length("bitmap4", BITMAP_WORDS_LIMIT)?;
        let mut bits = Self::EMPTY;
        for index in 0..length {
            let word = input.u32()?;
            if let Some(kept) = bits.0.get_mut(index) {
                *kept = word;
            }
        }
        Ok(bits)
    }
}

impl std::fmt::Debug for Bitmap4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<B: Into<u32>> FromIterator<B> for Bitmap4 {
    fn from_iter<I: IntoIterator<Item = B>>(bits: I) -> Self {
        let mut all = Self::EMPTY;
        bits.into_iter().for_each(|bit| all.set(bit));
        all
    }
}
