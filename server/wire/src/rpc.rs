//! ONC RPC version 2 (RFC 5531): call and reply headers, and the credentials of AUTH_NONE and
//! AUTH_SYS. What follows a header is left in the decoder.
//!
//! Never here: a program's own messages, and whether a credential is believed.

use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::{xdr_enum, xdr_opaque, xdr_struct};

pub const RPC_VERSION: u32 = 2;

/// RFC 5531 §8.2: the body of a credential or verifier.
pub const AUTH_BODY_MAX_BYTES: usize = 400;

pub const AUTH_NONE: u32 = 0;
pub const AUTH_SYS: u32 = 1;
pub const RPCSEC_GSS: u32 = 6;
/// RFC 9289: a NULL call with this flavor asks whether the server speaks TLS.
pub const AUTH_TLS: u32 = 7;

const GIDS_MAX: usize = 16;

const CALL: u32 = 0;
const REPLY: u32 = 1;

xdr_opaque! {
    /// The body of a credential or verifier.
    pub struct AuthBody <= AUTH_BODY_MAX_BYTES;
}

xdr_struct! {
    /// A verifier, or a credential not looked into.
    pub struct OpaqueAuth {
        pub flavor: u32,
        pub body: AuthBody,
    }
}

impl OpaqueAuth {
    pub fn none() -> Self {
        Self {
            flavor: AUTH_NONE,
            body: AuthBody::default(),
        }
    }
}

xdr_opaque! {
    /// The name by which a caller calls its machine (RFC 5531 appendix A).
    pub struct MachineName <= 255;
}

/// `authsys_parms` (RFC 5531 appendix A).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthSys {
    pub stamp: u32,
    pub machine: MachineName,
    pub uid: u32,
    pub gid: u32,
    pub gids: Gids,
}

/// At most 16 supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gids(Vec<u32>);

impl Gids {
    /// The first 16 of `gids`: AUTH_SYS can't say more.
    pub fn first(mut gids: Vec<u32>) -> Self {
        gids.truncate(GIDS_MAX);
        Self(gids)
    }
}

impl std::ops::Deref for Gids {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        &self.0
    }
}

impl Xdr for AuthSys {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.stamp);
        self.machine.encode(out);
        out.u32(self.uid);
        out.u32(self.gid);
        out.list(&self.gids);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            stamp: input.u32()?,
            machine: MachineName::decode(input)?,
            uid: input.u32()?,
            gid: input.u32()?,
            gids: Gids(input.list("supplementary groups", GIDS_MAX)?),
        })
    }
}

/// Who a call says it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    None,
    Sys(AuthSys),
    /// A flavor that is not looked into, or one of the two above whose body is none of theirs: a
    /// server answers it with AUTH_BADCRED or AUTH_REJECTEDCRED, not by closing the connection.
    Other(OpaqueAuth),
}

impl Credential {
    pub fn flavor(&self) -> u32 {
        match self {
            Credential::None => AUTH_NONE,
            Credential::Sys(_) => AUTH_SYS,
            Credential::Other(other) => other.flavor,
        }
    }
}

impl Xdr for Credential {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Credential::None => OpaqueAuth::none().encode(out),
            Credential::Sys(sys) => {
                out.u32(AUTH_SYS);
                let length_at = out.len();
                out.u32(0);
                sys.encode(out);
                out.patch_u32(length_at, (out.len() - length_at - 4) as u32);
            }
            Credential::Other(other) => other.encode(out),
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let auth = OpaqueAuth::decode(input)?;
        Ok(match auth.flavor {
            AUTH_NONE if auth.body.bytes().is_empty() => Credential::None,
            AUTH_SYS => match crate::xdr::from_bytes(auth.body.bytes().clone()) {
                Ok(sys) => Credential::Sys(sys),
                Err(_) => Credential::Other(auth),
            },
            _ => Credential::Other(auth),
        })
    }
}

/// Header of a call; its arguments follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallHeader {
    pub xid: u32,
    pub program: u32,
    pub version: u32,
    pub procedure: u32,
    pub credential: Credential,
    pub verifier: OpaqueAuth,
}

/// Header of a reply; the result follows when it is [`Accepted::Success`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyHeader {
    pub xid: u32,
    pub body: ReplyBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyBody {
    Accepted {
        verifier: OpaqueAuth,
        status: Accepted,
    },
    Denied(Denied),
}

/// `accept_stat`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    Success,
    ProgUnavail,
    ProgMismatch { low: u32, high: u32 },
    ProcUnavail,
    GarbageArgs,
    SystemErr,
}

/// `reject_stat`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    RpcMismatch { low: u32, high: u32 },
    AuthError(AuthStat),
}

