//! What a client wants changed: read from the wire, judged, applied (RFC 8881 §5, §6.4).

use super::MAX_FILE_BYTES;
use crate::compound::Compound;
use crate::identity::acl::{self, BirthMode, INHERITANCE};
use crate::identity::{Credential, Want, may, number, owns};
use crate::status::Refusal;
use crate::v3::Guard;
use backend::tree::{NodeChanges, SetTime};
use catalog::{Ace, AceKind, FileKind, Inode, Label, Timestamp, Who};
use std::sync::Arc;
use wire::nfs4::*;

/// A time as SETATTR gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewTime {
    Now,
    At(Timestamp),
}

impl NewTime {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            NewTime::Now => now,
            NewTime::At(time) => time,
        }
    }
}

/// A mode as SETATTR gives it: the bits of `mask` are changed (RFC 8881 §6.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewMode {
    value: u32,
    mask: u32,
}

impl NewMode {
    fn of(self, old: u32) -> u32 {
        old & !self.mask | self.value & self.mask
    }
}

/// A list as a client gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewAcl {
    pub aces: Vec<Ace>,
    pub flags: u32,
}

/// What a client wants changed, checked for sense but not yet for permission.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub size: Option<u64>,
    mode: Option<NewMode>,
    /// Of something new, with the mode: to be taken from it, unless it inherits a list.
    umask: Option<u32>,
    pub acl: Option<NewAcl>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<NewTime>,
    pub mtime: Option<NewTime>,
    pub label: Option<Label>,
    pub guard: Option<Guard>,
    /// As the answer's bitmap names them.
    pub asked: Bitmap4,
}

impl Changes {
    /// Of a file whose attributes come later (EXCLUSIVE4, RFC 8881 §18.16.3): until then it is nobody's but
    /// the one's who has it open.
    pub fn later() -> Self {
        Self {
            mode: Some(NewMode {
                value: 0,
                mask: 0o7777,
            }),
            ..Self::default()
        }
    }

    /// Whether set-id bits are to be there, which a write after this takes away again and none before it.
    pub fn sets_id(&self) -> bool {
        self.mode.is_some_and(|mode| mode.of(0) & 0o6000 != 0)
    }

    /// Of SETATTR.
    pub async fn of_old(fattr: Fattr4, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let changes = Self::from_wire(fattr, cx).await?;
        // RFC 8275 §4: of a new file alone.
        if changes.asked.contains(Attr::ModeUmask) {
            return Err(Nfsstat4::Inval.into());
        }
        Ok(changes)
    }

    /// Of CREATE and OPEN.
    pub async fn of_new(fattr: Fattr4, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let changes = Self::from_wire(fattr, cx).await?;
        // RFC 8881 §6.2.5: of SETATTR alone.
        if changes.asked.contains(Attr::ModeSetMasked) {
            return Err(Nfsstat4::Inval.into());
        }
        Ok(changes)
    }

    async fn from_wire(fattr: Fattr4, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let mut asked = match fattr {
            Fattr4::Known(asked) => asked,
            Fattr4::Unsupported { .. } => return Err(Nfsstat4::Attrnotsupp.into()),
            Fattr4::Malformed { .. } => return Err(Nfsstat4::Badxdr.into()),
        };
        let mask = asked.mask();
        let known = cx.known_attributes(cx.file()?);
        if !mask.difference(known.settable()).is_empty() {
            // RFC 8881 §5.5: an attribute that can only be read is INVAL, one that isn't there ATTRNOTSUPP.
            let there = mask.difference(known.supported()).is_empty();
            return Err(if there {
                Nfsstat4::Inval
            } else {
                Nfsstat4::Attrnotsupp
            }
            .into());
        }
        if asked.size.is_some_and(|size| size > MAX_FILE_BYTES) {
            return Err(Nfsstat4::Fbig.into());
        }
        let (mode, umask) = new_mode(&asked)?;
        let limits = &cx.server.limits;
        refuse_long_acl(&asked, limits.acl_entries)?;
        cx.take_names(&mut asked).await?;
        Ok(Self {
            size: asked.size,
            mode,
            umask,
            acl: new_acl(&asked)?,
            uid: asked.owner.as_deref().map(identity).transpose()?,
            gid: asked.owner_group.as_deref().map(identity).transpose()?,
            atime: asked.time_access_set.as_ref().map(new_time).transpose()?,
            mtime: asked.time_modify_set.as_ref().map(new_time).transpose()?,
            label: asked
                .sec_label
                .map(|label| new_label(*label, limits.label_bytes))
                .transpose()?,
            guard: cx.guard,
            asked: mask,
        })
    }

