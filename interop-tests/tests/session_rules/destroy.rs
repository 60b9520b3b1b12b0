//! How connections join a session and how sessions and clients end: RFC 8881 §18.34, §18.37, §18.50.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{ClientSetup, StatusOf, user};
use wire::nfs4::*;

use crate::server::Server;

#[tokio::test]
async fn a_second_connection_carries_the_session_once_bound() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let second = client.connect().await?;
    let bound = client.bind(&second, ChannelDirFromClient4::Fore).await?;
    assert_eq!(
        (bound.sessid, bound.dir),
        (client.sessionid(), ChannelDirFromServer4::Fore)
    );
    client.switch_to(second);
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_asks_for_the_back_channel_gets_it() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let second = client.connect().await?;
    let bound = client
        .bind(&second, ChannelDirFromClient4::BackOrBoth)
        .await?;
    assert_ne!(bound.dir, ChannelDirFromServer4::Fore);
    Ok(())
}

#[tokio::test]
async fn a_connection_is_not_bound_to_a_session_that_is_none() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let sessid = Sessionid4([9; 16]);
    let args = BindConnToSession4Args {
        sessid,
        dir: ChannelDirFromClient4::Fore,
        use_conn_in_rdma_mode: false,
    };
    let refused = client
        .setup
        .alone(&client.connection(), ArgOp::BindConnToSession(args))
        .await;
    assert_eq!(refused.status(), Nfsstat4::Badsession);
    Ok(())
}

#[tokio::test]
async fn a_client_without_a_back_channel_is_told_until_it_binds_one() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.session_flags = 0;
    let client = setup.mount(server.address).await?;
    let down = SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION;
    let before = client.ok([]).await?.sequence()?.status_flags;
    assert_ne!(before & down, 0, "{before:#x}");
    client
        .bind(&client.connection(), ChannelDirFromClient4::BackOrBoth)
        .await?;
    let after = client.ok([]).await?.sequence()?.status_flags;
    assert_eq!(after & down, 0, "{after:#x}");
    Ok(())
}

#[tokio::test]
async fn a_client_with_a_back_channel_has_nothing_to_worry_about() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    assert_eq!(client.ok([]).await?.sequence()?.status_flags, 0);
    Ok(())
}

#[tokio::test]
async fn a_session_that_was_destroyed_is_no_session() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    client.destroy_session().await?;
    assert_eq!(client.root().await.status(), Nfsstat4::Badsession);
    assert_eq!(
        client.destroy_session().await.status(),
        Nfsstat4::Badsession
    );
    Ok(())
}

#[tokio::test]
async fn a_session_can_be_destroyed_from_within() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let destroy = ArgOp::DestroySession(DestroySession4Args {
        sessionid: client.sessionid(),
    });
    client.ok([destroy]).await?;
    assert_eq!(client.root().await.status(), Nfsstat4::Badsession);
    Ok(())
}

#[tokio::test]
async fn nothing_comes_after_the_end_of_one_s_own_session() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let destroy = ArgOp::DestroySession(DestroySession4Args {
        sessionid: client.sessionid(),
    });
    let refused = client.compound([destroy, ArgOp::Putrootfh]).await?;
    assert_eq!(
        refused.statuses().last(),
        Some(&(Opnum::DestroySession, Nfsstat4::NotOnlyOp))
    );
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_bound_connection_keeps_its_channels_unless_the_server_may_choose() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let second = client.connect().await?;
    client.bind(&second, ChannelDirFromClient4::Fore).await?;
    let again = client.bind(&second, ChannelDirFromClient4::Fore).await?;
    assert_eq!(again.dir, ChannelDirFromServer4::Fore);
    let demanded = client.bind(&second, ChannelDirFromClient4::Back).await;
    assert_eq!(demanded.map(|_| ()).status(), Nfsstat4::Inval);
    let chosen = client
        .bind(&second, ChannelDirFromClient4::BackOrBoth)
        .await?;
    assert_eq!(chosen.dir, ChannelDirFromServer4::Both);
    Ok(())
}

#[tokio::test]
async fn callbacks_come_as_backchannel_ctl_says() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let control = |sec_parms| {
        ArgOp::BackchannelCtl(BackchannelCtl4Args {
            cb_program: 0x4000_0001,
            sec_parms,
        })
    };
    client.ok([control(vec![CallbackSecParms4::None])]).await?;
    let gss_alone = CallbackSecParms4::Gss(GssCbHandles4 {
        service: RpcGssSvc::Integrity,
        handle_from_server: Bytes::from_static(b"s"),
        handle_from_client: Bytes::from_static(b"c"),
    });
    let refused = client.compound([control(vec![gss_alone])]).await?;
    assert_eq!(refused.status, Nfsstat4::Inval);
    Ok(())
}

#[tokio::test]
async fn a_stranger_does_not_destroy_a_session() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let stranger = ClientSetup::named("b").with_credential(user(1000, 1000));
    let destroy = ArgOp::DestroySession(DestroySession4Args {
        sessionid: client.sessionid(),
    });
    let refused = stranger.alone(&*server.connect().await?, destroy).await;
    assert_eq!(refused.status(), Nfsstat4::ConnNotBoundToSession);
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

// RFC 8881 §18.37.3 asks for a connection of the session. A client whose connection broke has none, and Linux
// destroys the session over the new one without binding it first.
#[tokio::test]
async fn a_client_that_reconnected_destroys_its_session() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    client.switch_to(client.connect().await?);
    assert_eq!(client.destroy_session().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_clientid_with_a_session_is_busy() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    assert_eq!(
        client.destroy_clientid().await.status(),
        Nfsstat4::ClientidBusy
    );
    client.destroy_session().await?;
    assert_eq!(client.destroy_clientid().await.status(), Nfsstat4::Ok);
    assert_eq!(
        client.destroy_clientid().await.status(),
        Nfsstat4::StaleClientid
    );
    Ok(())
}

#[tokio::test]
async fn a_session_outlives_its_connection() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let second = client.connect().await?;
    client.switch_to(second);
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}
