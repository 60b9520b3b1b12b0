//! A session with another server that forgets it, answers what wasn't asked, or doesn't answer: what is asked
//! again, with which slot and sequence, and when no more.

mod script;

use std::sync::Arc;
use std::time::Duration;

use nfs_client::{CallError, Caller, Session, SessionError};
use script::*;
use wire::nfs4::*;
use wire::rpc::Accepted;

/// Nothing that is answered takes as long.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what is not answered.
const SHORT: Duration = Duration::from_millis(300);

async fn connect(server: &Server, patience: Duration) -> Result<Session, SessionError> {
    Session::connect(server.address, Caller::root("tester"), "tester", patience).await
}

fn asked(call: &Call) -> Vec<ArgOp> {
    let mut args = call.args.clone();
    Compound4Args::decode_bounded(&mut args, 16).unwrap().ops
}

/// The sequence id of slot 0, and what was asked besides.
fn in_slot_0(call: &Call) -> (u32, Vec<ArgOp>) {
    let mut operations = asked(call);
    let rest = operations.split_off(1);
    match &operations[..] {
        [ArgOp::Sequence(args)] if args.slotid == 0 => (args.sequenceid, rest),
        other => panic!("no SEQUENCE of slot 0: {other:?}"),
    }
}

async fn say(peer: &mut Peer, call: &Call, results: Vec<ResOp>) {
    let status = results.last().map_or(Nfsstat4::Ok, ResOp::status);
    let tag = bytes::Bytes::new();
    let reply = Compound4Res {
        status,
        tag,
        results,
    };
    peer.reply(call.xid(), &reply).await;
}

fn sequence(sequenceid: u32) -> ResOp {
    ResOp::Sequence(Ok(Sequence4Ok {
        sessionid: Sessionid4([5; 16]),
        sequenceid,
        slotid: 0,
        highest_slotid: 0,
        target_highest_slotid: 0,
        status_flags: 0,
    }))
}

fn look() -> Vec<ArgOp> {
    vec![ArgOp::Putrootfh]
}

/// Lets the client in, with as many slots and operations.
async fn let_in(peer: &mut Peer, (slots, operations): (u32, u32)) {
    let call = peer.call().await;
    assert!(matches!(asked(&call)[..], [ArgOp::ExchangeId(_)]));
    let known = ResOp::ExchangeId(Ok(ExchangeId4Ok {
        clientid: Clientid4(1),
        sequenceid: 7,
        flags: EXCHGID4_FLAG_USE_NON_PNFS,
        state_protect: StateProtect4R::None,
        server_owner: ServerOwner4 {
            minor_id: 0,
            major_id: "script".into(),
        },
        server_scope: "script".into(),
        server_impl_id: None,
    }));
    say(peer, &call, vec![known]).await;
    let call = peer.call().await;
    let ops = asked(&call);
    let [ArgOp::CreateSession(args)] = &ops[..] else {
        panic!("no CREATE_SESSION: {ops:?}");
    };
    let mut fore_chan_attrs = args.fore_chan_attrs.clone();
    fore_chan_attrs.maxrequests = slots;
    fore_chan_attrs.maxoperations = operations;
    let created = ResOp::CreateSession(Ok(CreateSession4Ok {
        sessionid: Sessionid4([5; 16]),
        sequence: args.sequence,
        flags: 0,
        fore_chan_attrs,
        back_chan_attrs: args.back_chan_attrs.clone(),
    }));
    say(peer, &call, vec![created]).await;
}

/// The client leaves.
async fn let_go(peer: &mut Peer) {
    let call = peer.call().await;
    assert!(matches!(asked(&call)[..], [ArgOp::DestroySession(_)]));
    say(peer, &call, vec![ResOp::DestroySession(Ok(()))]).await;
    let call = peer.call().await;
    assert!(matches!(asked(&call)[..], [ArgOp::DestroyClientid(_)]));
    say(peer, &call, vec![ResOp::DestroyClientid(Ok(()))]).await;
}

/// A session of one slot, and the server's side of it.
async fn begun(patience: Duration) -> (Server, Session, Peer) {
    let server = Server::start().await;
    let serve = async {
        let mut peer = server.accept().await;
        let_in(&mut peer, (1, 8)).await;
        peer
    };
    let (session, peer) = tokio::join!(connect(&server, patience), serve);
    (server, session.unwrap(), peer)
}

/// What becomes of one request that is answered so.
async fn answered(results: Vec<ResOp>) -> Result<Vec<ResOp>, SessionError> {
    let (_server, session, mut peer) = begun(PATIENCE).await;
    let asking = look();
    let serve = async {
        let call = peer.call().await;
        say(&mut peer, &call, results).await;
    };
    tokio::join!(session.compound(&asking), serve).0
}

