//! Lines that tell what goes on, with the seconds since the start. No judgement of results.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Programs that we start count from the same start: milliseconds since 1970.
pub const START: &str = "HEADRACE_START_MS";

/// Notes the time, unless a caller has done so.
pub fn start() -> SystemTime {
    let given = std::env::var(START)
        .ok()
        .and_then(|text| text.parse().ok())
        .map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
    static FIRST: std::sync::OnceLock<SystemTime> = std::sync::OnceLock::new();
    *FIRST.get_or_init(|| given.unwrap_or_else(SystemTime::now))
}

pub fn start_ms() -> String {
    let since = start().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().to_string()
}

pub fn elapsed() -> Duration {
    start().elapsed().unwrap_or_default()
}

pub fn say(text: impl Display) {
    println!("[{:7.1} s] {text}", elapsed().as_secs_f64());
}
