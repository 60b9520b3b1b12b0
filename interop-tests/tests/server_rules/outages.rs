//! A data server that is away: what waits, what goes on, and what comes back. Facts 16 to 18.

use anyhow::Result;
use interop_tests::nfs41::{StatusOf, putfh};
use wire::nfs4::*;

use crate::world::{World, at_last, until};

#[tokio::test]
async fn a_reported_data_server_that_is_dead_is_not_served_again_and_works_once_it_is_back()
-> Result<()> {
    // Facts 16 and 18: to serve the same handle again would be an endless storm.
    let mut world = World::with(1, |_| {}).await?;
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
    let mut world = World::with(1, |_| {}).await?;
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
    let mut world = World::with(1, |_| {}).await?;
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
    let mut world = World::with(1, |_| {}).await?;
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
    let mut world = World::start().await?;
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
