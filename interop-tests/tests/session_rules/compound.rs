//! COMPOUND and the RPC around it: RFC 8881 §2.10.6.4, §16.2, and RFC 5531.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{ClientSetup, Reply, StatusOf, root_user};
use wire::nfs4::*;
use wire::rpc::{Accepted, OpaqueAuth, ReplyBody};

use crate::server::Server;

fn accepted(status: Accepted) -> ReplyBody {
    ReplyBody::Accepted {
        verifier: OpaqueAuth::none(),
        status,
    }
}

async fn rpc(call: (u32, u32, u32), arguments: &[u8]) -> Result<ReplyBody> {
    let server = Server::start().await?;
    Ok(server
        .connect()
        .await?
        .rpc(call, root_user(), arguments)
        .await?
        .body)
}

#[tokio::test]
async fn null_is_answered() -> Result<()> {
    assert_eq!(
        rpc((NFS4_PROGRAM, NFS_V4, NFSPROC4_NULL), &[]).await?,
        accepted(Accepted::Success)
    );
    Ok(())
}

#[tokio::test]
async fn a_call_of_nfsv3_is_told_the_versions_that_are_spoken() -> Result<()> {
    let mismatch = Accepted::ProgMismatch { low: 4, high: 4 };
    assert_eq!(rpc((NFS4_PROGRAM, 3, 0), &[]).await?, accepted(mismatch));
    Ok(())
}

#[tokio::test]
async fn another_program_is_unavailable() -> Result<()> {
    assert_eq!(
        rpc((100_005, 3, 0), &[]).await?,
        accepted(Accepted::ProgUnavail)
    );
    Ok(())
}

#[tokio::test]
async fn another_procedure_is_unavailable() -> Result<()> {
    assert_eq!(
        rpc((NFS4_PROGRAM, NFS_V4, 2), &[]).await?,
        accepted(Accepted::ProcUnavail)
    );
    Ok(())
}

#[tokio::test]
async fn arguments_that_are_no_compound_are_garbage() -> Result<()> {
    let body = rpc((NFS4_PROGRAM, NFS_V4, NFSPROC4_COMPOUND), &[0xff; 8]).await?;
    assert_eq!(body, accepted(Accepted::GarbageArgs));
    Ok(())
}

#[tokio::test]
async fn other_minor_versions_are_refused_with_the_tag_and_nothing_else() -> Result<()> {
    let server = Server::start().await?;
    let connection = server.connect().await?;
    for minorversion in [0, 3, u32::MAX] {
        let tag = Bytes::from_static(b"mount");
        let args = Compound4Args {
            tag: tag.clone(),
            ..Compound4Args::new(minorversion, vec![ArgOp::Putrootfh])
        };
        let reply = connection.compound(root_user(), &args).await?;
        assert_eq!(
            reply,
            Compound4Res {
                status: Nfsstat4::MinorVersMismatch,
                tag,
                results: Vec::new()
            }
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_compound_without_operations_succeeds() -> Result<()> {
    let server = Server::start().await?;
    let args = Compound4Args::new(1, Vec::new());
    let reply = server.connect().await?.compound(root_user(), &args).await?;
    assert_eq!((reply.status, reply.results.len()), (Nfsstat4::Ok, 0));
    Ok(())
}

#[tokio::test]
async fn the_tag_comes_back() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let mut request = client.request(client.next_sequence(0), [ArgOp::Putrootfh]);
    request.tag = Bytes::from_static(b"\xffany bytes");
    assert_eq!(client.send(&request).await?.tag, request.tag);
    Ok(())
}

#[tokio::test]
async fn a_number_that_is_no_operation_is_illegal() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    for number in [0, 2, 76, 10_044, u32::MAX] {
        let reply = client
            .compound([ArgOp::Putrootfh, ArgOp::Illegal(number)])
            .await?;
        assert_eq!(
            reply.statuses().last(),
            Some(&(Opnum::Illegal, Nfsstat4::OpIllegal)),
            "{number}"
        );
        assert_eq!(
            (reply.results.len(), reply.status),
            (3, Nfsstat4::OpIllegal)
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_operation_of_a_later_minor_version_is_illegal() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.minorversion = 1;
    let client = setup.mount(server.address).await?;
    let seek = Seek4Args {
        stateid: Stateid4::ANONYMOUS,
        offset: 0,
        what: DataContent4::Data,
    };
    let reply = client
        .compound([ArgOp::Putrootfh, ArgOp::Seek(seek)])
        .await?;
    assert_eq!(
        reply.statuses().last(),
        Some(&(Opnum::Illegal, Nfsstat4::OpIllegal))
    );
    Ok(())
}

#[tokio::test]
async fn operations_of_nfsv4_0_are_not_supported() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let owner = StateOwner4 {
        clientid: client.clientid,
        owner: Bytes::from_static(b"o"),
    };
    let gone = [
        ArgOp::Renew(Renew4Args {
            clientid: client.clientid,
        }),
        ArgOp::ReleaseLockowner(ReleaseLockowner4Args { lock_owner: owner }),
        ArgOp::OpenConfirm(OpenConfirm4Args {
            open_stateid: Stateid4::ANONYMOUS,
            seqid: 0,
        }),
    ];
    for op in gone {
        let opnum = op.opnum();
        let reply = client.compound([op]).await?;
        assert_eq!(reply.statuses().last(), Some(&(opnum, Nfsstat4::Notsupp)));
    }
    Ok(())
}

#[tokio::test]
async fn an_operation_cut_short_is_bad_xdr_after_what_came_before_it() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let mut request = client.request(client.next_sequence(0), [ArgOp::Putrootfh]);
    let fault = wire::DecodeError {
        offset: 0,
        fault: wire::xdr::Fault::Invalid("on purpose"),
    };
    // Written as its number alone: the filehandle is missing.
    request.ops.push(ArgOp::Malformed {
        op: Opnum::Putfh,
        fault,
    });
    request.ops_claimed += 1;
    let reply = client.send(&request).await?;
    assert_eq!(
        reply.statuses()[1..],
        [
            (Opnum::Putrootfh, Nfsstat4::Ok),
            (Opnum::Putfh, Nfsstat4::Badxdr)
        ]
    );
    Ok(())
}

#[tokio::test]
async fn nothing_runs_after_an_operation_that_failed() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let lookup = ArgOp::Lookup(Lookup4Args {
        objname: Bytes::from_static(b"no such name"),
    });
    let reply = client
        .compound([ArgOp::Putrootfh, lookup, ArgOp::Getfh])
        .await?;
    assert_eq!(
        reply.statuses().last(),
        Some(&(Opnum::Lookup, Nfsstat4::Noent))
    );
    Ok(())
}

