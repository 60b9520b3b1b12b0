//! What can be measured. A case is one kind of load on one kind of server, made anew for each round.

mod data;
mod names;

use crate::costs;
use crate::load::{self, Measured, Pace};
use crate::rounds::{Cost, Sample, Span};
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

/// Callers who ask as soon as they are answered, and what each operation costs `servers` meanwhile; the memory is that
/// of the first of them.
async fn full<F, Fut>(
    callers: usize,
    span: Span,
    servers: &[u32],
    one: F,
) -> Result<(Measured, Cost)>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let mine = [std::process::id()];
    let before = (costs::processor_of(servers)?, costs::processor_of(&mine)?);
    let measured = load::run(callers, Pace::Closed, span.parts(), one).await?;
    let after = (costs::processor_of(servers)?, costs::processor_of(&mine)?);
    // The warm-up costs as much a second as what is counted.
    let operations = measured.per_second() * span.whole().as_secs_f64();
    let cost = Cost {
        servers: after.0.saturating_sub(before.0).div_f64(operations),
        load: after.1.saturating_sub(before.1).div_f64(operations),
        resident_bytes: costs::resident_bytes(servers[0])?,
    };
    Ok((measured, cost))
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
