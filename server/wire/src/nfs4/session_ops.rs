//! Clients, sessions and their connections: RFC 8881 §18.33 to §18.37, §18.46 to §18.51.
//! What a flag commits a peer to is not decided here.

use bytes::Bytes;

use super::codec::{Opaques, decode_opaques, encode_opaques};
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_enum;

pub const EXCHGID4_FLAG_SUPP_MOVED_REFER: u32 = 0x1;
pub const EXCHGID4_FLAG_SUPP_MOVED_MIGR: u32 = 0x2;
/// RFC 7862 §14.1.
pub const EXCHGID4_FLAG_SUPP_FENCE_OPS: u32 = 0x4;
pub const EXCHGID4_FLAG_BIND_PRINC_STATEID: u32 = 0x100;
pub const EXCHGID4_FLAG_USE_NON_PNFS: u32 = 0x1_0000;
pub const EXCHGID4_FLAG_USE_PNFS_MDS: u32 = 0x2_0000;
pub const EXCHGID4_FLAG_USE_PNFS_DS: u32 = 0x4_0000;
pub const EXCHGID4_FLAG_MASK_PNFS: u32 = 0x7_0000;
pub const EXCHGID4_FLAG_UPD_CONFIRMED_REC_A: u32 = 0x4000_0000;
pub const EXCHGID4_FLAG_CONFIRMED_R: u32 = 0x8000_0000;
/// What a client may set in 4.1; another bit is INVAL.
pub const EXCHGID4_FLAG_MASK_A: u32 = EXCHGID4_FLAG_SUPP_MOVED_REFER
    | EXCHGID4_FLAG_SUPP_MOVED_MIGR
    | EXCHGID4_FLAG_BIND_PRINC_STATEID
    | EXCHGID4_FLAG_MASK_PNFS
    | EXCHGID4_FLAG_UPD_CONFIRMED_REC_A;
/// What a client may set since 4.2.
pub const EXCHGID4_2_FLAG_MASK_A: u32 = EXCHGID4_FLAG_MASK_A | EXCHGID4_FLAG_SUPP_FENCE_OPS;

pub const CREATE_SESSION4_FLAG_PERSIST: u32 = 1;
pub const CREATE_SESSION4_FLAG_CONN_BACK_CHAN: u32 = 2;
pub const CREATE_SESSION4_FLAG_CONN_RDMA: u32 = 4;

pub const SEQ4_STATUS_CB_PATH_DOWN: u32 = 0x1;
pub const SEQ4_STATUS_CB_GSS_CONTEXTS_EXPIRING: u32 = 0x2;
pub const SEQ4_STATUS_CB_GSS_CONTEXTS_EXPIRED: u32 = 0x4;
pub const SEQ4_STATUS_EXPIRED_ALL_STATE_REVOKED: u32 = 0x8;
pub const SEQ4_STATUS_EXPIRED_SOME_STATE_REVOKED: u32 = 0x10;
pub const SEQ4_STATUS_ADMIN_STATE_REVOKED: u32 = 0x20;
pub const SEQ4_STATUS_RECALLABLE_STATE_REVOKED: u32 = 0x40;
pub const SEQ4_STATUS_LEASE_MOVED: u32 = 0x80;
pub const SEQ4_STATUS_RESTART_RECLAIM_NEEDED: u32 = 0x100;
pub const SEQ4_STATUS_CB_PATH_DOWN_SESSION: u32 = 0x200;
pub const SEQ4_STATUS_BACKCHANNEL_FAULT: u32 = 0x400;
pub const SEQ4_STATUS_DEVID_CHANGED: u32 = 0x800;
pub const SEQ4_STATUS_DEVID_DELETED: u32 = 0x1000;

