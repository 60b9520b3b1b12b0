//! NFSv3's procedures over the tree. Never here: connections.

use super::server::Shared;
use super::words::{changes_of, fattr_of, status_of, time_of, wcc_of};
use backend::Stability;
use backend::tree::{
    Caller, CreateHow, Make, MemoryTree, Node, NodeChanges, NodeKind, Tree, TreeError,
};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use wire::nfs3::*;
use wire::{Decoder, Encoder, Xdr};

type Said<T> = Result<T, Nfsstat3>;

/// Bytes of an entry beside its name.
const ENTRY_BYTES: u32 = 24;
const ENTRYPLUS_BYTES: u32 = ENTRY_BYTES + 92 + 24;
/// What the tree's cookies begin with.
const FIRST: u64 = 3;

/// One call being answered.
struct Turn<'a> {
    filer: &'a Shared,
    tree: MemoryTree,
    caller: &'a Caller,
}

fn said<T>(answer: Result<T, TreeError>) -> Said<T> {
    answer.map_err(|error| status_of(error.kind))
}

fn args<T: Xdr>(input: &mut Decoder) -> T {
    let args = T::decode(input).expect("the arguments of the procedure");
    input.finish().expect("nothing behind them");
    args
}

fn say<T, F>(out: &mut Encoder, answer: Said<T>)
where
    F: Default,
    Outcome<T, F>: Xdr,
{
    let outcome: Outcome<T, F> = answer.map_err(Failed::from);
    outcome.encode(out);
}

/// A status, with what the procedure says of its objects then.
pub(crate) fn refuse(procedure: Procedure, status: Nfsstat3, out: &mut Encoder) {
    match procedure {
        Procedure::Getattr => say::<(), ()>(out, Err(status)),
        Procedure::Rename => say::<(), RenameWcc>(out, Err(status)),
        Procedure::Link => say::<(), LinkWcc>(out, Err(status)),
        Procedure::Lookup
        | Procedure::Access
        | Procedure::Readlink
        | Procedure::Read
        | Procedure::Readdir
        | Procedure::Readdirplus
        | Procedure::Fsstat
        | Procedure::Fsinfo
        | Procedure::Pathconf => say::<(), PostOpAttr>(out, Err(status)),
        _ => say::<(), WccData>(out, Err(status)),
    }
}

impl Shared {
    pub(crate) async fn run(
        &self,
        procedure: Procedure,
        caller: &Caller,
        input: &mut Decoder,
        out: &mut Encoder,
    ) {
        let turn = Turn {
            filer: self,
            tree: self.tree.lock().clone(),
            caller,
        };
        match procedure {
            Procedure::Null => {}
            Procedure::Getattr => say::<_, ()>(out, turn.getattr(args(input)).await),
            Procedure::Setattr => say::<_, WccData>(out, turn.setattr(args(input)).await),
            Procedure::Lookup => say::<_, PostOpAttr>(out, turn.lookup(args(input)).await),
            Procedure::Access => say::<_, PostOpAttr>(out, turn.access(args(input)).await),
            Procedure::Readlink => {
                say::<_, PostOpAttr>(out, turn.readlink(args(input)).await);
            }
            Procedure::Read => say::<_, PostOpAttr>(out, turn.read(args(input)).await),
            Procedure::Write => say::<_, WccData>(out, turn.write(args(input)).await),
            Procedure::Create => say::<_, WccData>(out, turn.create(args(input)).await),
            Procedure::Mkdir => say::<_, WccData>(out, turn.mkdir(args(input)).await),
            Procedure::Symlink => say::<_, WccData>(out, turn.symlink(args(input)).await),
            Procedure::Mknod => say::<_, WccData>(out, turn.mknod(args(input)).await),
            Procedure::Remove => {
                say::<_, WccData>(out, turn.remove(args(input), false).await);
            }
            Procedure::Rmdir => say::<_, WccData>(out, turn.remove(args(input), true).await),
            Procedure::Rename => say::<_, RenameWcc>(out, turn.rename(args(input)).await),
            Procedure::Link => say::<_, LinkWcc>(out, turn.link(args(input)).await),
            Procedure::Readdir => say::<_, PostOpAttr>(out, turn.readdir(args(input)).await),
            Procedure::Readdirplus => {
                say::<_, PostOpAttr>(out, turn.readdirplus(args(input)).await);
            }
            Procedure::Fsstat => say::<_, PostOpAttr>(out, turn.fsstat().await),
            Procedure::Fsinfo => say::<_, PostOpAttr>(out, Ok(turn.fsinfo())),
            Procedure::Pathconf => say::<_, PostOpAttr>(out, Ok(turn.pathconf())),
            Procedure::Commit => say::<_, WccData>(out, turn.commit(args(input)).await),
        }
    }
}

