//! What one COMPOUND knows while it runs (RFC 8881 §2.6, §16.2): who asks, over which session, the
//! current and saved filehandle and stateid, and how much room its reply has left.

use crate::connection::Connection;
use crate::exports::{Access, ExportRule, Squash};
use crate::filehandle::Named;
use crate::identity::{self, Credential, TakeAway, Unnamed, Want, may};
use crate::server::{Server, Settings};
use crate::state::{Admitted, ClientId, State, Stateid, Time};
use crate::status::Refusal;
use crate::v3::Guard;
use bytes::Bytes;
use catalog::{FileKind, Inode, InodeChange, InodeId, Timestamp};
use std::sync::Arc;
use tokio::sync::OnceCell;
use wire::nfs4::{Bitmap4, ChangeInfo4, Nfsstat4, Stateid4};

/// A file that a filehandle named.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub id: InodeId,
    pub export: Arc<ExportRule>,
    /// In a junction: its handle in the backend's tree, whose root has none.
    pub node: Option<Bytes>,
}

impl File {
    /// Of the catalog, or the root of what covers it.
    pub fn new(id: InodeId, export: Arc<ExportRule>) -> Self {
        Self {
            id,
            export,
            node: None,
        }
    }
}

pub(crate) struct Compound<'a> {
    pub server: &'a Arc<Server>,
    pub connection: &'a Arc<Connection>,
    pub minor: u32,
    /// AUTH_SYS ids as the client gave them; `None` for AUTH_NONE.
    pub caller: Option<Credential>,
    /// The same with the groups that the server knows, once an export asked for them.
    pub with_known_groups: OnceCell<Credential>,
    /// Who owns sessions and clientids: flavor and uid.
    pub principal: Bytes,
    pub admitted: Option<Admitted>,
    /// A call of NFSv3, which knows neither sessions nor opens, and of owners their numbers alone.
    pub legacy: bool,
    /// What a SETATTR of NFSv3 made its condition.
    pub guard: Option<Guard>,
    pub current: Option<File>,
    pub saved: Option<File>,
    /// A handle that is put in order to be saved, in a COPY between servers: it may be another's.
    pub foreign: Option<Bytes>,
    pub saved_foreign: Option<Bytes>,
    pub stateid: Option<Stateid4>,
    pub saved_stateid: Option<Stateid4>,
    /// When the request came, for what files show and for leases.
    pub now: Timestamp,
    pub time: Time,
    /// Bytes that the reply can still take.
    pub room: usize,
    /// Whether no operation comes after this one.
    pub is_last: bool,
    /// Whether a LAYOUTGET to write is in the request: what an OPEN in it makes will be written.
    pub lays_out_to_write: bool,
    /// Whether this is a PUTFH for the SAVEFH behind it, in a request with a COPY from another server.
    pub puts_foreign: bool,
}

impl<'a> Compound<'a> {
    /// Before its first operation, outside a session.
    pub fn new(
        server: &'a Arc<Server>,
        connection: &'a Arc<Connection>,
        (caller, principal): (Option<Credential>, Bytes),
        minor: u32,
        room: usize,
    ) -> Self {
        Self {
            server,
            connection,
            minor,
            caller,
            with_known_groups: OnceCell::new(),
            principal,
            admitted: None,
            legacy: false,
            guard: None,
            current: None,
            saved: None,
            foreign: None,
            saved_foreign: None,
            stateid: None,
            saved_stateid: None,
            now: server.clock.wall(),
            time: server.clock.monotonic(),
            room,
            is_last: true,
            lays_out_to_write: false,
            puts_foreign: false,
        }
    }
}

