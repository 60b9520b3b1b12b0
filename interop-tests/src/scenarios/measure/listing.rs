//! How fast a folder of very many files is listed by a real kernel: names alone, and with what `ls -l` shows.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wire::nfs4::{ArgOp, Attributes, Close4Args, Createhow4, Fh4, Openflag4, Stateid4};

use super::tell;
use crate::harness::clock::say;
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::net::{MDS, MDS_PORT};
use crate::scenarios::Verdict;
use interop_tests::nfs41::{self, putfh};

const FILES: u32 = 1_000_000;
const FOLDER: &str = "million";
const CALLERS: u32 = 64;
/// Files of one COMPOUND, within the 16 operations that the client asked room for.
const AT_ONCE: usize = 4;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let begun = Instant::now();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(make())?;
    let mut facts = vec![format!(
        "{FILES} files made in {:.0} s",
        begun.elapsed().as_secs_f64()
    )];
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    let mut measured = Vec::new();
    for (job, command) in [
        ("ls -U of a million files", "ls -U"),
        ("ls -l of a million files", "ls -l"),
    ] {
        // What one listing left in the client is no help to the next.
        client.sh("sync; echo 3 > /proc/sys/vm/drop_caches", MINUTE)?;
        let script = format!("cd {MOUNT} && {command} {FOLDER} | wc -l");
        let begun = Instant::now();
        let lines: u32 = client.sh(&script, MINUTE * 10)?.trim().parse()?;
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(lines >= FILES, "{command} showed {lines} lines");
        let fact = format!("{job}: {seconds:.1} s");
        say(&fact);
        facts.push(fact);
        measured.push(json!({
            "job": job, "clients": 1, "bytes": 0, "per_second": f64::from(FILES) / seconds,
        }));
    }
    tell(&Value::from(measured))?;
    Ok(Verdict::Held(facts))
}

async fn make() -> Result<()> {
    let address = SocketAddr::new(IpAddr::V4(MDS), MDS_PORT);
    let first = nfs41::Client::mount(address, "maker").await?;
    let folder = first.mkdir(&first.root().await?, FOLDER).await?;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..CALLERS {
        let client = nfs41::Client::mount(address, &format!("maker {number}")).await?;
        let folder = folder.clone();
        callers.spawn(async move { make_some(&client, &folder, number).await });
    }
    while let Some(caller) = callers.join_next().await {
        caller.context("a caller panicked")??;
    }
    Ok(())
}

/// The caller's share of the files, each opened and closed.
async fn make_some(client: &nfs41::Client, folder: &Fh4, caller: u32) -> Result<()> {
    let mine: Vec<u32> = (caller..FILES).step_by(CALLERS as usize).collect();
    for some in mine.chunks(AT_ONCE) {
        let made = some.iter().flat_map(|number| {
            let attributes = Attributes {
                mode: Some(0o644),
                ..Attributes::default()
            };
            let how = Openflag4::Create(Createhow4::Unchecked(attributes.into()));
            let open = client.open_args(&format!("file-{number}"), how);
            let close = Close4Args {
                seqid: 0,
                open_stateid: Stateid4::CURRENT,
            };
            [putfh(folder), ArgOp::Open(open), ArgOp::Close(close)]
        });
        client.ok(made.collect::<Vec<ArgOp>>()).await?;
    }
    Ok(())
}
