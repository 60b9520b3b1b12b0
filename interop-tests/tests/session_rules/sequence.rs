//! SEQUENCE and the slots behind it: RFC 8881 §2.10.6, §18.46.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, ClientSetup, Failure, Reply, user};
use mds::state::Limits;
use wire::nfs4::*;

use crate::server::Server;

/// Makes a directory: what must not run twice shows when it does.
async fn mkdir_request(
    server: &Server,
    client: &Client,
    name: &'static str,
) -> Result<Compound4Args, Failure> {
    let directory = server.export(client).await?;
    let create = Create4Args {
        objtype: Createtype4::Dir,
        objname: Bytes::from_static(name.as_bytes()),
        createattrs: Fattr4::empty(),
    };
    let ops = [
        ArgOp::Putfh(Putfh4Args { object: directory }),
        ArgOp::Create(create),
    ];
    Ok(client.request(client.next_sequence(0), ops))
}

fn sequenced(mut request: Compound4Args, change: impl FnOnce(&mut Sequence4Args)) -> Compound4Args {
    if let Some(ArgOp::Sequence(sequence)) = request.ops.first_mut() {
        change(sequence);
    }
    request
}

fn refused_by_sequence(reply: &Reply) -> Nfsstat4 {
    assert_eq!(reply.results.len(), 1, "nothing ran: {reply:?}");
    assert_eq!(reply.results[0].opnum(), Opnum::Sequence);
    reply.status
}

#[tokio::test]
async fn a_request_sent_again_gets_its_first_answer_and_runs_once() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = mkdir_request(&server, &client, "once").await?;
    let first = client.send(&request).await?.ok()?;
    assert_eq!(client.send(&request).await?, first);
    assert_eq!(client.send(&request).await?, first);
    Ok(())
}

#[tokio::test]
async fn a_refusal_sent_again_is_the_same_refusal() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let directory = server.export(&client).await?;
    let lookup = ArgOp::Lookup(Lookup4Args {
        objname: Bytes::from_static(b"late"),
    });
    let ops = [
        ArgOp::Putfh(Putfh4Args {
            object: directory.clone(),
        }),
        lookup,
    ];
    let request = client.request(client.next_sequence(0), ops);
    let first = client.send(&request).await?;
    assert_eq!(first.status, Nfsstat4::Noent);
    let other = ClientSetup::named("b").mount(server.address).await?;
    other.mkdir(&directory, "late").await?;
    assert_eq!(client.send(&request).await?, first);
    Ok(())
}

#[tokio::test]
async fn a_retry_may_come_over_another_connection() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = mkdir_request(&server, &client, "moved").await?;
    let first = client.send(&request).await?.ok()?;
    let second = client.connect().await?;
    client
        .bind(&second, ChannelDirFromClient4::ForeOrBoth)
        .await?;
    assert_eq!(client.send_over(&second, &request).await?, first);
    Ok(())
}

#[tokio::test]
async fn a_sequence_id_that_skips_one_is_misordered() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = sequenced(
        mkdir_request(&server, &client, "never").await?,
        |sequence| sequence.sequenceid += 1,
    );
    assert_eq!(
        refused_by_sequence(&client.send(&request).await?),
        Nfsstat4::SeqMisordered
    );
    Ok(())
}

#[tokio::test]
async fn a_sequence_id_from_long_ago_is_misordered() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let old = client.next_sequence(0);
    client.send(&client.request(old.clone(), [])).await?.ok()?;
    for _ in 0..2 {
        client
            .send(&client.request(client.next_sequence(0), []))
            .await?
            .ok()?;
    }
    assert_eq!(
        refused_by_sequence(&client.send(&client.request(old, [])).await?),
        Nfsstat4::SeqMisordered
    );
    Ok(())
}

#[tokio::test]
async fn a_misordered_request_does_not_move_the_slot() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = mkdir_request(&server, &client, "after").await?;
    let ahead = sequenced(request.clone(), |sequence| sequence.sequenceid += 5);
    assert_eq!(
        refused_by_sequence(&client.send(&ahead).await?),
        Nfsstat4::SeqMisordered
    );
    assert_eq!(client.send(&request).await?.status, Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn another_request_under_a_used_sequence_id_is_a_false_retry() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = mkdir_request(&server, &client, "true").await?;
    client.send(&request).await?.ok()?;
    let mut other = request;
    other.ops[1] = ArgOp::Putrootfh;
    assert_eq!(
        refused_by_sequence(&client.send(&other).await?),
        Nfsstat4::SeqFalseRetry
    );
    Ok(())
}

