//! A data server that is away: what waits, what goes on, and what comes back. Facts 16 to 18.

use anyhow::Result;
use interop_tests::nfs41::{CallbackAnswer, StatusOf, putfh};
use wire::nfs4::*;

use crate::direct::Refused;
use crate::world::{World, at_last, until, watchful};

#[tokio::test]
async fn a_reported_data_server_that_is_dead_is_not_served_again_and_works_once_it_is_back()
-> Result<()> {
    // Facts 16 and 18: to serve the same handle again would be an endless storm.
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    world.stop_data_server(0).await?;
    let deviceid = held.layout.mirrors[0].data_servers[0].deviceid;
    let error = DeviceError4 {
        deviceid,
        status: Nfsstat4::Nxio,
        opnum: Opnum::Write as u32,
    };
    let report = Layouterror4Args {
        offset: 0,
        length: u64::MAX,
        stateid: held.stateid,
        errors: vec![error],
    };
    a.ok([putfh(&file.fh), ArgOp::Layouterror(report)]).await?;
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    until("no layout leads to the dead server", async || {
        let asked = world.to_write(&a, &file).await;
        if let Ok(again) = &asked {
            a.layoutreturn(&file.fh, again.stateid, Layoutiomode4::Any)
                .await?;
        }
        Ok(asked.map(|_| ()).status() == Nfsstat4::Delay)
    })
    .await?;
    world.start_data_server(0)?;
    let again = world.to_write_at_last(&a, &file).await?;
    again.write(6, " and after").await?;
    a.layoutcommit(&file.fh, again.stateid, Some(15)).await?;
    assert_eq!(
        &a.read(&file.fh, file.stateid, 0, 100).await?.data[..],
        b"before and after"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn layouts_of_a_data_server_that_died_are_recalled_unasked() -> Result<()> {
    // Fact 17: a client by itself takes a minute to give a silent one up.
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    world.stop_data_server(0).await?;
    let CbArgOp::Layoutrecall(recall) = a.callbacks.next().await? else {
        panic!("a recall")
    };
    assert_eq!(recall.layout_type, LAYOUT4_FLEX_FILES);
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    world.start_data_server(0)?;
    world.to_write_at_last(&a, &file).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn io_of_a_file_waits_for_its_data_server_and_names_go_on() -> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "before").await?;
    world.stop_data_server(0).await?;
    assert_eq!(
        a.read(&file.fh, file.stateid, 0, 10)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Delay
    );
    assert_eq!(
        a.write(&file.fh, file.stateid, 0, "x")
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Delay
    );
    a.mkdir(&root, "d").await?;
    a.rename((&root, "f"), (&root, "g")).await?;
    world.start_data_server(0)?;
    let read = at_last("the data server is back", &[Nfsstat4::Delay], async || {
        a.read(&file.fh, file.stateid, 0, 10).await
    });
    assert_eq!(&read.await?.data[..], b"before");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_data_server_that_was_away_at_the_start_is_taken_in_when_it_comes() -> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "before").await?;
    a.close(&file).await?;
    world.stop().await?;
    world.stop_data_server(0).await?;
    world.begin().await?;
    let a = world.client("a").await?;
    let again = [Nfsstat4::Grace];
    let same = at_last("an open", &again, async || a.open(&root, "f").await).await?;
    assert_eq!(
        a.read(&same.fh, same.stateid, 0, 10)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Delay
    );
    world.start_data_server(0)?;
    let again = [Nfsstat4::Delay];
    let read = at_last("the data server is there", &again, async || {
        a.read(&same.fh, same.stateid, 0, 10).await
    })
    .await?;
    assert_eq!(&read.data[..], b"before");
    world
        .to_write_at_last(&a, &same)
        .await?
        .write(0, "direct")
        .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn new_files_go_to_the_data_servers_that_are_there() -> Result<()> {
    let mut world = World::with(2, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    world.stop_data_server(1).await?;
    for number in 0..8 {
        let name = format!("f{number}");
        at_last(
            "a file on the other data server",
            &[Nfsstat4::Delay],
            async || {
                let file = a.open_create(&root, &name).await?;
                let written = a.write(&file.fh, file.stateid, 0, "x").await;
                if written.status() == Nfsstat4::Delay {
                    a.close(&file).await?;
                    a.remove(&root, &name).await?;
                }
                written
            },
        )
        .await?;
    }
    world.start_data_server(1)?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_lost_object_is_told_and_not_handed_out_again() -> Result<()> {
    // Fact 18: the data server is well, and doesn't know the handle any more.
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let (file, other) = (
        a.open_create(&root, "f").await?,
        a.open_create(&root, "other").await?,
    );
    let held = world.to_write(&a, &file).await?;
    held.write(0, "gone").await?;
    a.layoutcommit(&file.fh, held.stateid, Some(3)).await?;
    // It keeps objects open, as long as it runs.
    world.stop_data_server(0).await?;
    world.lose_written_objects()?;
    world.start_data_server(0)?;
    let refused = held.write(0, "x").await.refused();
    assert_eq!(refused, Some(wire::nfs3::Nfsstat3::Stale));
    let error = DeviceError4 {
        deviceid: held.layout.mirrors[0].data_servers[0].deviceid,
        status: Nfsstat4::Stale,
        opnum: Opnum::Write as u32,
    };
    let report = Layouterror4Args {
        offset: 0,
        length: u64::MAX,
        stateid: held.stateid,
        // Each is told, and one look is enough.
        errors: vec![error; 1000],
    };
    a.ok([putfh(&file.fh), ArgOp::Layouterror(report)]).await?;
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    until("no layout leads there", async || {
        let again = world.to_write(&a, &file).await.map(|_| ());
        assert_ne!(again.status(), Nfsstat4::Ok, "a storm");
        Ok(again.status() == Nfsstat4::Layoutunavailable)
    })
    .await?;
    let read = a.read(&file.fh, file.stateid, 0, 4).await.map(|_| ());
    assert_eq!(read.status(), Nfsstat4::Io);
    assert_eq!(a.size_of(&file.fh).await?, 4, "it can be looked at");
    world.to_write(&a, &other).await?.write(0, "fine").await?;
    let told = world.running().server.reports_of_servers();
    assert_eq!(told[0].1.errors[&Nfsstat4::Stale], 1000);
    a.remove(&root, "f").await?;
    a.close(&file).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn io_of_a_data_server_that_is_given_up_fails_and_works_again_when_it_is_back() -> Result<()>
{
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.away_error = Some(std::time::Duration::from_millis(300));
    })
    .await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.write(&file.fh, file.stateid, 0, "before").await?;
    world.stop_data_server(0).await?;
    let waits = [Nfsstat4::Delay];
    let read = at_last("the end of patience", &waits, async || {
        match a.read(&file.fh, file.stateid, 0, 10).await {
            Err(interop_tests::nfs41::Failure::Status { status, .. })
                if status != Nfsstat4::Delay =>
            {
                Ok(status)
            }
            other => other.map(|_| Nfsstat4::Ok),
        }
    });
    assert_eq!(read.await?, Nfsstat4::Io);
    let written = a.write(&file.fh, file.stateid, 0, "x").await.map(|_| ());
    assert_eq!(written.status(), Nfsstat4::Io);
    let cut = a.truncate(&file.fh, file.stateid, 2).await;
    assert_eq!(cut.status(), Nfsstat4::Io);
    let layout = world.to_write(&a, &file).await.map(|_| ());
    assert_eq!(layout.status(), Nfsstat4::Layoutunavailable);
    assert_eq!(a.size_of(&file.fh).await?, 6, "names and attributes go on");
    world.start_data_server(0)?;
    let again = [Nfsstat4::Delay, Nfsstat4::Io];
    let read = at_last("the data server is back", &again, async || {
        a.read(&file.fh, file.stateid, 0, 10).await
    });
    // Nor does what was refused come about behind the back of who heard so.
    assert_eq!(&read.await?.data[..], b"before");
    assert_eq!(a.size_of(&file.fh).await?, 6);
    a.truncate(&file.fh, file.stateid, 2).await?;
    a.write(&file.fh, file.stateid, 2, "after").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_whose_whole_layouts_are_on_a_dead_data_server_is_asked_once() -> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    for number in 0..80 {
        let file = a.open_create(&root, &format!("f{number}")).await?;
        world.to_read(&a, &file).await?;
    }
    a.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::NomatchingLayout));
    world.stop_data_server(0).await?;
    let CbArgOp::Layoutrecall(recall) = a.callbacks.next().await? else {
        panic!("a recall")
    };
    assert!(matches!(recall.recall, Layoutrecall4::All));
    until("nothing is held any more", async || {
        a.root().await?;
        Ok(world.running().server.held().layouts == 0)
    })
    .await?;
    assert!(a.callbacks.is_quiet().await);
    world.start_data_server(0)?;
    world.ends_without_leak().await
}

