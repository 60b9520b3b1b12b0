//! Calls over a connection that holds: order, limits, deadlines, faults in replies.

mod script;

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use nfs_client::{CallError, Caller, Error, Options, Resend, RpcFault, SourcePort};
use script::*;
use wire::nfs3::*;
use wire::record::RecordHeader;
use wire::rpc::{Accepted, Credential};

/// Nobody answers within it, and a call is sent well within it.
const SHORT: Duration = Duration::from_secs(2);

fn source(error: Error) -> CallError {
    match error {
        Error::Call { source, .. } => source,
        Error::Refused { .. } => panic!("{error}"),
    }
}

#[tokio::test]
async fn replies_find_their_calls_in_any_order() {
    let server = Server::start().await;
    let client = server.client();
    let (one, two, three) = (fh("one"), fh("two"), fh("three"));
    let calls = async {
        tokio::join!(
            client.getattr(&one),
            client.getattr(&two),
            client.getattr(&three)
        )
    };
    let serve = async {
        let mut peer = server.accept().await;
        let calls = [peer.call().await, peer.call().await, peer.call().await];
        for call in calls.iter().rev() {
            let size = call.args::<Getattr3args>().object.bytes().len() as u64;
            peer.reply(call.xid(), &Getattr3res::Ok(file_of(size)))
                .await;
        }
        peer
    };
    let ((one, two, three), _peer) = tokio::join!(calls, serve);
    assert_eq!(
        [one.unwrap().size, two.unwrap().size, three.unwrap().size],
        [3, 3, 5]
    );
}

#[tokio::test]
async fn each_call_carries_its_caller() {
    let server = Server::start().await;
    let root = server.client();
    let other = root.as_caller(Caller::sys(
        "tester",
        1000,
        1001,
        &(0..20).collect::<Vec<_>>(),
    ));
    let serve = async {
        let mut peer = server.accept().await;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let call = peer.call().await;
            peer.reply(call.xid(), &()).await;
            let Credential::Sys(sys) = call.header.credential else {
                panic!("AUTH_SYS is sent")
            };
            seen.push((sys.uid, sys.gid, sys.gids.len(), sys.machine.into_bytes()));
        }
        seen
    };
    let calls = async {
        root.null().await.unwrap();
        other.null().await.unwrap();
    };
    let (seen, ()) = tokio::join!(serve, calls);
    let machine = Bytes::from_static(b"tester");
    assert_eq!(
        seen,
        [(0, 0, 0, machine.clone()), (1000, 1001, 16, machine)]
    );
}

#[tokio::test]
async fn a_refusal_names_the_server_the_procedure_and_the_status() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        peer.reply(call.xid(), &Setattr3res::Err(Nfsstat3::Perm.into()))
            .await;
        peer
    };
    let handle = fh("file");
    let (refusal, _peer) = tokio::join!(client.setattr(&handle, Sattr3::default(), None), serve);
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.status(), Some(Nfsstat3::Perm));
    let words = format!("{} refused SETATTR: NFS3ERR_PERM", server.address);
    assert_eq!(refusal.to_string(), words);
}

#[tokio::test]
async fn a_reply_that_comes_in_pieces_is_put_together() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        let reply = framed(call.xid(), Accepted::Success, &Getattr3res::Ok(file_of(77)));
        // Two fragments, sent a few bytes at a time.
        let (first, second) = reply[4..].split_at(9);
        let mut stream = Vec::new();
        for (last, piece) in [(false, first), (true, second)] {
            let length = piece.len() as u32;
            stream.extend(RecordHeader { last, length }.to_bytes());
            stream.extend(piece);
        }
        for chunk in stream.chunks(3) {
            peer.send(chunk).await;
            tokio::task::yield_now().await;
        }
        peer
    };
    let handle = fh("file");
    let (attributes, _peer) = tokio::join!(client.getattr(&handle), serve);
    assert_eq!(attributes.unwrap().size, 77);
}

