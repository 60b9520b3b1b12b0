//! A place at which a crash test stops the process, as plain data. Never a condition of normal work:
//! without one the committer has an empty `Option` to look at.

use std::str::FromStr;

/// A moment in the life of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Validated, and nothing of it in the journal.
    BeforeWrite,
    /// In the journal, and not surely on disk.
    BeforeSync,
    /// On disk, and nobody was told.
    BeforeAnswer,
}

/// Kills the process when a step is passed for the `pass`-th time, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failpoint {
    pub step: Step,
    pub pass: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failpoint `{0}` is not one of before-write:N, before-sync:N, before-answer:N")]
pub struct UnknownFailpoint(String);

impl FromStr for Failpoint {
    type Err = UnknownFailpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownFailpoint(text.to_owned());
        let (step, pass) = text.split_once(':').ok_or_else(unknown)?;
        let step = match step {
            "before-write" => Step::BeforeWrite,
            "before-sync" => Step::BeforeSync,
            "before-answer" => Step::BeforeAnswer,
            _ => return Err(unknown()),
        };
        let pass = pass
            .parse()
            .ok()
            .filter(|pass| *pass > 0)
            .ok_or_else(unknown)?;
        Ok(Failpoint { step, pass })
    }
}

/// Counts passes.
#[derive(Debug)]
pub(crate) struct Armed {
    failpoint: Failpoint,
    passed: u64,
}

impl Armed {
    pub(crate) fn new(failpoint: Failpoint) -> Self {
        Armed {
            failpoint,
            passed: 0,
        }
    }

    pub(crate) fn wants(&self, step: Step) -> bool {
        self.failpoint.step == step
    }

    /// Doesn't return from the pass that was asked for.
    pub(crate) fn pass(&mut self, step: Step) {
        if !self.wants(step) {
            return;
        }
        self.passed += 1;
        if self.passed >= self.failpoint.pass {
            // As a crash would: no destructor, no flush, no answer.
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_read_from_its_text() {
        assert_eq!(
            "before-sync:3".parse(),
            Ok(Failpoint {
                step: Step::BeforeSync,
                pass: 3
            })
        );
        for wrong in [
            "",
            "before-sync",
            "before-sync:0",
            "before-sync:x",
            "later:1",
        ] {
            assert!(wrong.parse::<Failpoint>().is_err(), "{wrong}");
        }
    }
}
