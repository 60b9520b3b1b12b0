//! The metadata server dies again and again under the loads of two clients, half of the times while these have
//! delegations.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::delegated::{Peeks, Tally};
use super::{Left, Pace, end_load, progress, start_load, tell_deaths, three_data_servers};
use crate::harness::clock::{self, let_pass, say};
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::{self, DELEGATING, Split};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh};
use crate::harness::metrics::Scrape;
use crate::scenarios::Verdict;

const DEATHS: u32 = 50;
/// After this many of them the export gives delegations.
const WITHOUT_DELEGATIONS: u32 = DEATHS / 2;
/// Files that each load keeps open.
pub const KEPT_OPEN: u32 = 6;

/// Where the metadata server dies.
enum Death {
    /// Wherever it is when SIGKILL comes.
    Anywhere,
    /// At a step of its catalog.
    Step(String),
}

/// All steps in turn among deaths anywhere.
fn death(number: u32, pace: &mut Pace) -> Death {
    const STEPS: [&str; 3] = ["before-write", "before-sync", "before-answer"];
    if !number.is_multiple_of(4) {
        return Death::Anywhere;
    }
    let step = STEPS[(number / 4) as usize % STEPS.len()];
    Death::Step(format!("{step}:{}", 12 + pace.below(60)))
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut split = three_data_servers(lab)?;
    let (mut a, mut b) = lab.two_mounted()?;
    between_commit_and_layoutcommit(&mut split, &mut a, &mut b)?;
    between_commit_and_layoutcommit(&mut split, &mut b, &mut a)?;
    tell_deaths(&a, 0, true)?;
    tell_deaths(&b, 0, true)?;
    let loads = (
        start_load(&mut a, 1, KEPT_OPEN)?,
        start_load(&mut b, 2, KEPT_OPEN)?,
    );
    let mut pace = Pace::new(3);
    let mut at_steps = 0;
    let mut tally = Tally::default();
    let mut peeks = Peeks::default();
    for number in 1..=DEATHS {
        let delegating = number > WITHOUT_DELEGATIONS;
        let amid_a_recall = delegating && number % 5 == 3;
        if delegating {
            peeks.done(&mut a, &mut b)?;
            // What was asked back rests from delegations for a while.
            if !amid_a_recall {
                peeks.begin(&mut a, &mut b, number)?;
            }
        }
        let_pass(pace.between(100, 2500));
        let death = death(number, &mut pace);
        tell_deaths(&a, number, false)?;
        tell_deaths(&b, number, false)?;
        if amid_a_recall {
            tally.amid_a_recall(&mut split.mds, &mut a, &mut b, &mut peeks)
        } else {
            tally.note()?;
            split.mds.kill9()
        }
        .with_context(|| format!("before death {number}"))?;
        tally.dead();
        if let Death::Step(step) = &death {
            split.mds.start_to_die_at(step)?;
            split
                .mds
                .wait_until_it_dies(MINUTE)
                .with_context(|| format!("death {number} at {step}"))?;
            at_steps += 1;
        }
        let_pass(pace.between(0, 1000));
        if number == WITHOUT_DELEGATIONS {
            split.export(DELEGATING)?;
        }
        split.mds.start()?;
        tell_deaths(&a, number, true)?;
        tell_deaths(&b, number, true)?;
        if number % 10 == 0 {
            say(format!("the metadata server died {number} times"));
        }
        // Every fifth one dies again while its clients are still reclaiming.
        if number % 5 != 0 {
            both_go_on(&mut a, &mut b, &loads, number)?;
        }
    }
    peeks.done(&mut a, &mut b)?;
    tally.note()?;
    let said = (end_load(&mut a, &loads.0)?, end_load(&mut b, &loads.1)?);
    Left::by(&a).verify(&mut b)?;
    Left::by(&b).verify(&mut a)?;
    Ok(Verdict::Held(vec![
        format!("{DEATHS} deaths, and {at_steps} more at the catalog's steps"),
        tally.proof()?,
        format!("{}: {}", a.release(), said.0),
        format!("{}: {}", b.release(), said.1),
    ]))
}

/// Both loads do something after a death, and neither has ended.
fn both_go_on(a: &mut Guest, b: &mut Guest, loads: &(Job, Job), death: u32) -> Result<()> {
    let before = (progress(a), progress(b));
    clock::wait_for(
        format!("operations of both clients after death {death}"),
        MINUTE * 2,
        || {
            let both = progress(a) > before.0 && progress(b) > before.1;
            let ended = Guest::is_done(a, &loads.0) || Guest::is_done(b, &loads.1);
            Ok((both || ended).then_some(()))
        },
    )?;
    ensure!(
        !Guest::is_done(a, &loads.0) && !Guest::is_done(b, &loads.1),
        "a load ended by itself after death {death}: {:?} {:?}",
        a.wait(&loads.0, Duration::from_secs(1)).map(|o| o.stderr),
        b.wait(&loads.1, Duration::from_secs(1)).map(|o| o.stderr)
    );
    Ok(())
}

/// The metadata server dies after a client's data is committed at the data servers, and before it was told of it.
/// The client's fsync succeeds all the same, and every byte is there.
fn between_commit_and_layoutcommit(
    split: &mut Split,
    writer: &mut Guest,
    reader: &mut Guest,
) -> Result<()> {
    const BYTES: u64 = 8 << 20;
    let file = format!("{MOUNT}/twice-{}", writer.name());
    let twice = writer.spawn(&format!(
        "rm -f /run/ready /run/go; /run/shared/interop twice {file} {BYTES} /run/ready /run/go"
    ))?;
    writer.sh("until [ -e /run/ready ]; do sleep 0.1; done", MINUTE)?;
    let commits = || -> Result<f64> {
        let mut all = 0.0;
        for index in 0..3 {
            let scrape = Scrape::of(headrace::data_server_metrics(index))?;
            all += scrape.sum("headrace_operations_total", &["operation=\"COMMIT\""]);
        }
        Ok(all)
    };
    let before = commits()?;
    split.mds.freeze()?;
    writer.sh(": >/run/go", MINUTE)?;
    clock::wait_for("the COMMIT of a client", MINUTE, || {
        Ok((commits()? > before).then_some(()))
    })?;
    // Of a striped file there are several: no more come.
    let mut seen = 0.0;
    clock::wait_for("the last COMMIT", MINUTE, || {
        let_pass(Duration::from_millis(300));
        let now = commits()?;
        Ok((std::mem::replace(&mut seen, now) >= now).then_some(()))
    })?;
    ensure!(
        !Guest::is_done(writer, &twice),
        "the fsync ended without the metadata server"
    );
    split.mds.kill9()?;
    split.mds.start()?;
    writer.must(&twice, MINUTE * 2)?;
    mount_afresh(reader, "vers=4.2")?;
    reader.sh(
        &format!("/run/shared/interop check-twice {file} {BYTES}"),
        MINUTE,
    )?;
    say(format!(
        "Linux {}: what was committed when the metadata server died is there",
        writer.release()
    ));
    Ok(())
}
