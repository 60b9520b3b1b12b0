//! CREATE_SESSION, RFC 8881 §18.36.

use anyhow::Result;
use interop_tests::nfs41::{ClientSetup, StatusOf, user};
use wire::nfs4::*;

use crate::server::Server;

#[tokio::test]
async fn a_session_asked_for_twice_is_one_session() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let args = setup.create_session(&setup.exchange(&connection).await?);
    let first = setup.create(&connection, args.clone()).await?;
    assert_eq!(setup.create(&connection, args).await?, first);
    Ok(())
}

#[tokio::test]
async fn a_refusal_asked_for_twice_is_the_same_refusal() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let mut args = setup.create_session(&setup.exchange(&connection).await?);
    args.fore_chan_attrs.maxresponsesize = 16;
    let first = setup.create(&connection, args.clone()).await.status();
    assert_eq!(first, Nfsstat4::Toosmall);
    assert_eq!(setup.create(&connection, args).await.status(), first);
    Ok(())
}

#[tokio::test]
async fn a_channel_that_nothing_fits_through_is_too_small() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let args = setup.create_session(&setup.exchange(&connection).await?);
    let unfit: [fn(&mut CreateSession4Args); 6] = [
        |args| args.fore_chan_attrs.maxrequestsize = 20,
        |args| args.fore_chan_attrs.maxresponsesize = 20,
        |args| args.fore_chan_attrs.maxoperations = 1,
        |args| args.back_chan_attrs.maxrequestsize = 20,
        |args| args.back_chan_attrs.maxresponsesize = 20,
        |args| args.back_chan_attrs.maxoperations = 1,
    ];
    for make_unfit in unfit {
        let mut args = args.clone();
        make_unfit(&mut args);
        assert_eq!(
            setup.create(&connection, args).await.status(),
            Nfsstat4::Toosmall
        );
    }
    assert_eq!(
        setup.create(&connection, args).await.status(),
        Nfsstat4::Ok,
        "the sequence was not used up"
    );
    Ok(())
}

#[tokio::test]
async fn a_client_without_a_back_channel_need_not_describe_one() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.session_flags = 0;
    setup.back.maxrequests = 0;
    setup.back.maxoperations = 0;
    setup.back.maxrequestsize = 0;
    setup.back.maxresponsesize = 0;
    let client = setup.mount(server.address).await?;
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_sequence_ahead_of_its_time_is_misordered() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let mut args = setup.create_session(&setup.exchange(&connection).await?);
    args.sequence += 1;
    assert_eq!(
        setup.create(&connection, args).await.status(),
        Nfsstat4::SeqMisordered
    );
    Ok(())
}

#[tokio::test]
async fn a_clientid_that_nobody_gave_is_stale() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let mut args = setup.create_session(&setup.exchange(&connection).await?);
    args.clientid.0 ^= 0xffff_0000_0000;
    assert_eq!(
        setup.create(&connection, args).await.status(),
        Nfsstat4::StaleClientid
    );
    Ok(())
}

#[tokio::test]
async fn only_who_asked_for_a_clientid_can_confirm_it() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let args = setup.create_session(&setup.exchange(&connection).await?);
    let stranger = ClientSetup::named("a").with_credential(user(1000, 1000));
    assert_eq!(
        stranger.create(&connection, args).await.status(),
        Nfsstat4::ClidInuse
    );
    Ok(())
}

#[tokio::test]
async fn a_client_may_have_a_second_session() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let mut args = client.setup.create_session(&client.exchanged);
    args.sequence += 1;
    let second = client.setup.create(&client.connection(), args).await?;
    assert_ne!(second.sessionid, client.sessionid());
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_session_is_never_larger_than_asked_for() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let (asked, given) = (&client.setup.fore, client.created().fore_chan_attrs);
    assert!(given.maxrequestsize <= asked.maxrequestsize);
    assert!(given.maxresponsesize <= asked.maxresponsesize);
    assert!(given.maxresponsesize_cached <= asked.maxresponsesize_cached);
    assert!(given.maxoperations <= asked.maxoperations);
    assert!((1..=asked.maxrequests).contains(&given.maxrequests));
    Ok(())
}

#[tokio::test]
async fn a_back_channel_is_granted_when_it_was_asked_for() -> Result<()> {
    let server = Server::start().await?;
    let with = ClientSetup::named("with").mount(server.address).await?;
    assert_ne!(
        with.created().flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
        0
    );
    let mut setup = ClientSetup::named("without");
    setup.session_flags = 0;
    let without = setup.mount(server.address).await?;
    assert_eq!(
        without.created().flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
        0
    );
    Ok(())
}

#[tokio::test]
async fn a_flag_without_a_meaning_is_invalid() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let mut args = setup.create_session(&setup.exchange(&connection).await?);
    args.flags |= 0x80;
    assert_eq!(
        setup.create(&connection, args).await.status(),
        Nfsstat4::Inval
    );
    Ok(())
}

#[tokio::test]
async fn create_session_without_a_session_stands_alone() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let create = ArgOp::CreateSession(setup.create_session(&setup.exchange(&connection).await?));
    let args = Compound4Args::new(1, vec![create, ArgOp::Putrootfh]);
    let reply = connection.compound(setup.credential.clone(), &args).await?;
    assert_eq!(reply.status, Nfsstat4::NotOnlyOp);
    Ok(())
}

#[tokio::test]
async fn before_reclaim_complete_nothing_new_is_opened() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a")
        .mount_without_reclaim_complete(server.address)
        .await?;
    let directory = server.export(&client).await?;
    assert_eq!(
        client.open_create(&directory, "early").await.status(),
        Nfsstat4::Grace
    );
    Ok(())
}

#[tokio::test]
async fn reclaims_are_completed_once() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let again = client
        .ok([ArgOp::ReclaimComplete(ReclaimComplete4Args {
            one_fs: false,
        })])
        .await;
    assert_eq!(again.status(), Nfsstat4::CompleteAlready);
    Ok(())
}
