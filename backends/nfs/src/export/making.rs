//! Names that come at the filer: files, and all else. Each is told once even when an answer is lost.
//!
//! Never here: names that go or move.

use super::NfsExport;
use super::begun::{Before, What};
use super::names::{At, ROUNDS};
use super::stat::{folder_change, sattr_of, scattered};
use backend::tree::{
    Caller, CreateHow, FolderChange, Make, Node, NodeChanges, NodeKind, SetTime, TreeError,
    TreeErrorKind,
};
use bytes::Bytes;
use nfs_client::Client;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wire::nfs3::{
    Create3resok, Createhow3, Fattr3, Fh3, Mknoddata3, Nfspath3, Nfsstat3, Sattr3, Specdata3,
};

const OWNER_AND_SPECIAL_BITS: u32 = 0o7700;
const SETGID: u32 = 0o2000;
const SET_ID_BITS: u32 = 0o6000;

/// Whether a filer that was asked for a mode didn't heed it. Fewer bits may be a default ACL's work, and
/// a set-group-id bit the folder's.
fn is_ignored(asked: u32, is: u32) -> bool {
    is & !asked & !SETGID != 0 || asked & !is & OWNER_AND_SPECIAL_BITS != 0
}

fn keeps_from_making(status: Nfsstat3) -> bool {
    use Nfsstat3::{Acces, Dquot, Nospc, Perm, Rofs};
    matches!(status, Acces | Perm | Rofs | Nospc | Dquot)
}

impl NfsExport {
    pub(super) fn sattr(&self, changes: &NodeChanges) -> Result<Sattr3, TreeError> {
        let what = "NFSv3 has no times before 1970 or after 2106";
        sattr_of(changes).ok_or_else(|| self.error(TreeErrorKind::Invalid, what))
    }

    /// The node that an answer to a making tells of, and what the filer didn't do of what was asked.
    async fn made(
        &self,
        at: &At<'_>,
        said: Create3resok,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let change = folder_change(&said.dir_wcc);
        let node = if let Some(handle) = said.obj {
            let told = said.obj_attributes;
            let attributes = self.attributes(&at.client, &handle, told).await?;
            self.node(handle, &attributes)
        } else {
            let gone = || self.error(TreeErrorKind::Gone, "what was made is gone already");
            self.look(at).await?.ok_or_else(gone)?
        };
        Ok((self.finish(&at.client, node, born).await?, change))
    }

    /// Some filers ignore the mode or the owner of what is made.
    async fn finish(
        &self,
        client: &Client,
        node: Node,
        born: &NodeChanges,
    ) -> Result<Node, TreeError> {
        let differs = |asked: Option<u32>, is| asked.filter(|asked| *asked != is);
        let ignored = |asked: &u32| is_ignored(*asked, node.stat.mode);
        let is_file = node.stat.kind == NodeKind::Regular;
        let is_link = node.stat.kind == NodeKind::Symlink;
        let missing = NodeChanges {
            mode: born.mode.filter(ignored).filter(|_| !is_link),
            uid: differs(born.uid, node.stat.uid),
            gid: differs(born.gid, node.stat.gid),
            size: born.size.filter(|size| is_file && *size != node.stat.size),
            atime: None,
            mtime: None,
        };
        if missing == NodeChanges::default() {
            return Ok(node);
        }
        self.set_of(client, node, &missing).await
    }

    async fn set_of(
        &self,
        client: &Client,
        node: Node,
        changes: &NodeChanges,
    ) -> Result<Node, TreeError> {
        let handle = self.handle(&node.handle)?;
        let attributes = self.set_attributes(client, &handle, changes).await?;
        Ok(self.node(handle, &attributes))
    }

    pub(super) async fn set_attributes(
        &self,
        client: &Client,
        handle: &Fh3,
        changes: &NodeChanges,
    ) -> Result<Fattr3, TreeError> {
        let said = client.setattr(handle, self.sattr(changes)?, None).await;
        let said = self.told(said).await?;
        let is = self.attributes(client, handle, said.after).await?;
        // Filers that set the owner behind the mode lose these.
        let lost = |mode: &u32| mode & !is.mode & SET_ID_BITS != 0;
        let of_owner = changes.uid.or(changes.gid).is_some();
        let Some(mode) = changes.mode.filter(lost).filter(|_| of_owner) else {
            return Ok(is);
        };
        let again = Sattr3 {
            mode: Some(mode),
            ..Sattr3::default()
        };
        let said = self.told(client.setattr(handle, again, None).await).await?;
        self.attributes(client, handle, said.after).await
    }

