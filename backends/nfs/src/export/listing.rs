//! Listings: READDIRPLUS, or READDIR where the filer has nothing more. Never here: a single name.

use super::{NfsExport, stat};
use backend::tree::{Caller, FIRST_COOKIE, Listing, Node, TreeEntry, TreeError, TreeErrorKind};
use bytes::Bytes;
use nfs_client::Client;
use std::sync::atomic::Ordering;
use wire::nfs3::{Cookieverf3, Dirlist, Entry3, Entryplus3, Fh3, Nfsstat3};

/// Bytes of an entry with a name of middle length, in READDIRPLUS and in READDIR.
const ENTRY_BYTES: usize = 256;
const PLAIN_ENTRY_BYTES: usize = 64;
const LEAST_BYTES: usize = 4096;
const MOST_BYTES: usize = 256 << 10;
/// Answers in a row that hold nothing but "." and "..".
const EMPTY_PAGES_MAX: usize = 8;

/// What is between the filer's cookies and ours: its first entry may have cookie 1.
const SHIFT: u64 = FIRST_COOKIE - 1;

/// An answer of either procedure.
struct Page {
    entries: Dirlist<Entryplus3>,
    verifier: Cookieverf3,
}

fn without_node(entry: Entry3) -> Entryplus3 {
    Entryplus3 {
        fileid: entry.fileid,
        name: entry.name,
        cookie: entry.cookie,
        name_attributes: None,
        name_handle: None,
    }
}

impl NfsExport {
    pub(super) async fn list_folder(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: Cookieverf3,
        most: usize,
    ) -> Result<Listing, TreeError> {
        let client = self.asked_by(caller).await?;
        let folder = self.handle(folder)?;
        let (mut cookie, mut verifier) = match after {
            0 => (0, [0; 8]),
            after => (self.filers_cookie(after)?, verifier),
        };
        for _ in 0..EMPTY_PAGES_MAX {
            let page = self.page(&client, &folder, cookie, verifier, most).await?;
            let at_end = page.entries.eof;
            verifier = page.verifier;
            let last = page.entries.entries.last().map(|entry| entry.cookie);
            let entries = self.entries(page.entries.entries)?;
            if at_end || !entries.is_empty() {
                return Ok(Listing {
                    entries,
                    at_end,
                    verifier,
                });
            }
            match last {
                Some(last) if last != cookie => cookie = last,
                _ => break,
            }
        }
        Err(self.nonsense("it lists nothing, and says that more is to come"))
    }

    fn filers_cookie(&self, cookie: u64) -> Result<u64, TreeError> {
        if cookie < FIRST_COOKIE {
            let what = "it never gave such a cookie";
            return Err(self.error(TreeErrorKind::BadCookie, what));
        }
        Ok(cookie - SHIFT)
    }

    fn entries(&self, listed: Vec<Entryplus3>) -> Result<Vec<TreeEntry>, TreeError> {
        let mut entries = Vec::with_capacity(listed.len());
        for entry in listed {
            let name = entry.name.into_bytes();
            if matches!(&name[..], b"." | b"..") {
                continue;
            }
            let cookie = entry.cookie.checked_add(SHIFT);
            let Some(cookie) = cookie.filter(|cookie| *cookie >= FIRST_COOKIE) else {
                let what = format!(
                    "it gives an entry the cookie {}, which NFSv4 can't show",
                    entry.cookie
                );
                return Err(self.nonsense(&what));
            };
            let node = match (entry.name_handle, entry.name_attributes) {
                (Some(handle), Some(attributes)) => Some(Node {
                    handle: handle.into_bytes(),
                    stat: stat::stat_of(&attributes, self.identity.fsid),
                }),
                _ => None,
            };
            entries.push(TreeEntry {
                name,
                cookie,
                fileid: node.as_ref().map(|node| node.stat.fileid),
                kind: node.as_ref().map(|node| node.stat.kind),
                node,
            });
        }
        Ok(entries)
    }

    async fn page(
        &self,
        client: &Client,
        folder: &Fh3,
        cookie: u64,
        verifier: Cookieverf3,
        most: usize,
    ) -> Result<Page, TreeError> {
        let room = |entry_bytes| {
            let bytes = most.saturating_mul(entry_bytes);
            bytes.clamp(LEAST_BYTES, MOST_BYTES) as u32
        };
        if !self.lacks_readdirplus.load(Ordering::Relaxed) {
            let (names, all) = (room(PLAIN_ENTRY_BYTES), room(ENTRY_BYTES));
            let mut said = client
                .readdirplus(folder, cookie, verifier, names, all)
                .await;
            if is_too_small(&said) {
                let most = MOST_BYTES as u32;
                said = client
                    .readdirplus(folder, cookie, verifier, most, most)
                    .await;
            }
            match said {
                Ok(said) => {
                    return Ok(Page {
                        entries: said.reply,
                        verifier: said.cookieverf,
                    });
                }
                Err(error) if error.is_unknown_there() || is_unsupported(&error) => {
                    self.lacks_readdirplus.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(self.failed(&error).await),
            }
        }
        let mut said = client
            .readdir(folder, cookie, verifier, room(PLAIN_ENTRY_BYTES))
            .await;
        if is_too_small(&said) {
            said = client
                .readdir(folder, cookie, verifier, MOST_BYTES as u32)
                .await;
        }
        let said = self.told(said).await?;
        let entries = said.reply.entries.into_iter().map(without_node).collect();
        Ok(Page {
            entries: Dirlist {
                entries,
                eof: said.reply.eof,
            },
            verifier: said.cookieverf,
        })
    }
}

fn is_unsupported(error: &nfs_client::Error) -> bool {
    error.status() == Some(Nfsstat3::Notsupp)
}

fn is_too_small<T>(said: &Result<T, nfs_client::Error>) -> bool {
    matches!(said, Err(error) if error.status() == Some(Nfsstat3::Toosmall))
}