/// GETDEVICEINFO of who wants to be told of a change.
pub fn watched(device_id: Deviceid4) -> ArgOp {
    ArgOp::Getdeviceinfo(Getdeviceinfo4Args {
        device_id,
        layout_type: LAYOUT4_FLEX_FILES,
        maxcount: 65_536,
        notify_types: Bitmap4::of(&[1, 2]),
    })
}

#[tokio::test]
async fn clients_hear_of_a_device_that_changed_once_no_layout_names_it() -> Result<()> {
    // Fact 4 and RFC 8881 §20.12.
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let old = held.layout.mirrors[0].data_servers[0].deviceid;
    a.ok([watched(old)]).await?;
    world.change_device().await?;
    let CbArgOp::Layoutrecall(_) = a.callbacks.next().await? else {
        panic!("first the layout")
    };
    assert!(a.callbacks.is_quiet().await, "not while one names it");
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    let CbArgOp::NotifyDeviceid(notice) = a.callbacks.next().await? else {
        panic!("then the notice")
    };
    assert_eq!(notice.changes[0].mask, Bitmap4::of(&[2]));
    assert_eq!(notice.changes[0].vals[4..], old.0);
    let new = world.to_write_at_last(&a, &file).await?;
    assert_ne!(new.layout.mirrors[0].data_servers[0].deviceid, old);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_data_server_that_comes_back_with_other_sizes_is_another_device() -> Result<()> {
    // Fact 4: a wsize that is too large wedges hard mounts.
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    let old = held.layout.mirrors[0].data_servers[0].deviceid;
    world.stop_data_server(0).await?;
    let CbArgOp::Layoutrecall(_) = a.callbacks.next().await? else {
        panic!("a recall: it was found down")
    };
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    world.data_server_config(0).transfer_bytes = 64 << 10;
    world.start_data_server(0)?;
    until("another device", async || {
        let again = [Nfsstat4::Delay, Nfsstat4::Recallconflict];
        let (granted, layout) = at_last("a layout", &again, async || {
            a.layoutget(&file.fh, file.stateid, Layoutiomode4::Rw).await
        })
        .await?;
        // One of the old device, which may be gone already when it is asked for.
        let is_old = layout.mirrors[0].data_servers[0].deviceid == old;
        if is_old {
            a.layoutreturn(&file.fh, granted.stateid, Layoutiomode4::Any)
                .await?;
        }
        Ok(!is_old)
    })
    .await?;
    let again = world.to_write_at_last(&a, &file).await?;
    let now = again.layout.mirrors[0].data_servers[0].deviceid;
    let device = a.getdeviceinfo(now).await?;
    assert_eq!(device.versions[0].wsize, 64 << 10);
    again.write(6, " and after").await?;
    world.ends_without_leak().await
}