    /// What is said of a new file's mode; `default` where nothing is.
    pub fn birth_mode(&self, default: u32) -> BirthMode {
        match (self.mode, self.umask) {
            (None, _) => BirthMode::Unsaid(default),
            (Some(mode), None) => BirthMode::Said(mode.of(0)),
            (Some(mode), Some(umask)) => BirthMode::WithUmask {
                mode: mode.of(0),
                umask,
            },
        }
    }

    /// Whether anything beside the size is to change.
    pub fn beside_size(&self) -> bool {
        Self {
            size: None,
            guard: None,
            asked: Bitmap4::EMPTY,
            ..self.clone()
        } != Self::default()
    }

    /// Refuses a list that `kind` can't have: what files below inherit is said of folders.
    pub fn fits(&self, kind: FileKind) -> Result<(), Refusal> {
        let Some(new) = &self.acl else { return Ok(()) };
        let inherits = new.aces.iter().any(|ace| ace.flags & INHERITANCE != 0);
        match kind {
            FileKind::Symlink => Err(Nfsstat4::Attrnotsupp.into()),
            FileKind::Directory => Ok(()),
            // §6.2.1.4.1.
            _ if inherits => Err(Nfsstat4::Attrnotsupp.into()),
            _ => Ok(()),
        }
    }

    /// The times alone, for a new file, which has got all else.
    pub fn times(&self) -> Option<Self> {
        (self.atime.is_some() || self.mtime.is_some()).then(|| Self {
            atime: self.atime,
            mtime: self.mtime,
            ..Self::default()
        })
    }

    /// Refuses what the caller may not change (POSIX chmod, chown, utimensat; truncate is judged by its stateid),
    /// and whatever was to be changed on a condition that doesn't hold.
    pub fn permitted(&self, credential: &Credential, inode: &Inode) -> Result<(), Refusal> {
        self.still_guarded(inode)?;
        let owner = owns(credential, inode);
        // A list may give others what is the owner's (RFC 8881 §6.2.1.3.1).
        let granted = |want| owner || (inode.acl.is_some() && may(credential, inode, want));
        if (self.mode.is_some() || self.acl.is_some()) && !granted(Want::WRITE_ACL) {
            return Err(Nfsstat4::Perm.into());
        }
        if self.label.is_some() && !owner {
            return Err(Nfsstat4::Perm.into());
        }
        // Who may write the owner may take a file for themselves, and give none away.
        let takes_over = !owner && granted(Want::WRITE_OWNER);
        if self
            .uid
            .is_some_and(|uid| uid != inode.uid && !(takes_over && uid == credential.uid))
            && !credential.is_root()
        {
            return Err(Nfsstat4::Perm.into());
        }
        if self.gid.is_some_and(|gid| gid != inode.gid)
            && !credential.is_root()
            && !((owner || takes_over) && self.gid.is_some_and(|gid| credential.in_group(gid)))
        {
            return Err(Nfsstat4::Perm.into());
        }
        // chown(f, same, same) by somebody else is refused as well.
        if (self.uid.is_some() || self.gid.is_some()) && !owner && !takes_over {
            return Err(Nfsstat4::Perm.into());
        }
        let times = [self.atime, self.mtime];
        if times
            .iter()
            .any(|time| matches!(time, Some(NewTime::At(_))))
            && !granted(Want::WRITE_ATTRIBUTES)
        {
            return Err(Nfsstat4::Perm.into());
        }
        if times.contains(&Some(NewTime::Now))
            && !granted(Want::WRITE_ATTRIBUTES)
            && !may(credential, inode, Want::WRITE)
        {
            return Err(Nfsstat4::Access.into());
        }
        Ok(())
    }

    /// Refuses what was to be changed on a condition that doesn't hold.
    pub fn still_guarded(&self, inode: &Inode) -> Result<(), Refusal> {
        if self.guard.is_some_and(|guard| !guard.holds(inode)) {
            return Err(Nfsstat4::NotSame.into());
        }
        Ok(())
    }