    pub(super) async fn create_file(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        if born.size.unwrap_or(0) > self.abilities.largest_file_bytes {
            return Err(self.too_large());
        }
        let at = self.at(caller, folder, name).await?;
        self.sattr(born)?;
        match how {
            CreateHow::Unchecked => self.create_or_open(&at, born).await,
            CreateHow::Guarded => {
                // By a verifier of our own, so that a lost answer can be asked for again.
                let asked = at.asked(What::Create);
                let verifier = match self.begun.take(&asked, Instant::now()) {
                    Some(Before::Verifier(verifier)) => verifier,
                    _ => self.new_verifier(),
                };
                let made = self.create_exclusively(&at, verifier, born).await;
                if made.as_ref().is_err_and(TreeError::is_passing) {
                    let before = Before::Verifier(verifier);
                    self.begun.keep(&asked, before, Instant::now());
                }
                made
            }
            CreateHow::Exclusive(verifier) => self.create_exclusively(&at, verifier, born).await,
        }
    }

    /// Each another one; filers may keep no more than 62 bits of it.
    fn new_verifier(&self) -> [u8; 8] {
        scattered(self.next_create.fetch_add(1, Ordering::Relaxed)).to_be_bytes()
    }

    /// UNCHECKED as filers have it applies all of the attributes to what is there, or none: so the file
    /// is made GUARDED, and what is there is looked at.
    async fn create_or_open(
        &self,
        at: &At<'_>,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        for _ in 0..ROUNDS {
            let how = Createhow3::Guarded(self.sattr(born)?);
            match at.client.create(&at.folder, &at.name, how).await {
                Ok(said) => return self.made(at, said, born).await,
                Err(error) if error.status() == Some(Nfsstat3::Exist) => {}
                // Some filers ask for the right to make it before they see that it is there.
                Err(error) if error.status().is_some_and(keeps_from_making) => {
                    let failure = self.failed(&error).await;
                    let there = self.look(at).await?;
                    let node = there.ok_or(failure)?;
                    return self.open(at, node, born).await;
                }
                // Made or not, it is opened now.
                Err(error) if error.may_have_run() => {
                    self.failed(&error).await;
                }
                Err(error) => return Err(self.failed(&error).await),
            }
            if let Some(node) = self.look(at).await? {
                return self.open(at, node, born).await;
            }
        }
        Err(self.disturbed())
    }

    async fn open(
        &self,
        at: &At<'_>,
        node: Node,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let is_file = node.stat.kind == NodeKind::Regular;
        if !is_file || born.size != Some(0) {
            return Ok((node, FolderChange::default()));
        }
        let emptied = NodeChanges {
            size: Some(0),
            ..NodeChanges::default()
        };
        let node = self.set_of(&at.client, node, &emptied).await?;
        Ok((node, FolderChange::default()))
    }

    async fn create_exclusively(
        &self,
        at: &At<'_>,
        verifier: [u8; 8],
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        if !self.lacks_exclusive.load(Ordering::Relaxed) {
            let how = Createhow3::Exclusive(verifier);
            match at.client.create(&at.folder, &at.name, how).await {
                Ok(said) => return self.dress(at, verifier, said, born).await,
                Err(error) if error.status() == Some(Nfsstat3::Notsupp) => {
                    self.lacks_exclusive.store(true, Ordering::Relaxed);
                }
                Err(error) if error.status() == Some(Nfsstat3::Exist) => {
                    return self.made_before(at, verifier).await;
                }
                Err(error) => return Err(self.failed(&error).await),
            }
        }
        // A lost answer can't be told from somebody else's file then.
        let how = Createhow3::Guarded(self.sattr(born)?);
        match at.client.create(&at.folder, &at.name, how).await {
            Ok(said) => {
                let (node, change) = self.made(at, said, born).await?;
                self.remember(at, verifier, &node);
                Ok((node, change))
            }
            Err(error) if error.status() == Some(Nfsstat3::Exist) => {
                self.made_before(at, verifier).await
            }
            Err(error) => Err(self.failed(&error).await),
        }
    }

    /// Filers keep the verifier in the times until they are set: the first SETATTR ends the create.
    async fn dress(
        &self,
        at: &At<'_>,
        verifier: [u8; 8],
        said: Create3resok,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let bare = NodeChanges::default();
        let (node, change) = self.made(at, said, &bare).await?;
        let whole = NodeChanges {
            atime: born.atime.or(Some(SetTime::Now)),
            mtime: born.mtime.or(Some(SetTime::Now)),
            // Its own: only root may name one, and the filer takes the caller's.
            uid: born.uid.filter(|uid| *uid != node.stat.uid),
            gid: born.gid.filter(|gid| *gid != node.stat.gid),
            size: born.size.filter(|size| *size != 0),
            ..*born
        };
        let dressed = self.set_of(&at.client, node, &whole).await;
        match &dressed {
            Ok(node) => self.remember(at, verifier, node),
            // Nobody can have opened it yet. One that stays does less harm than a second failure.
            Err(error) if !error.is_passing() => {
                let _ = at.client.remove(&at.folder, &at.name).await;
            }
            Err(_) => {}
        }
        Ok((dressed?, change))
    }

    fn remember(&self, at: &At<'_>, verifier: [u8; 8], node: &Node) {
        let made = at.asked(What::Made(verifier));
        let before = Before::There(node.handle.clone());
        self.begun.keep(&made, before, Instant::now());
    }

    /// The name is taken, maybe by this very create, which ended and is asked for again.
    async fn made_before(
        &self,
        at: &At<'_>,
        verifier: [u8; 8],
    ) -> Result<(Node, FolderChange), TreeError> {
        let made = at.asked(What::Made(verifier));
        if let Some(Before::There(ours)) = self.begun.look(&made, Instant::now())
            && let Some(node) = self.look(at).await?
            && node.handle == ours
        {
            return Ok((node, FolderChange::default()));
        }
        Err(self.taken())
    }

    pub(super) async fn make_node(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: &Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let at = self.at(caller, folder, name).await?;
        let asked = at.asked(What::Make);
        let mut begun = self.begun.take(&asked, Instant::now());
        let made = self.make_at(&at, what, born, &mut begun).await;
        self.leave_off(&asked, begun, &made);
        made
    }

    async fn make_at(
        &self,
        at: &At<'_>,
        what: &Make,
        born: &NodeChanges,
        begun: &mut Option<Before>,
    ) -> Result<(Node, FolderChange), TreeError> {
        let attributes = self.sattr(&NodeChanges {
            size: None,
            ..*born
        })?;
        for _ in 0..ROUNDS {
            if let Some(node) = self.look(at).await? {
                if begun.is_none() || !self.is_as_made(at, &node, what).await? {
                    return Err(self.taken());
                }
                let node = self.finish(&at.client, node, born).await?;
                return Ok((node, FolderChange::default()));
            }
            let answer = self.make_once(at, what, attributes).await?;
            if let Err(error) = &answer
                && error.status() == Some(Nfsstat3::Badtype)
            {
                let what = "it can't have files of that kind";
                return Err(self.error(TreeErrorKind::Unsupported, what));
            }
            if let Some(said) = self.settle(answer, Before::Absent, begun).await? {
                // Until it is as it was asked for, the call has no end.
                *begun = Some(Before::Absent);
                return self.made(at, said, born).await;
            }
        }
        Err(self.disturbed())
    }

    async fn make_once(
        &self,
        at: &At<'_>,
        what: &Make,
        attributes: Sattr3,
    ) -> Result<Result<Create3resok, nfs_client::Error>, TreeError> {
        let (client, folder, name) = (&at.client, &at.folder, &at.name);
        let device = |major: u32, minor: u32| Specdata3 { major, minor };
        let special = match what {
            Make::Folder => return Ok(client.mkdir(folder, name, attributes).await),
            Make::Symlink(target) => {
                let path = Nfspath3::new(target.clone());
                let path = path.filter(|path| !path.bytes().is_empty());
                let what = "NFSv3 has no symlinks to such a target";
                let path = path.ok_or_else(|| self.error(TreeErrorKind::Invalid, what))?;
                return Ok(client.symlink(folder, name, attributes, path).await);
            }
            Make::Fifo => Mknoddata3::Fifo(attributes),
            Make::Socket => Mknoddata3::Sock(attributes),
            Make::Block(major, minor) => Mknoddata3::Blk(attributes, device(*major, *minor)),
            Make::Character(major, minor) => Mknoddata3::Chr(attributes, device(*major, *minor)),
        };
        Ok(client.mknod(folder, name, special).await)
    }

    /// Whether what came to be since the call began is what it was to make. A folder that the same user
    /// made by another way in the same moment looks alike.
    async fn is_as_made(&self, at: &At<'_>, node: &Node, what: &Make) -> Result<bool, TreeError> {
        let stat = &node.stat;
        let kind = match what {
            Make::Folder => NodeKind::Folder,
            Make::Symlink(_) => NodeKind::Symlink,
            Make::Fifo => NodeKind::Fifo,
            Make::Socket => NodeKind::Socket,
            Make::Block(..) => NodeKind::Block,
            Make::Character(..) => NodeKind::Character,
        };
        // Root may be squashed.
        let owned = at.caller.uid == 0 || stat.uid == at.caller.uid;
        if stat.kind != kind || !owned {
            return Ok(false);
        }
        match what {
            Make::Symlink(target) => {
                let read = at.client.readlink(&self.handle(&node.handle)?).await;
                Ok(self.told(read).await?.data.bytes() == target)
            }
            Make::Block(major, minor) | Make::Character(major, minor) => {
                Ok(stat.rdev == (*major, *minor))
            }
            Make::Folder | Make::Fifo | Make::Socket => Ok(true),
        }
    }
}
