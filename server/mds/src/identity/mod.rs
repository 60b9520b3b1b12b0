//! Who asks, after the export's squash, what mode bits and access control lists let them do, and how users
//! and groups are called.

mod access;
mod accounts;
pub mod acl;
mod answers;
mod directory;
mod names;

pub use access::{
    TakeAway, Want, may, may_not_see, may_take_away, may_take_names, owns, shown as entries_of,
};

pub use accounts::{Accounts, AccountsError, Answer, FixedAccounts, Question};
pub use directory::{AccountCounters, Directory, DirectoryOptions};
pub(crate) use names::{Unnamed, number};

use crate::exports::Squash;

/// A caller as the file system sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, as AUTH_SYS gave them (16 at most) or as the server knows them.
    pub groups: Vec<u32>,
}

impl Credential {
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// What the export makes of a caller. `None` is AUTH_NONE, which has no ids of its own.
    pub fn squashed(
        asked: Option<&Credential>,
        squash: Squash,
        anonymous: (u32, u32),
    ) -> Credential {
        let nobody = || Credential {
            uid: anonymous.0,
            gid: anonymous.1,
            groups: Vec::new(),
        };
        let Some(asked) = asked else { return nobody() };
        match squash {
            Squash::None => asked.clone(),
            Squash::All => nobody(),
            Squash::Root => Credential {
                uid: if asked.uid == 0 {
                    anonymous.0
                } else {
                    asked.uid
                },
                gid: if asked.gid == 0 {
                    anonymous.1
                } else {
                    asked.gid
                },
                groups: asked
                    .groups
                    .iter()
                    .copied()
                    .filter(|gid| *gid != 0)
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Credential {
        Credential {
            uid: 0,
            gid: 0,
            groups: vec![0, 4],
        }
    }

    #[test]
    fn root_squash_leaves_no_trace_of_root() {
        let squashed = Credential::squashed(Some(&root()), Squash::Root, (65534, 65533));
        assert_eq!(
            squashed,
            Credential {
                uid: 65534,
                gid: 65533,
                groups: vec![4]
            }
        );
    }

    #[test]
    fn root_squash_keeps_everybody_else() {
        let user = Credential {
            uid: 1000,
            gid: 100,
            groups: vec![4, 24],
        };
        assert_eq!(
            Credential::squashed(Some(&user), Squash::Root, (65534, 65534)),
            user
        );
    }

    #[test]
    fn all_squash_and_auth_none_are_anonymous() {
        let nobody = Credential {
            uid: 65534,
            gid: 65534,
            groups: vec![],
        };
        assert_eq!(
            Credential::squashed(Some(&root()), Squash::All, (65534, 65534)),
            nobody
        );
        assert_eq!(
            Credential::squashed(None, Squash::None, (65534, 65534)),
            nobody
        );
    }
}
