//! What CB_NOTIFY says of a folder (RFC 8881 §20.4): the values of `notify4`, by kind. Only kinds that
//! somebody speaks are here.

use super::attributes::Attributes;
use super::types::*;

/// Kinds of notifications: numbers of bits.
pub const NOTIFY4_CHANGE_CHILD_ATTRS: u32 = 0;
pub const NOTIFY4_CHANGE_DIR_ATTRS: u32 = 1;
pub const NOTIFY4_REMOVE_ENTRY: u32 = 2;
pub const NOTIFY4_ADD_ENTRY: u32 = 3;
pub const NOTIFY4_RENAME_ENTRY: u32 = 4;
pub const NOTIFY4_CHANGE_COOKIE_VERIFIER: u32 = 5;

/// Of what a notification has at most one.
const ONE: usize = 1;

messages! {
    pub struct NotifyEntry4 {
        pub file: Component4 = NAME_LIMIT,
        pub attrs: Box<Attributes>,
    }

    pub struct PrevEntry4 {
        pub prev_entry: NotifyEntry4,
        pub prev_entry_cookie: u64,
    }

    pub struct NotifyRemove4 {
        pub old_entry: NotifyEntry4,
        pub old_entry_cookie: u64,
    }

    pub struct NotifyAdd4 {
        /// What the name was before.
        pub old_entry: Vec<NotifyRemove4> = ONE,
        pub new_entry: NotifyEntry4,
        pub new_entry_cookie: Vec<u64> = ONE,
        pub prev_entry: Vec<PrevEntry4> = ONE,
        pub last_entry: bool,
    }

    pub struct NotifyRename4 {
        pub old_entry: NotifyRemove4,
        pub new_entry: NotifyAdd4,
    }
}
