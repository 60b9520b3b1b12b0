//! How many accelerators a mount keeps busy, of a training that reads samples at random.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{seconds, servers, tell};
use crate::harness::clock::say;
use crate::harness::ganesha::Ganesha;
use crate::harness::guest::Guest;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_from};
use crate::harness::net::MDS;
use crate::scenarios::Verdict;

const SAMPLES: u32 = 401;
const FOLDER: &str = "training";
/// Who is busy for less of the time isn't kept.
const BUSY: f64 = 0.9;
const MOST: u32 = 32;
/// Some steps of each.
const LEAST_SECONDS: u64 = 8;

pub fn headrace(lab: &mut Lab) -> Result<Verdict> {
    let _split = servers(lab, 1)?;
    let mut client = lab.client("a")?;
    mount_from(&mut client, &format!("{MDS}:/"), "vers=4.2")?;
    train(&mut client)
}

pub fn ganesha(lab: &mut Lab) -> Result<Verdict> {
    let folder = lab.state.join("peer");
    let _peer = Ganesha::start(&lab.state, MDS, &folder)?;
    let mut client = lab.client("a")?;
    mount_from(&mut client, &format!("{MDS}:/peer"), "vers=4.2")?;
    train(&mut client)
}

fn train(client: &mut Guest) -> Result<Verdict> {
    let folder = format!("{MOUNT}/{FOLDER}");
    let program = "/run/shared/interop";
    client.sh(
        &format!("mkdir {folder} && {program} samples {folder} {SAMPLES} && sync"),
        MINUTE * 5,
    )?;
    let seconds = seconds()?.max(LEAST_SECONDS);
    let mut facts = Vec::new();
    let mut kept = 0;
    for accelerators in 1..=MOST {
        let script = format!("{program} train {folder} {SAMPLES} {accelerators} {seconds}");
        let told = client.sh(&script, MINUTE + Duration::from_secs(seconds))?;
        let busy: f64 = told
            .trim()
            .parse()
            .with_context(|| format!("no part of the time: {told}"))?;
        let fact = format!("{accelerators}: {:.0} % busy", busy * 100.0);
        say(&fact);
        facts.push(fact);
        if busy < BUSY {
            break;
        }
        kept = accelerators;
    }
    tell(&Value::from(vec![json!({
        "job": "accelerators that are busy for 90 % of the time", "clients": 1, "count": kept,
    })]))?;
    Ok(Verdict::Held(facts))
}
