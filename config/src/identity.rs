//! How users and groups are called: the section, the map of them, and what a name may be.
//! Never here: rules between keys, which are in `rules`.

use crate::fault::Notes;
use crate::section::Change::Reload;
use crate::section::Default::{Toml, Unset};
use crate::section::{Key, section};
use crate::units::Seconds;
use crate::value::{Element, Value, Written, from_text, words};
use std::fmt;

words! {
    /// How owners and groups are told to clients.
    IdentityMode {
        Numeric = "numeric",
        /// By the names that this host knows.
        Nss = "nss",
        /// By the names of `[[user]]` and `[[group]]`.
        Map = "map",
    }
}

section! {
    "[identity]"
    /// How users and groups are called where clients see them: owners of files, and entries of
    /// access control lists. Rights always go by numbers, which AUTH_SYS carries.
    Identity {
        /// `numeric`: by number, which Linux takes and sends unless told otherwise. `nss`: by the
        /// names that this host knows (`nsswitch.conf`). `map`: by the names of `[[user]]` and
        /// `[[group]]`. Numbers are taken in each of them, and what has no name is told by number.
        /// Linux clients show names only with `nfs4_disable_idmapping` off and nfsidmap set up.
        /// What is known is looked up anew after SIGHUP.
        mode: IdentityMode = {
            default: Toml(r#""numeric""#),
            change: Reload,
            example: r#""nss""#,
        };
        /// What stands behind the `@` of names; the same as in clients' idmapd.conf.
        domain: Option<IdentityDomain> = {
            default: Unset("must be given with names"),
            change: Reload,
            example: r#""example.org""#,
        };
        /// How long a name, a number, or the groups of a user count once they were looked up.
        cache_seconds: Seconds = {
            default: Toml("600"),
            range: (1, 86400),
            change: Reload,
            example: "60",
        };
        /// How long it counts that there is nobody of a name or number.
        unknown_cache_seconds: Seconds = {
            default: Toml("60"),
            range: (1, 86400),
            change: Reload,
            example: "10",
        };
    }
}

section! {
    "[[user]]" any_number
    /// A user, for `mode = "map"`.
    User {
        /// Its name, without a domain.
        name: AccountName = {
            change: Reload,
            example: r#""alice""#,
        };
        /// Its number.
        uid: u32 = {
            range: (0, u32::MAX as u64 - 1),
            change: Reload,
            example: "1001",
        };
        /// The groups that it is in, by their names in `[[group]]`; for exports with `manage_gids`.
        groups: Option<Vec<AccountName>> = {
            default: Unset("none"),
            change: Reload,
            example: r#"["staff", "vision"]"#,
        };
    }
}

section! {
    "[[group]]" any_number
    /// A group, for `mode = "map"`.
    Group {
        /// Its name, without a domain.
        name: AccountName = {
            change: Reload,
            example: r#""staff""#,
        };
        /// Its number.
        gid: u32 = {
            range: (0, u32::MAX as u64 - 1),
            change: Reload,
            example: "50",
        };
    }
}

/// The name of a user or group, without a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccountName(String);

/// What stands behind the `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityDomain(String);

const LONGEST_BYTES: usize = 255;

fn plain(text: &str) -> bool {
    (1..=LONGEST_BYTES).contains(&text.len())
        && !text.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control())
}

impl AccountName {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            Err("leave out the `@` and what follows: that is `domain` of [identity]".to_owned())
        } else if !plain(text) {
            Err(format!(
                "expected 1 to {LONGEST_BYTES} bytes without spaces"
            ))
        } else if text.bytes().all(|b| b.is_ascii_digit()) {
            Err("a name of digits would be taken for a number".to_owned())
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for AccountName {
    const KIND: &'static str = "name";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(written, key, "a name", notes, Self::parse)
    }
}

impl Element for AccountName {
    const LIST_KIND: &'static str = "names";
}

impl fmt::Display for IdentityDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for IdentityDomain {
    const KIND: &'static str = "domain";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(written, key, "a domain", notes, |text| {
            if plain(text) {
                Ok(Self(text.to_owned()))
            } else {
                Err("expected a domain such as \"example.org\", without `@` and spaces".to_owned())
            }
        })
    }
}
