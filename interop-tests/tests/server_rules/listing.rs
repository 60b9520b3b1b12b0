//! READDIR, RFC 8881 §18.23.

use std::collections::BTreeSet;

use anyhow::Result;
use interop_tests::nfs41::{Client, Failure, StatusOf, putfh};
use wire::nfs4::*;

use crate::world::World;

fn asked(cookie: u64, maxcount: u32) -> Readdir4Args {
    Readdir4Args {
        cookie,
        cookieverf: Verifier4::default(),
        dircount: 0,
        maxcount,
        attr_request: [Attr::Fileid].into_iter().collect(),
    }
}

async fn page(client: &Client, directory: &Fh4, args: Readdir4Args) -> Result<Readdir4Ok, Failure> {
    client
        .ok([putfh(directory), ArgOp::Readdir(args)])
        .await?
        .readdir()
}

fn names(entries: &[Entry4]) -> BTreeSet<String> {
    entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
        .collect()
}

#[tokio::test]
async fn a_folder_under_change_shows_each_entry_that_stays_once() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    for number in 0..60 {
        a.mkdir(&root, &format!("stays{number}")).await?;
        a.mkdir(&root, &format!("goes{number}")).await?;
    }
    let mut seen: Vec<Entry4> = Vec::new();
    let mut pages = 0;
    loop {
        let cookie = seen.last().map_or(0, |entry| entry.cookie);
        let listing = page(&a, &root, asked(cookie, 512)).await?;
        assert!(
            listing.entries.iter().all(|entry| entry.cookie >= 3),
            "0 to 2 have a meaning of their own"
        );
        seen.extend(listing.entries);
        if listing.eof {
            break;
        }
        a.remove(&root, &format!("goes{pages}")).await?;
        a.mkdir(&root, &format!("new{pages}")).await?;
        pages += 1;
    }
    assert!(pages > 5, "in many pages");
    let staying: Vec<&Entry4> = seen
        .iter()
        .filter(|entry| entry.name.starts_with(b"stays"))
        .collect();
    assert_eq!(staying.len(), 60);
    assert_eq!(
        names(&seen)
            .iter()
            .filter(|name| name.starts_with("stays"))
            .count(),
        60
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_cookie_outlives_its_entry_and_a_restart() -> Result<()> {
    let mut world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    for number in 0..20 {
        a.mkdir(&root, &format!("d{number}")).await?;
    }
    let all = a.readdir(&root, &[]).await?;
    let middle = &all[9];
    a.remove(&root, std::str::from_utf8(&middle.name)?).await?;
    world.restart().await?;
    let a = world.client("again").await?;
    let rest = page(&a, &root, asked(middle.cookie, 32_768)).await?;
    assert_eq!(names(&rest.entries), names(&all[10..]));
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_cannot_be_listed_says_why() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let refused = async |at: &Fh4, args| anyhow::Ok(page(&a, at, args).await.map(|_| ()).status());
    assert_eq!(refused(&file.fh, asked(0, 4096)).await?, Nfsstat4::Notdir);
    assert_eq!(refused(&root, asked(0, 8)).await?, Nfsstat4::Toosmall);
    assert_eq!(refused(&root, asked(0, 20)).await?, Nfsstat4::Toosmall);
    for cookie in [1, 2, u64::MAX] {
        assert_eq!(
            refused(&root, asked(cookie, 4096)).await?,
            Nfsstat4::BadCookie,
            "{cookie}"
        );
    }
    let verifier = Readdir4Args {
        cookieverf: Verifier4([9; 8]),
        ..asked(5, 4096)
    };
    assert_eq!(refused(&root, verifier).await?, Nfsstat4::NotSame);
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_empty_folder_is_at_its_end() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let directory = a.mkdir(&a.root().await?, "d").await?;
    let listing = page(&a, &directory, asked(0, 4096)).await?;
    assert!(listing.eof && listing.entries.is_empty());
    world.ends_without_leak().await
}

#[tokio::test]
async fn entries_show_the_same_attributes_as_getattr() -> Result<()> {
    // Fact 26: the fsid above all, or Linux takes the entry for a mount point.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "12345").await?;
    let wanted = [
        Attr::Type,
        Attr::Change,
        Attr::Size,
        Attr::Fsid,
        Attr::Filehandle,
        Attr::Fileid,
        Attr::Mode,
        Attr::Numlinks,
    ];
    for entry in a.readdir(&root, &wanted).await? {
        let fh = if &entry.name[..] == b"d" {
            &directory
        } else {
            &file.fh
        };
        assert_eq!(*entry.attrs, a.getattr(fh, &wanted).await?);
    }
    world.ends_without_leak().await
}
