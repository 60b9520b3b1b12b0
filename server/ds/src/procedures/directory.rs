//! READDIR and READDIRPLUS (RFC 1813 §3.3.16, §3.3.17), for the metadata server alone: to scrub,
//! and to rebuild a namespace from its objects.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use wire::nfs3::*;

use super::attributes::folder_attributes;
use crate::engine::Engine;
use crate::handle::{ObjectId, Target, parse_byte};
use crate::service::Context;
use crate::store::{inner_path, outer_path};

/// Bytes of a result around its entries: status, attributes, verifier, end of list, eof.
const FRAME_BYTES: u32 = 4 + 88 + 8 + 8;
/// Bytes of an entry around its name: follows, fileid, name length, cookie.
const ENTRY_BYTES: u32 = 4 + 8 + 4 + 8;
/// Bytes of READDIRPLUS's attributes and handle.
const PLUS_BYTES: u32 = 88 + 8 + 64;
/// Most entries in one reply.
const ENTRIES_MAX: usize = 1024;

/// READDIR, §3.3.16.
pub async fn readdir<E: Engine>(args: &Readdir3args, cx: &Context<'_, E>) -> Readdir3res {
    let folder = listed(&args.dir, cx)?;
    let dir_attributes = folder_attributes(folder, cx).await?;
    let (names, eof) = page(folder, args.cookie, args.count, 0, cx).await?;
    Ok(Readdir3resok {
        dir_attributes,
        cookieverf: [0; 8],
        reply: Dirlist {
            entries: names
                .into_iter()
                .map(|listed| Entry3 {
                    fileid: listed.cookie,
                    name: listed.name,
                    cookie: listed.cookie,
                })
                .collect(),
            eof,
        },
    })
}

/// READDIRPLUS, §3.3.17.
pub async fn readdirplus<E: Engine>(
    args: &Readdirplus3args,
    cx: &Context<'_, E>,
) -> Readdirplus3res {
    let folder = listed(&args.dir, cx)?;
    let dir_attributes = folder_attributes(folder, cx).await?;
    let (names, eof) = page(folder, args.cookie, args.maxcount, PLUS_BYTES, cx).await?;
    let mut entries = Vec::with_capacity(names.len());
    for listed in names {
        let (target, attributes) = match listed.entry {
            Entry::Folder(target) => (Some(target), folder_attributes(target, cx).await?),
            Entry::Object(id) => match cx.named(id).await {
                Ok(Some(object)) => (
                    Some(crate::service::object_target(id, &object.record())),
                    cx.attributes(&object).ok(),
                ),
                // Removed since, or damaged: the name is listed, and looking it up tells more.
                Ok(None) | Err(_) => (None, None),
            },
        };
        entries.push(Entryplus3 {
            fileid: attributes.map_or(listed.cookie, |attributes| attributes.fileid),
            name: listed.name,
            cookie: listed.cookie,
            name_attributes: attributes,
            name_handle: target.map(|target| cx.handle(target)),
        });
    }
    Ok(Readdirplus3resok {
        dir_attributes,
        cookieverf: [0; 8],
        reply: Dirlist { entries, eof },
    })
}

fn listed<E: Engine>(handle: &Fh3, cx: &Context<'_, E>) -> Result<Target, Nfsstat3> {
    cx.order()?;
    match cx.target(handle)? {
        Target::Object { .. } | Target::Cached(_) => Err(Nfsstat3::Notdir),
        folder => Ok(folder),
    }
}

enum Entry {
    Folder(Target),
    Object(ObjectId),
}

struct Listed {
    entry: Entry,
    name: Filename3,
    /// A hash of the name, by which entries are ordered: it stays when others come and go.
    cookie: u64,
}

/// Entries behind `cookie`, as many as fit, and whether they are the last.
async fn page<E: Engine>(
    folder: Target,
    cookie: u64,
    limit_bytes: u32,
    extra_bytes: u32,
    cx: &Context<'_, E>,
) -> Result<(Vec<Listed>, bool), Nfsstat3> {
    let store = Arc::clone(&cx.service.folder);
    let mut all = cx
        .blocking(move || {
            let path = match folder {
                Target::Root => return Ok(vec![(Entry::Folder(Target::Data), "data".into())]),
                Target::Data => store.path().join("data"),
                Target::Outer(xx) => store.path().join(outer_path(xx)),
                Target::Inner(xx, yy) => store.path().join(inner_path(xx, yy)),
                Target::Object { .. } | Target::Cached(_) => {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            };
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(path)? {
                let name = entry?.file_name();
                entries.extend(entry_of(folder, name));
            }
            Ok(entries)
        })
        .await?
        .into_iter()
        .filter_map(|(entry, name)| {
            let target = match entry {
                Entry::Folder(target) => target,
                Entry::Object(id) => Target::Object { id, incarnation: 0 },
            };
            // Below 2⁶³ and above 0: some clients keep cookies in signed numbers.
            let cookie = cx.service.folder.key().fileid(target) >> 1 | 1;
            let name = Filename3::new(name.into_vec())?;
            Some(Listed {
                entry,
                name,
                cookie,
            })
        })
        .filter(|listed| listed.cookie > cookie)
        .collect::<Vec<_>>();
    all.sort_unstable_by_key(|listed| listed.cookie);
    let limit_bytes = limit_bytes.min(cx.service.transfer_bytes);
    let mut used_bytes = FRAME_BYTES;
    let fitting = all
        .iter()
        .take(ENTRIES_MAX)
        .take_while(|listed| {
            let name_bytes = listed.name.bytes().len().next_multiple_of(4) as u32;
            used_bytes += ENTRY_BYTES + extra_bytes + name_bytes;
            used_bytes <= limit_bytes
        })
        .count();
    if fitting == 0 && !all.is_empty() {
        return Err(Nfsstat3::Toosmall);
    }
    let eof = fitting == all.len();
    all.truncate(fitting);
    Ok((all, eof))
}

/// What belongs in the tree. Anything else in the folder isn't the data server's.
fn entry_of(folder: Target, name: OsString) -> Option<(Entry, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let entry = match folder {
        Target::Data => Entry::Folder(Target::Outer(parse_byte(name.as_bytes())?)),
        Target::Outer(xx) => Entry::Folder(Target::Inner(xx, parse_byte(name.as_bytes())?)),
        _ => Entry::Object(ObjectId::parse(name.as_bytes())?),
    };
    Some((entry, name))
}
