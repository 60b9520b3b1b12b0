//! What can be measured. A case is one kind of load on one kind of server, made anew for each round.

mod data;
mod names;

use crate::rounds::{Sample, Span};
use anyhow::Result;
use data::Transfer;
use futures_util::future::BoxFuture;
use names::Work;
use std::path::Path;

/// What is measured in one round.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The `headrace` that is measured.
    pub program: &'a Path,
    /// The disk that it works on.
    pub disk: &'a Path,
    pub span: Span,
}

pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    kind: Kind,
}

enum Kind {
    Names(Work),
    Data(Transfer),
}

impl Case {
    pub fn run<'a>(&'a self, place: Place<'a>) -> BoxFuture<'a, Result<Sample>> {
        match &self.kind {
            Kind::Names(work) => Box::pin(names::run(*work, place)),
            Kind::Data(transfer) => Box::pin(data::run(*transfer, place)),
        }
    }

    /// What the machine gives without a server, in the same unit; where there is such a thing.
    pub fn bounds(&self, place: Place<'_>) -> Result<Vec<(&'static str, Sample)>> {
        match &self.kind {
            Kind::Names(_) => Ok(Vec::new()),
            Kind::Data(transfer) => data::bounds(*transfer, place),
        }
    }
}

const fn names(name: &'static str, what: &'static str, work: Work) -> Case {
    Case {
        name,
        what,
        kind: Kind::Names(work),
    }
}

const fn data(name: &'static str, what: &'static str, transfer: Transfer) -> Case {
    Case {
        name,
        what,
        kind: Kind::Data(transfer),
    }
}

pub const ALL: &[Case] = &[
    data(
        "write-1m",
        "WRITE of 1 MiB one after the other, then COMMIT, 32 at a time",
        Transfer::write(1 << 20),
    ),
    data(
        "read-1m",
        "READ of 1 MiB one after the other, 32 at a time",
        Transfer::read(1 << 20),
    ),
    data(
        "write-4k",
        "WRITE of 4 KiB anywhere, then COMMIT, 32 at a time",
        Transfer::write(4 << 10),
    ),
    data(
        "read-4k",
        "READ of 4 KiB anywhere, 32 at a time",
        Transfer::read(4 << 10),
    ),
    names(
        "create",
        "durable creates in one folder (OPEN, CLOSE), 64 callers",
        Work::Create { folders: 1 },
    ),
    names(
        "create-16",
        "the same in 16 folders",
        Work::Create { folders: 16 },
    ),
    names(
        "stat",
        "GETATTR of what Linux asks for, 64 callers on 10,000 files",
        Work::Stat,
    ),
    names(
        "lookup",
        "LOOKUP, GETFH and GETATTR of a name, 64 callers on 10,000 names",
        Work::Lookup,
    ),
    names("access", "ACCESS, 64 callers on 10,000 files", Work::Access),
    names(
        "layout-read",
        "OPEN, LAYOUTGET to read, LAYOUTRETURN and CLOSE, 64 callers",
        Work::Layout,
    ),
    names(
        "rename",
        "durable renames of one's own file in one folder, 64 callers",
        Work::Rename,
    ),
    names(
        "unlink",
        "durable create and REMOVE of one name, 64 callers",
        Work::Unlink,
    ),
];
