//! What makes deaths with delegations worth more: clients that look into each other's open files meanwhile, and the
//! servers' own counts of what was given, reclaimed and asked back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::harness::clock;
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::{METRICS, Server};
use crate::harness::lab::{MINUTE, MOUNT};
use crate::harness::metrics::Scrape;
use crate::load::KEPT;

use super::mds::KEPT_OPEN;

/// Metadata servers that must have died with a recall under way, of five that were to.
const LEAST_AMID_A_RECALL: u64 = 2;
/// Delegations that must have been reclaimed, over all deaths.
const LEAST_RECLAIMED: u64 = 10;

/// Files that are looked into at once: each may have to be waited for.
const AT_ONCE: usize = 2;

/// One client reads what the other keeps open: each file that is delegated is asked back.
#[derive(Default)]
pub struct Peeks {
    of_a: Option<Job>,
    of_b: Option<Job>,
}

impl Peeks {
    /// In turns by one client, by the other, and by neither.
    pub fn begin(&mut self, a: &mut Guest, b: &mut Guest, turn: u32) -> Result<()> {
        match turn % 3 {
            0 => self.of_a = Some(peek(a, b, turn, AT_ONCE)?),
            1 => self.of_b = Some(peek(b, a, turn, AT_ONCE)?),
            _ => {}
        }
        Ok(())
    }

    /// What was begun has found every byte that was fsynced before.
    pub fn done(&mut self, a: &mut Guest, b: &mut Guest) -> Result<()> {
        for (client, job) in [(b, self.of_a.take()), (a, self.of_b.take())] {
            if let Some(job) = job {
                client
                    .must(&job, MINUTE * 2)
                    .context("what the other client keeps open")?;
            }
        }
        Ok(())
    }
}

fn peek(owner: &Guest, reader: &mut Guest, first: u32, files: usize) -> Result<Job> {
    let told = owner.shared().join(KEPT);
    let told =
        std::fs::read_to_string(&told).with_context(|| format!("reading {}", told.display()))?;
    let files = told.lines().cycle().skip(first as usize).take(files);
    let files: Vec<&str> = files.collect();
    std::fs::write(reader.shared().join("to-peek"), files.join("\n"))?;
    reader.spawn(&format!(
        "exec /run/shared/interop peek {MOUNT}/load-{} /run/shared/to-peek",
        owner.name()
    ))
}

/// A server's counts end with it.
#[derive(Clone, Copy, Default)]
struct Counted {
    given: u64,
    reclaimed: u64,
    refused: u64,
    disowned: u64,
    recalled: u64,
    revoked: u64,
}

impl Counted {
    fn now() -> Result<Self> {
        let scrape = Scrape::of(METRICS)?;
        let all = |name: &str| scrape.sum(&format!("headrace_{name}_total"), &[]) as u64;
        Ok(Self {
            given: all("delegations_given"),
            reclaimed: all("delegations_reclaimed"),
            refused: all("delegation_reclaims_refused"),
            disowned: all("delegations_disowned"),
            recalled: all("delegations_recalled"),
            revoked: all("delegations_revoked"),
        })
    }

    fn and(self, other: Self) -> Self {
        Self {
            given: self.given + other.given,
            reclaimed: self.reclaimed + other.reclaimed,
            refused: self.refused + other.refused,
            disowned: self.disowned + other.disowned,
            recalled: self.recalled + other.recalled,
            revoked: self.revoked + other.revoked,
        }
    }
}

/// Of one metadata server that lived all the time.
pub fn given_and_none_revoked() -> Result<String> {
    let Counted {
        given,
        recalled,
        revoked,
        ..
    } = Counted::now()?;
    ensure!(
        given > 0 && revoked == 0,
        "{given} delegations were given, and {revoked} revoked"
    );
    Ok(format!("{given} delegations given, {recalled} asked back"))
}

/// The counts of all metadata servers.
#[derive(Default)]
pub struct Tally {
    before: Counted,
    current: Counted,
    amid_a_recall: u64,
}

impl Tally {
    pub fn note(&mut self) -> Result<()> {
        self.current = Counted::now()?;
        Ok(())
    }

    pub fn dead(&mut self) {
        self.before = self.before.and(std::mem::take(&mut self.current));
    }

    /// Kills the metadata server after it has asked for a delegation, and before its holder can hear of that.
    pub fn amid_a_recall(
        &mut self,
        mds: &mut Server,
        holder: &mut Guest,
        reader: &mut Guest,
        peeks: &mut Peeks,
    ) -> Result<()> {
        const A_MOMENT: Duration = Duration::from_secs(3);
        peeks.done(holder, reader)?;
        holder.freeze()?;
        self.note()?;
        let before = self.current.recalled;
        peeks.of_a = Some(peek(holder, reader, 0, KEPT_OPEN as usize)?);
        let asked = clock::wait_for("a recall", A_MOMENT, || {
            self.note()?;
            Ok((self.current.recalled > before).then_some(()))
        });
        mds.kill9()?;
        holder.thaw()?;
        self.amid_a_recall += u64::from(asked.is_ok());
        Ok(())
    }

    /// What was seen, when it is enough.
    pub fn proof(&self) -> Result<String> {
        let Counted {
            given,
            reclaimed,
            refused,
            disowned,
            recalled,
            revoked,
        } = self.before.and(self.current);
        let said = format!(
            "delegations: {given} given, {recalled} asked back, {reclaimed} reclaimed after deaths, {} deaths amid a recall",
            self.amid_a_recall
        );
        ensure!(
            reclaimed >= LEAST_RECLAIMED && self.amid_a_recall >= LEAST_AMID_A_RECALL,
            "too little was tried: {said}"
        );
        // A return whose answer was lost is taken for none: what is then reclaimed may stand against an open that
        // came since, or was on its way back, and the client has it no more.
        ensure!(
            revoked == 0 && (refused + disowned) * 20 <= reclaimed,
            "{refused} delegations were not given back to clients that had them, {disowned} were of clients that had none, and {revoked} were revoked: {said}"
        );
        Ok(said)
    }
}
