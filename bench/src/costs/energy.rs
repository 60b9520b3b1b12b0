//! Energy of the whole machine's processors, where RAPL tells it (powercap).

use std::fs;
use std::path::Path;

/// Counters of all packages: microjoules so far, and where they begin anew.
#[derive(Debug, Clone)]
pub struct Energy(Vec<(u64, u64)>);

/// Nothing where no package tells.
pub fn so_far() -> Option<Energy> {
    let number = |folder: &Path, name| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let mut counters = Vec::new();
    for entry in fs::read_dir("/sys/class/powercap").ok()?.flatten() {
        let folder = entry.path();
        let name = fs::read_to_string(folder.join("name")).unwrap_or_default();
        // Others are parts of these.
        if name.starts_with("package") {
            let now = number(&folder, "energy_uj")?;
            counters.push((now, number(&folder, "max_energy_range_uj")?));
        }
    }
    (!counters.is_empty()).then_some(Energy(counters))
}

impl Energy {
    pub fn joules_since(&self, before: &Self) -> f64 {
        let pairs = self.0.iter().zip(&before.0);
        let micros: u64 = pairs
            .map(
                |((now, range), (before, _))| match now.checked_sub(*before) {
                    Some(more) => more,
                    None => range.saturating_sub(*before) + now,
                },
            )
            .sum();
        micros as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_loses_nothing() {
        let before = Energy(vec![(9_000_000, 10_000_000), (0, 10_000_000)]);
        let now = Energy(vec![(500_000, 10_000_000), (1_000_000, 10_000_000)]);
        assert!((now.joules_since(&before) - 2.5).abs() < 1e-9);
    }
}
