//! EXCHANGE_ID: the cases of RFC 8881 §18.35.4, in its order.

use anyhow::Result;
use interop_tests::nfs41::{ClientSetup, Failure, StatusOf, user};
use wire::nfs4::*;

use crate::server::Server;

fn is_confirmed(exchanged: &ExchangeId4Ok) -> bool {
    exchanged.flags & EXCHGID4_FLAG_CONFIRMED_R != 0
}

fn updating(mut setup: ClientSetup) -> ClientSetup {
    setup.exchange_flags |= EXCHGID4_FLAG_UPD_CONFIRMED_REC_A;
    setup
}

async fn exchange(server: &Server, setup: &ClientSetup) -> Result<ExchangeId4Ok, Failure> {
    setup.exchange(&*server.connect().await?).await
}

#[tokio::test]
async fn a_new_name_gets_a_clientid_that_is_not_confirmed() -> Result<()> {
    let server = Server::start().await?;
    let exchanged = exchange(&server, &ClientSetup::named("a")).await?;
    assert!(!is_confirmed(&exchanged));
    assert_ne!(exchanged.clientid, Clientid4(0));
    assert_eq!(exchanged.state_protect, StateProtect4R::None);
    Ok(())
}

#[tokio::test]
async fn the_server_offers_pnfs_and_nothing_that_was_not_asked_for() -> Result<()> {
    let server = Server::start().await?;
    let exchanged = exchange(&server, &ClientSetup::named("a")).await?;
    assert_ne!(exchanged.flags & EXCHGID4_FLAG_USE_PNFS_MDS, 0);
    assert_eq!(exchanged.flags & EXCHGID4_FLAG_USE_PNFS_DS, 0);
    Ok(())
}

#[tokio::test]
async fn two_names_get_two_clientids_of_one_server() -> Result<()> {
    let server = Server::start().await?;
    let a = exchange(&server, &ClientSetup::named("a")).await?;
    let b = exchange(&server, &ClientSetup::named("b")).await?;
    assert_ne!(a.clientid, b.clientid);
    assert_eq!(a.server_owner, b.server_owner);
    assert_eq!(a.server_scope, b.server_scope);
    Ok(())
}

#[tokio::test]
async fn a_confirmed_client_that_asks_again_keeps_its_clientid() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let again = exchange(&server, &ClientSetup::named("a")).await?;
    assert_eq!(again.clientid, client.clientid);
    assert!(is_confirmed(&again));
    Ok(())
}

#[tokio::test]
async fn a_name_that_another_principal_uses_is_taken() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    client
        .open_create(&server.export(&client).await?, "held")
        .await?;
    let other = ClientSetup::named("a")
        .with_verifier(2)
        .with_credential(user(1000, 1000));
    assert_eq!(
        exchange(&server, &other).await.status(),
        Nfsstat4::ClidInuse
    );
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_name_that_holds_nothing_goes_to_another_principal_at_once() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    client.destroy_session().await?;
    let other = ClientSetup::named("a")
        .with_verifier(2)
        .with_credential(user(1000, 1000));
    let exchanged = exchange(&server, &other).await?;
    assert_ne!(exchanged.clientid, client.clientid);
    let mut args = client.setup.create_session(&client.exchanged);
    args.sequence += 1;
    let connection = server.connect().await?;
    assert_eq!(
        client.setup.create(&connection, args).await.status(),
        Nfsstat4::StaleClientid
    );
    Ok(())
}

#[tokio::test]
async fn an_unconfirmed_clientid_is_replaced() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let first = setup.exchange(&connection).await?;
    let second = setup.exchange(&connection).await?;
    assert_ne!(first.clientid, second.clientid);
    let refused = setup
        .create(&connection, setup.create_session(&first))
        .await;
    assert_eq!(refused.status(), Nfsstat4::StaleClientid);
    assert_eq!(
        setup
            .create(&connection, setup.create_session(&second))
            .await
            .status(),
        Nfsstat4::Ok
    );
    Ok(())
}

#[tokio::test]
async fn a_client_that_restarted_keeps_its_old_state_until_it_has_a_new_session() -> Result<()> {
    let server = Server::start().await?;
    let before = ClientSetup::named("a").mount(server.address).await?;
    let after = ClientSetup::named("a").with_verifier(2);
    let connection = server.connect().await?;
    let exchanged = after.exchange(&connection).await?;
    assert_ne!(exchanged.clientid, before.clientid);
    assert!(!is_confirmed(&exchanged));
    assert_eq!(before.root().await.status(), Nfsstat4::Ok);
    after
        .create(&connection, after.create_session(&exchanged))
        .await?;
    assert_eq!(before.root().await.status(), Nfsstat4::Badsession);
    Ok(())
}

#[tokio::test]
async fn an_update_of_a_confirmed_client_keeps_its_clientid() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let updated = exchange(&server, &updating(ClientSetup::named("a"))).await?;
    assert_eq!(updated.clientid, client.clientid);
    assert!(is_confirmed(&updated));
    Ok(())
}

#[tokio::test]
async fn an_update_of_nobody_finds_no_entry() -> Result<()> {
    let server = Server::start().await?;
    let refused = exchange(&server, &updating(ClientSetup::named("a"))).await;
    assert_eq!(refused.status(), Nfsstat4::Noent);
    Ok(())
}

#[tokio::test]
async fn an_update_by_a_restarted_client_is_not_the_same() -> Result<()> {
    let server = Server::start().await?;
    ClientSetup::named("a").mount(server.address).await?;
    let restarted = updating(ClientSetup::named("a").with_verifier(2));
    assert_eq!(
        exchange(&server, &restarted).await.status(),
        Nfsstat4::NotSame
    );
    Ok(())
}

#[tokio::test]
async fn an_update_by_another_principal_is_not_permitted() -> Result<()> {
    let server = Server::start().await?;
    ClientSetup::named("a").mount(server.address).await?;
    let other = updating(ClientSetup::named("a").with_credential(user(1000, 1000)));
    assert_eq!(exchange(&server, &other).await.status(), Nfsstat4::Perm);
    Ok(())
}

#[tokio::test]
async fn a_flag_that_only_a_server_sets_is_invalid() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.exchange_flags |= EXCHGID4_FLAG_CONFIRMED_R;
    assert_eq!(exchange(&server, &setup).await.status(), Nfsstat4::Inval);
    Ok(())
}

#[tokio::test]
async fn a_flag_without_a_meaning_is_invalid() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.exchange_flags |= 0x8;
    assert_eq!(exchange(&server, &setup).await.status(), Nfsstat4::Inval);
    Ok(())
}

#[tokio::test]
async fn a_flag_of_4_2_is_invalid_in_4_1() -> Result<()> {
    // RFC 7862 §14.1.
    let server = Server::start().await?;
    for (minorversion, status) in [(1, Nfsstat4::Inval), (2, Nfsstat4::Ok)] {
        let mut setup = ClientSetup::named("a");
        setup.minorversion = minorversion;
        setup.exchange_flags |= EXCHGID4_FLAG_SUPP_FENCE_OPS;
        assert_eq!(exchange(&server, &setup).await.status(), status);
    }
    Ok(())
}

#[tokio::test]
async fn exchange_id_without_a_session_stands_alone() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    let setup = ClientSetup::named("a");
    let ops = vec![ArgOp::ExchangeId(setup.exchange_id()), ArgOp::Putrootfh];
    let reply = connection
        .compound(setup.credential.clone(), &Compound4Args::new(1, ops))
        .await?;
    assert_eq!(reply.status, Nfsstat4::NotOnlyOp);
    Ok(())
}
