//! What is to happen to the calls on somebody faulty, by seed: refusals, lost replies, delays, short
//! transfers, absence, a restart in the middle.
//!
//! Never here: a fault that the contracts forbid and no real keeper shows.

use crate::chance::Chance;
use crate::tree::{TreeError, TreeErrorKind};
use crate::{Error, ErrorKind};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const AFTER: Duration = Duration::from_millis(1);

/// How often each fault comes, in a thousand calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Refused with `Retry`; nothing happened.
    pub refused: u32,
    /// Done, and answered with `Retry`.
    pub lost_replies: u32,
    /// Refused with `Broken`; nothing happened.
    pub broken: u32,
    /// A READ or WRITE of fewer bytes than asked for, a listing of fewer entries.
    pub short: u32,
    /// The server restarts just before the call.
    pub restarts: u32,
    /// Up to so long before the call, by tokio's clock.
    pub delay: Duration,
}

pub(crate) enum Injected {
    Busy(&'static str),
    Broken,
    Full,
}

impl Injected {
    fn detail(&self) -> String {
        let what = match self {
            Self::Busy(what) => what,
            Self::Broken => "the disk is broken",
            Self::Full => "no space",
        };
        format!("injected: {what}")
    }
}

impl From<Injected> for Error {
    fn from(injected: Injected) -> Self {
        let kind = match injected {
            Injected::Busy(_) => ErrorKind::Retry { after: AFTER },
            Injected::Broken => ErrorKind::Broken,
            Injected::Full => ErrorKind::Full,
        };
        Self::new(kind, injected.detail())
    }
}

impl From<Injected> for TreeError {
    fn from(injected: Injected) -> Self {
        let kind = match injected {
            Injected::Busy(_) => TreeErrorKind::Retry { after: AFTER },
            Injected::Broken => TreeErrorKind::Broken,
            Injected::Full => TreeErrorKind::Full,
        };
        Self::new(kind, injected.detail())
    }
}

/// What is to happen to one call.
pub(crate) struct Fate {
    lose_reply: bool,
    shorten: bool,
}

impl Fate {
    /// How much is asked for of so much.
    pub(crate) fn of(&self, much: u64) -> u64 {
        if self.shorten { much.div_ceil(2) } else { much }
    }
}

type Restart = Box<dyn Fn(u64) + Send + Sync>;

pub(crate) struct Fates {
    faults: Mutex<(Faults, Chance)>,
    restart: Restart,
    away: AtomicBool,
    full: AtomicBool,
    calls: AtomicU64,
}

impl Fates {
    pub(crate) fn new(seed: u64, faults: Faults, restart: Restart) -> Self {
        Self {
            faults: Mutex::new((faults, Chance::new(seed))),
            restart,
            away: AtomicBool::new(false),
            full: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.faults.lock().0 = faults;
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) async fn next(&self) -> Result<Fate, Injected> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (refuse, broken, restart, delay, fate) = {
            let (faults, chance) = &mut *self.faults.lock();
            let mut hit = |per_mille: u32| chance.below(1000) < u64::from(per_mille);
            let refuse = hit(faults.refused);
            let broken = hit(faults.broken);
            let restart = hit(faults.restarts);
            let fate = Fate {
                lose_reply: hit(faults.lost_replies),
                shorten: hit(faults.short),
            };
            let delay = Duration::from_micros(chance.below(faults.delay.as_micros() as u64 + 1));
            (
                refuse,
                broken,
                restart.then(|| chance.below(u64::MAX)),
                delay,
                fate,
            )
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if let Some(seed) = restart {
            (self.restart)(seed);
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(Injected::Busy("the server is away"));
        }
        if broken {
            return Err(Injected::Broken);
        }
        if refuse {
            return Err(Injected::Busy("busy"));
        }
        Ok(fate)
    }

    /// Whether a reply gets through.
    pub(crate) fn replies(&self, fate: &Fate) -> Result<(), Injected> {
        if fate.lose_reply || self.away.load(Ordering::SeqCst) {
            return Err(Injected::Busy("the reply was lost"));
        }
        Ok(())
    }

    pub(crate) fn room(&self) -> Result<(), Injected> {
        if self.full.load(Ordering::SeqCst) {
            return Err(Injected::Full);
        }
        Ok(())
    }
}
