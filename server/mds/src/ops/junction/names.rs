//! LOOKUP, LOOKUPP, READLINK, CREATE, REMOVE, RENAME and LINK in a junction: RFC 8881 §18.13, §18.14,
//! §18.24, §18.4, §18.25, §18.26, §18.9. Names are the keeper's, who also says what was wrong.

use super::Place;
use crate::attributes::Changes;
use crate::compound::{Compound, File, Name, in_directory, in_path, may_take_away};
use crate::identity::{Want, may};
use crate::junction::{Junction, inode_of};
use crate::ops::create::{Making, birth, mode_asked};
use crate::ops::remove::of_kind;
use crate::status::Refusal;
use backend::tree::{Make, Node, NodeChanges, NodeKind};
use catalog::{FileKind, Inode, RemoveWhat};
use wire::nfs4::{
    Create4Args, Create4Ok, Link4Args, Link4Ok, Nfsstat4, Readlink4Ok, Remove4Args, Remove4Ok,
    Rename4Args, Rename4Ok,
};

pub(in crate::ops) async fn lookup(
    junction: &Junction,
    folder: &File,
    name: &Name,
    cx: &Compound<'_>,
) -> Result<File, Refusal> {
    let place = Place::of(folder, cx).await?;
    if !junction.tree().abilities().judges {
        let inode = inode_of(folder.id, &place.stat().await?);
        in_path(&place.credential, &inode, Want::EXECUTE)?;
    }
    let node = place.named(name).await?;
    place.file(&node).await
}

pub(in crate::ops) async fn parent(folder: &File, cx: &Compound<'_>) -> Result<File, Refusal> {
    if folder.node.is_none() {
        let covered = cx.server.catalog.inode(folder.id).await?;
        let above = covered.parent.ok_or(Nfsstat4::Noent)?;
        let export = cx.settings().exports.around(&folder.export);
        return Ok(File::new(above, export));
    }
    let place = Place::of(folder, cx).await?;
    let stat = place.stat().await?;
    match stat.kind {
        NodeKind::Folder => {}
        NodeKind::Symlink => return Err(Nfsstat4::Symlink.into()),
        _ => return Err(Nfsstat4::Notdir.into()),
    }
    if !place.can.judges {
        in_path(
            &place.credential,
            &inode_of(folder.id, &stat),
            Want::EXECUTE,
        )?;
    }
    let parent = place.tree().parent(&place.caller, &place.handle).await;
    place.file(&place.heard(parent)?).await
}

impl Place {
    /// What `name` names in the folder that this is.
    pub(super) async fn named(&self, name: &Name) -> Result<Node, Refusal> {
        let found = self.tree().lookup(&self.caller, &self.handle, name);
        self.heard(found.await)
    }

    /// Owner and mode that a new node of `kind` is born with.
    pub(super) fn born(
        &self,
        kind: FileKind,
        changes: &Changes,
        parent: Option<&Inode>,
    ) -> NodeChanges {
        match parent {
            // A tree that doesn't judge knows nothing of the caller either.
            Some(parent) => {
                let new = birth(kind, changes, &self.credential, parent);
                NodeChanges {
                    mode: Some(new.mode),
                    uid: Some(new.uid),
                    gid: Some(new.gid),
                    ..changes.of_node(0)
                }
            }
            None => NodeChanges {
                mode: Some(mode_asked(kind, changes).without_list()),
                ..changes.of_node(0)
            },
        }
    }
}

pub(super) async fn readlink(cx: &Compound<'_>) -> Result<Readlink4Ok, Refusal> {
    let place = Place::of(cx.file()?, cx).await?;
    if place.stat().await?.kind != NodeKind::Symlink {
        return Err(Nfsstat4::WrongType.into());
    }
    let link = place.tree().read_link(&place.caller, &place.handle).await;
    Ok(Readlink4Ok {
        link: place.heard(link)?,
    })
}

pub(super) async fn create(args: Create4Args, cx: &mut Compound<'_>) -> Result<Create4Ok, Refusal> {
    let folder = cx.changeable_directory()?;
    let place = Place::of(&folder, cx).await?;
    let Making { kind, rdev, target } = Making::of(args.objtype, &place.credential)?;
    let name = Name::checked(args.objname)?;
    let changes = Changes::of_new(args.createattrs, cx).await?;
    if changes.size.is_some() {
        return Err(Nfsstat4::Inval.into());
    }
    let what = match kind {
        FileKind::Directory => Make::Folder,
        FileKind::Symlink => Make::Symlink(target.unwrap_or_default()),
        FileKind::Fifo => Make::Fifo,
        FileKind::Socket => Make::Socket,
        FileKind::Block => Make::Block(rdev.0, rdev.1),
        FileKind::Character => Make::Character(rdev.0, rdev.1),
        FileKind::Regular => return Err(Nfsstat4::Badtype.into()),
    };
    let parent = place.folder(&folder, Want::to_add(kind)).await?;
    let born = place.born(kind, &changes, parent.as_ref());
    let made = place
        .tree()
        .make(&place.caller, &place.handle, &name, what, &born);
    let (node, change) = place.heard(made.await)?;
    let cinfo = place.change(change).await?;
    let file = place.file(&node).await?;
    cx.set_current(file);
    Ok(Create4Ok {
        cinfo,
        attrset: changes.asked,
    })
}

