//! Access control lists (RFC 8881 §6), pure: what a list decides, the mode that it shows, the list that a
//! mode shows, and what a new file inherits. Never who asks: that is in `access`.

use catalog::{Ace, AceKind, Acl, Who};
use wire::nfs4::*;

/// How the wire calls whom an entry is about (§6.2.1.5); others are numbers.
pub const OWNER: &[u8] = b"OWNER@";
pub const GROUP: &[u8] = b"GROUP@";
pub const EVERYONE: &[u8] = b"EVERYONE@";

/// Entries with these are for what is made below a folder.
pub const INHERITABLE: u32 = ACE4_FILE_INHERIT_ACE | ACE4_DIRECTORY_INHERIT_ACE;
pub const INHERITANCE: u32 = INHERITABLE | ACE4_NO_PROPAGATE_INHERIT_ACE | ACE4_INHERIT_ONLY_ACE;

/// What everybody may who has any list made of a mode: see the file.
const SEEING: u32 = ACE4_READ_ATTRIBUTES | ACE4_READ_ACL | ACE4_SYNCHRONIZE;
/// What the owner may whatever a list says, so that nobody locks themselves out.
pub const OWNERS: u32 = SEEING | ACE4_WRITE_ATTRIBUTES | ACE4_WRITE_ACL;
/// Bits that a mode decides.
const OF_MODE: u32 =
    ACE4_READ_DATA | ACE4_WRITE_DATA | ACE4_APPEND_DATA | ACE4_DELETE_CHILD | ACE4_EXECUTE;
/// What goes with the right to write where a mode bounds a list.
const WITH_WRITE: u32 = ACE4_WRITE_DATA
    | ACE4_APPEND_DATA
    | ACE4_DELETE_CHILD
    | ACE4_WRITE_NAMED_ATTRS
    | ACE4_WRITE_ATTRIBUTES
    | ACE4_WRITE_RETENTION
    | ACE4_WRITE_RETENTION_HOLD
    | ACE4_DELETE
    | ACE4_WRITE_ACL
    | ACE4_WRITE_OWNER;

/// Flags of the list that a mode shows: it was set, and doesn't follow the folder's by itself (§6.4.3.2).
pub const OF_MODE_FLAGS: u32 = ACL4_PROTECTED;

/// How a mode meets a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// Owner, group and others get exactly what it says (§6.4.1.1).
    Set,
    /// At birth (RFC 8275): it bounds what was inherited, and those of whom the inherited list says
    /// nothing get what the umask leaves of it.
    Born { umask: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Denied,
    /// No entry says anything of at least one bit.
    Silent,
}

/// Each bit of `mask` is decided by the first entry that names it and concerns the asker (§6.2.1).
pub fn judge(aces: &[Ace], mask: u32, concerns: impl Fn(Who) -> bool) -> Verdict {
    let mut open = mask;
    for ace in aces.iter().filter(|ace| is_effective(ace)) {
        if open & ace.mask == 0 || !concerns(ace.who) {
            continue;
        }
        match ace.kind {
            AceKind::Deny => return Verdict::Denied,
            AceKind::Allow => open &= !ace.mask,
        }
        if open == 0 {
            break;
        }
    }
    if open == 0 {
        Verdict::Allowed
    } else {
        Verdict::Silent
    }
}

fn is_effective(ace: &Ace) -> bool {
    ace.flags & ACE4_INHERIT_ONLY_ACE == 0
}

/// What the entries of `who` and of everybody allow and deny (§6.3.2).
fn decided(aces: &[Ace], who: Who) -> (u32, u32) {
    let (mut allowed, mut denied) = (0, 0);
    for ace in aces.iter().filter(|ace| is_effective(ace)) {
        if ace.who == who || ace.who == Who::Everyone {
            match ace.kind {
                AceKind::Allow => allowed |= ace.mask & !denied,
                AceKind::Deny => denied |= ace.mask & !allowed,
            }
        }
    }
    (allowed, denied)
}

/// The nine low bits of the mode that a list shows (§6.3.2).
pub fn mode_of(aces: &[Ace]) -> u32 {
    let class = |who| {
        let (allowed, _) = decided(aces, who);
        let has = |mask: u32, bit: u32| if allowed & mask == mask { bit } else { 0 };
        has(ACE4_READ_DATA, 4) | has(ACE4_WRITE_DATA | ACE4_APPEND_DATA, 2) | has(ACE4_EXECUTE, 1)
    };
    class(Who::Owner) << 6 | class(Who::OwningGroup) << 3 | class(Who::Everyone)
}

