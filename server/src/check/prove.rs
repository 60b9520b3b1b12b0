//! Reaches a data server, as the metadata server will or as a client does, and has it tried.
//! Never here: the single trials.

use super::trial::{MACHINE, Trial, needs_root};
use super::{Outcome, Question, Verdict};
use backend_nfs::TRIAL_OBJECTS;
use config::{DataServer, IdRange};
use nfs_client::mount::{self, MountError};
use nfs_client::{Caller, Client, Options};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::ds::{DemandArgs, Foreign};
use wire::nfs3::{Fh3, Filename3};

/// Of each call: that of a person who waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// As whom the data server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// From the metadata server's address, whose root is root there.
    AsMetadataServer,
    /// From a client's address, whose root must be nobody.
    AsClient,
}

/// How a data server is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trying {
    pub ids: IdRange,
    pub asking: Asking,
    /// Of each call.
    pub deadline: Duration,
    /// How long to wait for somebody to restart it.
    pub over_restart: Option<Duration>,
}

impl Trying {
    pub fn new(ids: IdRange, asking: Asking) -> Self {
        Self {
            ids,
            asking,
            deadline: PATIENCE,
            over_restart: None,
        }
    }
}

/// Tries one data server. `scratch` names the object that is made and removed, unlike any other.
pub async fn prove(server: &DataServer, trying: Trying, scratch: u64) -> Verdict {
    let mut verdict = Verdict {
        name: server.name.to_string(),
        place: format!("{}{}", server.address, server.export),
        trials: Vec::new(),
        space: None,
        own_root: None,
    };
    let options = Options {
        deadline: trying.deadline,
        ..Options::default()
    };
    let asking = trying.asking;
    let reached = reach(server, &options).await;
    let (client, root) = match reached {
        Ok(reached) => reached,
        // Ours lets nobody but the metadata server mount it: a client's root doesn't even get in.
        Err(Unreached::Refused(_)) if asking == Asking::AsClient => {
            verdict.trials.push((Question::Reached, Outcome::Passed));
            verdict
                .trials
                .push((Question::SquashesRoot, Outcome::Passed));
            return verdict;
        }
        Err(Unreached::Refused(why)) => {
            let outcome = needs_root(server, why);
            verdict.trials.push((Question::Reached, Outcome::Passed));
            verdict.trials.push((Question::ChangesOwners, outcome));
            return verdict;
        }
        Err(Unreached::Away(why)) => {
            let way_out = format!(
                "Is it running, does a firewall let {} through, is {} exported to this host?",
                server.address, server.export
            );
            let failed = Outcome::Failed { why, way_out };
            verdict.trials.push((Question::Reached, failed));
            return verdict;
        }
    };
    verdict.trials.push((Question::Reached, Outcome::Passed));
    if let Ok(space) = client.fsstat(&root).await {
        verdict.space = Some((space.abytes, space.tbytes));
    }
    let trial = Trial {
        server,
        ids: trying.ids,
        options,
        over_restart: trying.over_restart,
        client,
        root,
        name: Filename3::new(format!("{TRIAL_OBJECTS:016x}{scratch:016x}")).unwrap_or_default(),
    };
    verdict.own_root = trial.own_root().await;
    match asking {
        Asking::AsMetadataServer => trial.as_metadata_server(&mut verdict.trials).await,
        Asking::AsClient => {
            let outcome = trial.root_is_squashed().await;
            verdict.trials.push((Question::SquashesRoot, outcome));
        }
    }
    verdict
}

/// Why there is nothing to try on.
enum Unreached {
    /// It answered, and doesn't let this host mount.
    Refused(String),
    Away(String),
}

/// Connects and mounts.
async fn reach(server: &DataServer, options: &Options) -> Result<(Client, Fh3), Unreached> {
    let caller = Caller::root(MACHINE);
    let (client, address) = connect(server, &caller, options)
        .await
        .map_err(Unreached::Away)?;
    let root = mount_root(server, address, &caller, options)
        .await
        .map_err(|error| match error {
            MountError::Refused { status, .. } => Unreached::Refused(format!(
                "doesn't let this host mount {}: MNT gave {}.",
                server.export,
                status.to_string().trim_start_matches("MNT3ERR_")
            )),
            other => Unreached::Away(format!("can't be mounted: {other}.")),
        })?;
    Ok((client, root))
}

async fn connect(
    server: &DataServer,
    caller: &Caller,
    options: &Options,
) -> Result<(Client, SocketAddr), String> {
    let host = server.address.host.as_str();
    let mut addresses = tokio::net::lookup_host((host, server.address.port))
        .await
        .map_err(|error| format!("has a name that can't be resolved: {error}."))?;
    let address = addresses
        .next()
        .ok_or_else(|| "has a name without an address.".to_owned())?;
    let client = Client::connect(address, caller.clone(), options)
        .await
        .map_err(|error| format!("can't be reached: {error}."))?;
    Ok((client, address))
}

/// Whether it keeps chunks of `backend`; why not, as a predicate.
pub async fn caches(server: &DataServer, backend: &str) -> Result<(), String> {
    let options = Options {
        deadline: PATIENCE,
        ..Options::default()
    };
    let (client, _) = connect(server, &Caller::root(MACHINE), &options).await?;
    let backend = Foreign::new(backend.to_owned()).unwrap_or_default();
    let told = client.demand(&DemandArgs { backend }).await;
    told.map(|_| ())
        .map_err(|error| format!("doesn't cache it: {error}."))
}

/// Ours answers MOUNT on its NFS port; for another the portmapper knows.
async fn mount_root(
    server: &DataServer,
    address: SocketAddr,
    caller: &Caller,
    options: &Options,
) -> Result<Fh3, MountError> {
    let host: IpAddr = address.ip();
    let path = server.export.as_str();
    let mnt = |port| mount::mnt(host, port, path, caller, options);
    if server.mount_port.is_some() {
        return Ok(mnt(server.mount_port).await?.fhandle);
    }
    match mnt(Some(address.port())).await {
        Ok(mounted) => Ok(mounted.fhandle),
        Err(refused @ MountError::Refused { .. }) => Err(refused),
        Err(_) => Ok(mnt(None).await?.fhandle),
    }
}

#[cfg(test)]
mod tests;
