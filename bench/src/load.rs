//! Callers that ask without end, and how long each answer took.
//! Never here: what is asked.

use anyhow::Result;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Answers that were asked for within the time that counts.
pub struct Measured {
    /// Nanoseconds.
    pub latencies: Histogram<u64>,
    pub took: Duration,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// When callers ask.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each as soon as it has its answer.
    Closed,
    /// So often a second, all together, whatever becomes of the answers: the time of one counts from when it was due,
    /// so that a server which stands still is not asked less (no coordinated omission).
    Open { per_second: f64 },
}

/// Three significant digits, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that make sense")
}

/// `one(caller, turn)` by each of `callers`, for `warm_up` without counting and for `time` with.
pub async fn run<F, Fut>(
    callers: usize,
    pace: Pace,
    (warm_up, time): (Duration, Duration),
    one: F,
) -> Result<Measured>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let began = Instant::now() + warm_up;
    let end = began + time;
    let failed = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (one, failed) = (one.clone(), Arc::clone(&failed));
            tokio::spawn(async move {
                let mut latencies = histogram();
                let mut due = Instant::now();
                let between = match pace {
                    Pace::Closed => Duration::ZERO,
                    Pace::Open { per_second } => {
                        Duration::from_secs_f64(callers as f64 / per_second)
                    }
                };
                // Not all at the same moment.
                due += between.mul_f64(caller as f64 / callers as f64);
                for turn in 0.. {
                    match pace {
                        Pace::Closed => due = Instant::now(),
                        Pace::Open { .. } => sleep_until(due).await,
                    }
                    if due >= end || failed.load(Relaxed) {
                        break;
                    }
                    if let Err(error) = one(caller, turn).await {
                        failed.store(true, Relaxed);
                        return Err(error);
                    }
                    if due >= began {
                        latencies.saturating_record(due.elapsed().as_nanos() as u64);
                    }
                    due += between;
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut latencies = histogram();
    for task in tasks {
        latencies.add(task.await??)?;
    }
    anyhow::ensure!(!latencies.is_empty(), "nothing was answered");
    // The last answers came after the end: they took a part of the time that is counted for them.
    Ok(Measured {
        latencies,
        took: began.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stands_still_is_counted_against_by_everything_that_was_due() {
        let pace = Pace::Open { per_second: 100.0 };
        let stands_still = |_, turn| async move {
            tokio::time::sleep(if turn == 0 { 500 * MS } else { MS }).await;
            Ok(())
        };
        let measured = run(1, pace, (Duration::ZERO, 1000 * MS), stands_still)
            .await
            .unwrap();
        let median = Duration::from_nanos(measured.latencies.value_at_quantile(0.5));
        assert!(median > 40 * MS, "{median:?}");
        assert_eq!(measured.latencies.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_wait_for_their_answers_ask_as_often_as_they_are_answered() {
        let slow = |_, _| async {
            tokio::time::sleep(10 * MS).await;
            Ok(())
        };
        let measured = run(4, Pace::Closed, (100 * MS, 1000 * MS), slow)
            .await
            .unwrap();
        assert!((390.0..=410.0).contains(&measured.per_second()));
    }

    #[tokio::test]
    async fn what_goes_wrong_ends_the_run() {
        let broken = |caller, turn| async move {
            anyhow::ensure!((caller, turn) != (1, 3), "broken");
            tokio::task::yield_now().await;
            Ok(())
        };
        let run = run(
            2,
            Pace::Closed,
            (Duration::ZERO, Duration::from_hours(1)),
            broken,
        )
        .await;
        assert_eq!(run.err().unwrap().to_string(), "broken");
    }
}