    /// What a backend's tree is asked for, which has no lists and no labels. `mode` is what it is now.
    pub fn of_node(&self, mode: u32) -> NodeChanges {
        let time = |time: NewTime| match time {
            NewTime::Now => SetTime::Now,
            NewTime::At(at) => SetTime::At(crate::junction::nanos(at)),
        };
        NodeChanges {
            mode: self.mode.map(|new| new.of(mode)),
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            atime: self.atime.map(time),
            mtime: self.mtime.map(time),
        }
    }

    /// Applies all but the size.
    pub fn apply(&self, credential: &Credential, inode: &mut Inode, now: Timestamp) {
        let owner_changes = self.uid.is_some() || self.gid.is_some();
        inode.uid = self.uid.unwrap_or(inode.uid);
        inode.gid = self.gid.unwrap_or(inode.gid);
        // A changed owner must not inherit the old one's set-id bits; Linux leaves that to the server, and takes them
        // from everything but folders.
        let runnable = inode.mode & 0o111 != 0;
        if owner_changes && inode.kind != FileKind::Directory && (runnable || !credential.is_root())
        {
            inode.mode = without_set_id(inode.mode);
        }
        if let Some(new) = self.mode {
            let mode = new.of(inode.mode);
            let foreign_group = inode.kind != FileKind::Directory
                && !credential.is_root()
                && !credential.in_group(inode.gid);
            // POSIX chmod: who isn't in the file's group can't lend that group out.
            inode.mode = if foreign_group { mode & !0o2000 } else { mode };
            if new.mask & 0o777 != 0
                && let Some(list) = &mut inode.acl
            {
                // §6.4.1.1: from now on the mode bounds the list, which is kept as it is.
                let list = Arc::make_mut(list);
                list.masked = true;
                list.flags |= ACL4_PROTECTED;
            }
        }
        // §6.4.1.3: the mode first, then the list, which may change it.
        if let Some(new) = &self.acl {
            let directory = inode.kind == FileKind::Directory;
            let (mode, list) = acl::set(inode.mode, new.aces.clone(), new.flags, directory);
            inode.mode = mode;
            inode.acl = list.map(Arc::new);
        }
        if let Some(label) = &self.label {
            inode.label = Some(label.clone());
        }
        inode.atime = self.atime.map_or(inode.atime, |time| time.at(now));
        inode.mtime = self.mtime.map_or(inode.mtime, |time| time.at(now));
        inode.ctime = now;
    }
}

/// A mode after its file was written or given away by somebody without privilege.
pub(crate) fn without_set_id(mode: u32) -> u32 {
    // Set-group-id without group execute once meant mandatory locking: Linux leaves it.
    if mode & 0o010 != 0 {
        mode & !0o6000
    } else {
        mode & !0o4000
    }
}

/// `mode`, `mode_set_masked` or `mode_umask`: one of them at most.
fn new_mode(asked: &Attributes) -> Result<(Option<NewMode>, Option<u32>), Refusal> {
    let all = |value| NewMode {
        value,
        mask: 0o7777,
    };
    let (mode, umask) = match (asked.mode, &asked.mode_set_masked, &asked.mode_umask) {
        (None, None, None) => return Ok((None, None)),
        (Some(mode), None, None) => (all(mode), None),
        (None, Some(new), None) => {
            let mode = NewMode {
                value: new.value_to_set,
                mask: new.mask_bits,
            };
            (mode, None)
        }
        (None, None, Some(new)) => (all(new.mode), Some(new.umask)),
        _ => return Err(Nfsstat4::Inval.into()),
    };
    let valid = (mode.value | mode.mask) & !0o7777 == 0 && umask.unwrap_or(0) & !0o777 == 0;
    if valid {
        Ok((Some(mode), umask))
    } else {
        Err(Nfsstat4::Inval.into())
    }
}

/// Before its names are looked up.
fn refuse_long_acl(asked: &Attributes, most: usize) -> Result<(), Refusal> {
    let lists = [
        asked.acl.as_ref(),
        asked.dacl.as_ref().map(|list| &list.aces),
    ];
    if lists.into_iter().flatten().any(|aces| aces.len() > most) {
        return Err(Nfsstat4::Nospc.into());
    }
    Ok(())
}

