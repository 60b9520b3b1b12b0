//! Our own data server is tried in earnest; strangers are in interop-tests/tests/server_rules/unfit.rs.

use super::*;
use config::{AnyConfig, MdsConfig};
use ds::{Network, Server};
use std::path::Path;

/// A configuration that names the data server at an address.
fn configured(address: SocketAddr) -> (DataServer, IdRange) {
    let text = format!(
        "[server]\nstate_dir = \"/state\"\n[[data_server]]\nname = \"nvme1\"\n\
         address = \"{address}\"\nexport = \"/nvme\"\n\
         [[export]]\npath = \"/data\"\nclients = \"127.0.0.1\"\n"
    );
    match AnyConfig::parse("mds.toml", &text) {
        Ok(AnyConfig::Mds(mds)) => {
            let MdsConfig {
                data_servers,
                layout,
                ..
            } = *mds;
            let server = data_servers.into_iter().next().expect("there is one");
            (server, layout.ids)
        }
        other => panic!("{other:?}"),
    }
}

fn data_server(folder: &Path, mds: &str) -> ds::Config {
    ds::Config {
        export: "/nvme".to_owned(),
        mds: vec![Network::host(mds.parse().expect("an address"))],
        ..ds::Config::new(folder)
    }
}

async fn proven(config: ds::Config, asking: Asking) -> Verdict {
    let running = Server::start(config).expect("it starts");
    let (server, ids) = configured(running.addresses()[0]);
    let verdict = prove(&server, Trying::new(ids, asking), 0xfeed).await;
    running.stop().await;
    verdict
}

fn outcomes(verdict: &Verdict) -> Vec<(Question, &'static str)> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Passed => "yes",
        Outcome::Failed { .. } => "no",
        Outcome::Noticed { .. } => "noticed",
        Outcome::NotTried(_) => "not tried",
    };
    let trials = verdict.trials.iter();
    trials
        .map(|(question, outcome)| (*question, word(outcome)))
        .collect()
}

#[tokio::test]
async fn our_data_server_is_fit_and_keeps_nothing_of_the_trial() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for _twice in 0..2 {
        let config = data_server(folder.path(), "127.0.0.1");
        let verdict = proven(config, Asking::AsMetadataServer).await;
        assert_eq!(
            outcomes(&verdict),
            [
                (Question::Reached, "yes"),
                (Question::ChangesOwners, "yes"),
                (Question::RefusesOldOwner, "yes"),
                (Question::ReadersOnlyRead, "yes"),
                (Question::GuardsChanges, "yes"),
                (Question::ClockAgrees, "yes"),
                (Question::KeepsHandles, "not tried"),
                (Question::SquashesRoot, "not tried"),
            ],
            "{verdict:?}"
        );
        assert!(verdict.space.is_some());
    }
}

/// A data server that knows a metadata server's term, later than the none that a trial names.
#[tokio::test]
async fn a_data_server_in_use_is_proved_as_fit_as_an_idle_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = data_server(folder.path(), "127.0.0.1");
    let running = Server::start(config.clone()).expect("it starts");
    running.stop().await;
    std::fs::write(folder.path().join("term"), "7\n").expect("a metadata server's term");
    let verdict = proven(config, Asking::AsMetadataServer).await;
    let failed = outcomes(&verdict).iter().any(|(_, word)| *word == "no");
    assert!(!failed, "{verdict:?}");
}

#[tokio::test]
async fn a_data_server_that_takes_us_for_a_client_is_not_fit_and_the_way_out_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = data_server(folder.path(), "10.9.9.9");
    let verdict = proven(config, Asking::AsMetadataServer).await;
    let Some((Question::ChangesOwners, Outcome::Failed { why, way_out })) = verdict.trials.last()
    else {
        panic!("{verdict:?}");
    };
    assert_eq!(why, "doesn't let this host mount /nvme: MNT gave ACCES.");
    assert!(way_out.contains("name this host in its `mds`"), "{way_out}");
}

#[tokio::test]
async fn asked_from_a_client_our_data_server_squashes_root() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = data_server(folder.path(), "10.9.9.9");
    let verdict = proven(config, Asking::AsClient).await;
    assert_eq!(
        outcomes(&verdict),
        [(Question::Reached, "yes"), (Question::SquashesRoot, "yes")],
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_client_whose_root_is_root_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = data_server(folder.path(), "127.0.0.1");
    let verdict = proven(config, Asking::AsClient).await;
    let Some((Question::SquashesRoot, Outcome::Failed { why, .. })) = verdict.trials.last() else {
        panic!("{verdict:?}");
    };
    assert_eq!(why, "takes a client's root for root.");
}

