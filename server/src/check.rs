//! `headrace check`: what each data server and backend was seen to do, as a table with ways out below it.
//! Never here: the trying, which is in `prove` and `trial` (data servers) and `folder` (a data
//! server's disk).

mod accounts;
mod backend;
mod folder;
mod prove;
mod trial;

pub use accounts::accounts_inside;
pub use backend::{BackendQuestion, BackendVerdict};
pub use folder::try_folder;
pub use prove::{Asking, Trying, caches, prove};

use config::{AnyConfig, DataServer, Faults, MdsConfig};
use std::fmt;
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
    let backends = futures_util::future::join_all(backends_of(&mds)).await;
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

/// What is tried, in the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// It answers, and lets its export be mounted.
    Reached,
    /// The metadata server may create objects, and give them other owners.
    ChangesOwners,
    /// An owner of before gets NFS3ERR_ACCES: that is the fence.
    RefusesOldOwner,
    /// The reader's id reads and can't write.
    ReadersOnlyRead,
    /// A SETATTR that is guarded by a ctime is refused when somebody wrote meanwhile.
    GuardsChanges,
    /// Its clock and this host's agree.
    ClockAgrees,
    /// A filehandle of before a restart is valid after it.
    KeepsHandles,
    /// A client's root has no more rights than anybody.
    SquashesRoot,
    /// A data server's folder can hold objects.
    HoldsObjects,
}

impl Question {
    fn heading(self) -> &'static str {
        match self {
            Self::Reached => "REACHED",
            Self::ChangesOwners => "CHANGES OWNERS",
            Self::RefusesOldOwner => "REFUSES OLD OWNER",
            Self::ReadersOnlyRead => "READERS ONLY READ",
            Self::GuardsChanges => "GUARDS CHANGES",
            Self::ClockAgrees => "CLOCK AGREES",
            Self::KeepsHandles => "KEEPS HANDLES",
            Self::SquashesRoot => "SQUASHES ROOT",
            Self::HoldsObjects => "HOLDS OBJECTS",
        }
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Not as it must be.
    Failed {
        /// One sentence.
        why: String,
        /// What to do, one line or several.
        way_out: String,
    },
    /// It can be used as it is, and is worth a look.
    Noticed {
        why: String,
        way_out: String,
    },
    /// Couldn't be tried here and now, which is no fault; why, or who can.
    NotTried(String),
}

/// What was seen of one data server.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub name: String,
    /// Address and export, or the folder.
    pub place: String,
    pub trials: Vec<(Question, Outcome)>,
    /// Free of total bytes, when it said so.
    pub space: Option<(u64, u64)>,
    /// Of one of ours, the handle of its root, which is no other's.
    pub own_root: Option<bytes::Bytes>,
}

impl Verdict {
    /// Nothing was found that must be otherwise.
    pub fn is_fit(&self) -> bool {
        !self
            .trials
            .iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }))
    }
}

/// All verdicts. Its `Display` is what `headrace check` prints.
#[derive(Debug, Clone)]
pub struct Report {
    pub verdicts: Vec<Verdict>,
    pub backends: Vec<BackendVerdict>,
    /// What is wrong with no data server in particular.
    pub faults: Vec<String>,
    /// What may be meant so, and is seldom.
    pub notices: Vec<String>,
}

impl Report {
    /// 0 when all is as it must be, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        let fit = self.verdicts.iter().all(Verdict::is_fit)
            && self.backends.iter().all(BackendVerdict::is_fit);
        u8::from(!self.faults.is_empty() || !fit)
    }

    fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for (question, _) in self.verdicts.iter().flat_map(|verdict| &verdict.trials) {
            if !questions.contains(question) {
                questions.push(*question);
            }
        }
        questions
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let questions = self.questions();
        let mut heading = vec!["DATA SERVER".to_owned(), "PLACE".to_owned()];
        heading.extend(
            questions
                .iter()
                .map(|question| question.heading().to_owned()),
        );
        heading.push("FREE".to_owned());
        let mut rows = vec![heading];
        for verdict in &self.verdicts {
            let mut row = vec![verdict.name.clone(), verdict.place.clone()];
            for question in &questions {
                row.push(in_a_word(&verdict.trials, question));
            }
            row.push(verdict.space.map_or_else(
                || "?".to_owned(),
                |(free, total)| format!("{} of {}", rounded(free), rounded(total)),
            ));
            rows.push(row);
        }
        rows
    }

    /// All but those that none of them is asked.
    fn questions_of_backends(&self) -> Vec<BackendQuestion> {
        let mut asked = self.backends.iter().flat_map(|verdict| &verdict.trials);
        let cached = asked.any(|(question, _)| *question == BackendQuestion::Cached);
        let all = BackendQuestion::ALL.into_iter();
        all.filter(|question| cached || *question != BackendQuestion::Cached)
            .collect()
    }

    fn rows_of_backends(&self) -> Vec<Vec<String>> {
        let mut heading = vec!["BACKEND".to_owned(), "PLACE".to_owned()];
        let questions = self.questions_of_backends();
        heading.extend(
            questions
                .iter()
                .map(|question| question.heading().to_owned()),
        );
        heading.extend(["LATENCY", "READ", "WRITE", "FREE"].map(str::to_owned));
        let mut rows = vec![heading];
        for verdict in &self.backends {
            let mut row = vec![verdict.name.clone(), verdict.place.clone()];
            row.extend(
                questions
                    .iter()
                    .map(|question| in_a_word(&verdict.trials, question)),
            );
            row.extend(verdict.figures());
            rows.push(row);
        }
        rows
    }

    /// The ways out, each said once with all that it is for.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = self.faults.clone();
        remarks.extend(self.notices.iter().cloned());
        for verdict in &self.verdicts {
            for (_, outcome) in &verdict.trials {
                if let Outcome::Failed { why, way_out } | Outcome::Noticed { why, way_out } =
                    outcome
                {
                    let indented = way_out.replace('\n', "\n    ");
                    remarks.push(format!(
                        "data server {} ({}) {why}\n    {indented}",
                        verdict.name, verdict.place
                    ));
                }
            }
        }
        for verdict in &self.backends {
            for (question, outcome) in &verdict.trials {
                remarks.extend(match outcome {
                    Outcome::Passed => None,
                    Outcome::Failed { why, way_out } | Outcome::Noticed { why, way_out } => {
                        Some(format!(
                            "backend {} ({}) {why}\n    {}",
                            verdict.name,
                            verdict.place,
                            way_out.replace('\n', "\n    ")
                        ))
                    }
                    Outcome::NotTried(why) => Some(format!(
                        "not tried ({} of backend {}): {why}",
                        question.heading(),
                        verdict.name
                    )),
                });
            }
        }
        let mut untried: Vec<(&str, Vec<&str>)> = Vec::new();
        for verdict in &self.verdicts {
            for (question, outcome) in &verdict.trials {
                let Outcome::NotTried(why) = outcome else {
                    continue;
                };
                let heading = question.heading();
                match untried.iter_mut().find(|(said, _)| *said == why.as_str()) {
                    Some((_, headings)) if headings.contains(&heading) => {}
                    Some((_, headings)) => headings.push(heading),
                    None => untried.push((why.as_str(), vec![heading])),
                }
            }
        }
        remarks.extend(
            untried
                .into_iter()
                .map(|(why, headings)| format!("not tried ({}): {why}", headings.join(", "))),
        );
        remarks
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(f, &self.rows())?;
        if !self.backends.is_empty() {
            writeln!(f)?;
            write_table(f, &self.rows_of_backends())?;
        }
        for remark in self.remarks() {
            writeln!(f, "\n{remark}")?;
        }
        Ok(())
    }
}

