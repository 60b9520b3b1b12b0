//! What the catalog's disk is waited for, and that nothing is lost where it isn't: invariant 6.

use std::path::Path;

use anyhow::Result;
use interop_tests::nfs41::{Client, Failure, OpenFile, putfh};
use wire::nfs4::*;

use crate::layouts::layoutget;
use crate::restart::{grace_passes, start};
use crate::world::{World, until};

/// More than the pool of objects needs syncs for meanwhile.
const MANY: u64 = 40;

/// As Linux makes a file to write it: OPEN and LAYOUTGET in one COMPOUND.
async fn made_to_write(
    client: &Client,
    folder: &Fh4,
    entry: &str,
    share: u32,
) -> Result<(OpenFile, bool), Failure> {
    let attributes = Attributes {
        mode: Some(0o644),
        ..Attributes::default()
    };
    let how = Createhow4::Unchecked(attributes.into());
    let mut open = client.open_args(entry, Openflag4::Create(how));
    open.share_access = share | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    let layoutget = layoutget(Stateid4::CURRENT, Layoutiomode4::Rw);
    let operations = [
        putfh(folder),
        ArgOp::Open(open),
        ArgOp::Getfh,
        ArgOp::Layoutget(layoutget),
    ];
    let mut reply = client.compound(operations).await?;
    let opened = reply.open()?;
    let file = OpenFile {
        fh: reply.getfh()?.object,
        stateid: opened.stateid,
        opened,
    };
    Ok((file, reply.layoutget().is_ok()))
}

/// The files of a folder and of those in it, as the disk has them if nothing later reaches it.
fn copied(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let there = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &there)?;
        } else {
            std::fs::copy(entry.path(), there)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_layoutcommit_waits_for_no_sync_and_a_power_cut_loses_nothing_of_it() -> Result<()> {
    let mut world = start().await?;
    let a = world.new_kernel("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![1; 5000]).await?;
    a.layoutcommit(&file.fh, held.stateid, Some(4999)).await?;
    let (catalog, asked) = (world.catalog_folder(), [Attr::Size, Attr::Change]);
    let mut blocks = 0;
    let (disk, told) = loop {
        anyhow::ensure!(blocks < 20 * MANY, "something is synced all the time");
        let (before, disk) = (world.catalog().stats(), tempfile::tempdir()?);
        copied(&catalog, disk.path())?;
        for _ in 0..MANY {
            blocks += 1;
            held.write(blocks * 5000, vec![2; 5000]).await?;
            a.layoutcommit(&file.fh, held.stateid, Some(blocks * 5000 + 4999))
                .await?;
        }
        // Of the same size: the objects' times alone tell of it.
        held.write(0, vec![3; 100]).await?;
        a.layoutcommit(&file.fh, held.stateid, Some(99)).await?;
        let told = a.getattr(&file.fh, &asked).await?;
        let after = world.catalog().stats();
        assert!(
            after.commits - before.commits >= MANY,
            "{before:?} {after:?}"
        );
        assert!(
            after.syncs - before.syncs < MANY / 2,
            "{before:?} {after:?}"
        );
        // Objects for other files are noted with syncs: then the copy isn't what a power cut leaves.
        if after.syncs == before.syncs {
            break (disk, told);
        }
    };
    world.crash().await?;
    std::fs::remove_dir_all(&catalog)?;
    copied(disk.path(), &catalog)?;
    world.begin().await?;
    let b = world.client("b").await?;
    let found = b.getattr(&file.fh, &asked).await?;
    let size = Some((blocks + 1) * 5000);
    assert_eq!((told.size, found.size), (size, size));
    assert!(found.change > told.change, "{told:?} {found:?}");
    grace_passes(&world, &b, &root).await?;
    let same = b.open(&root, "f").await?;
    let read = b.read(&same.fh, same.stateid, 0, 10_000).await?.data;
    assert!(read[..100].iter().all(|byte| *byte == 3));
    assert!(read[100..5000].iter().all(|byte| *byte == 1));
    assert!(read[5000..].iter().all(|byte| *byte == 2));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_that_is_made_to_be_written_is_one_transaction() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let root = a.root().await?;
    let before = world.catalog().stats();
    for number in 0..MANY {
        let both = OPEN4_SHARE_ACCESS_BOTH;
        let (file, granted) = made_to_write(&a, &root, &format!("f{number}"), both).await?;
        assert!(granted);
        let held = world.to_write(&a, &file).await?;
        held.write(0, "bytes").await?;
    }
    let commits = world.catalog().stats().commits - before.commits;
    // Those for the pool of objects are counted in: with two for each file these would be twice as many alone.
    assert!(commits < MANY * 2, "{commits}");
    assert_eq!(world.catalog().intents().await?.len() as u64, MANY);
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_intent_whose_layout_is_refused_goes_again() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let root = a.root().await?;
    let (file, granted) = made_to_write(&a, &root, "f", OPEN4_SHARE_ACCESS_READ).await?;
    assert!(!granted, "it isn't open to write");
    a.close(&file).await?;
    until("nobody is thought to write it", async || {
        Ok(world.catalog().intents().await?.is_empty())
    })
    .await?;
    world.ends_without_leak().await
}
