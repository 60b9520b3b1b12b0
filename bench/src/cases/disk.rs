//! What durable creates cost the disk of the catalog: what it takes of it in the end, and what was written meanwhile.

use super::{Place, many};
use crate::costs;
use crate::rounds::{Figure, Sample};
use crate::servers::until_they_rest;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub async fn run(place: Place<'_>) -> Result<Sample> {
    let server = place.side.metadata_server(place.disk, "")?;
    let folder = server.catalog().context("a catalog of ours")?;
    let processes = server.processes();
    until_they_rest(&processes).await?;
    let spent = || anyhow::Ok((costs::written_bytes(processes[0].pid)?, on_disk(&folder)?));
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

/// Blocks of all files below a folder.
fn on_disk(folder: &Path) -> Result<u64> {
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // A file that went meanwhile takes nothing.
        let Ok(known) = fs::symlink_metadata(&path) else {
            continue;
        };
        bytes += known.blocks() * BLOCK;
        if known.is_dir() {
            bytes += on_disk(&path)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_folders_of_folders_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let empty = on_disk(folder.path()).unwrap();
        fs::write(inner.join("c"), vec![1; 64 << 10]).unwrap();
        assert!(on_disk(folder.path()).unwrap() >= empty + (64 << 10));
    }
}