messages! {
    pub struct BackchannelCtl4Args {
        pub cb_program: u32,
        pub sec_parms: Vec<CallbackSecParms4> = 64,
    }

    pub struct AuthsysParms {
        pub stamp: u32,
        pub machinename: Bytes = 255,
        pub uid: u32,
        pub gid: u32,
        pub gids: Vec<u32> = 16,
    }

    pub struct GssCbHandles4 {
        pub service: super::file_ops::RpcGssSvc,
        pub handle_from_server: Bytes = OPAQUE_LIMIT,
        pub handle_from_client: Bytes = OPAQUE_LIMIT,
    }

    pub struct BindConnToSession4Args {
        pub sessid: Sessionid4,
        pub dir: ChannelDirFromClient4,
        pub use_conn_in_rdma_mode: bool,
    }

    pub struct BindConnToSession4Ok {
        pub sessid: Sessionid4,
        pub dir: ChannelDirFromServer4,
        pub use_conn_in_rdma_mode: bool,
    }

    pub struct ClientOwner4 {
        pub verifier: Verifier4,
        pub ownerid: Bytes = OPAQUE_LIMIT,
    }

    pub struct NfsImplId4 {
        pub domain: Bytes = OPAQUE_LIMIT,
        pub name: Bytes = OPAQUE_LIMIT,
        pub date: Nfstime4,
    }

    pub struct StateProtectOps4 {
        pub must_enforce: Bitmap4,
        pub must_allow: Bitmap4,
    }

    pub struct ExchangeId4Args {
        pub clientowner: ClientOwner4,
        pub flags: u32,
        pub state_protect: StateProtect4A,
        pub client_impl_id: Option<NfsImplId4>,
    }

    pub struct ServerOwner4 {
        pub minor_id: u64,
        pub major_id: Bytes = OPAQUE_LIMIT,
    }

    pub struct ExchangeId4Ok {
        pub clientid: Clientid4,
        pub sequenceid: Sequenceid4,
        pub flags: u32,
        pub state_protect: StateProtect4R,
        pub server_owner: ServerOwner4,
        pub server_scope: Bytes = OPAQUE_LIMIT,
        pub server_impl_id: Option<NfsImplId4>,
    }

    pub struct ChannelAttrs4 {
        pub headerpadsize: u32,
        pub maxrequestsize: u32,
        pub maxresponsesize: u32,
        pub maxresponsesize_cached: u32,
        pub maxoperations: u32,
        pub maxrequests: u32,
        pub rdma_ird: Option<u32>,
    }

    pub struct CreateSession4Args {
        pub clientid: Clientid4,
        pub sequence: Sequenceid4,
        pub flags: u32,
        pub fore_chan_attrs: ChannelAttrs4,
        pub back_chan_attrs: ChannelAttrs4,
        pub cb_program: u32,
        pub sec_parms: Vec<CallbackSecParms4> = 64,
    }

    pub struct CreateSession4Ok {
        pub sessionid: Sessionid4,
        pub sequence: Sequenceid4,
        pub flags: u32,
        pub fore_chan_attrs: ChannelAttrs4,
        pub back_chan_attrs: ChannelAttrs4,
    }

    pub struct DestroySession4Args {
        pub sessionid: Sessionid4,
    }

    pub struct DestroyClientid4Args {
        pub clientid: Clientid4,
    }

    pub struct ReclaimComplete4Args {
        pub one_fs: bool,
    }

    pub struct Sequence4Args {
        pub sessionid: Sessionid4,
        pub sequenceid: Sequenceid4,
        pub slotid: Slotid4,
        pub highest_slotid: Slotid4,
        pub cachethis: bool,
    }

    pub struct Sequence4Ok {
        pub sessionid: Sessionid4,
        pub sequenceid: Sequenceid4,
        pub slotid: Slotid4,
        pub highest_slotid: Slotid4,
        pub target_highest_slotid: Slotid4,
        pub status_flags: u32,
    }

    pub struct SetSsv4Args {
        pub ssv: Bytes = OPAQUE_LIMIT,
        pub digest: Bytes = OPAQUE_LIMIT,
    }

    pub struct SetSsv4Ok {
        pub digest: Bytes = OPAQUE_LIMIT,
    }
}

xdr_enum! {
    pub enum ChannelDirFromClient4 {
        Fore = 1,
        Back = 2,
        ForeOrBoth = 3,
        BackOrBoth = 7,
    }
}

xdr_enum! {
    pub enum ChannelDirFromServer4 {
        Fore = 1,
        Back = 2,
        Both = 3,
    }
}

unions! {
    /// With what identity the server may call back.
    pub enum CallbackSecParms4 {
        None = 0,
        Sys(parms: AuthsysParms) = 1,
        Gss(handles: GssCbHandles4) = 6,
    }

    pub enum StateProtect4A {
        None = 0,
        MachCred(ops: StateProtectOps4) = 1,
        Ssv(parms: SsvSpParms4) = 2,
    }

    pub enum StateProtect4R {
        None = 0,
        MachCred(ops: StateProtectOps4) = 1,
        Ssv(info: SsvProtInfo4) = 2,
    }
}

/// SP4_SSV as a client asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsvSpParms4 {
    pub ops: StateProtectOps4,
    /// Object identifiers.
    pub hash_algs: Vec<Bytes>,
    pub encr_algs: Vec<Bytes>,
    pub window: u32,
    pub num_gss_handles: u32,
}

const ALGORITHMS: Opaques = Opaques {
    count: 64,
    each: OPAQUE_LIMIT,
};

impl Xdr for SsvSpParms4 {
    fn encode(&self, out: &mut Encoder) {
        self.ops.encode(out);
        encode_opaques(&self.hash_algs, out);
        encode_opaques(&self.encr_algs, out);
        out.u32(self.window);
        out.u32(self.num_gss_handles);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            ops: StateProtectOps4::decode(input)?,
            hash_algs: decode_opaques(input, "hash_algs", ALGORITHMS)?,
            encr_algs: decode_opaques(input, "encr_algs", ALGORITHMS)?,
            window: input.u32()?,
            num_gss_handles: input.u32()?,
        })
    }
}

/// SP4_SSV as a server grants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsvProtInfo4 {
    pub ops: StateProtectOps4,
    pub hash_alg: u32,
    pub encr_alg: u32,
    pub ssv_len: u32,
    pub window: u32,
    pub handles: Vec<Bytes>,
}

impl Xdr for SsvProtInfo4 {
    fn encode(&self, out: &mut Encoder) {
        self.ops.encode(out);
        for word in [self.hash_alg, self.encr_alg, self.ssv_len, self.window] {
            out.u32(word);
        }
        encode_opaques(&self.handles, out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            ops: StateProtectOps4::decode(input)?,
            hash_alg: input.u32()?,
            encr_alg: input.u32()?,
            ssv_len: input.u32()?,
            window: input.u32()?,
            handles: decode_opaques(
                input,
                "handles",
                Opaques {
                    count: 1024,
                    each: OPAQUE_LIMIT,
                },
            )?,
        })
    }
}
