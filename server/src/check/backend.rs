//! Tries what another server keeps: whether it can be listed, read and changed, how fast, and by which clock.
//! Never here: data servers. It leaves nothing behind.

use super::Outcome;
use super::report::rounded;
use crate::metadata::{BackendSpec, Keeper};
use backend::Stability;
use backend::tree::{
    Caller, CreateHow, Node, NodeChanges, NodeKind, Tree, TreeError, TreeErrorKind,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SKEW_WORTH_A_LOOK: Duration = Duration::from_secs(2);
/// What a short figure of throughput is taken from.
pub(super) const TRIED_BYTES: usize = 8 << 20;
pub(super) const LOOKS: usize = 20;
/// Entries among which a file to read is looked for.
const LISTED: usize = 1000;

/// What was seen of one backend.
#[derive(Debug, Clone)]
pub struct BackendVerdict {
    pub name: String,
    pub place: String,
    pub trials: Vec<(BackendQuestion, Outcome)>,
    /// Of a look at its root, the median.
    pub latency: Option<Duration>,
    /// Bytes a second, by one caller.
    pub read_rate: Option<u64>,
    pub write_rate: Option<u64>,
    pub space: Option<(u64, u64)>,
}

/// What is tried, in the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendQuestion {
    /// It answers, and shows its root.
    Reached,
    /// A bucket that is to hold files of this namespace, and nobody else's; asked where there is one.
    Ours,
    Lists,
    /// A file that is there.
    Reads,
    /// A new file, and what was written is read back.
    Writes,
    Renames,
    /// Whoever is root here is root there.
    KnowsRoot,
    ClockAgrees,
    /// The data server that is to keep chunks of it does so; asked where there is one.
    Cached,
}

impl BackendQuestion {
    pub const ALL: [Self; 9] = [
        Self::Reached,
        Self::Ours,
        Self::Lists,
        Self::Reads,
        Self::Writes,
        Self::Renames,
        Self::KnowsRoot,
        Self::ClockAgrees,
        Self::Cached,
    ];

    pub fn heading(self) -> &'static str {
        match self {
            Self::Reached => "REACHED",
            Self::Ours => "OURS",
            Self::Lists => "LISTS",
            Self::Reads => "READS",
            Self::Writes => "WRITES",
            Self::Renames => "RENAMES",
            Self::KnowsRoot => "KNOWS ROOT",
            Self::ClockAgrees => "CLOCK AGREES",
            Self::Cached => "CACHED",
        }
    }
}

impl BackendVerdict {
    /// Nothing was found that must be otherwise.
    pub fn is_fit(&self) -> bool {
        !self
            .trials
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }))
    }

    /// The figures of its row, behind the answers.
    pub fn figures(&self) -> [String; 4] {
        let unknown = || "?".to_owned();
        let rate =
            |rate: Option<u64>| rate.map_or_else(unknown, |rate| format!("{}/s", rounded(rate)));
        [
            self.latency.map_or_else(unknown, |time| {
                format!("{:.1} ms", time.as_secs_f64() * 1e3)
            }),
            rate(self.read_rate),
            rate(self.write_rate),
            self.space.map_or_else(unknown, |(free, total)| {
                format!("{} of {}", rounded(free), rounded(total))
            }),
        ]
    }
}

/// Tries one backend. With `writes` a file is made there and removed; `scratch` names it, unlike any other.
pub async fn try_backend(
    spec: &BackendSpec,
    folder: &str,
    writes: bool,
    scratch: u128,
) -> BackendVerdict {
    let mut verdict = BackendVerdict {
        name: spec.name.clone(),
        place: spec.keeper.place(folder),
        trials: Vec::new(),
        latency: None,
        read_rate: None,
        write_rate: None,
        space: None,
    };
    let mut own_state = None;
    let reached = match &spec.keeper {
        Keeper::Nfs(nfs) => {
            let export = nfs.connect(&spec.name, folder, None).await;
            export.map(|export| Arc::new(export) as Arc<dyn Tree>)
        }
        Keeper::S3(s3) => {
            // A server that runs has its own open.
            let state = std::env::temp_dir().join(format!("headrace-check-{scratch:032x}"));
            let attached = s3.attach(folder, state.clone(), None).await;
            own_state = Some(state);
            attached.map(|(mirror, _)| Arc::new(mirror) as Arc<dyn Tree>)
        }
        Keeper::Given(given) => Ok(Arc::clone(&given.0)),
    };
    let tree = match reached {
        Ok(tree) => tree,
        Err(error) => {
            let outcome = Outcome::Failed {
                why: format!("can't be reached: {error:#}."),
                way_out: "Until it can, its junctions make who goes there wait; all else is served.\n\
                          See that it runs, exports that path to this host, and that `server` and `mount_port` are right."
                    .to_owned(),
            };
            verdict.trials.push((BackendQuestion::Reached, outcome));
            return verdict;
        }
    };
    let trial = Trial {
        tree: tree.as_ref(),
        caller: Caller::root(),
    };
    trial.run(&mut verdict, writes, scratch).await;
    if let Some(state) = own_state
        && let Err(error) = std::fs::remove_dir_all(&state)
    {
        tracing::warn!("{} is left behind: {error}", state.display());
    }
    verdict
}

