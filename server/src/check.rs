//! `headrace check`: what each data server and backend was seen to do, as a table with ways out below it.
//! Never here: the trying, which is in `prove` and `trial` (data servers) and `folder` (a data
//! server's disk), and how it is shown (`report`).

mod accounts;
mod backend;
mod folder;
mod managed;
mod prove;
mod report;
mod trial;

pub use accounts::accounts_inside;
pub use backend::{BackendQuestion, BackendVerdict};
pub use folder::try_folder;
pub use prove::{Asking, Trying, caches, prove};
pub use report::{Outcome, Question, Report, Verdict};

use crate::metadata::{BACKENDS, Storage};
use config::{AnyConfig, DataServer, Faults, MdsConfig};
use std::path::Path;
use std::time::Duration;

/// Validates a file, and tries what it names: all data servers at once, or the data folder. With
/// `over_restart` it waits so long for each data server to be restarted meanwhile.
pub async fn check(
    path: &Path,
    asking: Asking,
    over_restart: Option<Duration>,
) -> Result<Report, Faults> {
    let mds = match AnyConfig::load(path)? {
        AnyConfig::Ds(config) => {
            return Ok(Report {
                verdicts: vec![try_folder(&config.ds, rand::random())],
                backends: Vec::new(),
                faults: Vec::new(),
                notices: Vec::new(),
            });
        }
        AnyConfig::Mds(mds) => mds,
    };
    let trying = Trying {
        over_restart,
        ..Trying::new(mds.layout.ids, asking)
    };
    // Layouts name the filers too whose files become this server's own, and fences go there.
    let filers = mds.backends.iter();
    let filers: Vec<DataServer> = filers.filter_map(config::Backend::as_data_server).collect();
    let proofs = mds
        .data_servers
        .iter()
        .chain(&filers)
        .map(|server| prove(server, trying, rand::random()));
    let verdicts = futures_util::future::join_all(proofs).await;
    let mut backends = futures_util::future::join_all(backends_of(&mds)).await;
    backends.extend(futures_util::future::join_all(managed_of(&mds)).await);
    let mut faults: Vec<String> = ids_of_somebody(&mds).into_iter().collect();
    faults.extend(twins(&verdicts));
    faults.extend(unknown_hosts(&mds).await);
    Ok(Report {
        verdicts,
        backends,
        faults,
        notices: out_of_reach(&mds),
    })
}

/// Each backend, at the folder of its first junction; one that a junction may write is written to.
fn backends_of(mds: &MdsConfig) -> Vec<impl Future<Output = BackendVerdict>> {
    let junctions = crate::roles::specs::junctions(mds);
    let trials = crate::roles::specs::backends(mds).into_iter().map(|spec| {
        let shown: Vec<_> = junctions
            .iter()
            .filter(|junction| junction.backend == spec.name)
            .collect();
        let folder = shown.first().map_or("/", |first| first.folder.as_str());
        let folder = folder.to_owned();
        let writes = shown
            .iter()
            .any(|junction| junction.access == mds::Access::ReadWrite);
        let cache = mds
            .data_servers
            .iter()
            .find(|server| spec.cache.as_deref() == Some(server.name.as_str()));
        async move {
            let mut verdict = backend::try_backend(&spec, &folder, writes, rand::random()).await;
            if let Some(cache) = cache {
                let outcome = cached(&spec.name, cache).await;
                verdict.trials.push((BackendQuestion::Cached, outcome));
            }
            verdict
        }
    });
    trials.collect()
}

/// Each bucket that is to hold files.
fn managed_of(mds: &MdsConfig) -> Vec<impl Future<Output = BackendVerdict>> {
    let managed = crate::roles::specs::managed(mds).into_iter();
    let states = mds.server.state_dir.join(BACKENDS);
    let trials = managed.filter_map(|spec| match spec.storage {
        Storage::S3(s3) => {
            let cache = mds
                .data_servers
                .iter()
                .find(|server| spec.cache.as_deref() == Some(server.name.as_str()));
            let state = states.join(&spec.name);
            Some(async move {
                let mut verdict =
                    managed::try_managed(&spec.name, s3.options("/", state), rand::random()).await;
                if let Some(cache) = cache {
                    let outcome = cached(&spec.name, cache).await;
                    verdict.trials.push((BackendQuestion::Cached, outcome));
                }
                verdict
            })
        }
        Storage::Given(_) => None,
    });
    trials.collect()
}

/// What of it readers are to find at a data server.
async fn cached(backend: &str, cache: &DataServer) -> Outcome {
    match prove::caches(cache, backend).await {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed {
            why: format!("is to be cached at data server {}, which {why}", cache.name),
            way_out: format!(
                "Until it is, what clients read of it passes the metadata server.\n\
                 That must be `headrace ds`, with a [[backend]] in its own configuration whose name is {backend}, too."
            ),
        },
    }
}

fn ids_of_somebody(mds: &MdsConfig) -> Option<String> {
    let accounts = accounts_inside(mds.layout.ids);
    (!accounts.is_empty()).then(|| {
        format!(
            "`ids` in [layout] ({}) are nobody's to be, but this host has {}.\n    \
             Take another range: {} could read and write file data.",
            mds.layout.ids,
            accounts.join(", "),
            if accounts.len() == 1 { "it" } else { "they" },
        )
    })
}

