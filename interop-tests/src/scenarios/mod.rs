//! The scenarios, each a story that a user would recognise. What they share is in `harness`.

mod peer;

use anyhow::Result;

use crate::harness::lab::Lab;

pub enum Verdict {
    /// What was seen, for the closing table.
    Held(Vec<String>),
    Skipped(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    Each,
    /// Once, led by the newest kernel (others may take part).
    Newest,
}

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub kernels: Kernels,
    pub limit_minutes: u16,
    /// Not part of a run that names nothing.
    pub only_by_name: bool,
    pub run: fn(&mut Lab) -> Result<Verdict>,
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    kernels: Kernels,
    limit_minutes: u16,
    run: fn(&mut Lab) -> Result<Verdict>,
) -> Scenario {
    Scenario {
        name,
        about,
        kernels,
        limit_minutes,
        only_by_name: false,
        run,
    }
}

pub const ALL: &[Scenario] = &[Scenario {
    only_by_name: true,
    ..scenario(
        "peer",
        "the harness itself, proven against NFS-Ganesha",
        Kernels::Each,
        5,
        peer::run,
    )
}];

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
