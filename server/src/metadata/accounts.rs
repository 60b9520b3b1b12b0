//! Users and groups of this host, asked through NSS (files, LDAP, SSSD: whatever its `nsswitch.conf` says).
//! Never here: what is kept of the answers.

use futures_util::future::BoxFuture;
use mds::{Accounts, AccountsError, Answer, Directory, DirectoryOptions, FixedAccounts, Question};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// Who knows users and groups.
#[derive(Debug, Clone, Default)]
pub enum AccountsSource {
    /// The machine that the server runs on.
    #[default]
    Host,
    Fixed(Arc<FixedAccounts>),
}

/// How owners and groups are called, and who knows them.
#[derive(Debug, Clone, Default)]
pub struct IdentitySpec {
    pub source: AccountsSource,
    /// What stands behind the `@`; `None`: numbers.
    pub domain: Option<String>,
    pub options: DirectoryOptions,
}

impl IdentitySpec {
    pub(super) fn directory(&self) -> Arc<Directory> {
        let accounts: Arc<dyn Accounts> = match &self.source {
            AccountsSource::Host => Arc::new(HostAccounts::default()),
            AccountsSource::Fixed(accounts) => Arc::clone(accounts) as _,
        };
        Arc::new(Directory::new(accounts, self.domain.clone(), self.options))
    }
}

/// Questions at once: one that hangs holds a thread until the host's resolver gives up.
const THREADS: usize = 16;

struct HostAccounts {
    turns: Arc<Semaphore>,
}

impl Default for HostAccounts {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(THREADS)),
        }
    }
}

impl Accounts for HostAccounts {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Option<Answer>, AccountsError>> {
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(failed)?;
            let (tell, told) = oneshot::channel();
            // A thread of its own, and none of the runtime's: those are for the disk, and the end of the
            // process would wait for them.
            std::thread::Builder::new()
                .name("headrace-names".to_owned())
                .spawn(move || {
                    let _turn = turn;
                    // Nobody is left to hear it when the server ends.
                    let _ = tell.send(answer(&question));
                })
                .map_err(failed)?;
            told.await.map_err(failed)?
        })
    }
}

fn failed(error: impl std::error::Error) -> AccountsError {
    AccountsError(error.to_string())
}

/// Blocks for as long as the host takes.
fn answer(question: &Question) -> Result<Option<Answer>, AccountsError> {
    match question {
        Question::User(uid) => {
            let user = User::from_uid(Uid::from_raw(*uid)).map_err(failed)?;
            Ok(user.map(|user| Answer::Name(user.name.into())))
        }
        Question::Group(gid) => {
            let group = Group::from_gid(Gid::from_raw(*gid)).map_err(failed)?;
            Ok(group.map(|group| Answer::Name(group.name.into())))
        }
        Question::UserNamed(name) => {
            let user = User::from_name(name).map_err(failed)?;
            Ok(user.map(|user| Answer::Id(user.uid.as_raw())))
        }
        Question::GroupNamed(name) => {
            let group = Group::from_name(name).map_err(failed)?;
            Ok(group.map(|group| Answer::Id(group.gid.as_raw())))
        }
        Question::GroupsOf(uid) => {
            let Some(user) = User::from_uid(Uid::from_raw(*uid)).map_err(failed)? else {
                return Ok(None);
            };
            let name = CString::new(user.name).map_err(failed)?;
            let groups = getgrouplist(&name, user.gid).map_err(failed)?;
            let groups = groups.into_iter().map(Gid::as_raw).collect();
            Ok(Some(Answer::Groups(groups)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_hosts_root_has_a_name_a_number_and_groups() {
        let host = HostAccounts::default();
        let ask = |question| host.ask(question);
        let root: Arc<str> = "root".into();
        assert_eq!(
            ask(Question::User(0)).await,
            Ok(Some(Answer::Name(Arc::clone(&root))))
        );
        assert_eq!(
            ask(Question::UserNamed(Arc::clone(&root))).await,
            Ok(Some(Answer::Id(0)))
        );
        assert_eq!(
            ask(Question::GroupNamed(root)).await,
            Ok(Some(Answer::Id(0)))
        );
        let groups = ask(Question::GroupsOf(0)).await;
        assert!(
            matches!(&groups, Ok(Some(Answer::Groups(groups))) if groups.contains(&0)),
            "{groups:?}"
        );
    }

    #[tokio::test]
    async fn who_is_unknown_to_the_host_is_nobody_and_no_failure() {
        let host = HostAccounts::default();
        for question in [
            Question::User(3_999_999_999),
            Question::Group(3_999_999_999),
            Question::UserNamed("nobody-of-this-name".into()),
            Question::GroupsOf(3_999_999_999),
        ] {
            assert_eq!(host.ask(question.clone()).await, Ok(None), "{question:?}");
        }
    }
}