/// What three bits of a mode grant.
fn granted(bits: u32, directory: bool) -> u32 {
    let mut mask = 0;
    if bits & 4 != 0 {
        mask |= ACE4_READ_DATA;
    }
    if bits & 2 != 0 {
        mask |= ACE4_WRITE_DATA | ACE4_APPEND_DATA;
        if directory {
            mask |= ACE4_DELETE_CHILD;
        }
    }
    if bits & 1 != 0 {
        mask |= ACE4_EXECUTE;
    }
    mask
}

/// The most that an entry may grant under three bits of a mode.
fn bound(bits: u32) -> u32 {
    let mut mask = SEEING;
    if bits & 4 != 0 {
        mask |= ACE4_READ_DATA | ACE4_READ_NAMED_ATTRS;
    }
    if bits & 2 != 0 {
        mask |= WITH_WRITE;
    }
    if bits & 1 != 0 {
        mask |= ACE4_EXECUTE;
    }
    mask
}

/// The list of a file that has none of its own.
pub fn of_mode(mode: u32, directory: bool) -> Vec<Ace> {
    met(&[], mode, Meeting::Set, directory)
}

/// A list after its mode was set: the mode that it shows is `mode`, named users and groups have no more
/// than the group's bits allow, and what is for files below stays (§6.4.1.1).
pub fn under_mode(aces: &[Ace], mode: u32, directory: bool) -> Vec<Ace> {
    met(aces, mode, Meeting::Set, directory)
}

fn met(aces: &[Ace], mode: u32, meeting: Meeting, directory: bool) -> Vec<Ace> {
    let was_empty = !aces.iter().any(is_effective);
    let class = |who, shift: u32| {
        let bits = mode >> shift;
        let (allowed, denied) = decided(aces, who);
        let named = aces.iter().any(|ace| is_effective(ace) && ace.who == who);
        let of_mode = match meeting {
            Meeting::Set => granted(bits, directory),
            Meeting::Born { .. } if named => granted(bits, directory) & allowed,
            Meeting::Born { umask } => {
                granted(bits & !(umask >> shift), directory) & !denied
                    | granted(bits, directory) & allowed
            }
        };
        let seeing = match (was_empty || matches!(meeting, Meeting::Born { .. }), who) {
            (true, Who::Owner) => OWNERS & !denied,
            (true, _) => SEEING & !denied,
            (false, _) => 0,
        };
        of_mode | allowed & !OF_MODE & bound(bits) | seeing
    };
    let (owner, group, everyone) = (
        class(Who::Owner, 6),
        class(Who::OwningGroup, 3),
        class(Who::Everyone, 0),
    );
    let most = bound(mode >> 3);
    let mut inherited = Vec::new();
    let mut named: Vec<Ace> = Vec::new();
    let (mut denied_to_all, mut allowed_to_named) = (0, 0);
    for ace in aces {
        if ace.flags & INHERITABLE != 0 {
            inherited.push(Ace {
                flags: ace.flags | ACE4_INHERIT_ONLY_ACE,
                ..*ace
            });
        }
        if !is_effective(ace) {
            continue;
        }
        let mut ace = Ace {
            flags: ace.flags & !INHERITANCE,
            ..*ace
        };
        match (ace.who, ace.kind) {
            (Who::Everyone, AceKind::Deny) => denied_to_all |= ace.mask,
            (Who::OwningGroup, AceKind::Deny) => {
                ace.mask &= !group;
                named.push(ace);
            }
            (Who::User(_) | Who::Group(_), kind) => {
                if kind == AceKind::Allow {
                    ace.mask &= most & !denied_to_all;
                    allowed_to_named |= ace.mask;
                }
                named.push(ace);
            }
            (Who::Owner | Who::OwningGroup | Who::Everyone, _) => {}
        }
    }
    named.retain(|ace| ace.mask != 0);
    // What everybody has and the group's bits refuse, those with entries of their own don't get either.
    let through = everyone & OF_MODE & !most;
    let mut kept_out: Vec<Ace> = Vec::new();
    for who in aces
        .iter()
        .filter(|ace| is_effective(ace))
        .map(|ace| ace.who)
    {
        let is_named = matches!(who, Who::User(_) | Who::Group(_));
        if is_named && through != 0 && kept_out.iter().all(|ace| ace.who != who) {
            kept_out.push(entry(AceKind::Deny, who, through));
        }
    }
    let mut list = Vec::with_capacity(5 + named.len() + kept_out.len() + inherited.len());
    let others = (group | everyone | allowed_to_named) & !owner;
    list.push(entry(AceKind::Deny, Who::Owner, others & !OWNERS));
    list.push(entry(AceKind::Allow, Who::Owner, owner));
    list.append(&mut named);
    list.push(entry(AceKind::Deny, Who::OwningGroup, everyone & !group));
    list.push(entry(AceKind::Allow, Who::OwningGroup, group));
    list.append(&mut kept_out);
    list.push(entry(AceKind::Allow, Who::Everyone, everyone));
    list.retain(|ace| ace.mask != 0);
    list.append(&mut inherited);
    list
}