#[tokio::test]
async fn payloads_of_megabytes_arrive_whole_both_ways_at_once() {
    let server = Server::start().await;
    let client = server.client();
    let data: Bytes = (0..3_000_001_u32)
        .map(|index| (index * 7) as u8)
        .collect::<Vec<_>>()
        .into();
    let serve = async {
        let mut peer = server.accept().await;
        for _ in 0..4 {
            let call = peer.call().await;
            if call.procedure() == Procedure::Write {
                let args: Write3args = call.args();
                assert_eq!(args.data, data);
                let written = Write3resok {
                    file_wcc: WccData::default(),
                    count: args.data.len() as u32,
                    committed: args.stable,
                    verf: [1; 8],
                };
                peer.reply(call.xid(), &Write3res::Ok(written)).await;
            } else {
                let read = Read3resok {
                    file_attributes: None,
                    eof: true,
                    data: data.clone(),
                };
                peer.reply(call.xid(), &Read3res::Ok(read)).await;
            }
        }
        peer
    };
    let handle = fh("file");
    let write = || client.write(&handle, 0, StableHow::Unstable, data.clone());
    let read = || client.read(&handle, 0, 3_000_001);
    let calls = async { tokio::join!(write(), read(), write(), read()) };
    let ((one, two, three, four), _peer) = tokio::join!(calls, serve);
    assert_eq!([one.unwrap().count, three.unwrap().count], [3_000_001; 2]);
    assert_eq!(
        (two.unwrap().data, four.unwrap().data),
        (data.clone(), data)
    );
}

#[tokio::test]
async fn a_call_without_a_reply_ends_at_its_deadline_and_its_late_reply_harms_nobody() {
    let server = Server::start().await;
    let client = server.client();
    let calls = async {
        client.null().await.unwrap();
        let late = source(client.within(SHORT).null().await.unwrap_err());
        client.null().await.unwrap();
        late
    };
    let serve = async {
        let mut peer = server.accept().await;
        let greeting = peer.call().await;
        peer.reply(greeting.xid(), &()).await;
        let (late, next) = (peer.call().await, peer.call().await);
        peer.reply(late.xid(), &()).await;
        peer.reply(next.xid(), &()).await;
        peer
    };
    let (late, _peer) = tokio::join!(calls, serve);
    assert!(
        matches!(
            late,
            CallError::Timeout {
                after: SHORT,
                may_have_run: true
            }
        ),
        "{late}"
    );
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_and_are_not_sent_when_their_deadline_comes_first() {
    let server = Server::start().await;
    let one = NonZeroUsize::new(1).unwrap();
    let client = server.client_with(&Options {
        in_flight_max: one,
        ..options()
    });
    let serve = async {
        let mut peer = server.accept().await;
        let first = peer.call().await;
        let waiting = source(client.within(SHORT).null().await.unwrap_err());
        peer.reply(first.xid(), &()).await;
        let third = peer.call().await;
        peer.reply(third.xid(), &()).await;
        (waiting, third.xid().wrapping_sub(first.xid()))
    };
    let calls = async {
        client.null().await.unwrap();
        client.null().await.unwrap();
    };
    let ((waiting, calls_between), ()) = tokio::join!(serve, calls);
    assert!(
        matches!(
            waiting,
            CallError::Timeout {
                may_have_run: false,
                ..
            }
        ),
        "{waiting}"
    );
    assert_eq!(calls_between, 1);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_frees_its_place() {
    let server = Server::start().await;
    let one = NonZeroUsize::new(1).unwrap();
    let client = server.client_with(&Options {
        in_flight_max: one,
        ..options()
    });
    let mut given_up = Box::pin(client.null());
    let mut peer = tokio::select! {
        _ = &mut given_up => panic!("nobody answered"),
        peer = async {
            let mut peer = server.accept().await;
            peer.call().await;
            peer
        } => peer,
    };
    drop(given_up);
    let serve = async {
        let call = peer.call().await;
        peer.reply(call.xid(), &()).await;
    };
    let (answer, ()) = tokio::join!(client.null(), serve);
    answer.unwrap();
}

#[tokio::test]
async fn a_reply_over_the_limit_fails_its_own_call_alone() {
    let server = Server::start().await;
    let client = server.client_with(&Options {
        reply_limit_bytes: 1000,
        ..options()
    });
    let serve = async {
        let mut peer = server.accept().await;
        let (first, second) = (peer.call().await, peer.call().await);
        let read = Read3resok {
            file_attributes: None,
            eof: true,
            data: vec![0; 2000].into(),
        };
        peer.reply(first.xid(), &Read3res::Ok(read)).await;
        let mut peer = server.accept().await;
        let again = peer.call().await;
        assert_eq!(again.xid(), second.xid());
        peer.reply(again.xid(), &()).await;
        peer
    };
    let handle = fh("file");
    let calls = async { tokio::join!(client.read(&handle, 0, 10), client.null()) };
    let ((read, null), _peer) = tokio::join!(calls, serve);
    let read = source(read.unwrap_err());
    assert!(
        matches!(read, CallError::ReplyTooLong { limit: 1000 }),
        "{read}"
    );
    null.unwrap();
}

#[tokio::test]
async fn a_malformed_result_fails_its_own_call_alone() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let first = peer.call().await;
        peer.reply(first.xid(), &99_u32).await;
        let second = peer.call().await;
        peer.reply(second.xid(), &()).await;
        peer
    };
    let handle = fh("file");
    let calls = async { (client.getattr(&handle).await, client.null().await) };
    let ((getattr, null), _peer) = tokio::join!(calls, serve);
    let getattr = source(getattr.unwrap_err());
    assert!(matches!(getattr, CallError::Decode(_)), "{getattr}");
    null.unwrap();
}

