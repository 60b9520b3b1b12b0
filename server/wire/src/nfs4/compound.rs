//! COMPOUND (RFC 8881 §16.2): the table of operations, and requests and replies in both directions.
//! What an operation does, and in which minor version, is not known here.

use bytes::Bytes;

use super::codec::OperationResult;
use super::data_ops::*;
use super::file_ops::*;
use super::layout_ops::*;
use super::open_ops::*;
use super::opnum::Opnum;
use super::session_ops::*;
use super::status::Nfsstat4;
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Fault, Xdr};

/// One row per operation: `Name(args: Arguments) -> Result of it`.
macro_rules! operations {
    ($($op:ident $(($bind:ident : $args:ty))? -> $result:ty;)*) => {
        /// One operation of a request.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum ArgOp {
            $($op $(($args))?,)*
            /// A number that is no operation. Nothing after it can be decoded, so it is the last.
            Illegal(u32),
            /// Arguments that are no XDR of the operation (`Opnum::Illegal`: the number itself is missing). Always
            /// the last.
            Malformed { op: Opnum, fault: DecodeError },
        }

        impl ArgOp {
            pub fn opnum(&self) -> Opnum {
                match self {
                    $(operations!(@any $op $($bind)?) => Opnum::$op,)*
                    Self::Illegal(_) => Opnum::Illegal,
                    Self::Malformed { op, .. } => *op,
                }
            }

            fn decode_arguments(op: Opnum, input: &mut Decoder) -> Result<Self, DecodeError> {
                Ok(match op {
                    $(Opnum::$op => Self::$op $((<$args>::decode(input)?))?,)*
                    Opnum::Illegal => Self::Illegal(Opnum::Illegal as u32),
                })
            }

            /// A malformed operation is written as its number alone, an illegal one as the number it came with.
            pub fn encode(&self, out: &mut Encoder) {
                if let Self::Illegal(number) = self {
                    return out.u32(*number);
                }
                self.opnum().encode(out);
                match self {
                    $(Self::$op $(($bind))? => { $($bind.encode(out);)? })*
                    Self::Illegal(_) | Self::Malformed { .. } => {}
                }
            }
        }

        #[cfg(test)]
        impl super::sample::SampleOf<Opnum> for ArgOp {
            fn sample_of(op: Opnum, source: &mut super::sample::Source) -> Self {
                match op {
                    $(Opnum::$op => Self::$op $((<$args as super::sample::Sample>::sample(source)))?,)*
                    Opnum::Illegal => Self::Illegal(2),
                }
            }
        }

        #[cfg(test)]
        impl super::sample::SampleOf<Opnum> for ResOp {
            fn sample_of(op: Opnum, source: &mut super::sample::Source) -> Self {
                match op {
                    $(Opnum::$op => Self::$op(super::sample::Sample::sample(source)),)*
                    Opnum::Illegal => Self::Illegal(Err(Nfsstat4::OpIllegal)),
                }
            }
        }

        /// One operation of a reply.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum ResOp {
            $($op($result),)*
            Illegal(Result<(), Nfsstat4>),
        }

        impl ResOp {
            pub fn opnum(&self) -> Opnum {
                match self {
                    $(Self::$op(_) => Opnum::$op,)*
                    Self::Illegal(_) => Opnum::Illegal,
                }
            }

            pub fn status(&self) -> Nfsstat4 {
                match self {
                    $(Self::$op(result) => result.status(),)*
                    Self::Illegal(result) => result.status(),
                }
            }

            /// How an operation says that it failed, and nothing more.
            pub fn failed(op: Opnum, status: Nfsstat4) -> Self {
                match op {
                    $(Opnum::$op => Self::$op(OperationResult::failed(status)),)*
                    Opnum::Illegal => Self::Illegal(Err(status)),
                }
            }
        }

        impl Xdr for ResOp {
            fn encode(&self, out: &mut Encoder) {
                self.opnum().encode(out);
                match self {
                    $(Self::$op(result) => result.encode_result(out),)*
                    Self::Illegal(result) => result.encode_result(out),
                }
            }

            fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
                Ok(match Opnum::decode(input)? {
                    $(Opnum::$op => Self::$op(OperationResult::decode_result(input)?),)*
                    Opnum::Illegal => Self::Illegal(OperationResult::decode_result(input)?),
                })
            }
        }
    };
    (@any $op:ident) => { Self::$op };
    (@any $op:ident $bind:ident) => { Self::$op(_) };
}

