//! What was seen, as tables with ways out below them: what `headrace check` prints.
//! Never here: the trying.

use super::backend::{BackendQuestion, BackendVerdict};
use std::fmt;

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
        let of_few = [BackendQuestion::Ours, BackendQuestion::Cached];
        let is_asked = |question: &BackendQuestion| {
            let mut asked = self.backends.iter().flat_map(|verdict| &verdict.trials);
            asked.any(|(one, _)| one == question)
        };
        let all = BackendQuestion::ALL.into_iter();
        all.filter(|question| !of_few.contains(question) || is_asked(question))
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
pub(super) fn rounded(bytes: u64) -> String {
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
