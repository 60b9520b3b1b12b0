//! Progress lines with the time elapsed since the start, and waiting with an end.
//! Nothing here sleeps without a deadline.

use std::fmt::Display;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// Milliseconds since 1970 at which the command that a person typed was started.
const START: &str = "HEADRACE_START_MS";

fn start() -> SystemTime {
    static START_TIME: OnceLock<SystemTime> = OnceLock::new();
    *START_TIME.get_or_init(|| {
        std::env::var(START)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or_else(SystemTime::now, |ms| UNIX_EPOCH + Duration::from_millis(ms))
    })
}

pub fn elapsed() -> Duration {
    start().elapsed().unwrap_or_default()
}

/// For programs that we start: they count from the same moment.
pub fn hand_on(command: &mut Command) {
    let since = start().duration_since(UNIX_EPOCH).unwrap_or_default();
    command.env(START, since.as_millis().to_string());
}

/// Prints one line, with the seconds since the start in front.
pub fn say(text: impl Display) {
    println!("[{:7.1} s] {text}", elapsed().as_secs_f64());
}

/// Asks `ready` again and again until it gives something, and fails in words when `limit` has passed.
pub fn wait_for<T>(
    what: impl Display,
    limit: Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = ready()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Lets `time` pass: the world outside this process goes on meanwhile, and there is nothing to wait for.
pub fn let_pass(time: Duration) {
    thread::sleep(time);
}