#[tokio::test]
async fn a_request_whose_connection_breaks_is_sent_again_as_the_same_one() {
    let (server, session, mut peer) = begun(PATIENCE).await;
    let serve = async {
        let first = in_slot_0(&peer.call().await);
        drop(peer);
        let mut peer = server.accept().await;
        let call = peer.call().await;
        assert_eq!(in_slot_0(&call), first, "the server tells it by its slot");
        assert_eq!(first.0, 1);
        say(
            &mut peer,
            &call,
            vec![sequence(1), ResOp::Putrootfh(Ok(()))],
        )
        .await;
    };
    let asking = look();
    let (got, ()) = tokio::join!(session.compound(&asking), serve);
    assert_eq!(got.unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_was_done_and_whose_reply_was_lost_is_asked_anew() {
    let (_server, session, mut peer) = begun(PATIENCE).await;
    let serve = async {
        let call = peer.call().await;
        assert_eq!(in_slot_0(&call).0, 1);
        let lost = ResOp::failed(Opnum::Putrootfh, Nfsstat4::RetryUncachedRep);
        say(&mut peer, &call, vec![sequence(1), lost]).await;
        let call = peer.call().await;
        assert_eq!(in_slot_0(&call).0, 2, "the server counted the first");
        say(
            &mut peer,
            &call,
            vec![sequence(2), ResOp::Putrootfh(Ok(()))],
        )
        .await;
        // By SEQUENCE itself, as often as it is asked.
        let mut tries = 0;
        while tries < 4 {
            let call = peer.call().await;
            assert_eq!(in_slot_0(&call).0, 3 + tries);
            let lost = ResOp::failed(Opnum::Sequence, Nfsstat4::RetryUncachedRep);
            say(&mut peer, &call, vec![lost]).await;
            tries += 1;
        }
    };
    let asking = look();
    let ask = async {
        session.compound(&asking).await.unwrap();
        session.compound(&asking).await.unwrap_err()
    };
    let (refused, ()) = tokio::join!(ask, serve);
    assert!(matches!(
        refused,
        SessionError::Refused(Nfsstat4::RetryUncachedRep)
    ));
}

#[tokio::test]
async fn a_session_that_the_server_forgot_or_let_expire_is_told_of_and_asked_for_no_more() {
    for (op, status) in [
        (Opnum::Sequence, Nfsstat4::Badsession),
        (Opnum::Sequence, Nfsstat4::Deadsession),
        (Opnum::Sequence, Nfsstat4::SeqMisordered),
        (Opnum::Putrootfh, Nfsstat4::Expired),
    ] {
        let results = if op == Opnum::Sequence {
            vec![ResOp::failed(op, status)]
        } else {
            vec![sequence(1), ResOp::failed(op, status)]
        };
        let refused = answered(results).await.unwrap_err();
        assert!(
            matches!(refused, SessionError::Refused(told) if told == status),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_reply_that_is_short_or_to_something_else_is_an_error() {
    let other = ResOp::Putpubfh(Ok(()));
    for results in [
        vec![],
        vec![sequence(1)],
        vec![sequence(1), other],
        vec![
            sequence(1),
            ResOp::Putrootfh(Ok(())),
            ResOp::Putrootfh(Ok(())),
        ],
    ] {
        let refused = answered(results).await.unwrap_err();
        assert!(matches!(refused, SessionError::Unasked(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_reply_that_is_no_xdr_is_an_error_and_is_not_asked_for_again() {
    let (_server, session, mut peer) = begun(PATIENCE).await;
    let serve = async {
        let call = peer.call().await;
        peer.reply(call.xid(), &u64::MAX).await;
        // The next one is another request.
        let_go(&mut peer).await;
    };
    let asking = look();
    let ask = async {
        let broken = session.compound(&asking).await.unwrap_err();
        session.close().await.unwrap();
        broken
    };
    let (broken, ()) = tokio::join!(ask, serve);
    assert!(
        matches!(broken, SessionError::Call(CallError::Decode(_))),
        "{broken:?}"
    );
}

#[tokio::test]
async fn a_server_that_says_delay_is_asked_again_with_what_it_counted() {
    let (_server, session, mut peer) = begun(PATIENCE).await;
    let serve = async {
        // SEQUENCE itself: not counted; behind it: counted.
        for (sequenceid, delayed) in [(1, Opnum::Sequence), (1, Opnum::Putrootfh)] {
            let call = peer.call().await;
            assert_eq!(in_slot_0(&call).0, sequenceid);
            let delay = ResOp::failed(delayed, Nfsstat4::Delay);
            let results = match delayed {
                Opnum::Sequence => vec![delay],
                _ => vec![sequence(1), delay],
            };
            say(&mut peer, &call, results).await;
        }
        let call = peer.call().await;
        assert_eq!(in_slot_0(&call).0, 2);
        say(
            &mut peer,
            &call,
            vec![sequence(2), ResOp::Putrootfh(Ok(()))],
        )
        .await;
    };
    let asking = look();
    let (got, ()) = tokio::join!(session.compound(&asking), serve);
    got.unwrap();
}

#[tokio::test]
async fn a_server_that_says_delay_for_ever_is_left_and_its_slot_serves_the_next_request() {
    let (_server, session, mut peer) = begun(SHORT).await;
    let asking = look();
    let ask = async {
        let delayed = session.compound(&asking).await.unwrap_err();
        (delayed, session.compound(&asking).await)
    };
    tokio::pin!(ask);
    let mut counted = 0;
    let (delayed, next) = loop {
        tokio::select! {
            ended = &mut ask => break ended,
            call = peer.call() => {
                // It would say so without end.
                counted += 1;
                let (sequenceid, _) = in_slot_0(&call);
                assert_eq!(sequenceid, counted);
                let delay = ResOp::failed(Opnum::Putrootfh, Nfsstat4::Delay);
                say(&mut peer, &call, vec![sequence(sequenceid), delay]).await;
            }
        }
    };
    assert!(counted >= 2, "it is asked again");
    for refused in [delayed, next.unwrap_err()] {
        assert!(
            matches!(refused, SessionError::Refused(Nfsstat4::Delay)),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_never_answers_costs_a_slot_and_without_slots_nobody_waits() {
    let (_server, session, mut peer) = begun(SHORT).await;
    let asking = look();
    let (late, call) = tokio::join!(session.compound(&asking), peer.call());
    assert_eq!(in_slot_0(&call).0, 1);
    assert!(
        matches!(late, Err(SessionError::Call(CallError::Timeout { .. }))),
        "{late:?}"
    );
    let none = session.compound(&asking).await;
    assert!(matches!(none, Err(SessionError::Silent)), "{none:?}");
}

#[tokio::test]
async fn a_channel_that_is_too_narrow_is_left_as_it_was_found() {
    for width in [(0, 8), (1, 3)] {
        let server = Server::start().await;
        let serve = async {
            let mut peer = server.accept().await;
            let_in(&mut peer, width).await;
            let_go(&mut peer).await;
        };
        let (session, ()) = tokio::join!(connect(&server, PATIENCE), serve);
        assert!(matches!(session.map(drop), Err(SessionError::Unfit(_))));
    }
}

#[tokio::test]
async fn a_server_of_another_version_or_without_sessions_is_said_to_be_unfit() {
    let old = Compound4Res {
        status: Nfsstat4::MinorVersMismatch,
        tag: bytes::Bytes::new(),
        results: vec![],
    };
    for says_old in [true, false] {
        let server = Server::start().await;
        let serve = async {
            let mut peer = server.accept().await;
            let call = peer.call().await;
            if says_old {
                peer.reply(call.xid(), &old).await;
            } else {
                peer.refuse(call.xid(), Accepted::ProgUnavail).await;
            }
            peer
        };
        let (session, _peer) = tokio::join!(connect(&server, PATIENCE), serve);
        assert!(matches!(session.map(drop), Err(SessionError::Unfit(_))));
    }
}

#[tokio::test]
async fn a_server_that_delays_every_beginning_is_left() {
    let server = Server::start().await;
    let connecting = connect(&server, SHORT);
    tokio::pin!(connecting);
    let mut peer = tokio::select! {
        _ = &mut connecting => panic!("nothing was answered"),
        peer = server.accept() => peer,
    };
    let refused = loop {
        tokio::select! {
            ended = &mut connecting => break ended.map(drop),
            call = peer.call() => {
                let delay = ResOp::failed(Opnum::ExchangeId, Nfsstat4::Delay);
                say(&mut peer, &call, vec![delay]).await;
            }
        }
    };
    assert!(matches!(
        refused,
        Err(SessionError::Refused(Nfsstat4::Delay))
    ));
}

#[tokio::test]
async fn a_session_is_ended_while_all_its_slots_wait_for_a_silent_server() {
    let server = Server::start().await;
    let serve = async {
        let mut peer = server.accept().await;
        let_in(&mut peer, (64, 8)).await;
        peer
    };
    let (session, mut peer) = tokio::join!(connect(&server, PATIENCE), serve);
    let session = Arc::new(session.unwrap());
    for _ in 0..8 {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.compound(&look()).await });
    }
    for _ in 0..8 {
        assert!(matches!(asked(&peer.call().await)[0], ArgOp::Sequence(_)));
    }
    let (ended, ()) = tokio::join!(session.close(), let_go(&mut peer));
    ended.unwrap();
}
