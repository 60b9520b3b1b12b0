//! One data server as the objects use it: every call goes through here, so that health, space and
//! the write verifier are known without asking.
//!
//! Never here: which object a call is about.

use backend::{Capabilities, DataServer, Error, ErrorKind, Space, WriteVerifier};
use layout::{Candidate, DataServerId};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

/// Which files a data server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Any: it takes new ones by its weight.
    Any,
    /// Those that a filer had before, and no new ones.
    Found,
    /// Those that are made in its folder.
    Kept,
}

/// A data server with what the operator says about it.
#[derive(Clone)]
pub struct Member {
    pub id: DataServerId,
    /// For people.
    pub name: String,
    pub server: Arc<dyn DataServer>,
    pub holds: Holds,
    /// Share of new files; 0 takes none.
    pub weight: u32,
    /// Addresses of its machine: clients there may keep their new files here.
    pub hosts: Vec<IpAddr>,
    /// The data server that caches what this one keeps, where it does.
    pub cached_at: Option<DataServerId>,
    /// Not taken into service yet, for a reason that was told: what needs it waits, and nobody probes.
    pub absent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Up,
    /// It answers, and takes no new file.
    Full,
    /// A call failed; a probe is on its way.
    Suspect,
    /// Probes fail too: calls are refused at once, layouts should be recalled.
    Down,
}

/// Probes that fail before a suspect is down.
const PROBES_UNTIL_DOWN: u32 = 2;

#[derive(Debug)]
struct Known {
    health: Health,
    space: Space,
    /// What the last WRITE or COMMIT said.
    verifier: Option<WriteVerifier>,
    failed_probes: u32,
    down_since: Option<Instant>,
}

pub(crate) struct Desk {
    pub(crate) member: Member,
    reserve_bytes: u64,
    known: Mutex<Known>,
    permits: Semaphore,
    in_flight: AtomicU32,
    placed: AtomicU32,
    /// Wakes the prober.
    pub(crate) doubt: Notify,
    /// Wakes the remover.
    pub(crate) graves: Notify,
    /// Told of each change of health.
    changed: watch::Sender<()>,
}

impl Desk {
    pub(crate) fn new(
        member: Member,
        reserve_bytes: u64,
        calls_max: usize,
        changed: watch::Sender<()>,
    ) -> Self {
        let health = if member.absent {
            Health::Down
        } else {
            Health::Suspect
        };
        Self {
            member,
            reserve_bytes,
            known: Mutex::new(Known {
                health,
                space: Space { total: 0, free: 0 },
                verifier: None,
                failed_probes: 0,
                down_since: None,
            }),
            permits: Semaphore::new(calls_max),
            in_flight: AtomicU32::new(0),
            placed: AtomicU32::new(0),
            doubt: Notify::new(),
            graves: Notify::new(),
            changed,
        }
    }

    pub(crate) fn id(&self) -> DataServerId {
        self.member.id
    }

    pub(crate) fn server(&self) -> &dyn DataServer {
        &*self.member.server
    }

    pub(crate) fn health(&self) -> Health {
        self.known.lock().health
    }

