//! What of a changed configuration can be obeyed at once, and what waits for a restart.
//! Never here: obeying it.

use crate::backend::{Backend, Junction};
use crate::ds::DsConfig;
use crate::identity::{Group, User};
use crate::mds::{DataServer, Export, MdsConfig};
use crate::referral::Referral;
use crate::section::{Change, Key};

/// Differences between two configurations, as keys in words: `server.log_level`,
/// `export "/data": squash`, `data_server "nvme4" added`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadDiff {
    /// What a running server takes over from the new one.
    pub applied: Vec<String>,
    /// What stays as it was until the server is restarted.
    pub needs_restart: Vec<String>,
}

impl ReloadDiff {
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }

    fn add(&mut self, change: Change, said: String) {
        match change {
            Change::Reload => self.applied.push(said),
            Change::Restart => self.needs_restart.push(said),
        }
    }

    fn add_keys(&mut self, section: &str, keys: Vec<&'static Key>) {
        for key in keys {
            self.add(key.change, format!("{section}{}", key.name));
        }
    }
}

impl MdsConfig {
    /// What has changed from `self` to `new`.
    pub fn reload_diff(&self, new: &Self) -> ReloadDiff {
        let mut diff = ReloadDiff::default();
        diff.add_keys("server.", self.server.differing(&new.server));
        compare_entries(
            &mut diff,
            "data_server",
            (&self.data_servers, &new.data_servers),
            |entry| entry.name.as_str(),
            DataServer::differing,
            Change::Restart,
        );
        compare_entries(
            &mut diff,
            "export",
            (&self.exports, &new.exports),
            |entry| entry.path.as_str(),
            Export::differing,
            Change::Reload,
        );
        compare_entries(
            &mut diff,
            "referral",
            (&self.referrals, &new.referrals),
            |entry| entry.path.as_str(),
            Referral::differing,
            Change::Reload,
        );
        for change in [Change::Reload, Change::Restart] {
            let ((old, old_at), (new, new_at)) = (self.kept(change), new.kept(change));
            compare_entries(
                &mut diff,
                "backend",
                (&old, &new),
                |entry| entry.name.as_str(),
                Backend::differing,
                change,
            );
            compare_entries(
                &mut diff,
                "junction",
                (&old_at, &new_at),
                |entry| entry.path.as_str(),
                Junction::differing,
                change,
            );
        }
        diff.add_keys("identity.", self.identity.differing(&new.identity));
        compare_entries(
            &mut diff,
            "user",
            (&self.users, &new.users),
            |entry| entry.name.as_str(),
            User::differing,
            Change::Reload,
        );
        compare_entries(
            &mut diff,
            "group",
            (&self.groups, &new.groups),
            |entry| entry.name.as_str(),
            Group::differing,
            Change::Reload,
        );
        diff.add_keys("layout.", self.layout.differing(&new.layout));
        diff.add_keys("server_copy.", self.server_copy.differing(&new.server_copy));
        diff.add_keys("limits.", self.limits.differing(&new.limits));
        diff
    }

    /// Backends and their junctions that come and go so: those whose files are the namespace's own
    /// take a restart.
    fn kept(&self, change: Change) -> (Vec<Backend>, Vec<Junction>) {
        let of = |backend: &&Backend| backend.is_own() == (change == Change::Restart);
        let backends: Vec<Backend> = self.backends.iter().filter(of).cloned().collect();
        let shown = |junction: &&Junction| backends.iter().any(|it| it.name == junction.backend);
        let junctions = self.junctions.iter().filter(shown).cloned().collect();
        (backends, junctions)
    }

