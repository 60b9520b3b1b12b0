//! Data servers that are full, that lost what they had or are away, and holders of delegations that make others
//! wait, each tried with every operation that can meet them. Which those are, the page says.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use interop_tests::nfs41::{CallbackAnswer, Client, OpenFile, StatusOf, putfh};
use wire::nfs4::*;

use super::{Case, case, refused};
use crate::operations::owed;
use crate::stranger::{Fault, Stranger};
use crate::unfit::stranger_at;
use crate::world::{World, at_last, until, watchful};

const PIECE: usize = 64 << 10;

/// The operation on the data of `file`, in a way that a data server has to do with; `None` where it hasn't.
fn on_data(mut op: ArgOp, files: &Files) -> Option<ArgOp> {
    let Files { to: file, from, .. } = files;
    match &mut op {
        ArgOp::Allocate(args) => {
            args.stateid = file.stateid;
            (args.offset, args.length) = (1 << 20, PIECE as u64);
        }
        ArgOp::Clone(args) => {
            (args.src_stateid, args.dst_stateid) = (from.stateid, file.stateid);
        }
        ArgOp::Commit(_) => {}
        ArgOp::Copy(args) => {
            (args.src_stateid, args.dst_stateid) = (from.stateid, file.stateid);
            args.dst_offset = 1 << 20;
            args.synchronous = true;
            args.consecutive = true;
        }
        ArgOp::Deallocate(args) => args.stateid = file.stateid,
        ArgOp::Layoutcommit(args) => args.stateid = files.layout,
        ArgOp::Layoutget(args) => {
            args.stateid = file.stateid;
            args.iomode = Layoutiomode4::Rw;
            args.maxcount = 4096;
        }
        ArgOp::Read(args) => (args.stateid, args.count) = (file.stateid, 100),
        ArgOp::ReadPlus(args) => (args.stateid, args.count) = (file.stateid, 100),
        ArgOp::Seek(args) => args.stateid = file.stateid,
        ArgOp::Setattr(args) => {
            args.stateid = file.stateid;
            args.obj_attributes = Attributes {
                size: Some(10),
                ..Attributes::default()
            }
            .into();
        }
        ArgOp::Write(args) => {
            args.stateid = file.stateid;
            args.stable = StableHow4::FileSync;
            args.offset = 1 << 20;
            args.data = vec![1; PIECE].into();
        }
        ArgOp::WriteSame(args) => {
            args.stateid = file.stateid;
            args.adb.offset = 1 << 20;
            args.adb.block_size = PIECE as u64;
            args.adb.pattern = "pattern".into();
        }
        _ => return None,
    }
    Some(op)
}

/// Two files with data, one to be copied to the other, which its holder has a layout of.
struct Files {
    to: OpenFile,
    from: OpenFile,
    layout: Stateid4,
}

impl Files {
    async fn written(world: &World, client: &Client) -> Result<Self> {
        let root = client.root().await?;
        let to = client.open_create(&root, "to").await?;
        let from = client.open_create(&root, "from").await?;
        for file in [&to, &from] {
            client
                .write(&file.fh, file.stateid, 0, vec![7; PIECE])
                .await?;
        }
        let layout = world.to_write(client, &to).await?.stateid;
        Ok(Self { to, from, layout })
    }

    fn cases(&self, status: Nfsstat4, owed: Vec<(Opnum, ArgOp)>) -> Vec<Case> {
        let one = |(opnum, op)| {
            let op = on_data(op, self)?;
            let ops = [putfh(&self.from.fh), ArgOp::Savefh, putfh(&self.to.fh), op];
            Some(case(format!("{opnum:?}"), ops, status))
        };
        owed.into_iter().filter_map(one).collect()
    }
}

/// Waits for nobody long: not for a data server, nor for a layout, which these clients don't give back.
fn hasty(spec: &mut headrace::metadata::Spec) {
    watchful(spec);
    spec.limits.recall = Duration::from_millis(200);
}