    /// Since it was found down; zero while it isn't.
    pub(crate) fn down_for(&self) -> Duration {
        let since = self.known.lock().down_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn space(&self) -> Space {
        self.known.lock().space
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.member.server.capabilities()
    }

    pub(crate) fn verifier(&self) -> Option<WriteVerifier> {
        self.known.lock().verifier
    }

    pub(crate) fn saw_verifier(&self, verifier: WriteVerifier) {
        self.known.lock().verifier = Some(verifier);
    }

    /// A call of the server: at most so many at once, refused at once while it is down.
    pub(crate) async fn ask<T, F, R>(&self, call: F) -> Result<T, Error>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<T, Error>>,
    {
        if self.health() == Health::Down {
            return Err(self.away());
        }
        let _permit = self.permits.acquire().await.map_err(|_| self.away())?;
        let _flight = Flight::begin(&self.in_flight);
        let answer = call().await;
        match &answer {
            Ok(_) => {}
            Err(error) => match error.kind {
                ErrorKind::Retry { .. } => self.suspect(),
                ErrorKind::Full => self.doubt.notify_one(),
                ErrorKind::Gone
                | ErrorKind::Fenced
                | ErrorKind::TooLarge
                | ErrorKind::Unsupported
                | ErrorKind::Broken => {}
            },
        }
        answer
    }

    /// Calls again, a little later, what may pass: an answer that was lost, a server that is busy.
    pub(crate) async fn insist<T, F, R>(&self, attempts: u32, mut call: F) -> Result<T, Error>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 1;
        loop {
            let error = match self.ask(&mut call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let ErrorKind::Retry { after } = error.kind else {
                return Err(error);
            };
            if attempt >= attempts || self.health() == Health::Down {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(after.min(LONGEST_PAUSE)).await;
        }
    }

    pub(crate) fn away(&self) -> Error {
        Error::new(
            ErrorKind::Retry {
                after: Duration::from_secs(1),
            },
            format!("data server {} doesn't answer", self.member.name),
        )
    }

    fn suspect(&self) {
        let moved = {
            let mut known = self.known.lock();
            let was = known.health;
            if was != Health::Down {
                known.health = Health::Suspect;
            }
            was != known.health
        };
        self.doubt.notify_one();
        if moved {
            self.changed.send_replace(());
        }
    }

    /// Asks whether the server reaches its storage, and takes down what it says.
    pub(crate) async fn probe(&self) -> Health {
        let answer = self.member.server.space().await;
        let (was, is) = {
            let mut known = self.known.lock();
            let was = known.health;
            if let Ok(space) = &answer {
                known.space = *space;
                known.failed_probes = 0;
                let full = space.free <= self.reserve_bytes;
                known.health = if full { Health::Full } else { Health::Up };
                known.down_since = None;
            } else {
                known.failed_probes = known.failed_probes.saturating_add(1);
                let down = known.failed_probes >= PROBES_UNTIL_DOWN;
                known.health = if down { Health::Down } else { Health::Suspect };
                if down {
                    known.down_since.get_or_insert_with(Instant::now);
                }
            }
            (was, known.health)
        };
        if was != is {
            self.tell(was, is, answer.err());
            self.changed.send_replace(());
        }
        is
    }

    fn tell(&self, was: Health, is: Health, error: Option<Error>) {
        let name = &self.member.name;
        match (was, is) {
            (_, Health::Down) => {
                let reason = error.map(|error| error.detail).unwrap_or_default();
                tracing::warn!("data server {name} is down, and what needs it waits: {reason}");
            }
            (Health::Down, _) => tracing::info!("data server {name} is back"),
            (_, Health::Full) => {
                tracing::warn!("data server {name} is full: new files go elsewhere");
            }
            (Health::Full, Health::Up) => tracing::info!("data server {name} has room again"),
            _ => {}
        }
    }

    /// As placement sees it. `placed_least` is the smallest [`Desk::share`] of all servers.
    pub(crate) fn candidate(&self, writer: Option<IpAddr>, share_least: u32) -> Candidate {
        let known = self.known.lock();
        let healthy = matches!(known.health, Health::Up | Health::Full);
        Candidate {
            server: self.member.id,
            weight: self.member.weight,
            free_bytes: known.space.free,
            total_bytes: known.space.total,
            load: self.in_flight.load(Ordering::Relaxed) + self.share().saturating_sub(share_least),
            host_matches: writer.is_some_and(|writer| self.member.hosts.contains(&writer)),
            healthy,
        }
    }

    /// How many objects it took lately, for its weight: the one that is behind gets the next file.
    pub(crate) fn share(&self) -> u32 {
        self.placed.load(Ordering::Relaxed) / self.member.weight.max(1)
    }

    pub(crate) fn placed(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets half of the past, so that a server that was away isn't flooded.
    pub(crate) fn age_share(&self) {
        let _ = self
            .placed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |placed| {
                Some(placed / 2)
            });
    }
}

const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Counts a call while it is under way, cancelled ones too.
struct Flight<'a>(&'a AtomicU32);

impl<'a> Flight<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