    /// `new` as far as a running server can obey it: the rest is as in `self`.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let mut next = self.clone();
        next.server.log_level = new.server.log_level;
        next.exports.clone_from(&new.exports);
        next.referrals.clone_from(&new.referrals);
        (next.backends, next.junctions) = new.kept(Change::Reload);
        let (backends, junctions) = self.kept(Change::Restart);
        // What is the namespace's own stays so, whatever else has got its name or place.
        let free = |backend: &Backend| backends.iter().all(|other| other.name != backend.name);
        next.backends.retain(free);
        let lies_elsewhere = |junction: &Junction| {
            next.backends
                .iter()
                .any(|backend| backend.name == junction.backend)
                && junctions.iter().all(|other| other.path != junction.path)
        };
        next.junctions.retain(lies_elsewhere);
        next.backends.extend(backends);
        next.junctions.extend(junctions);
        next.identity.clone_from(&new.identity);
        next.users.clone_from(&new.users);
        next.groups.clone_from(&new.groups);
        next.server_copy.clone_from(&new.server_copy);
        next
    }
}

impl DsConfig {
    /// What has changed from `self` to `new`.
    pub fn reload_diff(&self, new: &Self) -> ReloadDiff {
        let mut diff = ReloadDiff::default();
        diff.add_keys("ds.", self.ds.differing(&new.ds));
        if self.backends != new.backends {
            diff.needs_restart.push("backend".to_owned());
        }
        diff.add_keys("limits.", self.limits.differing(&new.limits));
        diff
    }

    /// `new` as far as a running server can obey it: the rest is as in `self`.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let mut next = self.clone();
        next.ds.log_level = new.ds.log_level;
        next
    }
}

