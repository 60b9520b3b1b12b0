//! READDIR, RFC 8881 §18.23.
//!
//! State, gate: those of files that are being written, whose size is asked for as by GETATTR. Catalog: a
//! bounded scan of entries and their inodes. Cookies are places in the
//! folder's own order, which no create or remove moves: a folder under change shows every entry that
//! stays, once. The verifier is constant, since cookies never get stale.

use crate::compound::{Compound, File, in_directory};
use crate::identity::Want;
use crate::status::Refusal;
use crate::writing::Suspicion;
use catalog::{Entry, Inode};
use futures_util::stream::{self, StreamExt};
use std::sync::Arc;
use wire::nfs4::{
    Attr, Attributes, Bitmap4, Entry4, Nfsstat4, Readdir4Args, Readdir4Ok, Verifier4,
};
use wire::xdr::Encoder;

/// Entries read from the catalog at once, at most.
const BATCH: usize = 256;
/// Of an entry on the wire, before there is one that tells.
const ENTRY_BYTES: usize = 160;
/// Files that are being written, of which the data servers are asked at the same time.
const ASKED_AT_ONCE: usize = 16;
/// Cookies 1 and 2 are "." and "..", which NFSv4 doesn't list.
const FIRST_COOKIE: u64 = 3;
const VERIFIER: Verifier4 = Verifier4([0; 8]);

pub(crate) async fn readdir(
    args: Readdir4Args,
    cx: &mut Compound<'_>,
) -> Result<Readdir4Ok, Refusal> {
    let directory = cx.file()?.clone();
    if !directory.export.is_pseudo() {
        cx.server.scanned(directory.id).await?;
    }
    let inode = cx.inode().await?;
    if !directory.export.is_pseudo() {
        in_directory(&cx.credential(&directory), &inode, Want::READ)?;
    } else if inode.kind != catalog::FileKind::Directory {
        return Err(Nfsstat4::Notdir.into());
    }
    if args.cookie != 0 && (args.cookie < FIRST_COOKIE || args.cookie >= 1 << 63) {
        return Err(Nfsstat4::BadCookie.into());
    }
    if args.cookie != 0 && args.cookieverf != VERIFIER {
        return Err(Nfsstat4::NotSame.into());
    }
    // A file system without a named attribute must not be asked to set one.
    let asked = cx.readable(&directory, args.attr_request)?;
    let mut page = Page::new(&args, cx.room)?;
    if directory.export.is_pseudo() {
        page.pseudo(cx, &directory, args.cookie, asked).await?;
    } else {
        page.fill(cx, &directory, args.cookie, asked).await?;
    }
    if page.entries.is_empty() && !page.eof {
        return Err(Nfsstat4::Toosmall.into());
    }
    Ok(Readdir4Ok {
        cookieverf: VERIFIER,
        entries: page.entries,
        eof: page.eof,
    })
}

/// The reply as it grows up to the client's limits.
pub(super) struct Page {
    pub entries: Vec<Entry4>,
    pub eof: bool,
    /// Bytes for entries, and those left of them: `maxcount` counts the whole READDIR4resok.
    whole: usize,
    left: usize,
    /// Bytes left of `dircount`; a hint, 0 is none.
    names_left: Option<usize>,
    scratch: Encoder,
}

impl Page {
    pub fn new(args: &Readdir4Args, room: usize) -> Result<Self, Refusal> {
        // Number and status of the operation come before the READDIR4resok.
        let most = (args.maxcount as usize).min(room.saturating_sub(8));
        let left = most
            .checked_sub(Readdir4Ok::EMPTY_LEN)
            .ok_or(Nfsstat4::Toosmall)?;
        let names_left = (args.dircount != 0).then_some(args.dircount as usize);
        Ok(Self {
            entries: Vec::new(),
            eof: false,
            whole: left,
            left,
            names_left,
            scratch: Encoder::new(),
        })
    }

