//! What is asked of whoever knows users and groups, and a directory of them that the configuration gives.
//! Never here: what is kept of the answers, or what they are for.

use futures_util::future::BoxFuture;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// The name of a user id.
    User(u32),
    /// The name of a group id.
    Group(u32),
    /// The id of a user.
    UserNamed(Arc<str>),
    /// The id of a group.
    GroupNamed(Arc<str>),
    /// Every group of a user.
    GroupsOf(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Name(Arc<str>),
    Id(u32),
    Groups(Arc<[u32]>),
}

/// The question has no answer now; later it may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AccountsError(pub String);

/// Knows users and groups.
pub trait Accounts: Send + Sync + 'static {
    /// `None`: there is nobody of that name or number. May take long, and never blocks the caller's thread.
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Option<Answer>, AccountsError>>;
}

/// Users and groups as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FixedAccounts {
    users: HashMap<u32, Arc<str>>,
    groups: HashMap<u32, Arc<str>>,
    users_by_name: HashMap<Arc<str>, u32>,
    groups_by_name: HashMap<Arc<str>, u32>,
    members: HashMap<u32, Arc<[u32]>>,
}

impl FixedAccounts {
    /// A user, and every group that it is in.
    pub fn add_user(&mut self, name: &str, uid: u32, groups: impl IntoIterator<Item = u32>) {
        let name: Arc<str> = name.into();
        let groups: BTreeSet<u32> = groups.into_iter().collect();
        self.users.insert(uid, Arc::clone(&name));
        self.users_by_name.insert(name, uid);
        self.members.insert(uid, groups.into_iter().collect());
    }

    pub fn add_group(&mut self, name: &str, gid: u32) {
        let name: Arc<str> = name.into();
        self.groups.insert(gid, Arc::clone(&name));
        self.groups_by_name.insert(name, gid);
    }

    fn answer(&self, question: &Question) -> Option<Answer> {
        let named = |names: &HashMap<u32, Arc<str>>, id| names.get(id).cloned().map(Answer::Name);
        let id = |ids: &HashMap<Arc<str>, u32>, name| ids.get(name).copied().map(Answer::Id);
        match question {
            Question::User(uid) => named(&self.users, uid),
            Question::Group(gid) => named(&self.groups, gid),
            Question::UserNamed(name) => id(&self.users_by_name, name),
            Question::GroupNamed(name) => id(&self.groups_by_name, name),
            Question::GroupsOf(uid) => self.members.get(uid).cloned().map(Answer::Groups),
        }
    }
}

impl Accounts for FixedAccounts {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Option<Answer>, AccountsError>> {
        Box::pin(std::future::ready(Ok(self.answer(&question))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_number_with_every_group_once() {
        let mut accounts = FixedAccounts::default();
        accounts.add_group("staff", 50);
        accounts.add_user("alice", 1001, [50, 7, 50]);
        let ask = |question| accounts.answer(&question);
        assert_eq!(
            ask(Question::User(1001)),
            Some(Answer::Name("alice".into()))
        );
        assert_eq!(
            ask(Question::UserNamed("alice".into())),
            Some(Answer::Id(1001))
        );
        assert_eq!(ask(Question::Group(50)), Some(Answer::Name("staff".into())));
        assert_eq!(
            ask(Question::GroupNamed("staff".into())),
            Some(Answer::Id(50))
        );
        let groups: Arc<[u32]> = [7, 50].into();
        assert_eq!(ask(Question::GroupsOf(1001)), Some(Answer::Groups(groups)));
        // A user's name is no group's.
        assert_eq!(ask(Question::GroupNamed("alice".into())), None);
        assert_eq!(ask(Question::GroupsOf(1002)), None);
    }
}