/// Entries are the same when their names are; whether one may come and go at run time is `change`.
fn compare_entries<T>(
    diff: &mut ReloadDiff,
    section: &str,
    (old, new): (&[T], &[T]),
    name: impl Fn(&T) -> &str,
    differing: impl Fn(&T, &T) -> Vec<&'static Key>,
    change: Change,
) {
    for entry in old {
        match new.iter().find(|other| name(other) == name(entry)) {
            Some(other) => {
                for key in differing(entry, other) {
                    let change = match change {
                        Change::Restart => Change::Restart,
                        Change::Reload => key.change,
                    };
                    diff.add(
                        change,
                        format!("{section} \"{}\": {}", name(entry), key.name),
                    );
                }
            }
            None => diff.add(change, format!("{section} \"{}\" removed", name(entry))),
        }
    }
    for entry in new {
        if !old.iter().any(|other| name(other) == name(entry)) {
            diff.add(change, format!("{section} \"{}\" added", name(entry)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
[server]
state_dir = "/var/lib/headrace"
[[data_server]]
name = "nvme1"
address = "10.0.0.11"
export = "/nvme"
[[export]]
path = "/data"
clients = "10.0.0.0/24"
"#;

    const NEW: &str = r#"
[server]
state_dir = "/var/lib/headrace"
lease_seconds = 30
log_level = "debug"
[[data_server]]
name = "nvme1"
address = "10.0.0.21"
export = "/nvme"
weight = 3
[[data_server]]
name = "nvme2"
address = "10.0.0.12"
export = "/nvme"
[[export]]
path = "/data"
clients = "10.0.0.0/24"
squash = "all"
[[export]]
path = "/more"
clients = "10.0.0.0/24"
[layout]
stripe_unit = "2MiB"
recall_seconds = 20
ids = { base = 500000, count = 1000 }
[server_copy]
sources = "10.0.1.0/24"
[limits]
clients = 7
request_bytes = "2MiB"
"#;

    fn mds(text: &str) -> MdsConfig {
        MdsConfig::parse("x", text).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn a_reload_names_what_it_obeys_and_what_waits_for_a_restart() {
        let diff = mds(OLD).reload_diff(&mds(NEW));
        assert_eq!(
            diff.applied,
            [
                "server.log_level",
                "export \"/data\": squash",
                "export \"/more\" added",
                "server_copy.sources",
            ]
        );
        assert_eq!(
            diff.needs_restart,
            [
                "server.lease_seconds",
                "data_server \"nvme1\": address",
                "data_server \"nvme1\": weight",
                "data_server \"nvme2\" added",
                "layout.stripe_unit",
                "layout.recall_seconds",
                "layout.ids",
                "limits.request_bytes",
                "limits.clients",
            ]
        );
    }

    #[test]
    fn what_is_assimilated_comes_and_goes_by_a_restart_alone() {
        let backend = |mode: &str, export: &str| {
            format!(
                "{OLD}[[backend]]\nname = \"filer1\"\nkind = \"nfs\"\nserver = \"10.0.0.5\"\n\
                 export = \"{export}\"\nmode = \"{mode}\"\n\
                 [[junction]]\npath = \"/data/projects\"\nbackend = \"filer1\"\n"
            )
        };
        let (none, shown) = (mds(OLD), mds(&backend("pass-through", "/vol")));
        let (adopted, other) = (
            mds(&backend("assimilated", "/vol")),
            mds(&backend("assimilated", "/other")),
        );
        for (old, new, applied, left) in [
            (&none, &adopted, 0, 2),
            (&adopted, &none, 0, 2),
            (&adopted, &other, 0, 1),
            (&adopted, &shown, 2, 2),
            (&none, &shown, 2, 0),
        ] {
            let diff = old.reload_diff(new);
            assert_eq!(
                (diff.applied.len(), diff.needs_restart.len()),
                (applied, left),
                "{diff:?}"
            );
        }
        assert_eq!(none.reloaded(&adopted), none);
        assert_eq!(adopted.reloaded(&none), adopted);
        assert_eq!(adopted.reloaded(&shown), adopted, "it has that name");
        assert_eq!(none.reloaded(&shown), shown);
    }

    #[test]
    fn what_is_managed_comes_and_goes_by_a_restart_alone() {
        let backend = |mode: &str| {
            format!(
                "{OLD}[[backend]]\nname = \"lake\"\nkind = \"s3\"\nbucket = \"b\"\n\
                 mode = \"{mode}\"\n[[junction]]\npath = \"/data/lake\"\nbackend = \"lake\"\n"
            )
        };
        let (none, managed, shown) = (mds(OLD), mds(&backend("managed")), mds(&backend("mirror")));
        assert!(none.reload_diff(&managed).applied.is_empty());
        assert_eq!(none.reload_diff(&managed).needs_restart.len(), 2);
        assert_eq!(none.reloaded(&managed), none);
        assert_eq!(managed.reloaded(&shown), managed, "it has that name");
    }

    #[test]
    fn a_reloaded_server_differs_from_the_file_by_what_waits_for_a_restart_alone() {
        let (old, new) = (mds(OLD), mds(NEW));
        let next = old.reloaded(&new);
        assert!(old.reload_diff(&next).needs_restart.is_empty());
        let left = next.reload_diff(&new);
        assert!(left.applied.is_empty(), "{left:?}");
        assert_eq!(left.needs_restart, old.reload_diff(&new).needs_restart);
    }

    #[test]
    fn a_data_server_obeys_its_log_level_and_names_the_rest() {
        let old = "[ds]\ndata_dir = \"/a\"\nmds = \"10.0.0.2\"\n";
        let new = "[ds]\ndata_dir = \"/b\"\nmds = \"10.0.0.3\"\ncapacity = \"1TB\"\n\
                   log_level = \"warn\"\n[limits]\nconnections = 9\n\
                   open_objects = 99\n";
        let ds = |text| DsConfig::parse("x", text).unwrap_or_else(|faults| panic!("{faults}"));
        let (old, new) = (ds(old), ds(new));
        let diff = old.reload_diff(&new);
        assert_eq!(diff.applied, ["ds.log_level"]);
        assert_eq!(
            diff.needs_restart,
            [
                "ds.data_dir",
                "ds.mds",
                "ds.capacity",
                "limits.connections",
                "limits.open_objects"
            ]
        );
        let next = old.reloaded(&new);
        assert_eq!(next.reload_diff(&new).applied, Vec::<String>::new());
        assert_eq!(old.reload_diff(&next).needs_restart, Vec::<String>::new());
    }

    #[test]
    fn the_same_file_again_changes_nothing() {
        assert!(mds(NEW).reload_diff(&mds(NEW)).is_empty());
    }
}
