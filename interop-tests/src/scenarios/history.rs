//! Random operations by several processes of two clients on one folder; what they were told is checked afterwards.
//! The steps of each process follow from the seed: `cargo xtask interop history --seed N`.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::Verdict;
use crate::harness::client::Client;
use crate::harness::clock::say;
use crate::harness::guest::Guest;
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh, unmount};
use crate::harness::net;
use crate::history::{check, ticks, work};

const WORKERS_EACH: u64 = 3;
const STEPS: usize = 400;

/// How both clients mount, round by round.
const ROUNDS: [(&str, &str); 3] = [
    ("vers=4.2", "vers=4.2"),
    ("vers=4.1", "vers=4.2,nconnect=4"),
    ("vers=4.2,lookupcache=none", "vers=4.1,noac"),
];

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let seed = lab.seed.unwrap_or_else(rand::random);
    say(format!("seed {seed}"));
    let _server = lab.demo(DemoOptions::default())?;
    let listener = TcpListener::bind((net::MDS, 0)).context("the clock of the history")?;
    let clock = listener.local_addr()?;
    ticks::serve(listener);
    let other_kernel = lab.other_kernel();
    let mut a = lab.client("a")?;
    let mut b = lab.client_with("b", &other_kernel)?;
    let mut facts = vec![format!("seed {seed}")];
    for (number, options) in ROUNDS.into_iter().enumerate() {
        let round = Round {
            number,
            options,
            clock,
            seed: seed.wrapping_add(number as u64),
        };
        let tally = round
            .run(&mut a, &mut b)
            .with_context(|| format!("seed {seed}, {} beside {}", options.0, options.1))?;
        let fact = format!("{} beside {}: {tally}", options.0, options.1);
        say(&fact);
        facts.push(fact);
    }
    for client in [&a, &b] {
        let warnings = client.warnings();
        ensure!(
            warnings.is_empty(),
            "the kernel of {} warned: {}",
            client.name(),
            warnings.join("; ")
        );
    }
    Ok(Verdict::Held(facts))
}

struct Round {
    number: usize,
    options: (&'static str, &'static str),
    clock: SocketAddr,
    seed: u64,
}

impl Round {
    fn run(&self, a: &mut Guest, b: &mut Guest) -> Result<check::Tally> {
        let mut files = Vec::new();
        mount(a, self.options.0)?;
        a.sh(&self.call(a, "prepare", 0, &mut files), MINUTE * 2)?;
        mount(b, self.options.1)?;
        let mut jobs = Vec::new();
        for index in 0..WORKERS_EACH {
            let script = self.call(a, "work", 2 * index, &mut files);
            let on_a = a.spawn(&script)?;
            let script = self.call(b, "work", 2 * index + 1, &mut files);
            jobs.push((on_a, b.spawn(&script)?));
        }
        for (on_a, on_b) in &jobs {
            a.must(on_a, MINUTE * 6)?;
            b.must(on_b, MINUTE * 6)?;
        }
        // Once with what is in their caches, and once with nothing there.
        for worker in [100, 101] {
            for (client, options) in [(&mut *a, self.options.0), (&mut *b, self.options.1)] {
                client.sh(&self.call(client, "look", worker, &mut files), MINUTE)?;
                mount_afresh(client, options)?;
            }
        }
        unmount(a)?;
        unmount(b)?;
        check::check(&work::read(&files)?).or_else(|faults| {
            let some: Vec<&str> = faults.iter().take(20).map(String::as_str).collect();
            bail!("{} faults:\n{}", faults.len(), some.join("\n"))
        })
    }

    /// The command line of a worker; its history is added to `files`.
    fn call(&self, client: &Guest, part: &str, worker: u64, files: &mut Vec<PathBuf>) -> String {
        let history = format!("history-{}-{part}-{worker}", self.number);
        files.push(client.shared().join(&history));
        format!(
            "/run/shared/interop history {part} {MOUNT}/round-{round} {clock} {name}/{worker} /run/shared/{history} \
             --seed {seed} --worker {worker} --steps {STEPS}",
            round = self.number,
            clock = self.clock,
            name = Client::name(client),
            seed = self.seed,
        )
    }
}