fn entry(kind: AceKind, who: Who, mask: u32) -> Ace {
    // §6.2.1.5: of named groups alone.
    let flags = match who {
        Who::Group(_) => ACE4_IDENTIFIER_GROUP,
        Who::Owner | Who::OwningGroup | Who::Everyone | Who::User(_) => 0,
    };
    Ace {
        kind,
        flags,
        mask,
        who,
    }
}

/// What a new file or folder takes over of its folder's list (§6.4.3.1).
fn inherited(parent: &Acl, directory: bool) -> Vec<Ace> {
    let taken = |ace: &Ace| {
        let (to_files, to_folders) = (
            ace.flags & ACE4_FILE_INHERIT_ACE != 0,
            ace.flags & ACE4_DIRECTORY_INHERIT_ACE != 0,
        );
        let propagates = ace.flags & ACE4_NO_PROPAGATE_INHERIT_ACE == 0;
        let plain = ace.flags & ACE4_IDENTIFIER_GROUP | ACE4_INHERITED_ACE;
        let flags = match (directory, to_files, to_folders) {
            (false, true, _) => plain,
            (true, _, true) if propagates => plain | ace.flags & INHERITABLE,
            (true, _, true) => plain,
            // For files alone: the folder hands it on, and doesn't heed it.
            (true, true, false) if propagates => {
                plain | ACE4_FILE_INHERIT_ACE | ACE4_INHERIT_ONLY_ACE
            }
            _ => return None,
        };
        Some(Ace { flags, ..*ace })
    };
    parent.aces.iter().filter_map(taken).collect()
}

/// What a client said of the mode of what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BirthMode {
    /// Nothing; what a file without a list gets.
    Unsaid(u32),
    /// `mode`: the umask is in it already.
    Said(u32),
    /// `mode_umask` (RFC 8275).
    WithUmask { mode: u32, umask: u32 },
}

impl BirthMode {
    /// Where nothing is inherited.
    pub fn without_list(self) -> u32 {
        match self {
            BirthMode::Unsaid(mode) | BirthMode::Said(mode) => mode,
            BirthMode::WithUmask { mode, umask } => mode & !umask,
        }
    }
}

/// Mode and list of what is made in a folder with `parent`'s list (§6.4.3).
pub fn at_birth(parent: Option<&Acl>, asked: BirthMode, directory: bool) -> (u32, Option<Acl>) {
    let aces = parent.map_or_else(Vec::new, |parent| inherited(parent, directory));
    let auto = parent.map_or(0, |parent| parent.flags & ACL4_AUTO_INHERIT);
    let high = |mode: u32| mode & 0o7000;
    let list = |aces, flags, masked| {
        Some(Acl {
            flags,
            masked,
            aces,
        })
    };
    match asked {
        BirthMode::Unsaid(mode) | BirthMode::Said(mode) if aces.is_empty() => (mode, None),
        BirthMode::WithUmask { mode, umask } if aces.is_empty() => (mode & !(umask & 0o777), None),
        BirthMode::Unsaid(_) if aces.iter().any(is_effective) => {
            (mode_of(&aces), list(aces, auto, false))
        }
        // §6.4.3.2: what a mode changed doesn't follow the folder by itself any more.
        BirthMode::Unsaid(mode) | BirthMode::Said(mode) => {
            (mode, list(aces, auto | ACL4_PROTECTED, true))
        }
        BirthMode::WithUmask { mode, umask } => {
            let aces = met(&aces, mode, Meeting::Born { umask }, directory);
            (high(mode) | mode_of(&aces), list(aces, auto, false))
        }
    }
}

/// Mode and list of a file after a list was set on it (§6.4.1.2). A list that says what the mode says
/// anyway is none.
pub fn set(mode: u32, aces: Vec<Ace>, flags: u32, directory: bool) -> (u32, Option<Acl>) {
    let mode = mode & 0o7000 | mode_of(&aces);
    let needless = flags == OF_MODE_FLAGS && aces == of_mode(mode, directory);
    let list = Acl {
        flags,
        masked: false,
        aces,
    };
    (mode, (!needless).then_some(list))
}

#[cfg(test)]
mod tests;