#[tokio::test]
async fn every_operation_that_takes_space_says_when_there_is_none() -> Result<()> {
    let mut world = World::with(1, hasty).await?;
    let a = world.client("a").await?;
    let files = Files::written(&world, &a).await?;
    world.stop_data_server(0).await?;
    world.data_server_config(0).capacity_bytes = Some(1);
    world.start_data_server(0)?;
    let owed = owed(Nfsstat4::Nospc)?;
    let count = owed.len();
    let cases = files.cases(Nfsstat4::Nospc, owed);
    assert_eq!(cases.len(), count, "each is tried");
    refused_at_last(&a, cases, &[Nfsstat4::Delay]).await
}

#[tokio::test]
async fn a_file_that_no_data_server_has_room_for_gets_no_layout() -> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    world.stop_data_server(0).await?;
    world.data_server_config(0).capacity_bytes = Some(1);
    world.start_data_server(0)?;
    // Once it is known that the data server is full, new files have no objects.
    until("there is no room", async || {
        let file = a.open_create(&root, "f").await?;
        let layout = world.to_write(&a, &file).await.map(|_| ());
        a.close(&file).await?;
        a.remove(&root, "f").await?;
        Ok(layout.status() == Nfsstat4::Nospc)
    })
    .await
}

#[tokio::test]
async fn every_operation_on_data_that_is_lost_fails() -> Result<()> {
    // Fact 18: the data server is well, and doesn't know the handle any more.
    let mut world = World::with(1, hasty).await?;
    let a = world.client("a").await?;
    let files = Files::written(&world, &a).await?;
    world.stop_data_server(0).await?;
    world.lose_written_objects()?;
    world.start_data_server(0)?;
    let mut owed = owed(Nfsstat4::Io)?;
    // A truncate that can't be leaves nothing to wait for.
    owed.sort_by_key(|(opnum, _)| *opnum != Opnum::Setattr);
    let count = owed.len();
    let cases = files.cases(Nfsstat4::Io, owed);
    assert_eq!(cases.len(), count, "each is tried");
    refused_at_last(&a, cases, &[Nfsstat4::Delay]).await
}

#[tokio::test]
async fn a_file_whose_data_is_lost_is_not_emptied_by_an_open() -> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    Files::written(&world, &a).await?;
    world.stop_data_server(0).await?;
    world.lose_written_objects()?;
    world.start_data_server(0)?;
    let emptied = Attributes {
        size: Some(0),
        ..Attributes::default()
    };
    let how = Openflag4::Create(Createhow4::Unchecked(emptied.into()));
    let ops = [putfh(&a.root().await?), ArgOp::Open(a.open_args("to", how))];
    let open = case("OPEN", ops, Nfsstat4::Io);
    refused_at_last(&a, vec![open], &[Nfsstat4::Delay]).await
}

#[tokio::test]
async fn where_a_data_server_sets_no_space_aside_it_is_not_supported() -> Result<()> {
    // One that isn't ours, with NFSv3 alone. Linux never asks again after NOTSUPP.
    let stranger = Stranger::start(Fault::None, 1).await?;
    let world = World::with(0, |spec| {
        spec.data_servers = vec![stranger_at("stranger", stranger.addresses[0])];
        spec.stripe_count = 1;
    })
    .await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = at_last("room at the stranger", &[Nfsstat4::Delay], async || {
        let file = a.open_create(&root, "f").await?;
        a.write(&file.fh, file.stateid, 0, "data").await?;
        Ok(file)
    })
    .await?;
    let allocate = ArgOp::Allocate(Allocate4Args {
        stateid: file.stateid,
        offset: 0,
        length: 1,
    });
    let status = a.compound([putfh(&file.fh), allocate]).await?.status;
    assert_eq!(status, Nfsstat4::Notsupp);
    Ok(())
}