impl Turn<'_> {
    fn tells_little(&self) -> bool {
        self.filer.habits.lock().tells_little
    }

    fn fsid(&self) -> u64 {
        self.filer.fsid.load(Ordering::SeqCst)
    }

    async fn attributes(&self, handle: &Bytes) -> PostOpAttr {
        if self.tells_little() {
            return None;
        }
        let stat = self.tree.stat(self.caller, handle).await.ok()?;
        Some(fattr_of(&stat, self.fsid()))
    }

    async fn before(&self, handle: &Bytes) -> Option<WccAttr> {
        let stat = self.tree.stat(self.caller, handle).await.ok()?;
        (!self.tells_little()).then(|| wcc_of(&stat))
    }

    async fn wcc(&self, before: Option<WccAttr>, handle: &Bytes) -> WccData {
        WccData {
            before,
            after: self.attributes(handle).await,
        }
    }

    async fn getattr(&self, args: Getattr3args) -> Said<Fattr3> {
        let stat = said(self.tree.stat(self.caller, args.object.bytes()).await)?;
        Ok(fattr_of(&stat, self.fsid()))
    }

    async fn setattr(&self, args: Setattr3args) -> Said<WccData> {
        let object = args.object.bytes();
        let stat = said(self.tree.stat(self.caller, object).await)?;
        if args.guard.is_some_and(|guard| guard != time_of(stat.ctime)) {
            return Err(Nfsstat3::NotSync);
        }
        let before = self.before(object).await;
        let mut changes = changes_of(&args.new_attributes);
        let habits = *self.filer.habits.lock();
        if habits.says_badtype && changes.size.is_some() && stat.kind != NodeKind::Regular {
            return Err(Nfsstat3::Badtype);
        }
        if habits.sets_owner_last && changes.uid.is_some() {
            changes.mode = changes.mode.map(|mode| mode & !0o6000);
        }
        said(self.tree.set(self.caller, object, &changes).await)?;
        if changes.mtime.is_some() {
            self.filer.dated.lock().insert(object.clone());
        }
        Ok(self.wcc(before, object).await)
    }

    async fn lookup(&self, args: Lookup3args) -> Said<Lookup3resok> {
        let (folder, name) = (args.what.dir.bytes(), args.what.name.bytes());
        let found = if name == ".." {
            said(self.tree.parent(self.caller, folder).await)?
        } else {
            said(self.tree.lookup(self.caller, folder, name).await)?
        };
        Ok(Lookup3resok {
            obj_attributes: self.attributes(&found.handle).await,
            object: fh(&found.handle),
            dir_attributes: None,
        })
    }

    async fn access(&self, args: Access3args) -> Said<Access3resok> {
        let rights = said(self.tree.rights(self.caller, args.object.bytes()).await)?;
        let bits = [
            (rights.read, ACCESS3_READ),
            (rights.lookup, ACCESS3_LOOKUP),
            (rights.modify, ACCESS3_MODIFY),
            (rights.extend, ACCESS3_EXTEND),
            (rights.delete, ACCESS3_DELETE),
            (rights.execute, ACCESS3_EXECUTE),
        ];
        let granted = bits.into_iter().filter(|(granted, _)| *granted);
        Ok(Access3resok {
            obj_attributes: None,
            access: granted.map(|(_, bit)| bit).sum::<u32>() & args.access,
        })
    }

    async fn readlink(&self, args: Readlink3args) -> Said<Readlink3resok> {
        let target = said(self.tree.read_link(self.caller, args.symlink.bytes()).await)?;
        Ok(Readlink3resok {
            symlink_attributes: None,
            data: Nfspath3::new(target).ok_or(Nfsstat3::Inval)?,
        })
    }

    async fn read(&self, args: Read3args) -> Said<Read3resok> {
        let file = args.file.bytes();
        let got = said(
            self.tree
                .read(self.caller, file, args.offset, args.count)
                .await,
        )?;
        Ok(Read3resok {
            file_attributes: self.attributes(file).await,
            eof: got.at_end,
            data: got.data,
        })
    }

    async fn write(&self, args: Write3args) -> Said<Write3resok> {
        let file = args.file.bytes();
        let before = self.before(file).await;
        let stability = match args.stable {
            StableHow::Unstable => Stability::Unstable,
            StableHow::DataSync | StableHow::FileSync => Stability::Durable,
        };
        let written = said(
            self.tree
                .write(self.caller, file, args.offset, args.data, stability)
                .await,
        )?;
        Ok(Write3resok {
            file_wcc: self.wcc(before, file).await,
            count: written.count,
            committed: args.stable,
            verf: written.verifier,
        })
    }

    async fn commit(&self, args: Commit3args) -> Said<Commit3resok> {
        let verf = said(self.tree.commit(self.caller, args.file.bytes()).await)?;
        Ok(Commit3resok {
            file_wcc: WccData::default(),
            verf,
        })
    }

    async fn made(&self, folder: &Bytes, before: Option<WccAttr>, node: &Node) -> Create3resok {
        let little = self.tells_little();
        Create3resok {
            obj: (!little).then(|| fh(&node.handle)),
            obj_attributes: self.attributes(&node.handle).await,
            dir_wcc: self.wcc(before, folder).await,
        }
    }

    fn born(&self, attributes: &Sattr3) -> NodeChanges {
        let mut born = changes_of(attributes);
        if self.filer.habits.lock().ignores_modes {
            born.mode = Some(0o777);
        }
        born
    }

    async fn create(&self, args: Create3args) -> Said<Create3resok> {
        let (folder, name) = (args.target.dir.bytes(), args.target.name.bytes());
        let before = self.before(folder).await;
        if self.filer.habits.lock().judges_first {
            let rights = said(self.tree.rights(self.caller, folder).await)?;
            if !rights.extend {
                return Err(Nfsstat3::Acces);
            }
        }
        let (how, born) = match args.how {
            Createhow3::Unchecked(attributes) => (CreateHow::Unchecked, self.born(&attributes)),
            Createhow3::Guarded(attributes) => (CreateHow::Guarded, self.born(&attributes)),
            Createhow3::Exclusive(_) if self.filer.habits.lock().no_exclusive => {
                return Err(Nfsstat3::Notsupp);
            }
            Createhow3::Exclusive(verifier) => {
                let there = self.tree.lookup(self.caller, folder, name).await;
                if there.is_ok_and(|node| self.filer.dated.lock().contains(&node.handle)) {
                    return Err(Nfsstat3::Exist);
                }
                let bare = NodeChanges {
                    mode: Some(0),
                    ..NodeChanges::default()
                };
                (CreateHow::Exclusive(verifier), bare)
            }
        };
        let made = self
            .tree
            .create(self.caller, folder, name, how, &born)
            .await;
        Ok(self.made(folder, before, &said(made)?.0).await)
    }

    async fn make(&self, target: Diropargs3, what: Make, attributes: Sattr3) -> Said<Create3resok> {
        let (folder, name) = (target.dir.bytes(), target.name.bytes());
        let before = self.before(folder).await;
        let born = self.born(&attributes);
        let made = self.tree.make(self.caller, folder, name, what, &born).await;
        Ok(self.made(folder, before, &said(made)?.0).await)
    }

    async fn mkdir(&self, args: Mkdir3args) -> Said<Create3resok> {
        self.make(args.target, Make::Folder, args.attributes).await
    }

    async fn symlink(&self, args: Symlink3args) -> Said<Create3resok> {
        let what = Make::Symlink(args.data.into_bytes());
        self.make(args.target, what, args.attributes).await
    }

    async fn mknod(&self, args: Mknod3args) -> Said<Create3resok> {
        let (what, attributes) = match args.what {
            Mknoddata3::Chr(attributes, at) => (Make::Character(at.major, at.minor), attributes),
            Mknoddata3::Blk(attributes, at) => (Make::Block(at.major, at.minor), attributes),
            Mknoddata3::Sock(attributes) => (Make::Socket, attributes),
            Mknoddata3::Fifo(attributes) => (Make::Fifo, attributes),
            Mknoddata3::Other(_) => return Err(Nfsstat3::Badtype),
        };
        self.make(args.target, what, attributes).await
    }

    async fn remove(&self, args: Remove3args, of_folder: bool) -> Said<WccData> {
        let (folder, name) = (args.object.dir.bytes(), args.object.name.bytes());
        let there = said(self.tree.lookup(self.caller, folder, name).await)?;
        match (there.stat.kind == NodeKind::Folder, of_folder) {
            (true, false) => return Err(Nfsstat3::Isdir),
            (false, true) => return Err(Nfsstat3::Notdir),
            _ => {}
        }
        let before = self.before(folder).await;
        said(self.tree.remove(self.caller, folder, name).await)?;
        Ok(self.wcc(before, folder).await)
    }

    async fn rename(&self, args: Rename3args) -> Said<RenameWcc> {
        let (from, to) = (args.from.dir.bytes(), args.to.dir.bytes());
        let befores = (self.before(from).await, self.before(to).await);
        let (old, new) = ((from, args.from.name.bytes()), (to, args.to.name.bytes()));
        said(self.tree.rename(self.caller, old, new).await)?;
        Ok(RenameWcc {
            fromdir_wcc: self.wcc(befores.0, from).await,
            todir_wcc: self.wcc(befores.1, to).await,
        })
    }

    async fn link(&self, args: Link3args) -> Said<LinkWcc> {
        let (folder, name) = (args.link.dir.bytes(), args.link.name.bytes());
        let before = self.before(folder).await;
        let file = args.file.bytes();
        said(self.tree.link(self.caller, file, folder, name).await)?;
        Ok(LinkWcc {
            file_attributes: self.attributes(file).await,
            linkdir_wcc: self.wcc(before, folder).await,
        })
    }

    /// As many entries as have room; the filer's own cookies.
    async fn entries(
        &self,
        folder: &Bytes,
        cookie: u64,
        room: u32,
        entry_bytes: u32,
    ) -> Said<Dirlist<Entryplus3>> {
        let habits = *self.filer.habits.lock();
        let from_one = habits.counts_from_one;
        let shift = if from_one { FIRST - 1 } else { 0 };
        let after = match cookie.saturating_sub(habits.cookies_above) {
            0 => 0,
            cookie => cookie + shift,
        };
        let listing = self
            .tree
            .list(self.caller, folder, after, [0; 8], usize::MAX)
            .await;
        let listing = said(listing)?;
        let mut entries = Vec::new();
        for (at, name) in [(1, "."), (2, "..")] {
            if !from_one && cookie < at {
                entries.push(Entryplus3 {
                    fileid: at,
                    name: Filename3::new(name).expect("a name"),
                    cookie: at,
                    name_attributes: None,
                    name_handle: None,
                });
            }
        }
        for entry in listing.entries {
            let node = entry.node.filter(|_| !self.tells_little());
            entries.push(Entryplus3 {
                fileid: node.as_ref().map_or(0, |node| node.stat.fileid),
                name: Filename3::new(entry.name).expect("a name"),
                cookie: entry.cookie - shift + habits.cookies_above,
                name_attributes: node.as_ref().map(|node| fattr_of(&node.stat, self.fsid())),
                name_handle: node.map(|node| fh(&node.handle)),
            });
        }
        let all = entries.len();
        let mut left = room.saturating_sub(128);
        entries.retain(|entry| {
            let bytes = entry_bytes + entry.name.bytes().len().next_multiple_of(4) as u32;
            let fits = bytes <= left;
            left = if fits { left - bytes } else { 0 };
            fits
        });
        if entries.is_empty() && all > 0 {
            return Err(Nfsstat3::Toosmall);
        }
        Ok(Dirlist {
            eof: entries.len() == all,
            entries,
        })
    }

    async fn readdir(&self, args: Readdir3args) -> Said<Readdir3resok> {
        let listed = self
            .entries(args.dir.bytes(), args.cookie, args.count, ENTRY_BYTES)
            .await?;
        let entries = listed.entries.into_iter().map(|entry| Entry3 {
            fileid: entry.fileid,
            name: entry.name,
            cookie: entry.cookie,
        });
        Ok(Readdir3resok {
            dir_attributes: None,
            cookieverf: [7; 8],
            reply: Dirlist {
                entries: entries.collect(),
                eof: listed.eof,
            },
        })
    }

    async fn readdirplus(&self, args: Readdirplus3args) -> Said<Readdirplus3resok> {
        if self.filer.habits.lock().no_readdirplus {
            return Err(Nfsstat3::Notsupp);
        }
        if args.cookie != 0 && args.cookieverf != [7; 8] {
            return Err(Nfsstat3::BadCookie);
        }
        let folder = args.dir.bytes();
        Ok(Readdirplus3resok {
            dir_attributes: None,
            cookieverf: [7; 8],
            reply: self
                .entries(folder, args.cookie, args.maxcount, ENTRYPLUS_BYTES)
                .await?,
        })
    }

    async fn fsstat(&self) -> Said<Fsstat3resok> {
        let space = said(self.tree.space().await)?;
        Ok(Fsstat3resok {
            obj_attributes: None,
            tbytes: space.total,
            fbytes: space.free,
            abytes: space.free,
            tfiles: 1000,
            ffiles: 1000,
            afiles: 1000,
            invarsec: 0,
        })
    }

    fn fsinfo(&self) -> Fsinfo3resok {
        let can = self.tree.abilities();
        Fsinfo3resok {
            obj_attributes: None,
            rtmax: can.read_bytes,
            rtpref: can.read_bytes,
            rtmult: 512,
            wtmax: can.write_bytes,
            wtpref: can.write_bytes,
            wtmult: 512,
            dtpref: 4096,
            maxfilesize: can.largest_file_bytes,
            time_delta: time_of(can.time_step_nanos.into()),
            properties: FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
        }
    }

    fn pathconf(&self) -> Pathconf3resok {
        let can = self.tree.abilities();
        Pathconf3resok {
            obj_attributes: None,
            linkmax: can.links,
            name_max: can.name_bytes,
            no_trunc: true,
            chown_restricted: true,
            case_insensitive: false,
            case_preserving: true,
        }
    }
}

fn fh(handle: &Bytes) -> Fh3 {
    Fh3::new(handle.clone()).expect("a handle of a tree fits")
}
