//! Sessions and clients: what must stand alone, and what there is no room for.

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, ClientSetup, StatusOf, delegated, putfh, recalled, root_user};
use wire::nfs4::*;

use crate::operations::owed;
use crate::world::World;

#[tokio::test]
async fn every_operation_that_ends_or_binds_a_session_from_outside_stands_alone() -> Result<()> {
    // RFC 8881 §18.34.3, §18.50.3.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let connection = a.connect().await?;
    for (opnum, op) in owed(Nfsstat4::NotOnlyOp)? {
        let two = Compound4Args::new(2, vec![op, ArgOp::Putrootfh]);
        let reply = connection.compound(root_user(), &two).await?;
        assert_eq!(reply.status, Nfsstat4::NotOnlyOp, "{opnum:?}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_gets_no_more_sessions_than_the_limit() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.sessions_per_client = 1).await?;
    let a = world.client("a").await?;
    let again = CreateSession4Args {
        sequence: a.exchanged.sequenceid + 1,
        ..a.setup.create_session(&a.exchanged)
    };
    let refused = a.setup.create(&a.connection(), again).await;
    assert_eq!(refused.status(), Nfsstat4::Nospc);
    a.root().await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_session_gets_no_more_connections_than_the_limit() -> Result<()> {
    // RFC 8881 §2.10.3.1: SEQUENCE binds a connection, where that may be.
    let world = World::with(1, |spec| spec.limits.connections_per_session = 2).await?;
    let a = world.client("a").await?;
    let mut refused = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..3 {
        let connection = a.connect().await?;
        let request = a.request(a.next_sequence(0), []);
        let reply = a.send_over(&connection, &request).await?;
        if reply.status != Nfsstat4::Ok {
            a.forget_sequence(0);
            refused.extend(reply.statuses());
        }
        kept.push(connection);
    }
    let not_bound = (Opnum::Sequence, Nfsstat4::ConnNotBoundToSession);
    assert_eq!(refused, [not_bound; 2]);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_request_sent_again_while_it_is_done_is_told_to_wait() -> Result<()> {
    // RFC 8881 §2.10.6.2: here it waits for another one's delegation.
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.close(&file).await?;
    let want = OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG;
    let given = a.want_delegation(&file.fh, want, DelegClaim4::Fh).await?;
    let (delegation, _) = delegated(&given).context("a delegation")?;
    let open = ArgOp::Open(b.open_args("f", Openflag4::NoCreate));
    let request = b.request(b.next_sequence(0), [putfh(&root), open]);
    let connection = b.connection();
    let first = b.send_over(&connection, &request);
    let again = async {
        recalled(&a).await?;
        let again = b.send_over(&connection, &request).await?;
        assert_eq!(b.destroy_session().await.status(), Nfsstat4::Delay);
        a.delegreturn(&file.fh, delegation).await?;
        anyhow::Ok(again)
    };
    let (first, again) = futures_util::future::join(first, again).await;
    assert_eq!(again?.statuses(), [(Opnum::Sequence, Nfsstat4::Delay)]);
    assert_eq!(first?.status, Nfsstat4::Ok);
    world.ends_without_leak().await
}

#[tokio::test]
async fn protection_by_what_is_not_spoken_here_is_refused() -> Result<()> {
    // RFC 8881 §18.35.3: SP4_SSV is RPCSEC_GSS's.
    let world = World::start().await?;
    let setup = ClientSetup::named("a");
    let probe = Client::mount(world.address, "probe").await?;
    let connection = probe.connect().await?;
    let ssv = SsvSpParms4 {
        ops: StateProtectOps4 {
            must_enforce: Bitmap4::EMPTY,
            must_allow: Bitmap4::EMPTY,
        },
        hash_algs: Vec::new(),
        encr_algs: Vec::new(),
        window: 1,
        num_gss_handles: 1,
    };
    let asked = ExchangeId4Args {
        state_protect: StateProtect4A::Ssv(ssv),
        ..setup.exchange_id()
    };
    let refused = setup.alone(&connection, ArgOp::ExchangeId(asked)).await;
    assert_eq!(refused.status(), Nfsstat4::EncrAlgUnsupp);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_tag_that_leaves_a_reply_no_room_is_refused_before_anything_is_done() -> Result<()> {
    // RFC 8881 §2.10.6.4: the tag comes back, however long it is.
    let world = World::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.fore.maxresponsesize = 1024;
    let a = setup.mount(world.address).await?;
    let mut request = a.request(a.next_sequence(0), [ArgOp::Putrootfh]);
    request.tag = vec![b't'; 1024].into();
    let reply = a.send(&request).await?;
    assert_eq!(reply.statuses(), [(Opnum::Sequence, Nfsstat4::RepTooBig)]);
    a.forget_sequence(0);
    a.root().await?;
    world.ends_without_leak().await
}
