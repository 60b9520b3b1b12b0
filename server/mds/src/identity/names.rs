//! Owners, groups and whom entries are about, as the wire writes them (RFC 8881 §5.9): inside all are
//! numbers. A number without leading zeros is taken whatever the mode is, since Linux writes numbers
//! over AUTH_SYS (`nfs4_disable_idmapping`); one that has no name is shown as it is.

use super::accounts::Question;
use super::acl;
use super::directory::{Directory, Unreachable};
use crate::compound::Compound;
use bytes::Bytes;
use std::sync::Arc;
use wire::nfs4::{ACE4_IDENTIFIER_GROUP, Attributes, Nfsace4};

/// Longest name that is asked for, without its domain.
const NAME_MAX_BYTES: usize = 255;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Group,
}

/// Why a name is no number here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// There is nobody of that name.
    Nobody,
    /// Nobody can say now.
    NotNow,
}

impl From<Unreachable> for Unnamed {
    fn from(_: Unreachable) -> Self {
        Unnamed::NotNow
    }
}

/// The id that a numeric string stands for.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text == b"0" || !text.starts_with(b"0"));
    let id: u32 = std::str::from_utf8(text)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()?;
    // (uid_t)-1 is no id: chown(2) takes it for "leave as it is".
    (id != u32::MAX).then_some(id)
}

/// The name before the `@` of a domain that is ours.
fn local<'n>(text: &'n [u8], domain: &str) -> Option<&'n str> {
    let (name, at) = std::str::from_utf8(text).ok()?.rsplit_once('@')?;
    let fits = !name.is_empty() && name.len() <= NAME_MAX_BYTES && !name.contains('\0');
    (fits && at.eq_ignore_ascii_case(domain)).then_some(name)
}

fn kind_of(ace: &Nfsace4) -> Option<Kind> {
    match &ace.who[..] {
        acl::OWNER | acl::GROUP | acl::EVERYONE => None,
        _ if ace.flag & ACE4_IDENTIFIER_GROUP != 0 => Some(Kind::Group),
        _ => Some(Kind::User),
    }
}

impl Compound<'_> {
    /// From numbers to names, where owners are shown by name.
    pub async fn put_names(&self, shown: &mut Attributes) {
        let directory = &self.settings().directory;
        let Some(domain) = directory.domain.as_deref() else {
            return;
        };
        if let Some(owner) = &mut shown.owner {
            self.put_name(owner, Kind::User, directory, domain).await;
        }
        if let Some(group) = &mut shown.owner_group {
            self.put_name(group, Kind::Group, directory, domain).await;
        }
        let lists = [
            shown.acl.as_mut(),
            shown.dacl.as_mut().map(|list| &mut list.aces),
        ];
        for ace in lists.into_iter().flatten().flatten() {
            if let Some(kind) = kind_of(ace) {
                self.put_name(&mut ace.who, kind, directory, domain).await;
            }
        }
    }

    async fn put_name(
        &self,
        who: &mut Bytes,
        kind: Kind,
        directory: &Arc<Directory>,
        domain: &str,
    ) {
        let Some(id) = number(who) else { return };
        let question = match kind {
            Kind::User => Question::User(id),
            Kind::Group => Question::Group(id),
        };
        if let Some(name) = directory
            .name(&self.server.metrics.accounts, question, self.time)
            .await
        {
            *who = Bytes::from(format!("{name}@{domain}"));
        }
    }

    /// From names to numbers.
    pub async fn take_names(&self, asked: &mut Attributes) -> Result<(), Unnamed> {
        if let Some(owner) = &mut asked.owner {
            self.take_name(owner, Kind::User).await?;
        }
        if let Some(group) = &mut asked.owner_group {
            self.take_name(group, Kind::Group).await?;
        }
        let lists = [
            asked.acl.as_mut(),
            asked.dacl.as_mut().map(|list| &mut list.aces),
        ];
        for ace in lists.into_iter().flatten().flatten() {
            if let Some(kind) = kind_of(ace) {
                self.take_name(&mut ace.who, kind).await?;
            }
        }
        Ok(())
    }

    async fn take_name(&self, who: &mut Bytes, kind: Kind) -> Result<(), Unnamed> {
        if number(who).is_some() {
            return Ok(());
        }
        let directory = &self.settings().directory;
        let domain = directory.domain.as_deref().ok_or(Unnamed::Nobody)?;
        let name = Arc::from(local(who, domain).ok_or(Unnamed::Nobody)?);
        let question = match kind {
            Kind::User => Question::UserNamed(name),
            Kind::Group => Question::GroupNamed(name),
        };
        let id = directory
            .id(&self.server.metrics.accounts, question, self.time)
            .await?;
        *who = Bytes::from(id.ok_or(Unnamed::Nobody)?.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_plain_number_is_taken_for_an_id() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"4294967294"), Some(u32::MAX - 1));
        for text in [
            "",
            "007",
            "+5",
            "-1",
            " 5",
            "5 ",
            "4294967295",
            "4294967296",
            "1e3",
            "alice",
        ] {
            assert_eq!(number(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_counts_in_our_domain_alone_whatever_its_case() {
        assert_eq!(local(b"alice@example.org", "example.org"), Some("alice"));
        assert_eq!(local(b"alice@EXAMPLE.Org", "example.org"), Some("alice"));
        assert_eq!(
            local(b"ad@alice@example.org", "example.org"),
            Some("ad@alice")
        );
        for text in [
            "alice",
            "alice@",
            "@example.org",
            "alice@example.com",
            "alice@example.org.",
            "a\0b@example.org",
        ] {
            assert_eq!(local(text.as_bytes(), "example.org"), None, "{text:?}");
        }
        assert_eq!(local(b"\xff@example.org", "example.org"), None);
        let long = [&[b'a'; 256][..], b"@example.org"].concat();
        assert_eq!(local(&long, "example.org"), None);
    }

    proptest! {
        #[test]
        fn every_id_reads_back_from_what_it_is_written_as(id in 0..u32::MAX) {
            prop_assert_eq!(number(id.to_string().as_bytes()), Some(id));
        }
    }
}
