//! Names that go and move at the filer, each told once even when an answer is lost: what was true
//! before the call tells its own success from somebody else's.
//!
//! Never here: names that come, and names that are only looked at.

use super::NfsExport;
use super::begun::{Asked, Before, What};
use super::stat::folder_change;
use backend::tree::{Caller, FolderChange, Node, NodeKind, TreeError, TreeErrorKind};
use bytes::Bytes;
use nfs_client::{CallError, Client};
use std::time::{Duration, Instant};
use wire::nfs3::{Fh3, Filename3, Nfsstat3};

/// Rounds of a call that somebody else's changes, or lost answers, keep from an end.
pub(super) const ROUNDS: usize = 4;

/// A name in a folder, and who asks.
pub(super) struct At<'a> {
    pub(super) client: Client,
    pub(super) caller: &'a Caller,
    pub(super) folder: Fh3,
    pub(super) name: Filename3,
}

impl At<'_> {
    pub(super) fn asked(&self, what: What) -> Asked {
        Asked {
            what,
            folder: self.folder.bytes().clone(),
            name: self.name.bytes().clone(),
            caller: self.caller.clone(),
        }
    }
}

impl NfsExport {
    pub(super) async fn at<'a>(
        &self,
        caller: &'a Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<At<'a>, TreeError> {
        Ok(At {
            client: self.asked_by(caller).await?,
            caller,
            folder: self.handle(folder)?,
            name: self.name(name)?,
        })
    }

    pub(super) fn taken(&self) -> TreeError {
        self.error(TreeErrorKind::Exists, "the name is taken")
    }

    pub(super) fn disturbed(&self) -> TreeError {
        let after = Duration::from_millis(50);
        let kind = TreeErrorKind::Retry { after };
        self.error(kind, "others keep changing what has the name")
    }

    pub(super) async fn look(&self, at: &At<'_>) -> Result<Option<Node>, TreeError> {
        self.seek(&at.client, &at.folder, &at.name).await
    }

    /// Sorts an answer. `None` where it was lost with its connection, and the filer may be asked what
    /// became of it: then `begun` holds what was true before.
    pub(super) async fn settle<T>(
        &self,
        answer: Result<T, nfs_client::Error>,
        before: Before,
        begun: &mut Option<Before>,
    ) -> Result<Option<T>, TreeError> {
        let error = match answer {
            Ok(said) => return Ok(Some(said)),
            Err(error) => error,
        };
        if error.may_have_run() {
            *begun = Some(before);
        }
        let failure = self.failed(&error).await;
        match error {
            nfs_client::Error::Call {
                source: CallError::Disconnected { .. },
                ..
            } if failure.is_passing() => Ok(None),
            // Of a filer that is silent nothing more is asked now: the call has an end.
            _ => Err(failure),
        }
    }

    /// Keeps what is known of a call whose end isn't, for whoever asks again.
    pub(super) fn leave_off<T>(
        &self,
        asked: &Asked,
        begun: Option<Before>,
        done: &Result<T, TreeError>,
    ) {
        if let (Err(error), Some(before)) = (done, begun)
            && error.is_passing()
        {
            self.begun.keep(asked, before, Instant::now());
        }
    }

    pub(super) async fn remove_name(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let at = self.at(caller, folder, name).await?;
        let asked = at.asked(What::Remove);
        let mut begun = self.begun.take(&asked, Instant::now());
        let removed = self.remove_at(&at, &mut begun).await;
        self.leave_off(&asked, begun, &removed);
        removed
    }