#[tokio::test]
async fn more_operations_than_negotiated_are_too_many() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let limit = client.created().fore_chan_attrs.maxoperations as usize;
    let most = client.compound(vec![ArgOp::Putrootfh; limit - 1]).await?;
    assert_eq!(most.status, Nfsstat4::Ok);
    let more = client.compound(vec![ArgOp::Putrootfh; limit]).await?;
    assert_eq!(more.statuses(), [(Opnum::Sequence, Nfsstat4::TooManyOps)]);
    client.ok([ArgOp::Putrootfh]).await?;
    Ok(())
}

#[tokio::test]
async fn a_request_larger_than_negotiated_is_too_big() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.fore.maxrequestsize = 4096;
    let client = setup.mount(server.address).await?;
    let limit = client.created().fore_chan_attrs.maxrequestsize as usize;
    let objname = Bytes::from(vec![b'x'; 4000]);
    let lookups = limit / 4000 + 1;
    let ops = vec![ArgOp::Lookup(Lookup4Args { objname }); lookups];
    let reply = client
        .compound(std::iter::once(ArgOp::Putrootfh).chain(ops))
        .await?;
    assert_eq!(reply.statuses(), [(Opnum::Sequence, Nfsstat4::ReqTooBig)]);
    Ok(())
}

#[tokio::test]
async fn a_reply_larger_than_can_be_kept_is_refused_before_it_is_lost() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.fore.maxoperations = 100;
    setup.fore.maxresponsesize_cached = 512;
    let client = setup.mount(server.address).await?;
    let handles = std::iter::once(ArgOp::Putrootfh).chain(std::iter::repeat_n(ArgOp::Getfh, 14));
    let reply = client.compound(handles).await?;
    assert_eq!(reply.status, Nfsstat4::RepTooBigToCache);
    Ok(())
}

#[tokio::test]
async fn a_reply_larger_than_negotiated_is_refused() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.fore.maxoperations = 100;
    setup.fore.maxresponsesize = 512;
    let client = setup.mount(server.address).await?;
    let mut sequence = client.next_sequence(0);
    sequence.cachethis = false;
    let handles = std::iter::once(ArgOp::Putrootfh).chain(std::iter::repeat_n(ArgOp::Getfh, 14));
    let reply = client.send(&client.request(sequence, handles)).await?;
    assert_eq!(reply.status, Nfsstat4::RepTooBig);
    Ok(())
}

