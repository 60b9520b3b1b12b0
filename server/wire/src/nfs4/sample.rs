//! Some value of every message, made from a string of bytes, so that proptest can shrink it.
//! For tests alone; the macros of `codec` derive most of it.

use bytes::Bytes;

use super::codec::OperationError;
use super::flex;
use super::*;
use crate::xdr::Xdr;

/// Where choices come from. Zero once it is used up, which makes the smallest value of everything.
pub(crate) struct Source {
    bytes: Vec<u8>,
    used: usize,
}

impl Source {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    fn byte(&mut self) -> u8 {
        self.used += 1;
        self.bytes.get(self.used - 1).copied().unwrap_or(0)
    }

    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::from(self.byte()) % choices.len()]
    }

    pub fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    fn word(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.byte()),
            1 => u64::MAX - u64::from(self.byte()),
            2 => 1 << (self.byte() % 64),
            _ => u64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}

pub(crate) trait Sample {
    fn sample(source: &mut Source) -> Self;
}

pub(crate) trait SampleBounded {
    type Limit;
    fn sample_bounded(source: &mut Source, limit: Self::Limit) -> Self;
}

pub(crate) trait SampleOf<Op> {
    fn sample_of(op: Op, source: &mut Source) -> Self;
}

impl SampleBounded for Bytes {
    type Limit = usize;

    fn sample_bounded(source: &mut Source, limit: usize) -> Self {
        // Now and then as long as may be, and long enough to be kept by reference.
        let length = if source.one_in(16) {
            limit.min(5000)
        } else {
            usize::from(source.byte() % 9).min(limit)
        };
        let first = source.byte();
        (0..length).map(|at| first.wrapping_add(at as u8)).collect()
    }
}

impl<T: Sample> SampleBounded for Vec<T> {
    type Limit = usize;

    fn sample_bounded(source: &mut Source, limit: usize) -> Self {
        (0..usize::from(source.byte() % 4).min(limit))
            .map(|_| T::sample(source))
            .collect()
    }
}

fn opaques(source: &mut Source, each: usize) -> Vec<Bytes> {
    (0..source.byte() % 4)
        .map(|_| Bytes::sample_bounded(source, each))
        .collect()
}

macro_rules! samples {
    ($($type:ty: |$source:ident| $value:expr;)*) => {$(
        impl Sample for $type {
            #[allow(unused_variables, reason = "some values are constants")]
            fn sample($source: &mut Source) -> Self { $value }
        }
    )*};
}

macro_rules! sample_enums {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(source: &mut Source) -> Self {
                let all: Vec<Self> = (0..128).chain(10_000..10_128).filter_map(Self::from_u32).collect();
                *source.pick(&all)
            }
        }
    )*};
}

sample_enums! {
    Nfsstat4, Ftype4, StableHow4, Layoutiomode4, SecinfoStyle4, RpcGssSvc, SetxattrOption4, OpenDelegationType4,
    LockType4, DataContent4, ChannelDirFromClient4, ChannelDirFromServer4, ChangeAttrType4
}

