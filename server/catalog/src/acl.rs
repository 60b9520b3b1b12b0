//! Access control lists and security labels, as plain data. What an entry means, and which numbers may stand
//! in flags and masks (RFC 8881 §6.2.1), is the metadata server's to know.

use bytes::Bytes;

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// The owner, whoever that is.
    Owner,
    /// The file's group.
    OwningGroup,
    Everyone,
    User(u32),
    Group(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AceKind {
    Allow,
    Deny,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ace {
    pub kind: AceKind,
    pub flags: u32,
    pub mask: u32,
    pub who: Who,
}

/// The list as it was set or inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// Of the list as a whole.
    pub flags: u32,
    /// The mode was set after the list, and bounds what it grants.
    pub masked: bool,
    pub aces: Vec<Ace>,
}

/// A security label (RFC 7862 §12.2.4), which means something to clients alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    pub format: u32,
    pub policy: u32,
    pub data: Bytes,
}
