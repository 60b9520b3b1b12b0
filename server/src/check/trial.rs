//! The trials: what layouts and fences will ask of a data server, over NFSv3.
//! Never here: the data server's own files; it leaves nothing behind.

use super::{Outcome, Question};
use bytes::Bytes;
use config::{DataServer, IdRange};
use nfs_client::{Caller, Client, Error, Options};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::nfs3::{Createhow3, Fh3, Filename3, Nfsstat3, Nfstime3, Sattr3, StableHow};

pub(super) const MACHINE: &str = "headrace-check";
const SKEW_WORTH_A_LOOK: Duration = Duration::from_secs(2);
/// Between two looks for a restart.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Trial<'a> {
    pub(super) server: &'a DataServer,
    pub(super) ids: IdRange,
    pub(super) options: Options,
    pub(super) over_restart: Option<Duration>,
    pub(super) client: Client,
    pub(super) root: Fh3,
    pub(super) name: Filename3,
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

    pub(super) async fn as_metadata_server(&self, trials: &mut Vec<(Question, Outcome)>) {
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
            trials.push((
                Question::GuardsChanges,
                self.changes_are_guarded(&handle).await,
            ));
            trials.push((Question::ClockAgrees, self.clock_agrees(&handle).await));
            trials.push((Question::KeepsHandles, self.handles_are_kept(&handle).await));
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
    pub(super) async fn root_is_squashed(&self) -> Outcome {
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

    /// The root's handle, if it is one of ours: it answers to a name that no other has.
    pub(super) async fn own_root(&self) -> Option<Bytes> {
        let name = Filename3::new(".headrace")?;
        self.client.lookup(&self.root, &name).await.ok()?;
        Some(self.root.clone().into_bytes())
    }

    /// Objects are padded beside writers under the guard of a ctime: an ignored one would cut them.
    async fn changes_are_guarded(&self, handle: &Fh3) -> Outcome {
        let wanted = Sattr3 {
            size: Some(9),
            ..Sattr3::default()
        };
        let never = Nfstime3 {
            seconds: 1,
            nseconds: 1,
        };
        let unfit = |why: String| Outcome::Failed {
            why,
            way_out:
                "Padding an object beside a writer could cut what it wrote. Take another server, \
                      or `headrace ds`."
                    .to_owned(),
        };
        match self.client.setattr(handle, wanted, Some(never)).await {
            Err(error) if error.status() == Some(Nfsstat3::NotSync) => Outcome::Passed,
            Err(error) => unfit(format!(
                "answers a guarded change that came too late with {} and not NOT_SYNC.",
                said(&error)
            )),
            Ok(_) => unfit("ignores the guard of a SETATTR.".to_owned()),
        }
    }

    /// Times of files come from both clocks.
    async fn clock_agrees(&self, handle: &Fh3) -> Outcome {
        let before = SystemTime::now();
        let written = self.write_as(self.second_owner(), handle).await;
        let after = SystemTime::now();
        let seen = match written {
            Ok(()) => self.client.getattr(handle).await,
            Err(error) => Err(error),
        };
        let there = match seen {
            Ok(attributes) => {
                UNIX_EPOCH
                    + Duration::new(attributes.mtime.seconds.into(), attributes.mtime.nseconds)
            }
            Err(error) => return Outcome::NotTried(format!("its time can't be seen: {error}")),
        };
        let ahead = there.duration_since(after).unwrap_or_default();
        let behind = before.duration_since(there).unwrap_or_default();
        let skew = ahead.max(behind);
        if skew <= SKEW_WORTH_A_LOOK {
            return Outcome::Passed;
        }
        let side = if ahead > behind { "ahead" } else { "behind" };
        Outcome::Noticed {
            why: format!("has a clock that is {:.1} s {side}.", skew.as_secs_f64()),
            way_out: "Times of files come from both hosts: run an NTP client on each.".to_owned(),
        }
    }

    /// Layouts and the catalog name objects by handles: over connections, and over a restart where
    /// somebody restarts it. The write verifier tells that it was.
    async fn handles_are_kept(&self, handle: &Fh3) -> Outcome {
        let unfit = |why: String| Outcome::Failed {
            why,
            way_out:
                "Every file on it would be lost with the next restart. Export a local file system, \
                      with a fixed fsid where the server asks for one."
                    .to_owned(),
        };
        let fresh = Client::new(self.client.server(), Caller::root(MACHINE), &self.options);
        if let Err(error) = fresh.getattr(handle).await {
            return unfit(format!("forgets handles with their connection: {error}."));
        }
        let Some(patience) = self.over_restart else {
            return Outcome::NotTried(
                "run `headrace check --over-restart 300 CONFIG`, and restart each data server meanwhile"
                    .to_owned(),
            );
        };
        let first = match self.client.commit(handle, 0, 0).await {
            Ok(first) => first.verf,
            Err(error) => return unfit(format!("refuses a COMMIT: {}.", said(&error))),
        };
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
            match self.client.commit(handle, 0, 0).await {
                Ok(now) if now.verf == first => {}
                Ok(_) => return Outcome::Passed,
                Err(error)
                    if matches!(error.status(), Some(Nfsstat3::Stale | Nfsstat3::Badhandle)) =>
                {
                    return unfit(format!(
                        "forgets handles with a restart: COMMIT gave {}.",
                        said(&error)
                    ));
                }
                // Away for a moment, or starting.
                Err(_) => {}
            }
        }
        Outcome::NotTried(format!(
            "it wasn't restarted within {} s: its write verifier stayed the same",
            patience.as_secs()
        ))
    }

    fn needs_root(&self, why: String) -> Outcome {
        needs_root(self.server, why)
    }
}

pub(super) fn needs_root(server: &DataServer, why: String) -> Outcome {
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
