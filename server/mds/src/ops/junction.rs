//! Operations on files that a backend keeps in a tree of its own (`crate::junction`): its keeper does
//! them, and this server holds what clients have opened and locked there.
//!
//! State: opens, locks and layouts to read, as of any file; no delegations, since others may change the
//! tree without asking. Gate: the inode, shared, for an open. Catalog: none.
//! Never here: what is the same for every file (CLOSE, LOCK, LAYOUTRETURN, GETATTR and their like).

mod copy;
mod io;
mod layout;
mod list;
mod names;
mod open;
mod set;
mod xattrs;

pub(super) use names::{lookup, parent, take_away};
pub(super) use open::make;

use crate::compound::{Compound, File, in_directory};
use crate::exports::ExportRule;
use crate::identity::{Credential, Want};
use crate::junction::{Junction, inode_of};
use crate::status::Refusal;
use backend::tree::{Caller, FolderChange, Node, NodeStat, Tree, TreeAbilities, TreeError};
use bytes::Bytes;
use catalog::Inode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{
    ArgOp, Bitmap4, ChangeInfo4, Copy4Error, Layoutget4Error, Nfsstat4, OperationError, Opnum,
    ResOp, Setattr4Error,
};

/// Whether the operation is done otherwise in a junction, and is about a file in one.
pub(super) fn has_its_own(operation: Opnum, cx: &Compound<'_>) -> bool {
    use Opnum::*;
    let inside = |file: &Option<File>| {
        let rule = file.as_ref().map(|file| &file.export);
        rule.is_some_and(|rule| rule.junction.is_some())
    };
    match operation {
        Access | Open | Read | Write | Commit | Readdir | Readlink | Create | Remove | Setattr
        | Layoutget | Layoutcommit | Getxattr | Setxattr | Listxattrs | Removexattr | Allocate
        | Deallocate | CopyNotify | ReadPlus | Seek | WriteSame | IoAdvise => inside(&cx.current),
        Rename | Link | Copy | Clone => inside(&cx.current) || inside(&cx.saved),
        _ => false,
    }
}

pub(super) async fn dispatch(operation: ArgOp, cx: &mut Compound<'_>) -> ResOp {
    let opnum = operation.opnum();
    let server = cx.server;
    let no = |refusal: Refusal| server.told(opnum, &refusal);
    match operation {
        ArgOp::Access(args) => ResOp::Access(set::access(args, cx).await.map_err(no)),
        ArgOp::Open(args) => ResOp::Open(open::open(args, cx).await.map_err(no)),
        ArgOp::Read(args) => ResOp::Read(io::read(&args, cx).await.map_err(no)),
        ArgOp::Write(args) => ResOp::Write(io::write(args, cx).await.map_err(no)),
        ArgOp::Commit(_) => ResOp::Commit(io::commit(cx).await.map_err(no)),
        ArgOp::Readdir(args) => ResOp::Readdir(list::readdir(args, cx).await.map_err(no)),
        ArgOp::Readlink => ResOp::Readlink(names::readlink(cx).await.map_err(no)),
        ArgOp::Create(args) => ResOp::Create(names::create(args, cx).await.map_err(no)),
        ArgOp::Remove(args) => ResOp::Remove(names::remove(args, cx).await.map_err(no)),
        ArgOp::Rename(args) => ResOp::Rename(names::rename(args, cx).await.map_err(no)),
        ArgOp::Link(args) => ResOp::Link(names::link(args, cx).await.map_err(no)),
        ArgOp::Setattr(args) => {
            ResOp::Setattr(
                set::setattr(args, cx)
                    .await
                    .map_err(|refusal| Setattr4Error {
                        status: no(refusal),
                        attrsset: Bitmap4::EMPTY,
                    }),
            )
        }
        ArgOp::Layoutget(args) => ResOp::Layoutget(
            layout::layoutget(&args, cx)
                .await
                .map_err(|refusal| Layoutget4Error::from_status(no(refusal))),
        ),
        ArgOp::Getxattr(args) => ResOp::Getxattr(xattrs::getxattr(args, cx).await.map_err(no)),
        ArgOp::Setxattr(args) => ResOp::Setxattr(xattrs::setxattr(args, cx).await.map_err(no)),
        ArgOp::Listxattrs(args) => {
            ResOp::Listxattrs(xattrs::listxattrs(args, cx).await.map_err(no))
        }
        ArgOp::Removexattr(args) => {
            ResOp::Removexattr(xattrs::removexattr(args, cx).await.map_err(no))
        }
        // No layout to write is ever given.
        ArgOp::Layoutcommit(_) => ResOp::failed(opnum, Nfsstat4::Badlayout),
        ArgOp::Copy(args) => ResOp::Copy(
            copy::copy(&args, cx)
                .await
                .map_err(|refusal| Copy4Error::from_status(no(refusal))),
        ),
        _ => ResOp::failed(opnum, Nfsstat4::Notsupp),
    }
}

/// A node, and in whose name its keeper is asked about it.
struct Place {
    junction: Junction,
    export: Arc<ExportRule>,
    handle: Bytes,
    credential: Credential,
    caller: Caller,
    can: TreeAbilities,
}

impl Place {
    async fn of(file: &File, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let junction = file.export.junction.clone().ok_or(Nfsstat4::Xdev)?;
        let handle = junction
            .handle(file)
            .await
            .map_err(|error| count(&junction, error))?;
        let can = junction.tree().abilities();
        Ok(Self {
            export: Arc::clone(&file.export),
            handle,
            credential: cx.credential(file),
            caller: junction.caller(file, cx),
            can,
            junction,
        })
    }

    fn tree(&self) -> &dyn Tree {
        self.junction.tree().as_ref()
    }

    async fn stat(&self) -> Result<NodeStat, Refusal> {
        self.heard(self.tree().stat(&self.caller, &self.handle).await)
    }

    /// The answer of the backend, counted.
    fn heard<T>(&self, answer: Result<T, TreeError>) -> Result<T, Refusal> {
        answer.map_err(|error| count(&self.junction, error))
    }

    async fn file(&self, node: &Node) -> Result<File, Refusal> {
        self.heard(self.junction.file(node, &self.export).await)
    }

    /// Refuses unless the caller may do that in the folder. A tree that judges says so by itself.
    async fn folder(&self, file: &File, want: Want) -> Result<Option<Inode>, Refusal> {
        if self.can.judges {
            return Ok(None);
        }
        let inode = inode_of(file.id, &self.stat().await?);
        in_directory(&self.credential, &inode, want)?;
        Ok(Some(inode))
    }

    /// What the keeper told of a folder's change. Between the two somebody else may have been there.
    async fn change(&self, told: FolderChange) -> Result<ChangeInfo4, Refusal> {
        let after = match told.after {
            Some(after) => after,
            None => self.stat().await?.change,
        };
        Ok(ChangeInfo4 {
            atomic: false,
            before: told.before.unwrap_or(after),
            after,
        })
    }
}

/// From now on a client holds something of `file`: it may have to be told of it by its handle.
fn held(file: &File, cx: &Compound<'_>) {
    if let Some(node) = &file.node {
        cx.server.nodes.lock().insert(file.id, node.clone());
    }
}

fn count(junction: &Junction, error: TreeError) -> Refusal {
    let counters = junction.counters();
    if error.is_passing() {
        counters.delayed.fetch_add(1, Relaxed);
    } else if error.kind == backend::tree::TreeErrorKind::Broken {
        counters.broken.fetch_add(1, Relaxed);
    }
    error.into()
}
