//! READDIR in a junction, RFC 8881 §18.23: the folder's own order, cookies and verifier are its keeper's.

use super::Place;
use crate::attributes::file_type;
use crate::compound::{Compound, File};
use crate::identity::Want;
use crate::junction::{file_kind, inode_of};
use crate::ops::readdir::Page;
use crate::status::Refusal;
use backend::tree::{FIRST_COOKIE, Node, TreeEntry, TreeErrorKind};
use std::sync::Arc;
use wire::nfs4::{
    Attr, Attributes, Bitmap4, Entry4, Nfsstat4, Readdir4Args, Readdir4Ok, Verifier4,
};

/// Entries that are asked for at once.
const BATCH: usize = 256;
/// The same of names alone: what a bucket gives in one answer.
const NAMES_BATCH: usize = 1000;
/// What is known of an entry that nobody looked at, the type where the keeper happens to know it. Linux asks for no more
/// where it lists without attributes; later kernels for the type as well, and what comes without is DT_UNKNOWN there.
const OF_NAMES: &[Attr] = &[
    Attr::RdattrError,
    Attr::Fileid,
    Attr::MountedOnFileid,
    Attr::Type,
];

pub(super) async fn readdir(
    args: Readdir4Args,
    cx: &mut Compound<'_>,
) -> Result<Readdir4Ok, Refusal> {
    let folder = cx.file()?.clone();
    let place = Place::of(&folder, cx).await?;
    place.folder(&folder, Want::READ).await?;
    if args.cookie != 0 && args.cookie < FIRST_COOKIE {
        return Err(Nfsstat4::BadCookie.into());
    }
    let asked = cx.readable(&folder, args.attr_request)?;
    let mut page = Page::new(&args, cx.room)?;
    let of_names = OF_NAMES.iter().copied().collect();
    let names = asked.difference(of_names).is_empty();
    let (mut after, mut verifier) = (args.cookie, args.cookieverf.0);
    'full: loop {
        let (tree, caller, handle) = (place.tree(), &place.caller, &place.handle);
        let listed = if names {
            tree.list_names(caller, handle, after, verifier, NAMES_BATCH)
                .await
        } else {
            tree.list(caller, handle, after, verifier, BATCH).await
        };
        let listed = match place.heard(listed) {
            // Whoever goes on behind what there is hears of it: a slow keeper isn't asked for the same again and again.
            Err(_) if !page.entries.is_empty() => break,
            listed => listed?,
        };
        verifier = listed.verifier;
        for entry in listed.entries {
            after = entry.cookie;
            let entry = match entry.fileid {
                Some(fileid) if names => Some(named(entry, fileid, asked)),
                _ => shown(&place, entry, asked, cx).await?,
            };
            let Some(entry) = entry else {
                continue;
            };
            if !page.push(entry) {
                break 'full;
            }
        }
        if listed.at_end {
            page.eof = true;
            break;
        }
    }
    if page.entries.is_empty() && !page.eof {
        return Err(Nfsstat4::Toosmall.into());
    }
    Ok(Readdir4Ok {
        cookieverf: Verifier4(verifier),
        entries: page.entries,
        eof: page.eof,
    })
}

fn named(entry: TreeEntry, fileid: u64, asked: Bitmap4) -> Entry4 {
    let told = Attributes {
        file_type: (entry.kind.map(file_kind).map(file_type))
            .filter(|_| asked.contains(Attr::Type)),
        rdattr_error: asked.contains(Attr::RdattrError).then_some(Nfsstat4::Ok),
        fileid: asked.contains(Attr::Fileid).then_some(fileid),
        mounted_on_fileid: asked.contains(Attr::MountedOnFileid).then_some(fileid),
        ..Attributes::default()
    };
    Entry4 {
        cookie: entry.cookie,
        name: entry.name,
        attrs: Box::new(told),
    }
}

/// `None`: it went while the listing was under way.
async fn shown(
    place: &Place,
    entry: TreeEntry,
    asked: Bitmap4,
    cx: &Compound<'_>,
) -> Result<Option<Entry4>, Refusal> {
    let attrs = match attributes(place, &entry, asked, cx).await {
        Ok(Some(attrs)) => attrs,
        Ok(None) => return Ok(None),
        // A client that can be told of one file's refusal gets the other files (§18.23.3).
        Err(refusal) if asked.contains(Attr::RdattrError) => Box::new(Attributes {
            rdattr_error: Some(refusal.status),
            ..Attributes::default()
        }),
        Err(refusal) => return Err(refusal),
    };
    Ok(Some(Entry4 {
        cookie: entry.cookie,
        name: entry.name,
        attrs,
    }))
}

async fn attributes(
    place: &Place,
    entry: &TreeEntry,
    asked: Bitmap4,
    cx: &Compound<'_>,
) -> Result<Option<Box<Attributes>>, Refusal> {
    let looked_up;
    let node: &Node = if let Some(node) = &entry.node {
        node
    } else {
        let found = place
            .tree()
            .lookup(&place.caller, &place.handle, &entry.name)
            .await;
        looked_up = match found {
            Err(error) if error.kind == TreeErrorKind::NoEntry => return Ok(None),
            found => place.heard(found)?,
        };
        &looked_up
    };
    let file: File = place.file(node).await?;
    let inode = Arc::new(inode_of(file.id, &node.stat));
    cx.attributes(&file, &inode, asked).await.map(Some)
}