operations! {
    Access(args: Access4Args) -> Result<Access4Ok, Nfsstat4>;
    Close(args: Close4Args) -> Result<Close4Ok, Nfsstat4>;
    Commit(args: Commit4Args) -> Result<Commit4Ok, Nfsstat4>;
    Create(args: Create4Args) -> Result<Create4Ok, Nfsstat4>;
    Delegpurge(args: Delegpurge4Args) -> Result<(), Nfsstat4>;
    Delegreturn(args: Delegreturn4Args) -> Result<(), Nfsstat4>;
    Getattr(args: Getattr4Args) -> Result<Getattr4Ok, Nfsstat4>;
    Getfh -> Result<Getfh4Ok, Nfsstat4>;
    Link(args: Link4Args) -> Result<Link4Ok, Nfsstat4>;
    Lock(args: Lock4Args) -> Result<Lock4Ok, Lock4Error>;
    Lockt(args: Lockt4Args) -> Result<(), Lock4Error>;
    Locku(args: Locku4Args) -> Result<Locku4Ok, Nfsstat4>;
    Lookup(args: Lookup4Args) -> Result<(), Nfsstat4>;
    Lookupp -> Result<(), Nfsstat4>;
    Nverify(args: Nverify4Args) -> Result<(), Nfsstat4>;
    Open(args: Open4Args) -> Result<Open4Ok, Nfsstat4>;
    Openattr(args: Openattr4Args) -> Result<(), Nfsstat4>;
    OpenConfirm(args: OpenConfirm4Args) -> Result<OpenConfirm4Ok, Nfsstat4>;
    OpenDowngrade(args: OpenDowngrade4Args) -> Result<OpenDowngrade4Ok, Nfsstat4>;
    Putfh(args: Putfh4Args) -> Result<(), Nfsstat4>;
    Putpubfh -> Result<(), Nfsstat4>;
    Putrootfh -> Result<(), Nfsstat4>;
    Read(args: Read4Args) -> Result<Read4Ok, Nfsstat4>;
    Readdir(args: Readdir4Args) -> Result<Readdir4Ok, Nfsstat4>;
    Readlink -> Result<Readlink4Ok, Nfsstat4>;
    Remove(args: Remove4Args) -> Result<Remove4Ok, Nfsstat4>;
    Rename(args: Rename4Args) -> Result<Rename4Ok, Nfsstat4>;
    Renew(args: Renew4Args) -> Result<(), Nfsstat4>;
    Restorefh -> Result<(), Nfsstat4>;
    Savefh -> Result<(), Nfsstat4>;
    Secinfo(args: Secinfo4Args) -> Result<Secinfo4Ok, Nfsstat4>;
    Setattr(args: Setattr4Args) -> Result<Setattr4Ok, Setattr4Error>;
    Setclientid(args: Setclientid4Args) -> Result<Setclientid4Ok, Setclientid4Error>;
    SetclientidConfirm(args: SetclientidConfirm4Args) -> Result<(), Nfsstat4>;
    Verify(args: Verify4Args) -> Result<(), Nfsstat4>;
    Write(args: Write4Args) -> Result<Write4Ok, Nfsstat4>;
    ReleaseLockowner(args: ReleaseLockowner4Args) -> Result<(), Nfsstat4>;
    BackchannelCtl(args: BackchannelCtl4Args) -> Result<(), Nfsstat4>;
    BindConnToSession(args: BindConnToSession4Args) -> Result<BindConnToSession4Ok, Nfsstat4>;
    ExchangeId(args: ExchangeId4Args) -> Result<ExchangeId4Ok, Nfsstat4>;
    CreateSession(args: CreateSession4Args) -> Result<CreateSession4Ok, Nfsstat4>;
    DestroySession(args: DestroySession4Args) -> Result<(), Nfsstat4>;
    FreeStateid(args: FreeStateid4Args) -> Result<(), Nfsstat4>;
    GetDirDelegation(args: GetDirDelegation4Args) -> Result<GetDirDelegation4Ok, Nfsstat4>;
    Getdeviceinfo(args: Getdeviceinfo4Args) -> Result<Getdeviceinfo4Ok, Getdeviceinfo4Error>;
    Getdevicelist(args: Getdevicelist4Args) -> Result<Getdevicelist4Ok, Nfsstat4>;
    Layoutcommit(args: Layoutcommit4Args) -> Result<Layoutcommit4Ok, Nfsstat4>;
    Layoutget(args: Layoutget4Args) -> Result<Layoutget4Ok, Layoutget4Error>;
    Layoutreturn(args: Layoutreturn4Args) -> Result<Layoutreturn4Ok, Nfsstat4>;
    SecinfoNoName(args: SecinfoNoName4Args) -> Result<Secinfo4Ok, Nfsstat4>;
    Sequence(args: Sequence4Args) -> Result<Sequence4Ok, Nfsstat4>;
    SetSsv(args: SetSsv4Args) -> Result<SetSsv4Ok, Nfsstat4>;
    TestStateid(args: TestStateid4Args) -> Result<TestStateid4Ok, Nfsstat4>;
    WantDelegation(args: WantDelegation4Args) -> Result<WantDelegation4Ok, Nfsstat4>;
    DestroyClientid(args: DestroyClientid4Args) -> Result<(), Nfsstat4>;
    ReclaimComplete(args: ReclaimComplete4Args) -> Result<(), Nfsstat4>;
    Allocate(args: Allocate4Args) -> Result<(), Nfsstat4>;
    Copy(args: Copy4Args) -> Result<Copy4Ok, Copy4Error>;
    CopyNotify(args: CopyNotify4Args) -> Result<CopyNotify4Ok, Nfsstat4>;
    Deallocate(args: Deallocate4Args) -> Result<(), Nfsstat4>;
    IoAdvise(args: IoAdvise4Args) -> Result<IoAdvise4Ok, Nfsstat4>;
    Layouterror(args: Layouterror4Args) -> Result<(), Nfsstat4>;
    Layoutstats(args: Layoutstats4Args) -> Result<(), Nfsstat4>;
    OffloadCancel(args: OffloadCancel4Args) -> Result<(), Nfsstat4>;
    OffloadStatus(args: OffloadStatus4Args) -> Result<OffloadStatus4Ok, Nfsstat4>;
    ReadPlus(args: ReadPlus4Args) -> Result<ReadPlus4Ok, Nfsstat4>;
    Seek(args: Seek4Args) -> Result<Seek4Ok, Nfsstat4>;
    WriteSame(args: WriteSame4Args) -> Result<WriteSame4Ok, Nfsstat4>;
    Clone(args: Clone4Args) -> Result<(), Nfsstat4>;
    Getxattr(args: Getxattr4Args) -> Result<Getxattr4Ok, Nfsstat4>;
    Setxattr(args: Setxattr4Args) -> Result<Setxattr4Ok, Nfsstat4>;
    Listxattrs(args: Listxattrs4Args) -> Result<Listxattrs4Ok, Nfsstat4>;
    Removexattr(args: Removexattr4Args) -> Result<Removexattr4Ok, Nfsstat4>;
}

