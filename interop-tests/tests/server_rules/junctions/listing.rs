//! READDIR of a folder that a backend keeps: each name once, what is told of names alone, and a keeper that is slow.

use anyhow::{Context, Result};
use backend::Faults;
use backend::tree::{Caller, FaultyTree, Make, MemoryTree, NodeChanges, Tree};
use bytes::Bytes;
use headrace::metadata::{BackendSpec, GivenTree, Keeper};
use interop_tests::nfs41::{Failure, putfh};
use mds::Access;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::nfs4::*;

use super::{backend, junction, open_to_all, world};
use crate::world::World;

#[tokio::test]
async fn a_listing_of_many_entries_in_a_junction_shows_each_once() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    let root = tree.root().await?.handle;
    let mut expected = BTreeSet::new();
    for number in 0..1000 {
        let entry = Bytes::from(format!("entry-{number}"));
        tree.make(
            &Caller::root(),
            &root,
            &entry,
            Make::Folder,
            &NodeChanges::default(),
        )
        .await?;
        expected.insert(entry);
    }
    let entries = client.readdir(&shelf, &[Attr::Fileid]).await?;
    assert_eq!(entries.len(), 1000);
    // With what a name alone doesn't tell, it is the same listing.
    let asked = [Attr::Fileid, Attr::Type, Attr::Mode];
    let whole = client.readdir(&shelf, &asked).await?;
    assert!(whole.iter().all(|entry| entry.attrs.mode.is_some()));
    let places = |entries: &[Entry4]| -> Vec<_> {
        let place = |entry: &Entry4| (entry.cookie, entry.name.clone(), entry.attrs.fileid);
        entries.iter().map(place).collect()
    };
    assert!(whole.iter().all(|entry| entry.attrs.fileid.is_some()));
    assert_eq!(places(&entries), places(&whole));
    let names: BTreeSet<Bytes> = entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, expected);
    Ok(())
}

#[tokio::test]
async fn a_type_that_its_keeper_would_have_to_look_for_is_left_out_of_a_listing_of_names()
-> Result<()> {
    // As Linux 7.2 asks for names.
    const ASKED: [Attr; 3] = [Attr::RdattrError, Attr::MountedOnFileid, Attr::Type];
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    client.mkdir(&shelf, "folder").await?;
    let file = client.open_create(&shelf, "file").await?;
    client.close(&file).await?;
    let entries = client.readdir(&shelf, &ASKED).await?;
    let types: BTreeMap<_, _> = (entries.iter())
        .map(|entry| (&entry.name[..], entry.attrs.file_type))
        .collect();
    let expected = [(&b"file"[..], None), (b"folder", Some(Ftype4::Dir))];
    assert_eq!(types, BTreeMap::from(expected));
    let found = client.getattr(&file.fh, &[Attr::MountedOnFileid]).await?;
    let listed = entries.iter().find(|entry| entry.name == "file");
    let listed = listed.context("it is listed")?;
    assert_eq!(listed.attrs.mounted_on_fileid, found.mounted_on_fileid);
    Ok(())
}

#[tokio::test]
async fn a_keeper_that_often_has_no_time_is_listed_bit_by_bit() -> Result<()> {
    const ENTRIES: usize = 20_000;
    const TRIES: usize = 2000;
    let tree = MemoryTree::new("shelf");
    open_to_all(&tree).await?;
    let root = tree.root().await?.handle;
    for number in 0..ENTRIES {
        let entry = Bytes::from(number.to_string());
        let (root, changes) = (&root, NodeChanges::default());
        tree.make(&Caller::root(), root, &entry, Make::Folder, &changes)
            .await?;
    }
    let front = Arc::new(FaultyTree::new(
        Arc::new(tree.clone()),
        1,
        Faults::default(),
        |_| {},
    ));
    let given = Arc::clone(&front);
    let world = World::with(1, |spec| {
        spec.backends = vec![BackendSpec {
            keeper: Keeper::Given(GivenTree(given)),
            ..backend(&tree)
        }];
        spec.junctions = vec![junction("/d/shelf", Access::ReadWrite)];
    })
    .await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    front.set_faults(Faults {
        refused: 500,
        ..Faults::default()
    });
    let mut names = BTreeSet::new();
    let (mut cookie, mut cookieverf) = (0, Verifier4::default());
    for _ in 0..TRIES {
        let args = Readdir4Args {
            cookie,
            cookieverf,
            dircount: 1 << 20,
            maxcount: 1 << 20,
            attr_request: [Attr::Fileid].into_iter().collect(),
        };
        let listed = match client.ok([putfh(&shelf), ArgOp::Readdir(args)]).await {
            Err(Failure::Status {
                status: Nfsstat4::Delay,
                ..
            }) => continue,
            answer => answer?.readdir()?,
        };
        cookieverf = listed.cookieverf;
        for entry in listed.entries {
            cookie = entry.cookie;
            assert!(names.insert(entry.name));
        }
        if listed.eof {
            break;
        }
    }
    assert_eq!(names.len(), ENTRIES);
    Ok(())
}