struct Trial<'a> {
    tree: &'a dyn Tree,
    caller: Caller,
}

fn failed(what: &str, error: &TreeError, way_out: &str) -> Outcome {
    Outcome::Failed {
        why: format!("{what}: {error}."),
        way_out: way_out.to_owned(),
    }
}

impl Trial<'_> {
    async fn run(&self, verdict: &mut BackendVerdict, writes: bool, scratch: u128) {
        let root = match self.tree.root().await {
            Ok(root) => root,
            Err(error) => {
                let outcome = failed("doesn't show its root", &error, "See its own log.");
                verdict.trials.push((BackendQuestion::Reached, outcome));
                return;
            }
        };
        let told = &mut verdict.trials;
        told.push((BackendQuestion::Reached, Outcome::Passed));
        verdict.latency = self.latency(&root).await;
        verdict.space = self
            .tree
            .space()
            .await
            .ok()
            .map(|space| (space.free, space.total));
        let file = match self.list(&root).await {
            Ok(file) => {
                told.push((BackendQuestion::Lists, Outcome::Passed));
                file
            }
            Err(error) => {
                let outcome = failed(
                    "doesn't let its root be listed",
                    &error,
                    "Users may still reach what they may; root of this host can't look.",
                );
                told.push((BackendQuestion::Lists, outcome));
                None
            }
        };
        let reads = match file {
            None => Outcome::NotTried("there is no file in its root to be read".to_owned()),
            Some(file) => match self.read(&file.handle).await {
                Ok(rate) => {
                    verdict.read_rate = rate;
                    Outcome::Passed
                }
                Err(error) if error.kind == TreeErrorKind::Denied => Outcome::NotTried(
                    "root of this host may not read the first file there".to_owned(),
                ),
                Err(error) => failed("doesn't let a file be read", &error, "See its own log."),
            },
        };
        told.push((BackendQuestion::Reads, reads));
        if writes {
            self.change(&root, verdict, scratch).await;
        }
    }

    async fn latency(&self, root: &Node) -> Option<Duration> {
        let mut times = Vec::with_capacity(LOOKS);
        for _ in 0..LOOKS {
            let begun = Instant::now();
            self.tree.stat(&self.caller, &root.handle).await.ok()?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        times.get(LOOKS / 2).copied()
    }

    /// A file of the root, if there is one among the first.
    async fn list(&self, root: &Node) -> Result<Option<Node>, TreeError> {
        let listed = self
            .tree
            .list(&self.caller, &root.handle, 0, [0; 8], LISTED)
            .await?;
        let nodes = listed.entries.into_iter().filter_map(|entry| entry.node);
        let mut files =
            nodes.filter(|node| node.stat.kind == NodeKind::Regular && node.stat.size > 0);
        Ok(files.next())
    }

    /// Bytes a second, where there were enough of them to tell.
    async fn read(&self, handle: &Bytes) -> Result<Option<u64>, TreeError> {
        let step = self.tree.abilities().read_bytes;
        let begun = Instant::now();
        let mut read = 0;
        while read < TRIED_BYTES {
            let got = self
                .tree
                .read(&self.caller, handle, read as u64, step)
                .await?;
            read += got.data.len();
            if got.at_end || got.data.is_empty() {
                break;
            }
        }
        Ok(rate(read, begun.elapsed()))
    }

    async fn change(&self, root: &Node, verdict: &mut BackendVerdict, scratch: u128) {
        let name = Bytes::from(format!(".headrace-check-{scratch:032x}"));
        let born = NodeChanges {
            mode: Some(0o600),
            ..NodeChanges::default()
        };
        let created = self
            .tree
            .create(&self.caller, &root.handle, &name, CreateHow::Guarded, &born)
            .await;
        let told = &mut verdict.trials;
        let node = match created {
            Ok((node, _)) => node,
            Err(error) if matches!(error.kind, TreeErrorKind::Denied | TreeErrorKind::NotOwner) => {
                let why = "root of this host may not write in its root folder: it squashes root, as it may";
                told.push((BackendQuestion::Writes, Outcome::NotTried(why.to_owned())));
                return;
            }
            Err(error) => {
                let way_out = "Export it for writing to this host, or say access = \"ro\" in its [[junction]].";
                told.push((
                    BackendQuestion::Writes,
                    failed("takes no new file", &error, way_out),
                ));
                return;
            }
        };
        let written = self.write(&node.handle).await;
        told.push((
            BackendQuestion::Writes,
            match &written {
                Ok(rate) => {
                    verdict.write_rate = *rate;
                    Outcome::Passed
                }
                Err(error) => failed("doesn't keep what is written", error, "See its own log."),
            },
        ));
        let moved = Bytes::from(format!(".headrace-check-{scratch:032x}-moved"));
        let renamed = self
            .tree
            .rename(&self.caller, (&root.handle, &name), (&root.handle, &moved))
            .await;
        let left = if renamed.is_ok() { &moved } else { &name };
        let renames = match &renamed {
            Ok(_) => Outcome::Passed,
            Err(error) => failed("doesn't rename a file", error, "See its own log."),
        };
        told.push((BackendQuestion::Renames, renames));
        if let Ok(stat) = self.tree.stat(&self.caller, &node.handle).await {
            let knows = if stat.uid == 0 {
                Outcome::Passed
            } else {
                Outcome::Noticed {
                    why: format!("takes root of this host for user {}.", stat.uid),
                    way_out: "Root of a client is that user there too. Export with no_root_squash to this host if root is to be root.".to_owned(),
                }
            };
            told.push((BackendQuestion::KnowsRoot, knows));
            told.push((BackendQuestion::ClockAgrees, clock_agrees(stat.mtime)));
        }
        if let Err(error) = self.tree.remove(&self.caller, &root.handle, left).await {
            let left = String::from_utf8_lossy(left).into_owned();
            let way_out = format!("Remove {left} there by hand.");
            told.push((
                BackendQuestion::Writes,
                failed("doesn't let a file be removed", &error, &way_out),
            ));
        }
    }

    async fn write(&self, handle: &Bytes) -> Result<Option<u64>, TreeError> {
        let step = self.tree.abilities().write_bytes as usize;
        let piece = Bytes::from(vec![0x5a; step.min(1 << 20)]);
        let begun = Instant::now();
        let mut written = 0;
        while written < TRIED_BYTES {
            let said = self
                .tree
                .write(
                    &self.caller,
                    handle,
                    written as u64,
                    piece.clone(),
                    Stability::Unstable,
                )
                .await?;
            written += said.count as usize;
        }
        self.tree.commit(&self.caller, handle).await?;
        let rate = rate(written, begun.elapsed());
        let read = self.tree.read(&self.caller, handle, 0, 4096).await?;
        if read.data.is_empty() || read.data.iter().any(|byte| *byte != 0x5a) {
            let what = "other bytes are read than were written";
            return Err(TreeError::new(TreeErrorKind::Broken, what));
        }
        Ok(rate)
    }
}

