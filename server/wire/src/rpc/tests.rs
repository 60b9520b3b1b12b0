use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::testing::{bears, survives};
use crate::xdr::{Fault, from_bytes, to_bytes};

fn body(limit: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..=limit).prop_map(Bytes::from)
}

fn opaque_auth() -> impl Strategy<Value = OpaqueAuth> {
    (2..20_u32, body(AUTH_BODY_MAX_BYTES)).prop_map(|(flavor, body)| OpaqueAuth {
        flavor,
        body: AuthBody::new(body).unwrap(),
    })
}

fn auth_sys() -> impl Strategy<Value = AuthSys> {
    let gids = prop::collection::vec(any::<u32>(), 0..=GIDS_MAX);
    (any::<u32>(), body(255), any::<u32>(), any::<u32>(), gids).prop_map(
        |(stamp, machine, uid, gid, gids)| AuthSys {
            stamp,
            machine: MachineName::new(machine).unwrap(),
            uid,
            gid,
            gids: Gids(gids),
        },
    )
}

fn credential() -> impl Strategy<Value = Credential> {
    prop_oneof![
        Just(Credential::None),
        auth_sys().prop_map(Credential::Sys),
        opaque_auth().prop_map(Credential::Other),
    ]
}

fn reply_body() -> impl Strategy<Value = ReplyBody> {
    let status = prop_oneof![
        Just(Accepted::Success),
        Just(Accepted::ProgUnavail),
        (any::<u32>(), any::<u32>()).prop_map(|(low, high)| Accepted::ProgMismatch { low, high }),
        Just(Accepted::ProcUnavail),
        Just(Accepted::GarbageArgs),
        Just(Accepted::SystemErr),
    ];
    let denied = prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(low, high)| Denied::RpcMismatch { low, high }),
        (0..15_u32).prop_map(|stat| Denied::AuthError(AuthStat::from_u32(stat).unwrap())),
    ];
    prop_oneof![
        (opaque_auth(), status)
            .prop_map(|(verifier, status)| ReplyBody::Accepted { verifier, status }),
        denied.prop_map(ReplyBody::Denied),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let call = (any::<[u32; 4]>(), credential(), opaque_auth()).prop_map(
        |([xid, program, version, procedure], credential, verifier)| {
            Message::Call(CallHeader {
                xid,
                program,
                version,
                procedure,
                credential,
                verifier,
            })
        },
    );
    let reply = (any::<u32>(), reply_body())
        .prop_map(|(xid, body)| Message::Reply(ReplyHeader { xid, body }));
    let foreign = (any::<u32>(), 3..u32::MAX)
        .prop_map(|(xid, rpc_version)| Message::ForeignCall { xid, rpc_version });
    prop_oneof![call, reply, foreign]
}

#[test]
fn a_call_as_root_has_the_form_of_the_rfc() {
    let call = Message::Call(CallHeader {
        xid: 0x0a0b_0c0d,
        program: 100_003,
        version: 3,
        procedure: 1,
        credential: Credential::Sys(AuthSys {
            stamp: 0,
            machine: MachineName::new("mds").unwrap(),
            uid: 0,
            gid: 0,
            gids: Gids::first(vec![5]),
        }),
        verifier: OpaqueAuth::none(),
    });
    let words: [u32; 17] = [
        0x0a0b_0c0d,
        0,
        2,
        100_003,
        3,
        1,
        1,
        28,
        0,
        3,
        u32::from_be_bytes(*b"mds\0"),
        0,
        0,
        1,
        5,
        0,
        0,
    ];
    assert_eq!(to_bytes(&call), words.map(u32::to_be_bytes).concat());
}

#[test]
fn a_credential_with_seventeen_groups_leaves_the_call_readable() {
    let mut sys = Encoder::new();
    for word in [0, 0, 1000, 1000, 17].into_iter().chain(0..17) {
        sys.u32(word);
    }
    let mut out = Encoder::new();
    for word in [7, CALL, RPC_VERSION, 100_003, 3, 0, AUTH_SYS] {
        out.u32(word);
    }
    out.opaque(&sys.finish());
    OpaqueAuth::none().encode(&mut out);
    let Ok(Message::Call(call)) = from_bytes(out.finish()) else {
        panic!("the call is readable")
    };
    assert!(matches!(&call.credential, Credential::Other(other) if other.flavor == AUTH_SYS));
    assert_eq!(call.credential.flavor(), AUTH_SYS);
}

#[test]
fn a_credential_over_400_bytes_is_refused_before_it_is_read() {
    let words = [7, CALL, RPC_VERSION, 100_003, 3, 0, AUTH_SYS, 401];
    let bytes = words.map(u32::to_be_bytes).concat();
    let error = from_bytes::<Message>(bytes.into()).unwrap_err();
    assert_eq!(error.offset, 28);
    assert_eq!(
        error.fault,
        Fault::TooLong {
            what: "AuthBody",
            length: 401,
            limit: 400
        }
    );
}

#[test]
fn a_call_of_another_rpc_version_can_be_answered() {
    let bytes = [7, CALL, 3].map(u32::to_be_bytes).concat();
    let foreign = Message::ForeignCall {
        xid: 7,
        rpc_version: 3,
    };
    assert_eq!(from_bytes::<Message>(bytes.into()), Ok(foreign));
}

#[test]
fn arguments_stay_in_the_decoder() {
    let mut out = Encoder::new();
    ReplyHeader::success(3).encode(&mut out);
    out.u32(42);
    let mut input = Decoder::new(out.finish());
    assert_eq!(
        Message::decode(&mut input),
        Ok(Message::Reply(ReplyHeader::success(3)))
    );
    assert_eq!(input.u32(), Ok(42));
}

proptest! {
    #[test]
    fn messages_survive_the_wire(message in message()) {
        survives(&message)?;
    }

    #[test]
    fn auth_sys_survives_the_wire(sys in auth_sys()) {
        survives(&sys)?;
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bears::<Message>(&bytes)?;
        bears::<AuthSys>(&bytes)?;
        // A likely beginning, so that what follows is reached.
        let start = [1, u32::from(bytes.len() % 2 == 0), 2].map(u32::to_be_bytes).concat();
        bears::<Message>(&[start, bytes].concat())?;
    }
}
