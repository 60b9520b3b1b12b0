//! What of a changed configuration can be obeyed at once, and what waits for a restart.
//! Never here: obeying it.

use crate::ds::DsConfig;
use crate::mds::{DataServer, Export, MdsConfig};
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
        diff.add_keys("layout.", self.layout.differing(&new.layout));
        diff.add_keys("limits.", self.limits.differing(&new.limits));
        diff
    }

    /// `new` as far as a running server can obey it: the rest is as in `self`.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let mut next = new.clone();
        next.server = self.server.clone();
        next.server.log_level = new.server.log_level;
        next.layout.ids = self.layout.ids;
        next.limits.request_bytes = self.limits.request_bytes;
        next.data_servers = self
            .data_servers
            .iter()
            .map(|old| {
                let mut entry = old.clone();
                if let Some(new) = new.data_servers.iter().find(|new| new.name == old.name) {
                    entry.weight = new.weight;
                    entry.host.clone_from(&new.host);
                }
                entry
            })
            .collect();
        next
    }
}

impl DsConfig {
    /// What has changed from `self` to `new`.
    pub fn reload_diff(&self, new: &Self) -> ReloadDiff {
        let mut diff = ReloadDiff::default();
        diff.add_keys("ds.", self.ds.differing(&new.ds));
        diff.add_keys("limits.", self.limits.differing(&new.limits));
        diff
    }

    /// `new` as far as a running server can obey it: the rest is as in `self`.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let mut next = self.clone();
        next.ds.mds.clone_from(&new.ds.mds);
        next.ds.capacity = new.ds.capacity;
        next.ds.log_level = new.ds.log_level;
        next.limits.connections = new.limits.connections;
        next.limits.connections_per_address = new.limits.connections_per_address;
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
                let prefix = format!("{section} \"{}\": ", name(entry));
                diff.add_keys(&prefix, differing(entry, other));
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
