//! READDIR and READDIRPLUS: RFC 1813 §3.3.16, §3.3.17. Cookies and verifier are NFSv4's; 1 and 2, which it leaves
//! free, are "." and "..".

use super::attributes::{asked, fattr3};
use super::call::{Call, ask};
use super::names::find;
use super::status;
use crate::compound::File;
use bytes::Bytes;
use wire::nfs3::*;
use wire::nfs4::{Attr, Attributes, Bitmap4, Entry4, Nfsstat4, Readdir4Args, Verifier4};
use wire::xdr::{Encoder, Xdr};

/// Status, the folder's attributes, verifier, end of the list, eof.
const AROUND_BYTES: usize = 4 + 88 + 8 + 8;
/// In front of each entry: that there is one.
const FOLLOWS_BYTES: usize = 4;
/// What is asked for beside what fits, since entries of NFSv4 can be longer.
const SLACK_BYTES: usize = 1024;

const ITSELF: u64 = 1;
const ABOVE: u64 = 2;

/// Where a listing goes on, and how far.
struct From {
    cookie: u64,
    verifier: Cookieverf3,
    bytes: u32,
}

/// An entry of either listing.
struct Listed {
    fileid: u64,
    name: Filename3,
    cookie: u64,
    attributes: PostOpAttr,
    handle: PostOpFh3,
}

/// Entries as they fit.
struct Page<E> {
    entries: Vec<E>,
    left: usize,
    /// Of names, cookies and file ids (`dircount`), which bounds nothing but the first entry.
    names_left: usize,
    scratch: Encoder,
}

impl<E: Xdr> Page<E> {
    fn new(bytes: usize, names: usize) -> Result<Self, Nfsstat3> {
        Ok(Self {
            entries: Vec::new(),
            left: bytes.checked_sub(AROUND_BYTES).ok_or(Nfsstat3::Toosmall)?,
            names_left: names,
            scratch: Encoder::new(),
        })
    }

    /// Whether there was room for it.
    fn push(&mut self, listed: Listed, entry: impl FnOnce(Listed) -> E) -> bool {
        let names = 8 + 4 + listed.name.bytes().len().next_multiple_of(4) + 8;
        let entry = entry(listed);
        self.scratch.truncate(0);
        entry.encode(&mut self.scratch);
        let Some(left) = self.left.checked_sub(self.scratch.len() + FOLLOWS_BYTES) else {
            return false;
        };
        let names_left = match self.names_left.checked_sub(names) {
            Some(left) => left,
            None if self.entries.is_empty() => 0,
            None => return false,
        };
        (self.left, self.names_left) = (left, names_left);
        self.entries.push(entry);
        true
    }
}

/// READDIR, §3.3.16.
pub(super) async fn readdir(args: Readdir3args, call: &mut Call<'_>) -> Readdir3res {
    let folder = call.put(&args.dir).await?;
    let from = From {
        cookie: args.cookie,
        verifier: args.cookieverf,
        bytes: args.count,
    };
    let entry = |listed: Listed| Entry3 {
        fileid: listed.fileid,
        name: listed.name,
        cookie: listed.cookie,
    };
    let (reply, cookieverf) = list(&folder, from, usize::MAX, Bitmap4::EMPTY, entry, call).await?;
    Ok(Readdir3resok {
        dir_attributes: call.after(&folder).await,
        cookieverf,
        reply,
    })
}

/// READDIRPLUS, §3.3.17.
pub(super) async fn readdirplus(args: Readdirplus3args, call: &mut Call<'_>) -> Readdirplus3res {
    let folder = call.put(&args.dir).await?;
    let from = From {
        cookie: args.cookie,
        verifier: args.cookieverf,
        bytes: args.maxcount,
    };
    let entry = |listed: Listed| Entryplus3 {
        fileid: listed.fileid,
        name: listed.name,
        cookie: listed.cookie,
        name_attributes: listed.attributes,
        name_handle: listed.handle,
    };
    let mut wanted = asked();
    wanted.set(Attr::Filehandle);
    let names = match args.dircount {
        0 => usize::MAX,
        hint => hint as usize,
    };
    let (reply, cookieverf) = list(&folder, from, names, wanted, entry, call).await?;
    Ok(Readdirplus3resok {
        dir_attributes: call.after(&folder).await,
        cookieverf,
        reply,
    })
}

