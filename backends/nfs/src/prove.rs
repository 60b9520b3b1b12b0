//! `headrace check`: proves by trying that a data server does what Headrace relies on, and says for
//! each thing what to change where it doesn't.
//!
//! Never here: use of a server that was not proved.

use crate::server::{Address, ClientView, NfsDataServer, Options};
use backend::{DataServer, Error, ErrorKind, FenceGrade};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use nfs_client::Client;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::nfs3::{Nfsstat3, Nfstime3, Sattr3, StableHow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// It works, and something is worth a look.
    Notice,
    /// It can't be tried from here.
    Unproved,
    /// Headrace can't use the server like that.
    Fault,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to change, where something is to be changed.
    pub way_out: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn is_fit(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Fault)
    }

    fn add(&mut self, what: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.findings.push(Finding {
            what,
            verdict,
            detail: detail.into(),
            way_out: None,
        });
    }

    fn fault(&mut self, what: &'static str, detail: impl Into<String>, way_out: impl Into<String>) {
        let (detail, way_out) = (detail.into(), Some(way_out.into()));
        self.findings.push(Finding {
            what,
            verdict: Verdict::Fault,
            detail,
            way_out,
        });
    }
}

/// The upper half that no object of a file has.
pub(crate) fn trial_object() -> ObjectId {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    ObjectId(u128::from(u64::MAX) << 64 | (since.as_nanos() & u128::from(u64::MAX)))
}

const PROBES: u32 = 5;
const SKEW_WORTH_A_LOOK: Duration = Duration::from_secs(2);
const SPACE_WORTH_A_LOOK_BYTES: u64 = 1 << 30;

/// The ids that are tried: two owners that follow each other, and the one that never owns.
#[derive(Debug, Clone, Copy)]
pub struct TrialIds {
    pub first: Owner,
    pub second: Owner,
    pub reader_uid: u32,
}

/// Tries everything, as far as it gets. Leaves nothing on the server.
pub async fn prove(address: &Address, options: &Options, ids: TrialIds) -> Report {
    let mut report = Report::default();
    let server = match NfsDataServer::connect(address.clone(), options.clone()).await {
        Ok(server) => server,
        Err(error) => {
            report.fault(
                "reachable",
                error.to_string(),
                format!(
                    "On {}, see that the NFSv3 server runs, that a firewall lets this host in, and that {} is exported.",
                    address.host, address.export
                ),
            );
            return report;
        }
    };
    let trial = Trial {
        address,
        server: &server,
        ids,
    };
    trial.latency(&mut report).await;
    trial.facts(&mut report);
    let object = trial_object();
    let handle = match server.create(object, ids.first).await {
        Ok(handle) => handle,
        Err(error) => {
            trial.no_create(&mut report, &error);
            return report;
        }
    };
    report.add(
        "create",
        Verdict::Good,
        "objects can be made and given to an owner",
    );
    trial.owner(&mut report, &handle).await;
    trial.readers(&mut report, &handle).await;
    trial.fence(&mut report, &handle).await;
    trial.root_of_a_client(&mut report);
    trial.guard(&mut report, &handle).await;
    trial.handles(&mut report, &handle, options).await;
    trial.clock(&mut report, &handle).await;
    trial.space(&mut report).await;
    match server.remove(object).await {
        Ok(()) => report.add("remove", Verdict::Good, "objects can be removed"),
        Err(error) => report.fault("remove", error.detail, trial.exports_line()),
    }
    report
}

struct Trial<'a> {
    address: &'a Address,
    server: &'a NfsDataServer,
    ids: TrialIds,
}