pub(super) fn rate(bytes: usize, time: Duration) -> Option<u64> {
    (bytes >= 1 << 20).then(|| (bytes as f64 / time.as_secs_f64()) as u64)
}

fn clock_agrees(mtime: backend::Nanos) -> Outcome {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as backend::Nanos);
    let skew = Duration::from_nanos(u64::try_from((now - mtime).abs()).unwrap_or(u64::MAX));
    if skew <= SKEW_WORTH_A_LOOK {
        return Outcome::Passed;
    }
    Outcome::Noticed {
        why: format!(
            "has another time than this host, by {:.0} s.",
            skew.as_secs_f64()
        ),
        way_out: "Times of its files are by its clock: let both hosts ask the same time servers."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::GivenTree;
    use backend::tree::MemoryTree;

    fn spec(tree: &MemoryTree) -> BackendSpec {
        BackendSpec {
            name: "shelf".to_owned(),
            keeper: Keeper::Given(GivenTree(Arc::new(tree.clone()))),
            cache: None,
        }
    }

    #[tokio::test]
    async fn a_backend_is_tried_and_left_as_it_was() {
        let tree = MemoryTree::new("shelf");
        let verdict = try_backend(&spec(&tree), "/", true, 7).await;
        assert!(verdict.is_fit(), "{verdict:?}");
        let outcome = |wanted| {
            let mut of = verdict.trials.iter();
            of.find(|(question, _)| *question == wanted)
                .map(|(_, outcome)| outcome.clone())
        };
        for question in [
            BackendQuestion::Reached,
            BackendQuestion::Lists,
            BackendQuestion::Writes,
            BackendQuestion::Renames,
            BackendQuestion::KnowsRoot,
        ] {
            assert_eq!(outcome(question), Some(Outcome::Passed), "{question:?}");
        }
        assert!(matches!(
            outcome(BackendQuestion::Reads),
            Some(Outcome::NotTried(_))
        ));
        let root = tree.root().await.unwrap().handle;
        let left = tree
            .list(&Caller::root(), &root, 0, [0; 8], 10)
            .await
            .unwrap();
        assert!(left.entries.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_backend_without_space_fails_the_check_and_is_left_clean() {
        let tree = MemoryTree::new("shelf");
        tree.set_capacity(1 << 20);
        let verdict = try_backend(&spec(&tree), "/", true, 7).await;
        assert!(!verdict.is_fit());
        let root = tree.root().await.unwrap().handle;
        let left = tree
            .list(&Caller::root(), &root, 0, [0; 8], 10)
            .await
            .unwrap();
        assert!(left.entries.is_empty());
    }

    #[tokio::test]
    async fn what_is_only_read_is_not_written_to() {
        let tree = MemoryTree::new("shelf");
        let before = tree.root().await.unwrap().stat;
        let verdict = try_backend(&spec(&tree), "/", false, 7).await;
        assert!(verdict.is_fit());
        assert_eq!(tree.root().await.unwrap().stat, before);
    }
}