async fn list<E: Xdr>(
    folder: &File,
    from: From,
    names: usize,
    mut wanted: Bitmap4,
    entry: impl Fn(Listed) -> E + Copy,
    call: &mut Call<'_>,
) -> Result<(Dirlist<E>, Cookieverf3), Nfsstat3> {
    let plus = wanted != Bitmap4::EMPTY;
    wanted.set(Attr::MountedOnFileid);
    wanted.set(Attr::RdattrError);
    let room = call.make_room(from.bytes).await;
    let mut page = Page::new(room, names)?;
    let fresh = from.cookie <= ABOVE;
    let args = Readdir4Args {
        cookie: if fresh { 0 } else { from.cookie },
        cookieverf: Verifier4(if fresh { [0; 8] } else { from.verifier }),
        dircount: 0,
        maxcount: (room + SLACK_BYTES) as u32,
        attr_request: wanted,
    };
    let listed = ask!(call, Readdir(args)).map_err(|status| match status {
        Nfsstat4::NotSame => Nfsstat3::BadCookie,
        status => status::of(status),
    })?;
    let mut fits = true;
    if fresh {
        for (cookie, name) in [(ITSELF, &b"."[..]), (ABOVE, b"..")] {
            if fits && from.cookie < cookie {
                let dots = dots(folder, cookie, name, plus, call).await?;
                fits = page.push(dots, entry);
            }
        }
    }
    for of4 in listed.entries {
        if !fits {
            break;
        }
        fits = page.push(of_nfs4(of4, plus, call)?, entry);
    }
    if page.entries.is_empty() && !fits {
        return Err(Nfsstat3::Toosmall);
    }
    let reply = Dirlist {
        entries: page.entries,
        eof: fits && listed.eof,
    };
    Ok((reply, listed.cookieverf.0))
}

fn of_nfs4(entry: Entry4, plus: bool, call: &Call<'_>) -> Result<Listed, Nfsstat3> {
    let Attributes {
        mounted_on_fileid,
        fileid,
        rdattr_error,
        filehandle,
        ..
    } = &*entry.attrs;
    // What can't be looked at has its number all the same.
    let fileid = mounted_on_fileid
        .or(*fileid)
        .ok_or_else(|| status::of(rdattr_error.unwrap_or(Nfsstat4::Serverfault)))?;
    let handle = filehandle.as_ref().filter(|_| plus);
    Ok(Listed {
        fileid,
        cookie: entry.cookie,
        attributes: fattr3(&entry.attrs).filter(|_| plus),
        handle: handle.and_then(|handle| call.handle_of(handle)),
        name: filename(entry.name)?,
    })
}

/// The folder itself, or the one above it, of which no more is told than its number.
async fn dots(
    folder: &File,
    cookie: u64,
    name: &'static [u8],
    plus: bool,
    call: &mut Call<'_>,
) -> Result<Listed, Nfsstat3> {
    call.cx.set_current(folder.clone());
    let itself = call.fileid().await?;
    let (fileid, attributes, handle) = if cookie == ITSELF {
        let attributes = if plus { call.after(folder).await } else { None };
        (itself, attributes, call.handle(folder).filter(|_| plus))
    } else {
        let above = match find(Bytes::from_static(name), call).await {
            Ok(_) => call.fileid().await,
            Err(status) => Err(status),
        };
        (above.unwrap_or(itself), None, None)
    };
    Ok(Listed {
        fileid,
        name: filename(Bytes::from_static(name))?,
        cookie,
        attributes,
        handle,
    })
}

fn filename(name: Bytes) -> Result<Filename3, Nfsstat3> {
    Filename3::new(name).ok_or(Nfsstat3::Serverfault)
}
