//! What durable creates cost the disk of the catalog: what it takes of it in the end, and what was written meanwhile.

use super::{Place, many};
use crate::costs;
use crate::rounds::{Figure, Sample};
use crate::servers::until_they_rest;
use anyhow::{Context, Result};

pub async fn run(place: Place<'_>) -> Result<Sample> {
    let server = place.side.metadata_server(place.disk, "")?;
    let folder = server.catalog().context("a catalog of ours")?;
    let processes = server.processes();
    until_they_rest(&processes).await?;
    let spent = || {
        anyhow::Ok((
            costs::written_bytes(processes[0].pid)?,
            costs::on_disk(&folder)?,
        ))
    };
    let before = spent()?;
    let files = many::make(server.address, many::files(place)).await?.len();
    // What is written behind belongs to it.
    until_they_rest(&processes).await?;
    let after = spent()?;
    let written = (after.0 - before.0) as f64;
    let kept = after.1 as f64 - before.1 as f64;
    Ok(Sample {
        rate: None,
        figures: vec![
            Figure::new("the catalog's disk, a file", "bytes", kept / files as f64),
            Figure::new("written to it, a create", "bytes", written / files as f64),
            Figure::new("written for what stays", "times", written / kept),
        ],
    })
}