xdr_enum! {
    /// `auth_stat` (RFC 5531 §9)
    pub enum AuthStat {
        Ok = 0,
        BadCred = 1,
        RejectedCred = 2,
        BadVerf = 3,
        RejectedVerf = 4,
        TooWeak = 5,
        InvalidResp = 6,
        Failed = 7,
        KerbGeneric = 8,
        TimeExpire = 9,
        TktFile = 10,
        Decode = 11,
        NetAddr = 12,
        RpcsecGssCredProblem = 13,
        RpcsecGssCtxProblem = 14,
    }
}

/// Either direction of a connection: NFSv4.1 callbacks share it with the fore channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Call(CallHeader),
    Reply(ReplyHeader),
    /// A call of another RPC version; to be answered with [`Denied::RpcMismatch`].
    ForeignCall {
        xid: u32,
        rpc_version: u32,
    },
}

impl ReplyHeader {
    pub fn accepted(xid: u32, status: Accepted) -> Self {
        Self {
            xid,
            body: ReplyBody::Accepted {
                verifier: OpaqueAuth::none(),
                status,
            },
        }
    }

    /// The result is to follow.
    pub fn success(xid: u32) -> Self {
        Self::accepted(xid, Accepted::Success)
    }

    pub fn denied(xid: u32, why: Denied) -> Self {
        Self {
            xid,
            body: ReplyBody::Denied(why),
        }
    }
}

impl Xdr for Message {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Message::Call(call) => call.encode(out),
            Message::Reply(reply) => reply.encode(out),
            Message::ForeignCall { xid, rpc_version } => {
                out.u32(*xid);
                out.u32(CALL);
                out.u32(*rpc_version);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let xid = input.u32()?;
        match input.u32()? {
            CALL => match input.u32()? {
                RPC_VERSION => CallHeader::decode_rest(xid, input).map(Message::Call),
                rpc_version => Ok(Message::ForeignCall { xid, rpc_version }),
            },
            REPLY => ReplyHeader::decode_rest(xid, input).map(Message::Reply),
            value => Err(input.bad_discriminant("msg_type", value)),
        }
    }
}

impl CallHeader {
    pub fn encode(&self, out: &mut Encoder) {
        out.u32(self.xid);
        out.u32(CALL);
        out.u32(RPC_VERSION);
        out.u32(self.program);
        out.u32(self.version);
        out.u32(self.procedure);
        self.credential.encode(out);
        self.verifier.encode(out);
    }

    fn decode_rest(xid: u32, input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            xid,
            program: input.u32()?,
            version: input.u32()?,
            procedure: input.u32()?,
            credential: Credential::decode(input)?,
            verifier: OpaqueAuth::decode(input)?,
        })
    }
}

impl ReplyHeader {
    pub fn encode(&self, out: &mut Encoder) {
        out.u32(self.xid);
        out.u32(REPLY);
        match &self.body {
            ReplyBody::Accepted { verifier, status } => {
                out.u32(0);
                verifier.encode(out);
                status.encode(out);
            }
            ReplyBody::Denied(why) => {
                out.u32(1);
                why.encode(out);
            }
        }
    }

    fn decode_rest(xid: u32, input: &mut Decoder) -> Result<Self, DecodeError> {
        let body = match input.u32()? {
            0 => ReplyBody::Accepted {
                verifier: OpaqueAuth::decode(input)?,
                status: Accepted::decode(input)?,
            },
            1 => ReplyBody::Denied(Denied::decode(input)?),
            value => return Err(input.bad_discriminant("reply_stat", value)),
        };
        Ok(Self { xid, body })
    }
}

impl Xdr for Accepted {
    fn encode(&self, out: &mut Encoder) {
        out.u32(match self {
            Accepted::Success => 0,
            Accepted::ProgUnavail => 1,
            Accepted::ProgMismatch { .. } => 2,
            Accepted::ProcUnavail => 3,
            Accepted::GarbageArgs => 4,
            Accepted::SystemErr => 5,
        });
        if let Accepted::ProgMismatch { low, high } = self {
            out.u32(*low);
            out.u32(*high);
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(match input.u32()? {
            0 => Accepted::Success,
            1 => Accepted::ProgUnavail,
            2 => Accepted::ProgMismatch {
                low: input.u32()?,
                high: input.u32()?,
            },
            3 => Accepted::ProcUnavail,
            4 => Accepted::GarbageArgs,
            5 => Accepted::SystemErr,
            value => return Err(input.bad_discriminant("accept_stat", value)),
        })
    }
}

impl Xdr for Denied {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Denied::RpcMismatch { low, high } => {
                out.u32(0);
                out.u32(*low);
                out.u32(*high);
            }
            Denied::AuthError(status) => {
                out.u32(1);
                status.encode(out);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        match input.u32()? {
            0 => Ok(Denied::RpcMismatch {
                low: input.u32()?,
                high: input.u32()?,
            }),
            1 => AuthStat::decode(input).map(Denied::AuthError),
            value => Err(input.bad_discriminant("reject_stat", value)),
        }
    }
}

#[cfg(test)]
mod tests;