/// Refuses whoever may not take `name` away, in a tree that leaves that to this server.
async fn takable(place: &Place, folder: &File, name: &Name) -> Result<Option<Inode>, Refusal> {
    let Some(parent) = place.folder(folder, Want::EXECUTE).await? else {
        return Ok(None);
    };
    let node = place.named(name).await?;
    let inode = inode_of(place.file(&node).await?.id, &node.stat);
    may_take_away(&place.credential, &parent, &inode)?;
    Ok(Some(inode))
}

pub(super) async fn remove(args: Remove4Args, cx: &mut Compound<'_>) -> Result<Remove4Ok, Refusal> {
    take_away(args, RemoveWhat::Any, cx).await
}

/// Whatever is of that kind, as its keeper told last: it is asked to take away the name.
pub(in crate::ops) async fn take_away(
    args: Remove4Args,
    what: RemoveWhat,
    cx: &mut Compound<'_>,
) -> Result<Remove4Ok, Refusal> {
    let folder = cx.changeable_directory()?;
    let name = Name::checked(args.target)?;
    let place = Place::of(&folder, cx).await?;
    let known = takable(&place, &folder, &name).await?;
    if what != RemoveWhat::Any {
        let kind = match known {
            Some(inode) => inode.kind,
            None => inode_of(folder.id, &place.named(&name).await?.stat).kind,
        };
        of_kind(kind, what)?;
    }
    let removed = place
        .tree()
        .remove(&place.caller, &place.handle, &name)
        .await;
    let change = place.heard(removed)?;
    Ok(Remove4Ok {
        cinfo: place.change(change).await?,
    })
}

pub(super) async fn rename(args: Rename4Args, cx: &mut Compound<'_>) -> Result<Rename4Ok, Refusal> {
    let from = Compound::changeable(cx.saved_file()?)?;
    let to = cx.changeable_directory()?;
    if from.export.number != to.export.number {
        return Err(Nfsstat4::Xdev.into());
    }
    let (oldname, newname) = (Name::checked(args.oldname)?, Name::checked(args.newname)?);
    let (source, target) = (Place::of(&from, cx).await?, Place::of(&to, cx).await?);
    if let Some(moved) = takable(&source, &from, &oldname).await? {
        let into = inode_of(to.id, &target.stat().await?);
        in_directory(&target.credential, &into, Want::to_add(moved.kind))?;
        // A folder that changes its parent has its ".." rewritten.
        if moved.kind == FileKind::Directory
            && source.handle != target.handle
            && !may(&source.credential, &moved, Want::WRITE)
        {
            return Err(Nfsstat4::Access.into());
        }
        match takable(&target, &to, &newname).await {
            Err(refusal) if refusal.status != Nfsstat4::Noent => return Err(refusal),
            _ => {}
        }
    }
    let renamed = source.tree().rename(
        &source.caller,
        (&source.handle, &oldname),
        (&target.handle, &newname),
    );
    let (left, entered) = source.heard(renamed.await)?;
    Ok(Rename4Ok {
        source_cinfo: source.change(left).await?,
        target_cinfo: target.change(entered).await?,
    })
}

pub(super) async fn link(args: Link4Args, cx: &mut Compound<'_>) -> Result<Link4Ok, Refusal> {
    let file = cx.saved_file()?.clone();
    let folder = cx.changeable_directory()?;
    if file.export.number != folder.export.number {
        return Err(Nfsstat4::Xdev.into());
    }
    let name = Name::checked(args.newname)?;
    let (named, place) = (Place::of(&file, cx).await?, Place::of(&folder, cx).await?);
    if !place.can.judges {
        let inode = inode_of(folder.id, &place.stat().await?);
        in_path(&place.credential, &inode, Want::ADD_FILE)?;
        if named.stat().await?.kind == NodeKind::Folder {
            return Err(Nfsstat4::Isdir.into());
        }
    }
    let linked = place
        .tree()
        .link(&place.caller, &named.handle, &place.handle, &name)
        .await;
    let change = place.heard(linked)?;
    Ok(Link4Ok {
        cinfo: place.change(change).await?,
    })
}
