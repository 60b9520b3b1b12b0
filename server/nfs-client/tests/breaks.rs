//! Calls over connections that break: what is sent again, what is not, and what the caller learns.

mod script;

use std::time::Duration;

use nfs_client::{CallError, Client, Error, Options};
use script::*;
use wire::nfs3::*;
use wire::record::{self, Frame};
use wire::rpc::{Accepted, CallHeader, Credential, OpaqueAuth};

fn source(error: Error) -> CallError {
    match error {
        Error::Call { source, .. } => source,
        Error::Refused { .. } => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_read_whose_connection_breaks_is_sent_again_with_its_xid() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let first = server.accept().await.call().await;
        let mut peer = server.accept().await;
        let again = peer.call().await;
        assert_eq!(again.xid(), first.xid());
        let read = Read3resok {
            file_attributes: None,
            eof: true,
            data: "data".into(),
        };
        peer.reply(again.xid(), &Read3res::Ok(read)).await;
        peer
    };
    let handle = fh("file");
    let (read, _peer) = tokio::join!(client.read(&handle, 0, 10), serve);
    assert_eq!(read.unwrap().data, "data");
}

#[tokio::test]
async fn half_a_reply_is_no_reply() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let first = peer.call().await;
        let reply = framed(first.xid(), Accepted::Success, &Getattr3res::Ok(file_of(1)));
        peer.send(&reply[..reply.len() / 2]).await;
        drop(peer);
        let mut peer = server.accept().await;
        let again = peer.call().await;
        peer.reply(again.xid(), &Getattr3res::Ok(file_of(2))).await;
        peer
    };
    let handle = fh("file");
    let (attributes, _peer) = tokio::join!(client.getattr(&handle), serve);
    assert_eq!(attributes.unwrap().size, 2);
}

#[tokio::test]
async fn a_remove_whose_reply_is_lost_is_not_sent_again_and_its_caller_is_told() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        assert_eq!(peer.call().await.procedure(), Procedure::Remove);
        drop(peer);
        let mut peer = server.accept().await;
        let next = peer.call().await;
        assert_eq!(next.procedure(), Procedure::Null);
        peer.reply(next.xid(), &()).await;
        peer
    };
    let calls = async {
        let lost = client.remove(&fh("dir"), &name("file")).await.unwrap_err();
        client.null().await.unwrap();
        lost
    };
    let (lost, _peer) = tokio::join!(calls, serve);
    assert!(lost.may_have_run());
    assert!(matches!(source(lost), CallError::Disconnected { .. }));
}

#[tokio::test]
async fn a_guarded_setattr_is_not_sent_again_and_a_plain_one_is() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        let calls = [peer.call().await, peer.call().await];
        drop(peer);
        let mut peer = server.accept().await;
        let again = peer.call().await;
        assert_eq!(again.args::<Setattr3args>().guard, None);
        peer.reply(again.xid(), &Setattr3res::Ok(WccData::default()))
            .await;
        (peer, calls)
    };
    let (handle, guard) = (fh("file"), Some(Nfstime3::default()));
    let calls = async {
        tokio::join!(
            client.setattr(&handle, Sattr3::default(), guard),
            client.setattr(&handle, Sattr3::default(), None),
        )
    };
    let ((guarded, plain), _peer) = tokio::join!(calls, serve);
    assert!(guarded.unwrap_err().may_have_run());
    plain.unwrap();
}

#[tokio::test]
async fn calls_are_sent_again_in_the_order_in_which_they_were_made() {
    let server = Server::start().await;
    let client = server.client();
    let handles = [fh("a"), fh("b"), fh("c"), fh("d")];
    let serve = async {
        let mut peer = server.accept().await;
        let mut first = Vec::new();
        for _ in &handles {
            first.push(peer.call().await.xid());
        }
        drop(peer);
        let mut peer = server.accept().await;
        let mut again = Vec::new();
        for _ in &handles {
            let call = peer.call().await;
            again.push(call.xid());
            peer.reply(call.xid(), &Getattr3res::Ok(file_of(0))).await;
        }
        (peer, first, again)
    };
    let [a, b, c, d] = &handles;
    let calls = async {
        tokio::join!(
            client.getattr(a),
            client.getattr(b),
            client.getattr(c),
            client.getattr(d)
        )
    };
    let (_, (_peer, first, again)) = tokio::join!(calls, serve);
    assert_eq!(again, first);
}

#[tokio::test]
async fn a_call_that_breaks_every_connection_is_given_up() {
    let server = Server::start().await;
    let client = server.client();
    let handle = fh("poison");
    let mut sends = 0;
    let serve = async {
        loop {
            server.accept().await.call().await;
            sends += 1;
        }
    };
    let lost = tokio::select! {
        () = serve => unreachable!("the server serves until the call is given up"),
        lost = client.getattr(&handle) => lost.unwrap_err(),
    };
    assert!(matches!(source(lost), CallError::Disconnected { .. }));
    assert_eq!(sends, 4);
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_made_anew() {
    let server = Server::start().await;
    let client = server.client();
    for _ in 0..3 {
        let serve = async {
            let mut peer = server.accept().await;
            let call = peer.call().await;
            peer.reply(call.xid(), &()).await;
        };
        let (answer, ()) = tokio::join!(client.null(), serve);
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_sends_calls_is_disconnected() {
    let server = Server::start().await;
    let client = server.client();
    let serve = async {
        let mut peer = server.accept().await;
        peer.call().await;
        let mut out = record::begin();
        let header = CallHeader {
            xid: 1,
            program: PROGRAM,
            version: VERSION,
            procedure: 0,
            credential: Credential::None,
            verifier: OpaqueAuth::none(),
        };
        header.encode(&mut out);
        peer.send(&Frame::new(out).into_parts().next().unwrap())
            .await;
        assert!(peer.next().await.is_none());
        let mut peer = server.accept().await;
        let again = peer.call().await;
        peer.reply(again.xid(), &()).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.null(), serve);
    answer.unwrap();
}

#[tokio::test]
async fn a_server_that_is_down_is_named_with_the_reason() {
    // An address of its own: no other test may get the port meanwhile.
    let server = Server::start_at(([127, 0, 0, 2], 0).into()).await;
    let address = server.address;
    drop(server);
    let patience = Options {
        deadline: Duration::from_secs(2),
        ..options()
    };
    let caller = nfs_client::Caller::none();
    let fault = Client::connect(address, caller, &patience)
        .await
        .unwrap_err();
    assert!(!fault.may_have_run());
    let words = fault.to_string();
    assert!(words.contains(&address.to_string()), "{words}");
    assert!(words.contains("no connection within 2s"), "{words}");
    assert!(words.contains("Connection refused"), "{words}");
}

#[tokio::test]
async fn calls_made_while_the_server_is_down_run_when_it_is_back() {
    // An address of its own: no other test may get the port meanwhile.
    let server = Server::start_at(([127, 0, 0, 3], 0).into()).await;
    let address = server.address;
    drop(server);
    let client = Client::new(address, nfs_client::Caller::none(), &options());
    let short = client.within(Duration::from_millis(300));
    assert!(matches!(
        source(short.null().await.unwrap_err()),
        CallError::Unreachable { .. }
    ));
    let serve = async {
        let server = Server::start_at(address).await;
        let mut peer = server.accept().await;
        let call = peer.call().await;
        peer.reply(call.xid(), &()).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.null(), serve);
    answer.unwrap();
}