/// Entries that are one data server of ours under two addresses.
fn twins(verdicts: &[Verdict]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, verdict) in verdicts.iter().enumerate() {
        let twin = verdicts[..index]
            .iter()
            .find(|other| verdict.own_root.is_some() && other.own_root == verdict.own_root);
        if let Some(twin) = twin {
            found.push(format!(
                "data servers {} and {} are one and the same ({} and {}).\n    \
                 Every write would go there twice: remove one of them.",
                twin.name, verdict.name, twin.place, verdict.place
            ));
        }
    }
    found
}

/// A `host` that can't be resolved names no machine.
async fn unknown_hosts(mds: &MdsConfig) -> Vec<String> {
    let mut found = Vec::new();
    for server in &mds.data_servers {
        let Some(host) = &server.host else { continue };
        if let Err(error) = tokio::net::lookup_host((host.as_str(), 0)).await {
            found.push(format!(
                "data server {}: `host` is {host}, which can't be resolved ({error}).\n    \
                 Name a machine that this host knows, or leave `host` out: no client is taken to run there.",
                server.name
            ));
        }
    }
    found
}

/// Data servers at a loopback address, where clients of other machines find themselves.
fn out_of_reach(mds: &MdsConfig) -> Vec<String> {
    let listens_for_others = mds.server.listen.iter().any(|at| !at.ip().is_loopback());
    let own = |host: &str| {
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    };
    mds.data_servers
        .iter()
        .filter(|server| listens_for_others && own(server.address.host.as_str()))
        .map(|server| {
            format!(
                "data server {} is at {}, and clients are told so: those of other machines can't reach it.\n    \
                 Give it an address that they can, or let `listen` in [server] be a loopback address too.",
                server.name, server.address
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_entries_with_one_root_are_one_data_server() {
        let at = |name: &str, root: Option<&'static [u8]>| Verdict {
            name: name.to_owned(),
            place: "10.0.0.7:2049/nvme".to_owned(),
            trials: Vec::new(),
            space: None,
            own_root: root.map(bytes::Bytes::from_static),
        };
        let own = |name, root| at(name, Some(root));
        let found = twins(&[
            own("nvme1", b"r"),
            own("nvme2", b"other"),
            own("nvme3", b"r"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("nvme1 and nvme3 are one and the same"));
        let strangers = [at("a", None), at("b", None)];
        assert_eq!(twins(&strangers), [""; 0], "they are told apart otherwise");
    }

    fn configured(listen: &str, data_server: &str) -> MdsConfig {
        let text = format!(
            "[server]\nlisten = \"{listen}\"\nstate_dir = \"/state\"\n\
             [[data_server]]\nname = \"nvme1\"\nexport = \"/nvme\"\n{data_server}\n\
             [[export]]\npath = \"/data\"\nclients = \"10.0.0.0/8\"\n"
        );
        MdsConfig::parse("mds.toml", &text).expect("a good file")
    }

    #[tokio::test]
    async fn a_host_that_no_name_service_knows_is_a_fault() {
        let mds = configured(
            "10.0.0.2:2049",
            "address = \"10.0.0.7\"\nhost = \"no-such-host.invalid\"",
        );
        let found = unknown_hosts(&mds).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("`host` is no-such-host.invalid"),
            "{found:?}"
        );
        let mds = configured(
            "10.0.0.2:2049",
            "address = \"10.0.0.7\"\nhost = \"10.1.0.7\"",
        );
        assert_eq!(unknown_hosts(&mds).await, [""; 0]);
    }

    #[test]
    fn a_data_server_where_only_this_machine_reaches_it_is_told() {
        let found = out_of_reach(&configured("0.0.0.0:2049", "address = \"127.0.0.1:2050\""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("127.0.0.1:2050"), "{found:?}");
        let found = out_of_reach(&configured(
            "127.0.0.1:2049",
            "address = \"127.0.0.1:2050\"",
        ));
        assert_eq!(found, [""; 0], "clients are on this machine");
        let found = out_of_reach(&configured("0.0.0.0:2049", "address = \"10.0.0.7\""));
        assert_eq!(found, [""; 0]);
    }

    #[tokio::test]
    async fn a_file_with_faults_is_told_before_anything_is_tried() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mds.toml");
        std::fs::write(&path, "[server]\nlisten = 1\n").expect("written");
        let faults = check(&path, Asking::AsMetadataServer, None)
            .await
            .expect_err("the file has faults");
        assert!(faults.0.len() > 1, "{faults}");
    }

    #[tokio::test]
    async fn a_data_servers_file_is_checked_by_its_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("ds.toml");
        let data_dir = folder.path().display();
        let text = format!("[ds]\ndata_dir = \"{data_dir}\"\nmds = \"10.0.0.2\"\n");
        std::fs::write(&path, text).expect("written");
        let report = check(&path, Asking::AsMetadataServer, None)
            .await
            .expect("it is good");
        assert_eq!(report.verdicts[0].trials[0].0, Question::HoldsObjects);
        assert!(
            report.to_string().starts_with("DATA SERVER  PLACE"),
            "{report}"
        );
    }
}
