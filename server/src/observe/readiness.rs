//! Whether the process serves, as opposed to merely running.
//! Never here: judging it; whoever starts and stops the server says so.

use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Where a server is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not serving yet; what it is at, in words.
    Starting(String),
    Ready,
    /// Finishing what is under way.
    Draining,
}

/// The phase, shared between who sets and who shows it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Phase>>);

impl Readiness {
    pub fn starting(at: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(Phase::Starting(at.into()))))
    }

    pub fn set(&self, phase: Phase) {
        *self.0.lock() = phase;
    }

    pub fn phase(&self) -> Phase {
        self.0.lock().clone()
    }

    pub fn is_ready(&self) -> bool {
        *self.0.lock() == Phase::Ready
    }
}

type Asked = Box<dyn Fn() -> bool + Send + Sync>;

/// Whether the process still does its work. Until somebody can tell, whoever answers is alive.
#[derive(Clone, Default)]
pub struct Alive(Arc<OnceLock<Asked>>);

impl Alive {
    /// The first one counts.
    pub fn set(&self, asked: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(asked));
    }

    pub fn is_so(&self) -> bool {
        self.0.get().is_none_or(|asked| asked())
    }
}