impl Trial<'_> {
    fn title(&self) -> String {
        format!(
            "data server {} ({})",
            self.address.name,
            self.server.socket_address()
        )
    }

    fn exports_line(&self) -> String {
        format!(
            "On that host, export with no_root_squash for the metadata server alone, for example:\n    {} METADATA-SERVER(rw,no_root_squash) CLIENTS(rw,root_squash)",
            self.address.export
        )
    }

    async fn latency(&self, report: &mut Report) {
        let mut best: Option<Duration> = None;
        for _ in 0..PROBES {
            let start = Instant::now();
            if self.server.client().null().await.is_ok() {
                let took = start.elapsed();
                best = Some(best.map_or(took, |best| best.min(took)));
            }
        }
        match best {
            Some(best) => report.add(
                "reachable",
                Verdict::Good,
                format!("answers in {} µs", best.as_micros()),
            ),
            None => report.fault(
                "reachable",
                format!("{} mounted, and doesn't answer a NULL", self.title()),
                "See whether it is overloaded or restarting, and try again.",
            ),
        }
    }

    fn facts(&self, report: &mut Report) {
        let kind = if self.server.is_ours() {
            "a data server of Headrace"
        } else {
            "another NFSv3 server"
        };
        report.add("kind", Verdict::Good, kind);
        let can = self.server.capabilities();
        let detail = format!(
            "{} bytes to read, {} to write",
            can.read_bytes, can.write_bytes
        );
        let small = can.read_bytes < 65_536 || can.write_bytes < 65_536;
        let verdict = if small {
            Verdict::Notice
        } else {
            Verdict::Good
        };
        report.add("largest transfer", verdict, detail);
    }

    fn no_create(&self, report: &mut Report, error: &Error) {
        let title = self.title();
        match error.kind {
            ErrorKind::Fenced | ErrorKind::Unsupported => report.fault(
                "create",
                format!(
                    "{title} doesn't let the metadata server make objects: {}",
                    error.detail
                ),
                format!("Fencing needs it to be root there. {}", self.exports_line()),
            ),
            ErrorKind::Full => report.fault(
                "create",
                format!("{title} is full"),
                "Make room, or take it out of the configuration.",
            ),
            _ => report.fault(
                "create",
                error.detail.clone(),
                "See the server's own log, and try again.",
            ),
        }
    }

    async fn owner(&self, report: &mut Report, handle: &Bytes) {
        match self.client(self.ids.first).write(handle, 0, Bytes::from_static(b"first")).await {
            Ok(()) => report.add("owner writes", Verdict::Good, "an object's owner writes to it"),
            Err(error) => report.fault(
                "owner writes",
                format!("{} refuses an object's owner: {}", self.title(), error.detail),
                "Clients use ids that no account has: see that it checks nothing but uid and gid (no all_squash, no NFSv4 domain), and that this host is among the clients that may write.",
            ),
        }
    }

    async fn readers(&self, report: &mut Report, handle: &Bytes) {
        let reader = self.client(Owner {
            uid: self.ids.reader_uid,
            gid: self.ids.first.gid,
        });
        match reader.read(handle, 0, 5).await {
            Ok(_) => report.add(
                "readers read",
                Verdict::Good,
                "the ids of a READ layout read",
            ),
            Err(error) => report.fault(
                "readers read",
                format!(
                    "{} refuses the group of an object: {}",
                    self.title(),
                    error.detail
                ),
                "See that it takes the groups that a client sends (no manage-gids).",
            ),
        }
        match reader.write(handle, 0, Bytes::from_static(b"stray")).await {
            Err(error) if error.kind == ErrorKind::Fenced => {
                report.add(
                    "readers don't write",
                    Verdict::Good,
                    "the ids of a READ layout get ACCES on WRITE",
                );
            }
            answer => report.fault(
                "readers don't write",
                format!(
                    "{} answers a reader's WRITE with {}",
                    self.title(),
                    told(&answer)
                ),
                "See that it honours the mode 0640 of objects.",
            ),
        }
    }

    async fn fence(&self, report: &mut Report, handle: &Bytes) {
        if let Err(error) = self.server.change_owner(handle, self.ids.second).await {
            report.fault(
                "fence",
                format!(
                    "{} doesn't let the metadata server change owners: {}",
                    self.title(),
                    error.detail
                ),
                format!("Fencing needs it. {}", self.exports_line()),
            );
            return;
        }
        match self.client(self.ids.first).write(handle, 0, Bytes::from_static(b"late")).await {
            Err(error) if error.kind == ErrorKind::Fenced => {
                let grade = if self.server.is_ours() { FenceGrade::Exact } else { FenceGrade::Windowed };
                let detail = match grade {
                    FenceGrade::Exact => "exact: an old owner gets ACCES, and nothing of it is under way",
                    _ => "windowed: an old owner gets ACCES; a WRITE past its check may land late",
                };
                report.add("fence", Verdict::Good, detail);
            }
            answer => report.fault(
                "fence",
                format!("{} answers an old owner's WRITE with {}, not ACCES", self.title(), told(&answer)),
                "A client that lost its layout could go on writing (or reconnect for ever, on PERM). Use another server, or headrace ds.",
            ),
        }
    }

    /// This host is the one whose root the server is to trust: only another could try.
    fn root_of_a_client(&self, report: &mut Report) {
        let way_out = if self.server.is_ours() {
            "Name in its configuration the metadata server's addresses alone.".to_owned()
        } else {
            self.exports_line()
        };
        report.findings.push(Finding {
            what: "client's root",
            verdict: Verdict::Unproved,
            detail: "this host's root is trusted, so what a client's root may do can't be tried from here".into(),
            way_out: Some(way_out),
        });
    }

    async fn guard(&self, report: &mut Report, handle: &Bytes) {
        let Ok(file) = self.server.handle(handle) else {
            return;
        };
        let wanted = Sattr3 {
            size: Some(9),
            ..Sattr3::default()
        };
        let never = Nfstime3 {
            seconds: 1,
            nseconds: 1,
        };
        let answer = self
            .server
            .client()
            .setattr(&file, wanted, Some(never))
            .await;
        match answer {
            Err(error) if error.status() == Some(Nfsstat3::NotSync) => {
                report.add("guarded SETATTR", Verdict::Good, "refused when somebody wrote meanwhile");
            }
            Ok(_) => report.fault(
                "guarded SETATTR",
                format!("{} ignores the guard of a SETATTR", self.title()),
                "Padding an object beside a writer could cut what it wrote. Use another server, or headrace ds.",
            ),
            Err(error) => report.fault("guarded SETATTR", error.to_string(), "See the server's own log."),
        }
    }

    async fn handles(&self, report: &mut Report, handle: &Bytes, options: &Options) {
        let fresh = Client::new(
            self.server.socket_address(),
            options.caller(),
            &options.client(),
        );
        let Ok(file) = self.server.handle(handle) else {
            return;
        };
        match fresh.getattr(&file).await {
            Ok(_) => report.add(
                "handles",
                Verdict::Good,
                "valid over another connection; over a restart is not tried",
            ),
            Err(error) => report.fault(
                "handles",
                format!(
                    "{} forgets handles with the connection: {error}",
                    self.title()
                ),
                "Export a local file system, with a fixed fsid where the server asks for one.",
            ),
        }
    }

    async fn clock(&self, report: &mut Report, handle: &Bytes) {
        let byte = Bytes::from_static(b"t");
        let Ok(file) = self.server.handle(handle) else {
            return;
        };
        let before = SystemTime::now();
        let written = self
            .server
            .client()
            .write(&file, 0, StableHow::FileSync, byte)
            .await;
        let after = SystemTime::now();
        let stat = self.server.stat(handle).await;
        let (Ok(_), Ok(stat)) = (written, stat) else {
            report.add(
                "clock",
                Verdict::Unproved,
                "the server's time can't be seen",
            );
            return;
        };
        let there = UNIX_EPOCH + Duration::from_nanos(u64::try_from(stat.mtime).unwrap_or(0));
        let ahead = there.duration_since(after).unwrap_or_default();
        let behind = before.duration_since(there).unwrap_or_default();
        let skew = ahead.max(behind);
        let verdict = if skew > SKEW_WORTH_A_LOOK {
            Verdict::Notice
        } else {
            Verdict::Good
        };
        let way_out = (verdict == Verdict::Notice)
            .then(|| "Run an NTP client on both hosts: times of files come from both.".to_owned());
        let side = if ahead > behind { "ahead" } else { "behind" };
        let detail = format!("{} ms {side}", skew.as_millis());
        report.findings.push(Finding {
            what: "clock",
            verdict,
            detail,
            way_out,
        });
    }

    async fn space(&self, report: &mut Report) {
        match self.server.space().await {
            Ok(space) => {
                let verdict = if space.free < SPACE_WORTH_A_LOOK_BYTES {
                    Verdict::Notice
                } else {
                    Verdict::Good
                };
                let detail = format!("{} MiB free of {} MiB", space.free >> 20, space.total >> 20);
                report.add("space", verdict, detail);
            }
            Err(error) => report.fault("space", error.detail, "See the server's own log."),
        }
    }

    fn client(&self, ids: Owner) -> ClientView {
        self.server.as_client(ids)
    }
}

fn told(answer: &Result<(), Error>) -> String {
    match answer {
        Ok(()) => "OK".to_owned(),
        Err(error) => error.detail.clone(),
    }
}