impl Compound<'_> {
    pub fn file(&self) -> Result<&File, Refusal> {
        self.current
            .as_ref()
            .ok_or_else(|| Nfsstat4::Nofilehandle.into())
    }

    pub fn saved_file(&self) -> Result<&File, Refusal> {
        self.saved
            .as_ref()
            .ok_or_else(|| Nfsstat4::Nofilehandle.into())
    }

    /// The saved filehandle of a COPY from another server, which knows what it means.
    pub fn saved_foreign(&self) -> Result<Bytes, Refusal> {
        self.saved_foreign
            .clone()
            .ok_or_else(|| Nfsstat4::Nofilehandle.into())
    }

    pub fn client(&self) -> Result<ClientId, Refusal> {
        if self.legacy {
            return Ok(ClientId::LEGACY);
        }
        self.admitted
            .as_ref()
            .map(|admitted| admitted.client)
            .ok_or_else(|| Nfsstat4::OpNotInSession.into())
    }

    /// A new current filehandle leaves no current stateid behind (RFC 8881 §16.2.3.1.2).
    pub fn set_current(&mut self, file: File) {
        self.current = Some(file);
        self.stateid = None;
        self.foreign = None;
    }

    /// The caller, as the export of `file` squashes it.
    pub fn credential(&self, file: &File) -> Credential {
        let caller = match self.with_known_groups.get() {
            Some(known) if file.export.manage_gids => Some(known),
            _ => self.caller.as_ref(),
        };
        Credential::squashed(caller, file.export.squash, file.export.anonymous)
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.server.settings()
    }

    /// To be done before a file of `export` is looked at: the caller's groups are looked up where the
    /// server is to know them, once in a COMPOUND.
    pub async fn enter(&self, export: &ExportRule) -> Result<(), Refusal> {
        let Some(caller) = &self.caller else {
            return Ok(());
        };
        if !export.manage_gids || export.squash == Squash::All {
            return Ok(());
        }
        let looked_up = self.with_known_groups.get_or_try_init(async || {
            let groups = self.server.groups_of(caller.uid, self.time).await;
            groups.map(|groups| Credential {
                groups: groups.to_vec(),
                ..caller.clone()
            })
        });
        // Other rights than the caller's own would be worse than waiting.
        looked_up.await.map_err(Unnamed::from)?;
        Ok(())
    }

    /// The file that a client's filehandle names, if the client may reach its export.
    pub fn named(&self, handle: &[u8]) -> Result<File, Refusal> {
        let Named { export, id, node } = self
            .server
            .handle_key
            .open(handle)
            .map_err(|_| Nfsstat4::Badhandle)?;
        let settings = self.server.settings();
        // An export that the operator took away leaves its handles stale.
        let export = settings.exports.by_number(export).ok_or(Nfsstat4::Stale)?;
        if !export.is_pseudo() && !export.admits(self.connection.peer.ip()) {
            return Err(Nfsstat4::Access.into());
        }
        let export = settings.exports.beyond(export, id);
        if node.is_some() && export.junction.is_none() {
            return Err(Nfsstat4::Stale.into());
        }
        Ok(File { id, export, node })
    }

    pub fn handle_of(&self, file: &File) -> Bytes {
        self.server.handle_key.seal(&Named {
            export: file.export.number,
            id: file.id,
            node: file.node.clone(),
        })
    }

    /// The current file's inode, as committed; in a junction, as its backend tells.
    pub async fn inode(&self) -> Result<Arc<Inode>, Refusal> {
        let file = self.file()?;
        match &file.export.junction {
            Some(junction) => Ok(Box::pin(junction.inode(file, self)).await?),
            None => Ok(self.server.catalog.inode(file.id).await?),
        }
    }

    /// The current file's inode as the caller may expect it to be shown: what others are writing counts.
    pub async fn shown_inode(&self, asked: Bitmap4) -> Result<Arc<Inode>, Refusal> {
        let file = self.file()?;
        if file.export.junction.is_some() {
            return self.inode().await;
        }
        self.server
            .shown_inode(file.id, self.client().ok(), asked)
            .await
    }

    /// The current filehandle as a folder in which names can change.
    pub fn changeable_directory(&self) -> Result<File, Refusal> {
        Self::changeable(self.file()?)
    }

    pub fn changeable(file: &File) -> Result<File, Refusal> {
        if file.export.access == Access::ReadOnly {
            return Err(Nfsstat4::Rofs.into());
        }
        Ok(file.clone())
    }

    /// Resolves the "current stateid" (RFC 8881 §16.2.3.1.2).
    pub fn resolve(&self, stateid: Stateid4) -> Result<Stateid, Refusal> {
        let stateid = if stateid == Stateid4::CURRENT {
            self.stateid.ok_or(Nfsstat4::BadStateid)?
        } else {
            stateid
        };
        Ok(stateid.into())
    }

    /// A stateid that belongs to the saved filehandle: its "current" is the one saved with it.
    pub fn saved_or(&self, stateid: Stateid4) -> Result<Stateid4, Refusal> {
        if stateid == Stateid4::CURRENT {
            Ok(self.saved_stateid.ok_or(Nfsstat4::BadStateid)?)
        } else {
            Ok(stateid)
        }
    }

    /// The request gives its client `stateid`: said under the lock that gives it.
    pub fn gave(&self, state: &mut State, stateid: Stateid) {
        if let Some(admitted) = &self.admitted {
            state.gave(admitted.slot, stateid);
        }
    }

    /// Makes `stateid` the current one, and gives it in its wire form.
    pub fn set_stateid(&mut self, stateid: Stateid) -> Stateid4 {
        let stateid = Stateid4::from(stateid);
        self.stateid = Some(stateid);
        stateid
    }
}

