//! Sizes and rates as a person reads them.

use std::time::Duration;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

pub fn human(bytes: u64) -> String {
    let value = bytes as f64;
    if bytes >= 10 * GIB {
        format!("{:.1} GiB", value / GIB as f64)
    } else if bytes >= MIB {
        format!("{:.1} MiB", value / MIB as f64)
    } else if bytes >= KIB {
        format!("{:.1} KiB", value / KIB as f64)
    } else {
        format!("{bytes} B")
    }
}

pub fn megabytes_per_second(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    bytes as f64 / 1e6 / time.as_secs_f64()
}
