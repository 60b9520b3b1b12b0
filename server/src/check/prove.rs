//! Tries on a data server, over NFSv3, what layouts and fences will ask of it.
//! Never here: the data server's own files; it leaves nothing behind.

use super::{Outcome, Question, Verdict};
use bytes::Bytes;
use config::{DataServer, IdRange};
use nfs_client::mount::{self, MountError};
use nfs_client::{Caller, Client, Error, Options};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::nfs3::{Createhow3, Fh3, Filename3, Nfsstat3, Sattr3, StableHow};

const MACHINE: &str = "headrace-check";

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
}

impl Trying {
    /// With the patience of a person who waits.
    pub fn new(ids: IdRange, asking: Asking) -> Self {
        Self {
            ids,
            asking,
            deadline: Duration::from_secs(10),
        }
    }
}

/// Tries one data server. `scratch` names the object that is made and removed, unlike any other.
pub async fn prove(server: &DataServer, trying: Trying, scratch: u128) -> Verdict {
    let mut verdict = Verdict {
        name: server.name.to_string(),
        place: format!("{}{}", server.address, server.export),
        trials: Vec::new(),
        space: None,
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
        client,
        root,
        name: Filename3::new(format!("{scratch:032x}")).unwrap_or_default(),
    };
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
    let host = server.address.host.as_str();
    let mut addresses = tokio::net::lookup_host((host, server.address.port))
        .await
        .map_err(|error| Unreached::Away(format!("has a name that can't be resolved: {error}.")))?;
    let address = addresses
        .next()
        .ok_or_else(|| Unreached::Away("has a name without an address.".to_owned()))?;
    let caller = Caller::root(MACHINE);
    let client = Client::connect(address, caller.clone(), options)
        .await
        .map_err(|error| Unreached::Away(format!("can't be reached: {error}.")))?;
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

struct Trial<'a> {
    server: &'a DataServer,
    ids: IdRange,
    client: Client,
    root: Fh3,
    name: Filename3,
}

