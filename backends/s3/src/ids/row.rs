//! A node's row, and the letters of kinds.
//!
//! Never here: the store.

use crate::key::Kind;
use crate::rows::{join, number, split, text};

/// A node as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub parent: u64,
    pub kind: Kind,
    pub component: String,
    pub place: u64,
    /// Of a folder: when its names or attributes last changed, nanoseconds; 0 if it wasn't looked at yet.
    pub changed: u64,
    /// Of a folder: when its names last changed.
    pub named: u64,
    /// Of a folder: what it looked like then.
    pub looks: u64,
}

impl Row {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        join(&[
            &self.parent.to_be_bytes(),
            &[letter(self.kind)],
            self.component.as_bytes(),
            &self.place.to_be_bytes(),
            &self.changed.to_be_bytes(),
            &self.named.to_be_bytes(),
            &self.looks.to_be_bytes(),
        ])
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [parent, kind, component, place, changed, named, looks] = split(bytes)?;
        Some(Self {
            parent: number(parent)?,
            kind: kind_of(kind)?,
            component: text(component)?,
            place: number(place)?,
            changed: number(changed)?,
            named: number(named)?,
            looks: number(looks)?,
        })
    }
}

pub(super) fn letter(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'f',
        Kind::Folder => b'd',
    }
}

pub(super) fn kind_of(field: &[u8]) -> Option<Kind> {
    match field {
        b"f" => Some(Kind::File),
        b"d" => Some(Kind::Folder),
        _ => None,
    }
}