/// What became of a trial, as a cell of the table.
fn in_a_word<Q: PartialEq>(trials: &[(Q, Outcome)], question: &Q) -> String {
    // Of several the last counts.
    let outcome = trials.iter().rfind(|(asked, _)| asked == question);
    match outcome {
        Some((_, Outcome::Passed)) => "yes",
        Some((_, Outcome::Failed { .. })) => "NO",
        Some((_, Outcome::Noticed { .. })) => "see below",
        Some((_, Outcome::NotTried(_))) | None => "not tried",
    }
    .to_owned()
}

fn write_table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(f, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

/// A size for people: three digits and a unit.
fn rounded(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, owners: Outcome) -> Verdict {
        Verdict {
            name: name.to_owned(),
            place: "10.0.0.7:2049/nvme".to_owned(),
            trials: vec![
                (Question::Reached, Outcome::Passed),
                (Question::ChangesOwners, owners),
                (
                    Question::SquashesRoot,
                    Outcome::NotTried("ask from a client".to_owned()),
                ),
            ],
            space: Some((1_500_000_000_000, 3_000_000_000_000)),
            own_root: None,
        }
    }

    fn report(verdicts: Vec<Verdict>) -> Report {
        Report {
            verdicts,
            backends: Vec::new(),
            faults: Vec::new(),
            notices: Vec::new(),
        }
    }

    #[test]
    fn the_table_shows_what_was_seen_and_the_way_out_stands_below() {
        let report = report(vec![
            verdict("nvme1", Outcome::Passed),
            verdict(
                "nvme22",
                Outcome::Failed {
                    why: "doesn't let the metadata server change owners: chown gave PERM."
                        .to_owned(),
                    way_out: "Fencing needs it.\nExport with no_root_squash.".to_owned(),
                },
            ),
        ]);
        assert_eq!(
            report.to_string(),
            "\
DATA SERVER  PLACE               REACHED  CHANGES OWNERS  SQUASHES ROOT  FREE
nvme1        10.0.0.7:2049/nvme  yes      yes             not tried      1.5 TB of 3.0 TB
nvme22       10.0.0.7:2049/nvme  yes      NO              not tried      1.5 TB of 3.0 TB

data server nvme22 (10.0.0.7:2049/nvme) doesn't let the metadata server change owners: chown gave PERM.
    Fencing needs it.
    Export with no_root_squash.

not tried (SQUASHES ROOT): ask from a client
"
        );
        assert_eq!(report.exit_code(), 1);
    }

    #[test]
    fn what_could_not_be_tried_is_no_fault() {
        let report = report(vec![verdict("nvme1", Outcome::Passed)]);
        assert_eq!(report.exit_code(), 0);
    }

    #[test]
    fn a_fault_of_the_whole_fails_the_check_though_every_data_server_is_fit() {
        let report = Report {
            faults: vec!["`ids` are somebody's.".to_owned()],
            ..report(vec![verdict("nvme1", Outcome::Passed)])
        };
        assert_eq!(report.exit_code(), 1);
        assert!(
            report.to_string().contains("\n\n`ids` are somebody's.\n"),
            "{report}"
        );
    }

    #[test]
    fn two_entries_with_one_root_are_one_data_server() {
        let at = |name: &str, root: &'static [u8]| Verdict {
            own_root: Some(bytes::Bytes::from_static(root)),
            ..verdict(name, Outcome::Passed)
        };
        let found = twins(&[at("nvme1", b"r"), at("nvme2", b"other"), at("nvme3", b"r")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("nvme1 and nvme3 are one and the same"));
        let strangers = [verdict("a", Outcome::Passed), verdict("b", Outcome::Passed)];
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

    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, said) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (999_600, "1.0 MB"),
            (3_000_000_000_000, "3.0 TB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(rounded(bytes), said);
        }
    }
}