/// `acl` or `dacl`.
fn new_acl(asked: &Attributes) -> Result<Option<NewAcl>, Refusal> {
    let (aces, flags, known) = match (&asked.acl, &asked.dacl) {
        (None, None) => return Ok(None),
        // §6.4.3.2: who sets `acl` may know nothing of automatic inheritance.
        (Some(aces), None) => (aces, ACL4_PROTECTED, ACE_FLAGS & !ACE4_INHERITED_ACE),
        (None, Some(list)) => (&list.aces, list.flag, ACE_FLAGS),
        // §6.4.1.
        (Some(_), Some(_)) => return Err(Nfsstat4::Attrnotsupp.into()),
    };
    if flags & !(ACL4_AUTO_INHERIT | ACL4_PROTECTED | ACL4_DEFAULTED) != 0 {
        return Err(Nfsstat4::Inval.into());
    }
    Ok(Some(NewAcl {
        aces: aces
            .iter()
            .map(|ace| new_ace(ace, known))
            .collect::<Result<_, _>>()?,
        // Set by hand it is no default any more.
        flags: flags & !ACL4_DEFAULTED,
    }))
}

const ACE_FLAGS: u32 = INHERITANCE | ACE4_IDENTIFIER_GROUP | ACE4_INHERITED_ACE;
const ACE_MASK: u32 = 0x1f_07ff;

fn new_ace(ace: &Nfsace4, known_flags: u32) -> Result<Ace, Refusal> {
    let kind = match ace.acetype {
        ACE4_ACCESS_ALLOWED_ACE_TYPE => AceKind::Allow,
        ACE4_ACCESS_DENIED_ACE_TYPE => AceKind::Deny,
        // AUDIT and ALARM, which `aclsupport` doesn't name (RFC 8881 §6.2.1.1).
        _ => return Err(Nfsstat4::Attrnotsupp.into()),
    };
    if ace.access_mask & !ACE_MASK != 0 {
        return Err(Nfsstat4::Inval.into());
    }
    // Those of AUDIT and ALARM mean nothing here; INHERITED is of `dacl` alone (§6.2.1.4.1).
    let ignored =
        ACE4_SUCCESSFUL_ACCESS_ACE_FLAG | ACE4_FAILED_ACCESS_ACE_FLAG | ACE4_INHERITED_ACE;
    if ace.flag & !(known_flags | ignored) != 0 {
        return Err(Nfsstat4::Attrnotsupp.into());
    }
    let mut flags = ace.flag & known_flags;
    // §6.2.1.4.1: for files below, and for none of them.
    if flags & INHERITANCE == ACE4_INHERIT_ONLY_ACE {
        return Err(Nfsstat4::Attrnotsupp.into());
    }
    let is_group = flags & ACE4_IDENTIFIER_GROUP != 0;
    let who = match &ace.who[..] {
        acl::OWNER => Who::Owner,
        acl::GROUP => Who::OwningGroup,
        acl::EVERYONE => Who::Everyone,
        id if is_group => Who::Group(identity(id)?),
        id => Who::User(identity(id)?),
    };
    if matches!(who, Who::Owner | Who::OwningGroup | Who::Everyone) {
        // §6.2.1.5: means nothing there.
        flags &= !ACE4_IDENTIFIER_GROUP;
    }
    Ok(Ace {
        kind,
        flags,
        mask: ace.access_mask,
        who,
    })
}

fn new_label(label: SecLabel4, most: usize) -> Result<Label, Refusal> {
    if label.data.is_empty() || label.data.len() > most {
        return Err(Nfsstat4::Badlabel.into());
    }
    Ok(Label {
        format: label.lfs,
        policy: label.pi,
        data: label.data,
    })
}

fn identity(name: &[u8]) -> Result<u32, Refusal> {
    number(name).ok_or_else(|| Nfsstat4::Badowner.into())
}

fn new_time(time: &Settime4) -> Result<NewTime, Refusal> {
    match time {
        Settime4::ServerTime => Ok(NewTime::Now),
        Settime4::ClientTime(time) if time.nseconds >= 1_000_000_000 => Err(Nfsstat4::Inval.into()),
        Settime4::ClientTime(time) => Ok(NewTime::At(Timestamp {
            seconds: time.seconds,
            nanos: time.nseconds,
        })),
    }
}
