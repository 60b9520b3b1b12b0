//! READDIR and READDIRPLUS: everything once, within the limits of bytes that a client sets.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use nfs_client::Client;
use wire::Xdr;
use wire::nfs3::*;
use wire::xdr::to_bytes;

use super::{Refused, create, mkdir, mount_of, name, world};

/// Entries of all pages of `bytes` each, with their cookies; each page keeps within the limit.
async fn listed(client: &Client, folder: &Fh3, bytes: u32) -> Result<BTreeMap<Bytes, Entryplus3>> {
    let mut all = BTreeMap::new();
    let (mut cookie, mut verifier) = (0, [0; 8]);
    loop {
        let page = client
            .readdirplus(folder, cookie, verifier, bytes, bytes)
            .await?;
        assert!(to_bytes(&page).len() + 4 <= bytes as usize);
        let last = page.reply.entries.last().map(|entry| entry.cookie);
        for entry in page.reply.entries {
            let before = all.insert(entry.name.bytes().clone(), entry);
            assert!(before.is_none(), "twice: {before:?}");
        }
        if page.reply.eof {
            return Ok(all);
        }
        (cookie, verifier) = (last.context("a page has an entry")?, page.cookieverf);
    }
}

#[tokio::test]
async fn a_folder_is_listed_once_in_pages_of_any_size() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    for number in 0..60 {
        create(&client, &folder, &format!("file {number:03}")).await?;
    }
    mkdir(&client, &folder, "inner", 0o755).await?;
    let all = listed(&client, &folder, 65_536).await?;
    assert_eq!(all.len(), 63, "with the two dots");
    for entry in all.values() {
        let dots = entry.name.bytes().starts_with(b".");
        let told = entry.name_attributes.filter(|_| !dots);
        if let Some(told) = told {
            let found = client.lookup(&folder, &entry.name).await?;
            assert_eq!(Some(&found.object), entry.name_handle.as_ref());
            assert_eq!(found.obj_attributes, Some(told));
            assert_eq!(entry.fileid, told.fileid);
        } else {
            assert!(dots, "attributes are told of all others");
        }
    }
    let of = |entry: &'static [u8]| all.get(entry).map(|entry| entry.fileid);
    let fileid = async |handle| anyhow::Ok(client.getattr(handle).await?.fileid);
    assert_eq!(of(b"."), Some(fileid(&folder).await?));
    assert_eq!(of(b".."), Some(fileid(&root).await?));
    for bytes in [380, 500, 1000, 4096] {
        let again = listed(&client, &folder, bytes).await?;
        assert_eq!(again, all, "in pages of {bytes} bytes");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_plain_listing_keeps_within_its_bytes_and_says_when_they_are_too_few() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    for number in 0..20 {
        create(&client, &folder, &format!("{number:02}{}", "x".repeat(100))).await?;
    }
    let mut names = Vec::new();
    let (mut cookie, mut verifier) = (0, [0; 8]);
    loop {
        let page = client.readdir(&folder, cookie, verifier, 512).await?;
        let mut bytes = wire::xdr::Encoder::new();
        Readdir3res::Ok(page.clone()).encode(&mut bytes);
        assert!(bytes.len() <= 512, "{} bytes", bytes.len());
        names.extend(page.reply.entries.iter().map(|entry| entry.name.clone()));
        cookie = page.reply.entries.last().map_or(0, |entry| entry.cookie);
        verifier = page.cookieverf;
        if page.reply.eof {
            break;
        }
    }
    assert_eq!(names.len(), 22);
    for bytes in [0, 100, 150] {
        let refused = client.readdir(&folder, cookie.min(2), [0; 8], bytes).await;
        assert_eq!(refused.refused(), Some(Nfsstat3::Toosmall), "{bytes}");
        let refused = client.readdirplus(&folder, 2, [0; 8], bytes, bytes).await;
        assert_eq!(refused.refused(), Some(Nfsstat3::Toosmall), "{bytes}");
    }
    // A hint can't make a listing impossible.
    let page = client.readdirplus(&folder, 2, [0; 8], 1, 4096).await?;
    assert_eq!(page.reply.entries.len(), 1);
    // At the end there is nothing, and that is said.
    let end = client.readdir(&folder, cookie, verifier, 512).await?;
    assert!(end.reply.entries.is_empty() && end.reply.eof);
    let other = client.readdir(&folder, cookie, *b"another!", 512).await;
    assert_eq!(other.refused(), Some(Nfsstat3::BadCookie));
    let nowhere = client.readdir(&folder, u64::MAX, verifier, 512).await;
    assert_eq!(nowhere.refused(), Some(Nfsstat3::BadCookie));
    world.ends_without_leak().await
}

#[tokio::test]
async fn entries_that_come_and_go_between_pages_leave_the_others_where_they_are() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    for number in 0..40 {
        create(&client, &folder, &format!("stays{number}")).await?;
        create(&client, &folder, &format!("goes{number}")).await?;
    }
    let first = client.readdir(&folder, 0, [0; 8], 800).await?;
    for number in 0..40 {
        client
            .remove(&folder, &name(&format!("goes{number}")))
            .await?;
        create(&client, &folder, &format!("comes{number}")).await?;
    }
    let mut names: Vec<_> = first.reply.entries.clone();
    let mut verifier = first.cookieverf;
    loop {
        let cookie = names.last().map_or(0, |entry| entry.cookie);
        let page = client.readdir(&folder, cookie, verifier, 800).await?;
        verifier = page.cookieverf;
        names.extend(page.reply.entries);
        if page.reply.eof {
            break;
        }
    }
    let stays = names
        .iter()
        .filter(|entry| entry.name.bytes().starts_with(b"stays"));
    assert_eq!(stays.count(), 40);
    world.ends_without_leak().await
}