#[tokio::test]
async fn a_data_server_that_is_away_is_told_in_one_sentence() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let (mut server, ids) = configured(address);
    server.mount_port = Some(address.port());
    let trying = Trying {
        deadline: Duration::from_millis(300),
        ..Trying::new(ids, Asking::AsMetadataServer)
    };
    let verdict = prove(&server, trying, 1).await;
    let [(Question::Reached, Outcome::Failed { why, way_out })] = verdict.trials.as_slice() else {
        panic!("{verdict:?}");
    };
    assert!(why.starts_with("can't be reached:"), "{why}");
    assert!(!why.contains('\n'), "{why}");
    assert!(way_out.contains("firewall"), "{way_out}");
}

#[tokio::test]
async fn a_data_server_that_a_metadata_server_uses_is_proved_all_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = data_server(folder.path(), "127.0.0.1");
    let running = Server::start(config).expect("it starts");
    let address = running.addresses()[0];
    let (server, ids) = configured(address);
    // An order of a metadata server: from now on older terms are refused, and none is the oldest.
    let used = backend_nfs::NfsDataServer::connect(
        backend_nfs::Address {
            name: "nvme1".to_owned(),
            host: address.ip(),
            nfs_port: Some(address.port()),
            mount_port: None,
            export: "/nvme".to_owned(),
        },
        backend_nfs::Options::new(7),
    )
    .await
    .expect("it can be mounted");
    let owner = layout::Owner {
        uid: ids.base + 9,
        gid: ids.base + 9,
    };
    backend::DataServer::create(&used, layout::ObjectId(1), owner)
        .await
        .expect("an object of a file");
    let verdict = prove(&server, Trying::new(ids, Asking::AsMetadataServer), 0xfeed).await;
    assert!(verdict.is_fit(), "{verdict:?}");
    let proved = [
        Question::ChangesOwners,
        Question::RefusesOldOwner,
        Question::ReadersOnlyRead,
        Question::GuardsChanges,
    ];
    for question in proved {
        assert!(
            verdict.trials.contains(&(question, Outcome::Passed)),
            "{question:?}: {verdict:?}"
        );
    }
    running.stop().await;
}

/// Proves over a restart which `between` makes, once the trial's object is there.
async fn proven_over_a_restart(between: impl AsyncFnOnce(&Path)) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = data_server(folder.path(), "127.0.0.1");
    let running = Server::start(config.clone()).expect("it starts");
    config.listen = running.addresses().to_vec();
    let (server, ids) = configured(config.listen[0]);
    let trying = Trying {
        over_restart: Some(Duration::from_secs(30)),
        ..Trying::new(ids, Asking::AsMetadataServer)
    };
    let restart = async {
        while !holds_objects(folder.path()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The trial has its first verifier once it looks again and again.
        let seen = running.metrics().procedures[wire::nfs3::Procedure::Commit as usize].calls();
        while running.metrics().procedures[wire::nfs3::Procedure::Commit as usize].calls()
            < seen + 2
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.stop().await;
        between(folder.path()).await;
        Server::start(config).expect("it starts again")
    };
    let (verdict, again) = tokio::join!(prove(&server, trying, 0xfeed), restart);
    again.stop().await;
    let outcome = verdict
        .trials
        .into_iter()
        .find(|(question, _)| *question == Question::KeepsHandles);
    outcome.expect("it was tried").1
}

fn holds_objects(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder.join("data")) else {
        return false;
    };
    entries.count() > 0
}

#[tokio::test]
async fn handles_that_outlive_a_restart_are_seen_to() {
    let outcome = proven_over_a_restart(async |_| {}).await;
    assert_eq!(outcome, Outcome::Passed);
}

#[tokio::test]
async fn a_data_server_that_forgets_its_handles_with_a_restart_is_not_fit() {
    let outcome = proven_over_a_restart(async |folder| {
        // As if another, empty disk were mounted there.
        std::fs::remove_dir_all(folder.join("data")).expect("the objects go");
    })
    .await;
    let Outcome::Failed { why, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(why, "forgets handles with a restart: COMMIT gave STALE.");
}