#[tokio::test]
async fn a_session_that_keeps_nothing_keeps_no_sequence_either() -> Result<()> {
    let server = Server::start().await?;
    let mut setup = ClientSetup::named("a");
    setup.fore.maxresponsesize_cached = 10;
    let client = setup.mount_without_reclaim_complete(server.address).await?;
    let reply = client
        .send(&client.request(client.next_sequence(0), []))
        .await?;
    assert_eq!(
        reply.statuses(),
        [(Opnum::Sequence, Nfsstat4::RepTooBigToCache)]
    );
    Ok(())
}

#[tokio::test]
async fn operations_on_no_file_ask_for_one() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    assert_eq!(
        client.ok([ArgOp::Getfh]).await.status(),
        Nfsstat4::Nofilehandle
    );
    assert_eq!(
        client.ok([ArgOp::Savefh]).await.status(),
        Nfsstat4::Nofilehandle
    );
    assert_eq!(
        client
            .ok([ArgOp::Putrootfh, ArgOp::Restorefh])
            .await
            .status(),
        Nfsstat4::Nofilehandle
    );
    Ok(())
}

#[tokio::test]
async fn a_filehandle_that_the_server_never_gave_is_bad() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let root = client.root().await?;
    let mut forged = root.to_vec();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    for object in [
        Bytes::from(forged),
        Bytes::from_static(b"forged"),
        Bytes::new(),
    ] {
        let reply = client
            .compound([ArgOp::Putfh(Putfh4Args { object })])
            .await?;
        assert_eq!(reply.status, Nfsstat4::Badhandle);
    }
    Ok(())
}

fn close_current() -> ArgOp {
    ArgOp::Close(Close4Args {
        seqid: 0,
        open_stateid: Stateid4::CURRENT,
    })
}

#[tokio::test]
async fn the_current_stateid_is_that_of_the_open_before() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let object = server.export(&client).await?;
    let how = Openflag4::Create(Createhow4::Unchecked(Fattr4::empty()));
    let open = ArgOp::Open(client.open_args("current", how));
    let reply = client
        .compound([ArgOp::Putfh(Putfh4Args { object }), open, close_current()])
        .await?;
    assert_eq!(reply.status, Nfsstat4::Ok, "{reply:?}");
    Ok(())
}

#[tokio::test]
async fn the_current_stateid_is_saved_and_restored_with_its_file() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let object = server.export(&client).await?;
    let how = Openflag4::Create(Createhow4::Unchecked(Fattr4::empty()));
    let open = ArgOp::Open(client.open_args("saved", how));
    let ops = [
        ArgOp::Putfh(Putfh4Args { object }),
        open,
        ArgOp::Savefh,
        ArgOp::Putrootfh,
        ArgOp::Restorefh,
        close_current(),
    ];
    let reply = client.compound(ops).await?;
    assert_eq!(reply.status, Nfsstat4::Ok, "{reply:?}");
    Ok(())
}

#[tokio::test]
async fn a_new_current_file_leaves_no_current_stateid() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let directory = server.export(&client).await?;
    let file = client.open_create(&directory, "other").await?;
    let how = Openflag4::Create(Createhow4::Unchecked(Fattr4::empty()));
    let open = ArgOp::Open(client.open_args("lost", how));
    let put = |object: &Fh4| {
        ArgOp::Putfh(Putfh4Args {
            object: object.clone(),
        })
    };
    let reply = client
        .compound([put(&directory), open, put(&file.fh), close_current()])
        .await?;
    assert_eq!(
        reply.statuses().last(),
        Some(&(Opnum::Close, Nfsstat4::BadStateid))
    );
    Ok(())
}

#[tokio::test]
async fn a_client_s_garbage_ends_its_connection_and_no_other() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let connection = server.connect().await?;
    // A record of 2 GiB.
    connection.send_bytes(&[0xff; 64]).await?;
    connection.closed_by_server().await?;
    assert_eq!(client.root().await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn fact_25_many_requests_at_once_are_all_answered() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let (a, b, c, d) = tokio::join!(client.root(), client.root(), client.root(), client.root());
    let root = a?;
    assert_eq!([b?, c?, d?], [root.clone(), root.clone(), root]);
    Ok(())
}

#[tokio::test]
async fn an_operation_that_fails_leaves_its_status_as_that_of_the_whole() -> Result<()> {
    let server = Server::start().await?;
    let client = ClientSetup::named("a").mount(server.address).await?;
    let Reply {
        status, results, ..
    } = client.compound([ArgOp::Putrootfh, ArgOp::Readlink]).await?;
    assert_eq!(Some(status), results.last().map(ResOp::status));
    assert_eq!(status, Nfsstat4::WrongType);
    Ok(())
}
