//! Many files, and a few clients that do the same with each of them.

use super::Place;
use crate::session::{Session, at, close, create, done, layoutget, make_folder, open};
use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use std::net::SocketAddr;
use wire::nfs4::*;

const MAKERS: usize = 4;
pub const SLOTS: usize = 16;
/// Files of one COMPOUND.
const AT_ONCE: usize = 15;

/// Of a case about sizes.
pub const fn files(place: Place<'_>) -> usize {
    match place.size {
        super::Size::Full => 100_000,
        super::Size::Quick => 10_000,
    }
}

pub fn client(number: usize) -> String {
    format!("client {number}")
}

/// So many empty files in one folder, and nobody has them open.
pub async fn make(address: SocketAddr, files: usize) -> Result<Vec<Fh4>> {
    let mut sessions = Vec::new();
    for number in 0..MAKERS {
        sessions.push(Session::mount(address, &client(number), 1, SLOTS as u32).await?);
    }
    let folder = &make_folder(&sessions[0], "many").await?;
    let callers = MAKERS * SLOTS;
    let makers = (0..callers).map(|caller| {
        let session = &sessions[caller / SLOTS];
        async move {
            let mut made = Vec::new();
            for number in (caller..files).step_by(callers) {
                let make = create(session.client, &format!("file{number}"));
                let ops = vec![at(folder), make, ArgOp::Getfh, close()];
                let results = done(session, caller % SLOTS, ops).await?;
                match &results[2] {
                    ResOp::Getfh(Ok(got)) => made.push(got.object.clone()),
                    other => bail!("GETFH: {other:?}"),
                }
            }
            Ok(made)
        }
    });
    Ok(try_join_all(makers).await?.concat())
}

pub struct Many {
    pub sessions: Vec<Session>,
    pub files: Vec<Fh4>,
}

impl Many {
    /// By clients who were there before and have started anew.
    pub async fn of(address: SocketAddr, clients: usize, files: Vec<Fh4>) -> Result<Self> {
        let mount =
            |number| async move { Session::mount(address, &client(number), 2, SLOTS as u32).await };
        Ok(Self {
            sessions: try_join_all((0..clients).map(mount)).await?,
            files,
        })
    }

    pub async fn open(&self) -> Result<Vec<Stateid4>> {
        let open = |session: &Session, _| open(session.client, OpenClaim4::Fh, Openflag4::NoCreate);
        let opened = |result: &ResOp| match result {
            ResOp::Open(Ok(opened)) => Some(opened.stateid),
            _ => None,
        };
        self.each(open, opened).await
    }

    /// A layout to read of each file, for its open.
    pub async fn lay_out(&self, opens: &[Stateid4]) -> Result<Vec<Stateid4>> {
        let layout = |_: &Session, file: usize| layoutget(Layoutiomode4::Read, false, opens[file]);
        self.each(layout, granted).await
    }

    /// An operation on each file by its client, and what is taken from the results, in the order of the files.
    pub async fn each<T: Clone>(
        &self,
        op: impl Fn(&Session, usize) -> ArgOp,
        take: impl Fn(&ResOp) -> Option<T>,
    ) -> Result<Vec<T>> {
        let (op, take, clients) = (&op, &take, self.sessions.len());
        let all = self
            .sessions
            .iter()
            .enumerate()
            .map(|(number, session)| async move {
                let mine: Vec<usize> = (number..self.files.len()).step_by(clients).collect();
                let mut taken = Vec::new();
                for some in mine.chunks(AT_ONCE) {
                    let ops = some
                        .iter()
                        .flat_map(|file| [at(&self.files[*file]), op(session, *file)]);
                    let results = done(session, 0, ops.collect()).await?;
                    for (file, result) in some.iter().zip(results.iter().skip(1).step_by(2)) {
                        let of_it = take(result).with_context(|| format!("{result:?}"))?;
                        taken.push((*file, of_it));
                    }
                }
                anyhow::Ok(taken)
            });
        let mut taken = try_join_all(all).await?.concat();
        taken.sort_unstable_by_key(|(file, _)| *file);
        Ok(taken.into_iter().map(|(_, of_it)| of_it).collect())
    }
}

pub fn granted(result: &ResOp) -> Option<Stateid4> {
    match result {
        ResOp::Layoutget(Ok(granted)) => Some(granted.stateid),
        _ => None,
    }
}
