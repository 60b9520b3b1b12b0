use proptest::prelude::*;
use wire::Encoder;
use wire::rpc::{AuthStat, AuthSys, Credential, OpaqueAuth, ReplyBody};

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn head(program: u32, version: u32, procedure: u32, credential: Credential) -> Encoder {
    let mut out = Encoder::new();
    CallHeader {
        xid: 77,
        program,
        version,
        procedure,
        credential,
        verifier: OpaqueAuth::none(),
    }
    .encode(&mut out);
    out
}

fn root() -> Credential {
    Credential::Sys(AuthSys::default())
}

fn read(bytes: Bytes, payload_bytes: Option<usize>) -> Result<Call, Refused> {
    parse(bytes, payload_bytes, PEER, &[Network::host(PEER)])
}

fn refusal(bytes: Bytes) -> ReplyBody {
    match read(bytes, None) {
        Err(Refused::Reply(header)) => header.body,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

fn accepted(status: Accepted) -> ReplyBody {
    ReplyHeader::accepted(0, status).body
}

#[test]
fn a_program_or_version_that_is_not_served_is_told_so() {
    let ask =
        |program, version, procedure| refusal(head(program, version, procedure, root()).finish());
    let mismatch = Accepted::ProgMismatch { low: 3, high: 3 };
    assert_eq!(ask(100_003, 4, 0), accepted(mismatch));
    assert_eq!(ask(100_005, 1, 0), accepted(mismatch));
    assert_eq!(ask(100_227, 3, 0), accepted(Accepted::ProgUnavail));
    let mismatch = Accepted::ProgMismatch { low: 1, high: 1 };
    assert_eq!(ask(ds::PROGRAM, 2, 0), accepted(mismatch));
    assert_eq!(ask(ds::PROGRAM, 1, 11), accepted(Accepted::ProcUnavail));
    assert_eq!(ask(ds::PROGRAM, 1, 2), accepted(Accepted::GarbageArgs));
    assert_eq!(ask(100_003, 3, 22), accepted(Accepted::ProcUnavail));
    assert_eq!(ask(100_005, 3, 6), accepted(Accepted::ProcUnavail));
}

#[test]
fn null_is_answered_whatever_the_credential() {
    let foreign = Credential::Other(OpaqueAuth {
        flavor: 6,
        ..OpaqueAuth::none()
    });
    let call = read(head(100_003, 3, 0, foreign.clone()).finish(), None);
    assert!(matches!(
        call,
        Ok(Call {
            request: Request::Null,
            ..
        })
    ));
    let mut getattr = head(100_003, 3, 1, foreign);
    getattr.opaque(&[1; 44]);
    assert!(matches!(
        refusal(getattr.finish()),
        ReplyBody::Denied(Denied::AuthError(AuthStat::TooWeak))
    ));
}

#[test]
fn a_write_whose_count_differs_from_its_data_is_garbage() {
    let write = |count| {
        let mut out = head(100_003, 3, 7, root());
        Write3head {
            file: Fh3::new(vec![1; 44]).expect("a handle of 44 bytes"),
            offset: 0,
            count,
            stable: StableHow::Unstable,
        }
        .encode(&mut out);
        out.finish()
    };
    assert!(read(write(8), Some(8)).is_ok());
    for payload_bytes in [None, Some(7), Some(9)] {
        assert!(matches!(
            read(write(8), payload_bytes),
            Err(Refused::Reply(_))
        ));
    }
}

#[test]
fn arguments_with_something_behind_them_are_garbage() {
    let mut out = head(100_003, 3, 1, root());
    out.opaque(&[1; 44]);
    out.u32(0);
    assert_eq!(refusal(out.finish()), accepted(Accepted::GarbageArgs));
}

#[test]
fn a_reply_is_no_call() {
    let mut out = Encoder::new();
    ReplyHeader::success(1).encode(&mut out);
    assert!(matches!(read(out.finish(), None), Err(Refused::Garbage)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_call_or_refused(bytes: Vec<u8>, payload in proptest::option::of(0..9000_usize)) {
        let _ = read(bytes.into(), payload);
    }

    #[test]
    fn any_arguments_of_any_procedure_are_a_call_or_refused(
        program in prop_oneof![Just(100_003_u32), Just(100_005)],
        procedure in 0..23_u32,
        words in proptest::collection::vec(prop_oneof![0..8_u32, any::<u32>()], 0..40),
        payload in proptest::option::of(0..9000_usize),
    ) {
        let mut out = head(program, 3, procedure, root());
        for word in words {
            out.u32(word);
        }
        let _ = read(out.finish(), payload);
    }
}