#[tokio::test]
async fn a_server_without_nfsv3_says_so_in_words() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        peer.refuse(call.xid(), Accepted::ProgMismatch { low: 4, high: 4 })
            .await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.null(), serve);
    let answer = source(answer.unwrap_err());
    assert!(matches!(
        answer,
        CallError::Rpc(RpcFault::Accepted(Accepted::ProgMismatch { .. }))
    ));
    assert!(!answer.may_have_run());
    assert!(answer.to_string().contains("versions 4 to 4"), "{answer}");
}

#[tokio::test]
async fn connections_come_from_a_privileged_port_where_the_process_may_have_one() {
    let server = Server::start().await;
    let may = (600..640).any(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    for (source_port, privileged) in [(SourcePort::Privileged, may), (SourcePort::Any, false)] {
        let client = server.client_with(&Options {
            source_port,
            ..options()
        });
        let serve = async {
            let mut peer = server.accept().await;
            let call = peer.call().await;
            peer.reply(call.xid(), &()).await;
            peer.from.port()
        };
        let (answer, port) = tokio::join!(client.null(), serve);
        answer.unwrap();
        assert_eq!(port < 1024, privileged, "from port {port}");
    }
}

#[tokio::test]
async fn calls_are_spread_over_the_connections() {
    let server = Server::start().await;
    let two = NonZeroUsize::new(2).unwrap();
    let client = server.client_with(&Options {
        connections: two,
        ..options()
    });
    let serve = async {
        let (mut left, mut right) = (server.accept().await, server.accept().await);
        let (first, second) = (left.call().await, right.call().await);
        left.reply(first.xid(), &()).await;
        right.reply(second.xid(), &()).await;
        (left, right)
    };
    let calls = async { tokio::join!(client.null(), client.null()) };
    let ((one, two), _peers) = tokio::join!(calls, serve);
    one.unwrap();
    two.unwrap();
}

#[tokio::test]
async fn the_connection_closes_with_the_last_handle() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        peer.reply(call.xid(), &()).await;
        peer
    };
    let (answer, mut peer) = tokio::join!(client.null(), serve);
    answer.unwrap();
    let clone = client.clone();
    drop(client);
    drop(clone);
    assert!(peer.next().await.is_none());
}

#[tokio::test]
async fn any_procedure_can_be_called_with_its_whole_result() {
    let server = Server::start().await;
    let client = server.client();
    let about = WccData {
        before: None,
        after: Some(file_of(5)),
    };
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        let failed = Failed {
            status: Nfsstat3::Nospc,
            about,
        };
        peer.reply(call.xid(), &Write3res::Err(failed)).await;
        peer
    };
    let args = Commit3args {
        file: fh("file"),
        offset: 0,
        count: 0,
    };
    let call = client.call::<_, Commit3res>(Procedure::Commit, &args, Resend::Idempotent);
    let (answer, _peer) = tokio::join!(call, serve);
    assert_eq!(answer.unwrap().unwrap_err().about, about);
}

#[tokio::test]
async fn a_server_that_is_none_of_ours_is_told_by_its_answer() {
    for (answer, unknown) in [
        (Accepted::ProgUnavail, true),
        (Accepted::ProgMismatch { low: 2, high: 2 }, true),
        (Accepted::ProcUnavail, true),
        (Accepted::SystemErr, false),
    ] {
        let server = Server::start().await;
        let client = server.client();
        let serve = async {
            let mut peer = server.accept().await;
            let call = peer.call().await;
            let asked = (call.header.program, call.header.version);
            assert_eq!(asked, (wire::ds::PROGRAM, wire::ds::VERSION));
            peer.refuse(call.xid(), answer).await;
            peer
        };
        let (said, _peer) = tokio::join!(client.abilities(), serve);
        let error = said.expect_err("it has no such program");
        assert_eq!(error.is_unknown_there(), unknown, "{error}");
        assert!(error.to_string().contains("ABILITIES"), "{error}");
    }
}