#[tokio::test]
async fn what_lies_on_two_data_servers_and_is_too_long_to_copy_is_not_cloned() -> Result<()> {
    let world = World::with(2, hasty).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let mut on = std::collections::BTreeMap::new();
    for number in 0.. {
        let file = a.open_create(&root, &format!("f{number}")).await?;
        a.write(&file.fh, file.stateid, 0, "data").await?;
        let (_, layout) = a
            .layoutget(&file.fh, file.stateid, Layoutiomode4::Read)
            .await?;
        on.insert(layout.mirrors[0].data_servers[0].deviceid, file);
        if on.len() == 2 {
            break;
        }
        assert!(number < 100, "all files are on one data server");
    }
    let mut on = on.into_values();
    let (from, to) = (on.next().context("one")?, on.next().context("another")?);
    // What is around the clone has to come along.
    a.truncate(&to.fh, to.stateid, 1 << 30).await?;
    let clone = ArgOp::Clone(Clone4Args {
        src_stateid: from.stateid,
        dst_stateid: to.stateid,
        src_offset: 0,
        dst_offset: 0,
        count: 4,
    });
    let ops = [putfh(&from.fh), ArgOp::Savefh, putfh(&to.fh), clone];
    assert_eq!(a.compound(ops).await?.status, Nfsstat4::Xdev);
    Ok(())
}

#[tokio::test]
async fn every_operation_waits_for_its_data_server_or_for_the_holder_of_a_delegation() -> Result<()>
{
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.limits.delegation_recall = Duration::from_mins(1);
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let files = Files::written(&world, &a).await?;
    let (with_data, others): (Vec<_>, Vec<_>) = owed(Nfsstat4::Delay)?
        .into_iter()
        .partition(|(_, op)| on_data(op.clone(), &files).is_some());
    // A holder that asks for time, of a file and of its folder.
    let folder = a.mkdir(&a.root().await?, "d").await?;
    let file = a.open_create(&folder, "f").await?;
    a.close(&file).await?;
    let want = OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG;
    a.want_delegation(&file.fh, want, DelegClaim4::Fh).await?;
    a.get_dir_delegation(&folder).await?;
    a.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::Delay));
    let waits = others.into_iter().map(async |(opnum, op)| {
        let (at, op) = against_a_delegation(&b, op, (&folder, &file.fh));
        let ops = [putfh(&folder), ArgOp::Savefh, putfh(&at), op];
        let reply = b.compound(ops).await?;
        anyhow::ensure!(
            reply.statuses().last() == Some(&(opnum, Nfsstat4::Delay)),
            "{opnum:?}: {:?}",
            reply.statuses()
        );
        Ok(())
    });
    join_all(waits).await.into_iter().collect::<Result<()>>()?;
    world.stop_data_server(0).await?;
    refused(&a, files.cases(Nfsstat4::Delay, with_data)).await
}

/// Where it is done, and how, to meet the delegations of a folder and of the file `f` in it.
fn against_a_delegation(client: &Client, mut op: ArgOp, at: (&Fh4, &Fh4)) -> (Fh4, ArgOp) {
    let (folder, file) = at;
    let sized = Attributes {
        size: Some(0),
        ..Attributes::default()
    };
    let at = match &mut op {
        ArgOp::Getattr(args) => {
            args.attr_request = sized.mask();
            file
        }
        ArgOp::Verify(args) => {
            args.obj_attributes = sized.into();
            file
        }
        ArgOp::Nverify(args) => {
            args.obj_attributes = sized.into();
            file
        }
        ArgOp::Create(args) => {
            args.objtype = Createtype4::Dir;
            args.createattrs = Attributes::default().into();
            folder
        }
        ArgOp::Link(_) => folder,
        ArgOp::Open(_) => {
            op = ArgOp::Open(client.open_args("f", Openflag4::NoCreate));
            folder
        }
        ArgOp::Remove(args) => {
            args.target = "f".into();
            folder
        }
        ArgOp::Rename(args) => {
            args.oldname = "f".into();
            folder
        }
        ArgOp::Setxattr(args) => {
            args.value = "x".into();
            file
        }
        ArgOp::Removexattr(_) => file,
        other => panic!("for whom would {other:?} wait?"),
    };
    (at.clone(), op)
}

/// As [`refused`], asked again as long as the answer is one of `again`.
async fn refused_at_last(client: &Client, cases: Vec<Case>, again: &[Nfsstat4]) -> Result<()> {
    for Case { what, ops, status } in cases {
        let said = at_last(&what, again, async || {
            let reply = client.compound(ops.clone()).await?;
            match reply.status {
                waits if again.contains(&waits) => reply.ok().map(|_| Nfsstat4::Ok),
                said => Ok(said),
            }
        })
        .await?;
        anyhow::ensure!(said == status, "{what}: {status:?}, not {said:?}");
    }
    Ok(())
}
