//! A folder of a million entries, and a file of 65,000 names: made by COMPOUNDs, since that is quicker, and listed, looked up
//! and removed from by real kernels.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Verdict;
use crate::harness::clock::say;
use crate::harness::guest::Guest;
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::net;
use interop_tests::nfs41::{self, putfh};
use wire::nfs4::{ArgOp, Fh4, Link4Args};

const NAMES: u32 = 1_000_000;
const FOLDER: &str = "million";
/// In one COMPOUND, of the 16 operations that the client asked room for.
const LINKS: u32 = 10;
/// Callers that add names of different files wait for each other's disk alone.
const FILES: u32 = 64;
const NAMES_OF_EACH: u32 = NAMES / FILES;
/// Of the first file, in a folder of its own.
const MORE: &str = "more";
const MORE_NAMES: u32 = 50_000;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let mut facts = vec![fill()?];
    for (name, kernel) in ["a", "b"].into_iter().zip(lab.kernels.clone()) {
        let mut client = lab.client_with(name, &kernel)?;
        mount(&mut client, "vers=4.2")?;
        facts.push(list(&mut client)?);
        client.power_off()?;
    }
    Ok(Verdict::Held(facts))
}

fn fill() -> Result<String> {
    let begun = Instant::now();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(link_all())?;
    let seconds = begun.elapsed().as_secs_f64();
    let fact = format!(
        "{NAMES} names made in {seconds:.0} s, {:.0} a second",
        f64::from(NAMES + MORE_NAMES) / seconds
    );
    say(&fact);
    Ok(fact)
}

async fn link_all() -> Result<()> {
    let address = SocketAddr::new(IpAddr::V4(net::MDS), net::MDS_PORT);
    let first = nfs41::Client::mount(address, "maker").await?;
    let root = first.root().await?;
    let folder = first.mkdir(&root, FOLDER).await?;
    let more = first.mkdir(&root, MORE).await?;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..FILES {
        let client = nfs41::Client::mount(address, &format!("maker {number}")).await?;
        let file = client.open_create(&root, &format!("file-{number}")).await?;
        client.close(&file).await?;
        let (folder, more) = (folder.clone(), more.clone());
        callers.spawn(async move {
            let first = number * NAMES_OF_EACH;
            link(&client, &file.fh, &folder, first..first + NAMES_OF_EACH).await?;
            if number == 0 {
                link(&client, &file.fh, &more, 0..MORE_NAMES).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.context("a caller panicked")??;
    }
    Ok(())
}

async fn link(client: &nfs41::Client, file: &Fh4, folder: &Fh4, names: Range<u32>) -> Result<()> {
    for from in names.clone().step_by(LINKS as usize) {
        let links = (from..(from + LINKS).min(names.end)).map(|number| {
            ArgOp::Link(Link4Args {
                newname: format!("name-{number}").into(),
            })
        });
        let ops = [putfh(file), ArgOp::Savefh, putfh(folder)];
        client.ok(ops.into_iter().chain(links)).await?;
    }
    Ok(())
}

fn list(client: &mut Guest) -> Result<String> {
    let begun = Instant::now();
    let listed = client.sh(
        &format!("cd {MOUNT} && ls -U {FOLDER} | sort -u | wc -l && stat -c %h file-0 file-1"),
        MINUTE * 5,
    )?;
    let seconds = begun.elapsed().as_secs_f64();
    let numbers: Vec<u32> = listed
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("not three numbers: {listed}"))?;
    let [names, links, others] = numbers[..] else {
        anyhow::bail!("not three numbers: {listed}");
    };
    // Those that an earlier client removed are gone for this one.
    let gone = NAMES - names;
    ensure!(
        links + gone == NAMES_OF_EACH + MORE_NAMES + 1 && others == NAMES_OF_EACH + 1,
        "{names} names were listed; two of the files have {links} and {others} with their own"
    );
    client.sh(
        &format!(
            "cd {MOUNT}/{FOLDER} && [ ! -e name-{NAMES} ] && for number in $(seq {gone} {}); do \
             [ name-$number -ef ../file-0 ] && rm name-$number && [ ! -e name-$number ] || exit 1; done",
            gone + 99
        ),
        MINUTE,
    )?;
    let fact = format!(
        "{names} of them listed by Linux {} in {seconds:.0} s",
        client.release()
    );
    say(&fact);
    Ok(fact)
}