#[tokio::test]
async fn another_user_does_not_get_the_first_one_s_reply() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = mkdir_request(&server, &client, "mine").await?;
    client.send(&request).await?.ok()?;
    let stolen = client
        .send_as(&client.connection(), user(1000, 1000), &request)
        .await?;
    assert_eq!(refused_by_sequence(&stolen), Nfsstat4::SeqFalseRetry);
    Ok(())
}

#[tokio::test]
async fn a_retry_of_what_was_not_to_be_kept_says_so() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = mkdir_request(&server, &client, "forgotten").await?;
    let request = sequenced(request, |sequence| sequence.cachethis = false);
    client.send(&request).await?.ok()?;
    let retried = client.send(&request).await?;
    assert_eq!(
        retried.statuses(),
        [
            (Opnum::Sequence, Nfsstat4::Ok),
            (Opnum::Putfh, Nfsstat4::RetryUncachedRep)
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_lone_sequence_sent_again_is_answered() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = client.request(client.next_sequence(0), []);
    let request = sequenced(request, |sequence| sequence.cachethis = false);
    client.send(&request).await?.ok()?;
    assert_eq!(client.send(&request).await?.status, Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn slots_do_not_know_of_each_other() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    for slotid in (0..client.created().fore_chan_attrs.maxrequests).rev() {
        let answer = client
            .send(&client.request(client.next_sequence(slotid), []))
            .await?
            .ok()?
            .sequence()?;
        assert_eq!(answer.slotid, slotid);
    }
    Ok(())
}

#[tokio::test]
async fn a_slot_beyond_the_session_is_bad() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let beyond = client.created().fore_chan_attrs.maxrequests;
    let request = sequenced(client.request(client.next_sequence(0), []), |sequence| {
        sequence.slotid = beyond;
        sequence.highest_slotid = beyond;
    });
    assert_eq!(
        refused_by_sequence(&client.send(&request).await?),
        Nfsstat4::Badslot
    );
    Ok(())
}

#[tokio::test]
async fn a_highest_slot_beyond_the_session_is_bad() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let beyond = client.created().fore_chan_attrs.maxrequests;
    let request = sequenced(client.request(client.next_sequence(0), []), |sequence| {
        sequence.highest_slotid = beyond;
    });
    assert_eq!(
        refused_by_sequence(&client.send(&request).await?),
        Nfsstat4::BadHighSlot
    );
    Ok(())
}

#[tokio::test]
async fn a_session_that_nobody_made_is_bad() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let request = sequenced(client.request(client.next_sequence(0), []), |sequence| {
        sequence.sessionid.0[15] ^= 1;
    });
    assert_eq!(
        refused_by_sequence(&client.send(&request).await?),
        Nfsstat4::Badsession
    );
    Ok(())
}

#[tokio::test]
async fn sequence_comes_first_or_not_at_all() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let second = ArgOp::Sequence(client.next_sequence(1));
    let reply = client.compound([ArgOp::Putrootfh, second]).await?;
    assert_eq!(
        reply.statuses().last(),
        Some(&(Opnum::Sequence, Nfsstat4::SequencePos))
    );
    Ok(())
}

#[tokio::test]
async fn without_sequence_there_is_no_operation_on_files() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let args = Compound4Args::new(1, vec![ArgOp::Putrootfh, ArgOp::Getfh]);
    let reply = Reply::new(connection.compound(setup.credential, &args).await?);
    assert_eq!(
        reply.statuses(),
        [(Opnum::Putrootfh, Nfsstat4::OpNotInSession)]
    );
    Ok(())
}

#[tokio::test]
async fn a_session_is_told_to_use_fewer_slots_when_others_come() -> Result<()> {
    let server = Server::with(Limits {
        cached_reply_bytes: 16 * 4096,
        slots_under_pressure: 2,
        ..Limits::default()
    })
    .await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let told = async || anyhow::Ok(client.ok([]).await?.sequence()?);
    assert_eq!(told().await?.target_highest_slotid, 7);
    let mut others = Vec::new();
    for number in 0..3 {
        let other = ClientSetup::named(&format!("other {number}"));
        others.push(other.mount(server.address).await?);
    }
    let fewer = told().await?;
    assert_eq!(fewer.target_highest_slotid, 3);
    assert_eq!(fewer.highest_slotid, 7, "the others still work");
    for other in &others {
        other.destroy_session().await?;
    }
    assert_eq!(told().await?.target_highest_slotid, 7);
    Ok(())
}