    /// About so many more have room, and at least one: what is read beyond is read in vain.
    fn more(&self) -> usize {
        let each = (self.whole - self.left)
            .checked_div(self.entries.len())
            .unwrap_or(ENTRY_BYTES);
        (self.left / each.max(1) + 1).min(BATCH)
    }

    /// Whether there was room for it.
    pub fn push(&mut self, entry: Entry4) -> bool {
        self.scratch.truncate(0);
        entry.encode(&mut self.scratch);
        let Some(left) = self.left.checked_sub(self.scratch.len()) else {
            return false;
        };
        if let Some(names_left) = &mut self.names_left {
            let names = entry.dircount_len();
            // At least one entry: a hint can't make a listing impossible.
            if names > *names_left && !self.entries.is_empty() {
                return false;
            }
            *names_left = names_left.saturating_sub(names);
        }
        self.left = left;
        self.entries.push(entry);
        true
    }

    async fn fill(
        &mut self,
        cx: &Compound<'_>,
        directory: &File,
        cookie: u64,
        asked: Bitmap4,
    ) -> Result<(), Refusal> {
        let reader = cx.server.catalog.read();
        let mut after = cookie;
        loop {
            let (batch, more) = reader
                .readdir_plus(directory.id, after, self.more())
                .await?;
            let written = |inode: &Inode| {
                asked.contains(Attr::Size)
                    && cx.server.writing.suspicion(inode.id) != Suspicion::Nobody
            };
            let batch = stream::iter(batch).map(|(entry, inode)| async {
                let inode = Arc::new(inode);
                if !written(&inode) {
                    return (entry, inode);
                }
                // What went meanwhile, or can't be asked for, is shown as it was when it was read.
                let fresh = cx.server.fresh_inode(inode.id).await;
                (entry, fresh.unwrap_or(inode))
            });
            let mut batch = std::pin::pin!(batch.buffered(ASKED_AT_ONCE));
            while let Some((entry, inode)) = batch.next().await {
                after = entry.cookie;
                if !self.push(shown(cx, directory, entry, &inode, asked).await?) {
                    return Ok(());
                }
            }
            if !more {
                self.eof = true;
                return Ok(());
            }
        }
    }

    async fn pseudo(
        &mut self,
        cx: &Compound<'_>,
        directory: &File,
        cookie: u64,
        asked: Bitmap4,
    ) -> Result<(), Refusal> {
        let settings = cx.server.settings();
        let reader = cx.server.catalog.read();
        let shown_to = cx.connection.peer.ip();
        for (index, (name, step)) in settings.exports.shown(directory.id, shown_to).enumerate() {
            let at = FIRST_COOKIE + index as u64;
            if at <= cookie {
                continue;
            }
            let inode = reader.inode(step.id).await?;
            let file = File::new(step.id, Arc::clone(&step.export));
            cx.enter(&file.export).await?;
            let attrs = cx.attributes(&file, &inode, asked).await?;
            if !self.push(Entry4 {
                cookie: at,
                name: name.clone(),
                attrs,
            }) {
                return Ok(());
            }
        }
        self.eof = true;
        Ok(())
    }
}

async fn shown(
    cx: &Compound<'_>,
    directory: &File,
    entry: Entry,
    inode: &Inode,
    asked: Bitmap4,
) -> Result<Entry4, Refusal> {
    let export = cx.settings().exports.beyond(&directory.export, entry.id);
    let file = File::new(entry.id, export);
    let covering = file
        .export
        .junction
        .as_ref()
        .map(|there| there.covering(inode.clone()));
    let attrs = match cx
        .attributes(&file, covering.as_ref().unwrap_or(inode), asked)
        .await
    {
        // A client that can be told of one file's refusal gets the other files (§18.23.3).
        Err(refusal) if asked.contains(Attr::RdattrError) => Box::new(Attributes {
            rdattr_error: Some(refusal.status),
            // Without it NFSv3 has no entries.
            mounted_on_fileid: cx.legacy.then_some(entry.id.number),
            ..Attributes::default()
        }),
        attrs => attrs?,
    };
    Ok(Entry4 {
        cookie: entry.cookie,
        name: entry.name,
        attrs,
    })
}