impl From<Stateid> for Stateid4 {
    fn from(Stateid { seqid, other }: Stateid) -> Self {
        Self { seqid, other }
    }
}

impl From<Stateid4> for Stateid {
    fn from(Stateid4 { seqid, other }: Stateid4) -> Self {
        Self { seqid, other }
    }
}

/// As `in_directory`, where a client walks a path (LOOKUP, OPEN, LINK): a symbolic link in its way is
/// told as one.
pub(crate) fn in_path(credential: &Credential, inode: &Inode, want: Want) -> Result<(), Refusal> {
    if inode.kind == FileKind::Symlink {
        return Err(Nfsstat4::Symlink.into());
    }
    in_directory(credential, inode, want)
}

/// Refuses unless `inode` is a folder in which `credential` may do `want`.
pub(crate) fn in_directory(
    credential: &Credential,
    inode: &Inode,
    want: Want,
) -> Result<(), Refusal> {
    if inode.kind != FileKind::Directory {
        return Err(Nfsstat4::Notdir.into());
    }
    if may(credential, inode, want) {
        Ok(())
    } else {
        Err(Nfsstat4::Access.into())
    }
}

/// Refuses whoever may not take the name away; in a folder with the sticky bit (`S_ISVTX`) that are all but
/// the owners of the folder and of the entry.
pub(crate) fn may_take_away(
    credential: &Credential,
    directory: &Inode,
    entry: &Inode,
) -> Result<(), Refusal> {
    match identity::may_take_away(credential, directory, entry) {
        TakeAway::Granted => Ok(()),
        TakeAway::Sticky => Err(Nfsstat4::Perm.into()),
        TakeAway::Refused => Err(Nfsstat4::Access.into()),
    }
}

/// `change_info4` of a folder after a transaction. What didn't touch the folder (a rename between
/// two names of one inode) has no values to tell, and says so by `atomic`.
pub(crate) fn change_info<T>(done: &catalog::Done<T>, directory: InodeId) -> ChangeInfo4 {
    match done.change_of(directory) {
        Some(change) => ChangeInfo4 {
            atomic: true,
            before: change.before,
            after: change.after,
        },
        None => ChangeInfo4 {
            atomic: false,
            before: 0,
            after: 0,
        },
    }
}

/// `change_info4` of an inode whose own attributes a transaction changed: a folder's is known with the
/// commit, any other's is in the record that nobody else can have changed meanwhile.
pub(crate) fn change_of_itself(done: &catalog::Done<InodeChange>) -> ChangeInfo4 {
    let change = done.change_of(done.value.id).unwrap_or(done.value);
    ChangeInfo4 {
        atomic: true,
        before: change.before,
        after: change.after,
    }
}

/// A name as the client gave it, fit to be an entry: any bytes but NUL and '/', as Linux sends them.
#[derive(Debug, Clone)]
pub(crate) struct Name(Bytes);

impl Name {
    pub fn checked(name: Bytes) -> Result<Self, Refusal> {
        match &name[..] {
            [] => Err(Nfsstat4::Inval.into()),
            [b'.'] | [b'.', b'.'] => Err(Nfsstat4::Badname.into()),
            bytes if bytes.len() > catalog::NAME_MAX_BYTES => Err(Nfsstat4::Nametoolong.into()),
            bytes if bytes.contains(&0) || bytes.contains(&b'/') => Err(Nfsstat4::Badchar.into()),
            _ => Ok(Self(name)),
        }
    }
}

impl std::ops::Deref for Name {
    type Target = Bytes;
    fn deref(&self) -> &Bytes {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bytes_and_only_what_posix_forbids_is_refused() {
        let refused =
            |name: &'static [u8]| Name::checked(Bytes::from_static(name)).unwrap_err().status;
        assert_eq!(refused(b""), Nfsstat4::Inval);
        assert_eq!(refused(b"."), Nfsstat4::Badname);
        assert_eq!(refused(b".."), Nfsstat4::Badname);
        assert_eq!(refused(b"a/b"), Nfsstat4::Badchar);
        assert_eq!(refused(b"a\0"), Nfsstat4::Badchar);
        assert_eq!(
            Name::checked(vec![b'x'; 256].into()).unwrap_err().status,
            Nfsstat4::Nametoolong
        );
        assert!(Name::checked(vec![b'x'; 255].into()).is_ok());
        assert!(Name::checked(Bytes::from_static(b"\xff\xfe not UTF-8")).is_ok());
    }
}