    async fn remove_at(
        &self,
        at: &At<'_>,
        begun: &mut Option<Before>,
    ) -> Result<FolderChange, TreeError> {
        for _ in 0..ROUNDS {
            let there = self.look(at).await?;
            let node = match (there, &begun) {
                (Some(node), None) => node,
                (Some(node), Some(before)) if before.is(&node) => node,
                // Another has the name since, or nothing has.
                (_, Some(_)) => return Ok(FolderChange::default()),
                (None, None) => return Err(self.no_such_name()),
            };
            // REMOVE of a folder harms some old file systems.
            let answer = if node.stat.kind == NodeKind::Folder {
                at.client.rmdir(&at.folder, &at.name).await
            } else {
                at.client.remove(&at.folder, &at.name).await
            };
            if let Err(error) = &answer {
                let changed = match error.status() {
                    Some(Nfsstat3::Isdir) => node.stat.kind != NodeKind::Folder,
                    Some(Nfsstat3::Notdir) => node.stat.kind == NodeKind::Folder,
                    // RFC 1813 lets a full folder be EXIST too.
                    Some(Nfsstat3::Exist) => {
                        let what = "the folder isn't empty";
                        return Err(self.error(TreeErrorKind::NotEmpty, what));
                    }
                    _ => false,
                };
                if changed {
                    continue;
                }
            }
            let before = Before::There(node.handle);
            if let Some(said) = self.settle(answer, before, begun).await? {
                return Ok(folder_change(&said));
            }
        }
        Err(self.disturbed())
    }

    pub(super) async fn rename_name(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        let old = self.at(caller, from.0, from.1).await?;
        let new = self.at(caller, to.0, to.1).await?;
        let mut asked = old.asked(What::Rename);
        // The whole of the call: another new name is another call.
        asked.name = [&from.1[..], b"/", &to.0[..], b"/", &to.1[..]]
            .concat()
            .into();
        let mut begun = self.begun.take(&asked, Instant::now());
        let renamed = self.rename_at(&old, &new, &mut begun).await;
        self.leave_off(&asked, begun, &renamed);
        renamed
    }

    async fn rename_at(
        &self,
        old: &At<'_>,
        new: &At<'_>,
        begun: &mut Option<Before>,
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        for _ in 0..ROUNDS {
            let there = self.look(old).await?;
            if let Some(before) = &begun
                && !there.as_ref().is_some_and(|node| before.is(node))
            {
                let at_new = self.look(new).await?;
                if at_new.is_some_and(|node| before.is(&node)) {
                    return Ok(<(FolderChange, FolderChange)>::default());
                }
            }
            let source = there.ok_or_else(|| self.no_such_name())?;
            let answer = old
                .client
                .rename(&old.folder, &old.name, &new.folder, &new.name)
                .await;
            let before = Before::There(source.handle);
            if let Some(said) = self.settle(answer, before, begun).await? {
                let from = folder_change(&said.fromdir_wcc);
                return Ok((from, folder_change(&said.todir_wcc)));
            }
        }
        Err(self.disturbed())
    }

    pub(super) fn no_such_name(&self) -> TreeError {
        self.error(TreeErrorKind::NoEntry, "there is no such name")
    }

    pub(super) async fn link_name(
        &self,
        caller: &Caller,
        handle: &Bytes,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let at = self.at(caller, folder, name).await?;
        let file = self.handle(handle)?;
        let mut asked = at.asked(What::Link);
        asked.name = [&name[..], b"/", &handle[..]].concat().into();
        let mut begun = self.begun.take(&asked, Instant::now());
        let linked = self.link_at(&file, &at, &mut begun).await;
        self.leave_off(&asked, begun, &linked);
        linked
    }

    async fn link_at(
        &self,
        file: &Fh3,
        at: &At<'_>,
        begun: &mut Option<Before>,
    ) -> Result<FolderChange, TreeError> {
        for _ in 0..ROUNDS {
            match self.look(at).await? {
                Some(node) if begun.is_some() && node.handle == *file.bytes() => {
                    return Ok(FolderChange::default());
                }
                Some(_) => return Err(self.taken()),
                None => {}
            }
            let answer = at.client.link(file, &at.folder, &at.name).await;
            if let Some(said) = self.settle(answer, Before::Absent, begun).await? {
                return Ok(folder_change(&said.linkdir_wcc));
            }
        }
        Err(self.disturbed())
    }
}
