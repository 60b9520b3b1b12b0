//! Layouts where very many are held already: whoever asks again gets the answer as if there were few.

use super::many::{self, Many, SLOTS};
use super::{Place, Size, full_and_half};
use crate::rounds::Sample;
use crate::servers::until_they_rest;
use crate::session::{LATER, at, layoutget};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use wire::nfs4::*;

const CLIENTS: usize = 64;
/// Of them, those who ask, on all of their slots.
const ASKERS: usize = 4;

/// That each of the clients has a layout of.
const fn files(size: Size) -> usize {
    match size {
        Size::Full => 15_625,
        Size::Quick => 500,
    }
}

struct World {
    /// Each file once for each client: those of one client lie `CLIENTS` apart.
    many: Many,
    layouts: Vec<Mutex<Stateid4>>,
}

pub async fn run(place: Place<'_>) -> Result<Sample> {
    let server = place.side.metadata_server(place.disk, "")?;
    let files = many::make(server.address, files(place.size)).await?;
    let shared = files.iter().flat_map(|file| vec![file.clone(); CLIENTS]);
    let many = Many::of(server.address, CLIENTS, shared.collect()).await?;

    let layouts = many.lay_out(&many.open().await?).await?;
    let world = Arc::new(World {
        many,
        layouts: layouts.into_iter().map(Mutex::new).collect(),
    });
    let processes = server.processes();
    until_they_rest(&processes).await?;
    let one = move |caller, turn| {
        let world = Arc::clone(&world);
        async move { world.one(caller, turn).await }
    };
    full_and_half(ASKERS * SLOTS, place, &processes, one).await
}

impl World {
    async fn one(&self, caller: usize, turn: u64) -> Result<()> {
        let (client, slot) = (caller / SLOTS, caller % SLOTS);
        // No two slots of a client ask for the same: the layout's stateid moves with each answer.
        let files = self.layouts.len() / CLIENTS / SLOTS;
        let file = (client * 157 + turn as usize) % files * SLOTS + slot;
        let which = file * CLIENTS + client;
        let session = &self.many.sessions[client];
        loop {
            let held = *self.layouts[which].lock();
            let again = layoutget(Layoutiomode4::Read, false, held);
            let results = session
                .call(slot, vec![at(&self.many.files[which]), again])
                .await?;
            let result = results.last().context("no result")?;
            if result.status() == Nfsstat4::Delay {
                tokio::time::sleep(LATER).await;
                continue;
            }
            let stateid =
                many::granted(result).with_context(|| format!("LAYOUTGET: {result:?}"))?;
            *self.layouts[which].lock() = stateid;
            return Ok(());
        }
    }
}
