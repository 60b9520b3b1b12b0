//! A source whose server is still starting, so that `/healthz` can answer before it serves.
//! Never here: numbers.

use super::samples::{Samples, Source};
use std::sync::{Arc, OnceLock};

/// Shows nothing until it is set, and then what it was set to.
#[derive(Default)]
pub struct Later(OnceLock<Arc<dyn Source>>);

impl Later {
    /// The first source counts; one that comes after it is dropped.
    pub fn set(&self, source: Arc<dyn Source>) {
        self.0.get_or_init(|| source);
    }
}

impl Source for Later {
    fn labels(&self) -> Vec<(&'static str, String)> {
        self.0
            .get()
            .map(|source| source.labels())
            .unwrap_or_default()
    }

    fn samples(&self) -> Samples {
        self.0
            .get()
            .map(|source| source.samples())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Alive, Counter, Observed, Readiness};

    struct One;

    impl Source for One {
        fn labels(&self) -> Vec<(&'static str, String)> {
            vec![("role", "mds".to_owned())]
        }

        fn samples(&self) -> Samples {
            Samples {
                counters: vec![Counter::new("fences", "Fences", 1)],
                ..Samples::default()
            }
        }
    }

    #[test]
    fn a_server_that_starts_shows_its_numbers_once_it_has_some() {
        let later = Arc::new(Later::default());
        let observed = Observed {
            readiness: Readiness::starting("opening the catalog"),
            alive: Alive::default(),
            sources: vec![Arc::clone(&later) as Arc<dyn Source>],
        };
        let text = observed.metrics().expect("memory takes everything");
        assert!(!text.contains("fences"), "{text}");
        later.set(Arc::new(One));
        let text = observed.metrics().expect("memory takes everything");
        assert!(
            text.contains("headrace_fences_total{role=\"mds\"} 1"),
            "{text}"
        );
    }
}