/// The ids that the trial uses, from the configured range.
impl Trial<'_> {
    fn first_owner(&self) -> u32 {
        self.ids.base
    }

    fn second_owner(&self) -> u32 {
        self.ids.base + 1
    }

    /// Never owns anything.
    fn reader(&self) -> u32 {
        self.ids.base + 2
    }

    fn group(&self) -> u32 {
        self.ids.base
    }

    fn called_as(&self, uid: u32) -> Client {
        self.client
            .as_caller(Caller::sys(MACHINE, uid, self.group(), &[]))
    }

    async fn as_metadata_server(&self, trials: &mut Vec<(Question, Outcome)>) {
        let handle = match self.create().await {
            Ok(handle) => handle,
            Err(outcome) => {
                trials.push((Question::ChangesOwners, outcome));
                return;
            }
        };
        trials.push((Question::ChangesOwners, self.owners_change(&handle).await));
        if trials
            .last()
            .is_some_and(|(_, last)| *last == Outcome::Passed)
        {
            trials.push((
                Question::RefusesOldOwner,
                self.old_owner_is_refused(&handle).await,
            ));
            trials.push((
                Question::ReadersOnlyRead,
                self.readers_only_read(&handle).await,
            ));
        }
        if let Err(error) = self.client.remove(&self.root, &self.name).await {
            let why = format!("doesn't let the metadata server remove a file: {error}.");
            trials.push((Question::HoldsObjects, self.needs_root(why)));
        }
        trials.push((
            Question::SquashesRoot,
            Outcome::NotTried("run `headrace check --as-client CONFIG` on a client".to_owned()),
        ));
    }

    async fn create(&self) -> Result<Fh3, Outcome> {
        let attributes = Sattr3 {
            mode: Some(0o640),
            uid: Some(self.first_owner()),
            gid: Some(self.group()),
            ..Sattr3::default()
        };
        let how = Createhow3::Guarded(attributes);
        match self.client.create(&self.root, &self.name, how).await {
            Ok(made) => match made.obj {
                Some(handle) => Ok(handle),
                None => self
                    .client
                    .lookup(&self.root, &self.name)
                    .await
                    .map(|found| found.object)
                    .map_err(|error| self.needs_root(format!("can't find a new file: {error}."))),
            },
            // To a metadata server of an older term, or of none, ours is read-only.
            Err(error) if error.status() == Some(Nfsstat3::Rofs) && self.is_ours().await => {
                Err(Outcome::NotTried(
                    "a metadata server has used it; it obeys nobody else since".to_owned(),
                ))
            }
            Err(error) => Err(self.needs_root(format!(
                "doesn't let the metadata server create files: create gave {}.",
                said(&error)
            ))),
        }
    }

    async fn owners_change(&self, handle: &Fh3) -> Outcome {
        let owner = self.first_owner();
        if let Err(error) = self.write_as(owner, handle).await {
            let why = format!(
                "refuses a file's owner, id {owner}: write gave {}.",
                said(&error)
            );
            let way_out = "Export it read-write, and without all_squash: layouts name ids that \
                           no account has."
                .to_owned();
            return Outcome::Failed { why, way_out };
        }
        let other = Sattr3 {
            uid: Some(self.second_owner()),
            ..Sattr3::default()
        };
        match self.client.setattr(handle, other, None).await {
            Err(error) => self.needs_root(format!(
                "doesn't let the metadata server change owners: chown gave {}.",
                said(&error)
            )),
            Ok(_) => match self.client.getattr(handle).await {
                Ok(now) if now.uid == self.second_owner() => Outcome::Passed,
                Ok(now) => {
                    self.needs_root(format!("said yes to a new owner, and kept {}.", now.uid))
                }
                Err(error) => self.needs_root(format!("lost a new file: {error}.")),
            },
        }
    }

    async fn old_owner_is_refused(&self, handle: &Fh3) -> Outcome {
        let unfit = |why: String, way_out: &str| Outcome::Failed {
            why,
            way_out: way_out.to_owned(),
        };
        match self.write_as(self.first_owner(), handle).await {
            Err(error) if error.status() == Some(Nfsstat3::Acces) => {}
            Ok(()) => {
                return unfit(
                    "lets an owner write whose file was given to another.".to_owned(),
                    "A client that is cut off could still write. Export it without all_squash, and \
                     let it check permissions on each call.",
                );
            }
            Err(error) => {
                return unfit(
                    format!(
                        "answers a former owner with {} and not ACCES.",
                        said(&error)
                    ),
                    "Linux would try again for ever. Take another server.",
                );
            }
        }
        match self.write_as(self.second_owner(), handle).await {
            Ok(()) => Outcome::Passed,
            Err(error) => unfit(
                format!(
                    "refuses the new owner of a file: write gave {}.",
                    said(&error)
                ),
                "Export it without all_squash.",
            ),
        }
    }

    async fn readers_only_read(&self, handle: &Fh3) -> Outcome {
        let unfit = |why: String| Outcome::Failed {
            why,
            way_out: "Export it without all_squash, on a file system with Unix permissions."
                .to_owned(),
        };
        let reader = self.called_as(self.reader());
        if let Err(error) = reader.read(handle, 0, 1).await {
            return unfit(format!(
                "refuses a file's group: read gave {}.",
                said(&error)
            ));
        }
        match self.write_as(self.reader(), handle).await {
            Err(error) if error.status() == Some(Nfsstat3::Acces) => Outcome::Passed,
            Err(error) => unfit(format!(
                "answers a reader who writes with {} and not ACCES.",
                said(&error)
            )),
            Ok(()) => unfit("lets a reader write.".to_owned()),
        }
    }

    /// Asked from a client: root may be nothing more than nobody.
    async fn root_is_squashed(&self) -> Outcome {
        let how = Createhow3::Guarded(Sattr3 {
            mode: Some(0o640),
            ..Sattr3::default()
        });
        let made = match self.client.create(&self.root, &self.name, how).await {
            Ok(made) => made,
            Err(error) if error.status().is_some() => return Outcome::Passed,
            Err(error) => {
                return Outcome::NotTried(format!("the data server didn't answer: {error}"));
            }
        };
        let owner = made.obj_attributes.map(|attributes| attributes.uid);
        let removed = self.client.remove(&self.root, &self.name).await;
        let left = if removed.is_err() {
            " The file that this trial made is still there."
        } else {
            ""
        };
        let why = if owner == Some(0) {
            format!("takes a client's root for root.{left}")
        } else {
            format!("lets anybody create files.{left}")
        };
        Outcome::Failed {
            why,
            way_out: format!(
                "A client could read and change every file. Export {} with root_squash to clients, \
                 and let root alone write to that folder.",
                self.server.export
            ),
        }
    }

    async fn write_as(&self, uid: u32, handle: &Fh3) -> Result<(), Error> {
        let data = Bytes::from_static(b"headrace check");
        let owner = self.called_as(uid);
        let written = owner.write(handle, 0, StableHow::FileSync, data).await;
        written.map(|_| ())
    }

    /// Ours answers to this name, so that a metadata server knows the exact fence.
    async fn is_ours(&self) -> bool {
        match Filename3::new(".headrace") {
            Some(name) => self.client.lookup(&self.root, &name).await.is_ok(),
            None => false,
        }
    }

    fn needs_root(&self, why: String) -> Outcome {
        needs_root(self.server, why)
    }
}

fn needs_root(server: &DataServer, why: String) -> Outcome {
    Outcome::Failed {
        why,
        way_out: format!(
            "Fencing needs it. `headrace ds`: name this host in its `mds`. Another server: \
             export with no_root_squash\nfor the metadata server alone. With knfsd:\n    \
             {} METADATA-SERVER(rw,no_root_squash) CLIENTS(rw,root_squash)",
            server.export
        ),
    }
}

/// The status without its prefix, or what happened to the call.
fn said(error: &Error) -> String {
    match error.status() {
        Some(status) => status.to_string().trim_start_matches("NFS3ERR_").to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
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
                    (Question::SquashesRoot, "not tried"),
                ],
                "{verdict:?}"
            );
            assert!(verdict.space.is_some());
        }
    }

    #[tokio::test]
    async fn a_data_server_that_takes_us_for_a_client_is_not_fit_and_the_way_out_is_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = data_server(folder.path(), "10.9.9.9");
        let verdict = proven(config, Asking::AsMetadataServer).await;
        let Some((Question::ChangesOwners, Outcome::Failed { why, way_out })) =
            verdict.trials.last()
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
        let Some((Question::SquashesRoot, Outcome::Failed { why, .. })) = verdict.trials.last()
        else {
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
        let [(Question::Reached, Outcome::Failed { why, way_out })] = verdict.trials.as_slice()
        else {
            panic!("{verdict:?}");
        };
        assert!(why.starts_with("can't be reached:"), "{why}");
        assert!(!why.contains('\n'), "{why}");
        assert!(way_out.contains("firewall"), "{way_out}");
    }
}