samples! {
    (): |source| ();
    bool: |source| source.byte() % 2 == 1;
    u32: |source| source.word() as u32;
    i32: |source| source.word() as i32;
    u64: |source| source.word();
    Clientid4: |source| Clientid4(source.word());
    Sessionid4: |source| Sessionid4(source.array());
    Deviceid4: |source| Deviceid4(source.array());
    Verifier4: |source| Verifier4(source.array());
    Stateid4: |source| Stateid4 { seqid: source.word() as u32, other: source.array() };
    Nfstime4: |source| Nfstime4 { seconds: source.word() as i64, nseconds: source.word() as u32 };
    Bitmap4: |source| (0..source.byte() % 4).map(|_| u32::from(source.byte() % 96)).collect();
    Pathname4: |source| Pathname4(opaques(source, NAME_LIMIT));
    FsLocation4: |source| FsLocation4 { server: opaques(source, OPAQUE_LIMIT), rootpath: Sample::sample(source) };
    Fattr4: |source| match source.byte() % 8 {
        7 => {
            let raw = RawFattr4 { attrmask: vec![0, 0, 1 << 31], attr_vals: Bytes::sample_bounded(source, 64) };
            Fattr4::Unsupported { attr: 95, raw }
        }
        _ => Fattr4::from(Attributes::sample(source)),
    };
    Createtype4: |source| match Ftype4::sample(source) {
        Ftype4::Lnk => Createtype4::Lnk(Bytes::sample_bounded(source, PATH_LIMIT)),
        Ftype4::Blk => Createtype4::Blk(Sample::sample(source)),
        Ftype4::Chr => Createtype4::Chr(Sample::sample(source)),
        Ftype4::Sock => Createtype4::Sock,
        Ftype4::Fifo => Createtype4::Fifo,
        Ftype4::Dir => Createtype4::Dir,
        other => Createtype4::Other(other),
    };
    SecinfoFlavor4: |source| match source.byte() % 3 {
        0 => SecinfoFlavor4::Gss(Sample::sample(source)),
        flavor => SecinfoFlavor4::Flavor(u32::from(flavor)),
    };
    Entry4: |source| Entry4 {
        cookie: source.word(),
        name: Bytes::sample_bounded(source, NAME_LIMIT),
        attrs: Box::new(Sample::sample(source)),
    };
    Readdir4Ok: |source| Readdir4Ok {
        cookieverf: Sample::sample(source),
        entries: Vec::sample_bounded(source, 4),
        eof: Sample::sample(source),
    };
    Listxattrs4Ok: |source| Listxattrs4Ok {
        cookie: source.word(),
        names: opaques(source, NAME_LIMIT),
        eof: Sample::sample(source),
    };
    SsvSpParms4: |source| SsvSpParms4 {
        ops: Sample::sample(source),
        hash_algs: opaques(source, OPAQUE_LIMIT),
        encr_algs: opaques(source, OPAQUE_LIMIT),
        window: Sample::sample(source),
        num_gss_handles: Sample::sample(source),
    };
    SsvProtInfo4: |source| SsvProtInfo4 {
        ops: Sample::sample(source),
        hash_alg: Sample::sample(source),
        encr_alg: Sample::sample(source),
        ssv_len: Sample::sample(source),
        window: Sample::sample(source),
        handles: opaques(source, OPAQUE_LIMIT),
    };
    OffloadInfo4: |source| match Nfsstat4::sample(source) {
        Nfsstat4::Ok => OffloadInfo4::Ok(Sample::sample(source)),
        status => OffloadInfo4::Failed { status, bytes_copied: source.word() },
    };
    flex::DataServer: |source| flex::DataServer {
        deviceid: Sample::sample(source),
        efficiency: Sample::sample(source),
        stateid: Sample::sample(source),
        fh_vers: opaques(source, FH_LIMIT),
        user: Bytes::sample_bounded(source, OPAQUE_LIMIT),
        group: Bytes::sample_bounded(source, OPAQUE_LIMIT),
    };
    Setattr4Error: |source| Setattr4Error { status: Sample::sample(source), attrsset: Sample::sample(source) };
    Lock4Error: |source| if bool::sample(source) { Lock4Error::Denied(Sample::sample(source)) } else { OperationError::from_status(Sample::sample(source)) };
    Setclientid4Error: |source| if bool::sample(source) { Setclientid4Error::ClidInuse(Sample::sample(source)) } else { OperationError::from_status(Sample::sample(source)) };
    Copy4Error: |source| if bool::sample(source) { Copy4Error::OffloadNoReqs(Sample::sample(source)) } else { OperationError::from_status(Sample::sample(source)) };
    Getdeviceinfo4Error: |source| if bool::sample(source) { Getdeviceinfo4Error::Toosmall { mincount: Sample::sample(source) } } else { OperationError::from_status(Sample::sample(source)) };
    Layoutget4Error: |source| if bool::sample(source) { Layoutget4Error::TryLater { will_signal_layout_avail: Sample::sample(source) } } else { OperationError::from_status(Sample::sample(source)) };
}

impl<T: Sample> Sample for Box<T> {
    fn sample(source: &mut Source) -> Self {
        Self::new(T::sample(source))
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source) -> Self {
        bool::sample(source).then(|| T::sample(source))
    }
}

impl<T: Sample, E: Sample + OperationError> Sample for Result<T, E> {
    fn sample(source: &mut Source) -> Self {
        if !source.one_in(4) {
            return Ok(T::sample(source));
        }
        match E::sample(source) {
            error if error.status() == Nfsstat4::Ok => Err(E::from_status(Nfsstat4::Io)),
            error => Err(error),
        }
    }
}

/// What comes back when a value goes over the wire.
pub(crate) fn over_the_wire<T: Xdr>(value: &T) -> T {
    crate::xdr::from_bytes(crate::xdr::to_bytes(value))
        .expect("what was encoded decodes, to its end")
}