impl ArgOp {
    /// What is wrong is told in place, since the operations before this one run all the same.
    fn decode(input: &mut Decoder) -> Self {
        let number = match input.u32() {
            Ok(number) => number,
            Err(fault) => {
                return Self::Malformed {
                    op: Opnum::Illegal,
                    fault,
                };
            }
        };
        let Some(op) = Opnum::from_u32(number) else {
            return Self::Illegal(number);
        };
        Self::decode_arguments(op, input).unwrap_or_else(|fault| Self::Malformed { op, fault })
    }

    /// Nothing after this operation was decoded.
    pub fn ends_decoding(&self) -> bool {
        matches!(self, Self::Illegal(_) | Self::Malformed { .. })
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compound4Args {
    pub tag: Bytes,
    pub minorversion: u32,
    /// Decoded operations: fewer than claimed when there were too many, or when one ended the decoding.
    pub ops: Vec<ArgOp>,
    /// How many operations the request says that it has.
    pub ops_claimed: u32,
}

impl Compound4Args {
    pub fn new(minorversion: u32, ops: Vec<ArgOp>) -> Self {
        let ops_claimed = ops.len() as u32;
        Self {
            tag: Bytes::new(),
            minorversion,
            ops,
            ops_claimed,
        }
    }

    pub fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.tag);
        out.u32(self.minorversion);
        out.u32(self.ops_claimed);
        for op in &self.ops {
            op.encode(out);
        }
    }

    /// Decodes at most `max_ops` operations. Only a request without a readable tag, minor version and
    /// count is an error (GARBAGE_ARGS).
    pub fn decode_bounded(input: &mut Decoder, max_ops: usize) -> Result<Self, DecodeError> {
        let tag = input.opaque("tag", TAG_LIMIT)?;
        let minorversion = input.u32()?;
        let ops_claimed = input.u32()?;
        let decodable = max_ops.min(ops_claimed as usize);
        let mut ops = Vec::with_capacity(decodable.min(16));
        for _ in 0..decodable {
            let op = ArgOp::decode(input);
            let ends = op.ends_decoding();
            ops.push(op);
            if ends {
                break;
            }
        }
        Ok(Self {
            tag,
            minorversion,
            ops,
            ops_claimed,
        })
    }

    /// Everything claimed was decoded, and nothing follows it.
    pub fn finish(&self, input: &Decoder) -> Result<(), DecodeError> {
        if self.ops.len() < self.ops_claimed as usize {
            return Err(input.fail(Fault::Invalid(
                "operations were claimed that were not decoded",
            )));
        }
        input.finish()
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compound4Res {
    /// That of the last operation.
    pub status: Nfsstat4,
    pub tag: Bytes,
    pub results: Vec<ResOp>,
}

impl Xdr for Compound4Res {
    fn encode(&self, out: &mut Encoder) {
        self.status.encode(out);
        out.opaque(&self.tag);
        out.list(&self.results);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            status: Nfsstat4::decode(input)?,
            tag: input.opaque("tag", TAG_LIMIT)?,
            results: super::codec::Bounded::decode_bounded(input, "resarray", LIST_LIMIT)?,
        })
    }
}
