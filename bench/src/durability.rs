//! Whether what is acknowledged here is as durable as by default: a figure that was got by losing data is none.

use std::path::Path;
use std::process::Command;

/// Mount options and file systems under which a sync says more than it does.
const UNSAFE_OPTIONS: &[&str] = &["nobarrier", "barrier=0"];
const IN_MEMORY: &[&str] = &["tmpfs", "ramfs"];

/// What isn't as it is by default, in words.
pub fn faults(disk: &Path, settings: &[String]) -> Vec<String> {
    let mut found: Vec<String> = settings
        .iter()
        .map(|line| format!("the metadata server's configuration has `{line}`"))
        .collect();
    let preload = std::env::var("LD_PRELOAD").unwrap_or_default();
    found.extend(of_environment(
        &preload,
        std::env::var("HEADRACE_FAILPOINT").ok().as_deref(),
    ));
    if let Some(told) = file_system(disk) {
        found.extend(of_file_system(&told));
    }
    found
}

/// Type and options of the file system of `disk`.
pub fn file_system(disk: &Path) -> Option<String> {
    let output = Command::new("findmnt")
        .args(["-no", "FSTYPE,OPTIONS", "-T"])
        .arg(disk)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn of_environment(preload: &str, failpoint: Option<&str>) -> Option<String> {
    if preload.contains("eatmydata") {
        return Some("LD_PRELOAD takes the syncs away".to_owned());
    }
    failpoint.map(|step| format!("HEADRACE_FAILPOINT={step} ends the catalog at a step of it"))
}

fn of_file_system(told: &str) -> Option<String> {
    let (kind, options) = told.split_once(char::is_whitespace).unwrap_or((told, ""));
    if IN_MEMORY.contains(&kind) {
        return Some(format!(
            "the disk is a {kind}, which a crash of the machine empties"
        ));
    }
    let mut options = options.trim().split(',');
    let option = options.find(|option| UNSAFE_OPTIONS.contains(option))?;
    Some(format!("the disk's file system is mounted with {option}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_loses_what_was_synced_is_told() {
        assert_eq!(of_file_system("ext4 rw,relatime"), None);
        assert!(
            of_file_system("tmpfs rw,size=1k")
                .unwrap()
                .contains("tmpfs")
        );
        let told = of_file_system("ext4   rw,barrier=0").unwrap();
        assert!(told.contains("barrier=0"), "{told}");
    }

    #[test]
    fn syncs_that_are_taken_away_are_told() {
        assert_eq!(of_environment("", None), None);
        assert!(of_environment("libeatmydata.so", None).is_some());
        assert!(of_environment("", Some("before-sync:1")).is_some());
    }

    #[test]
    fn each_setting_is_told() {
        let told = faults(Path::new("."), &["a = 1".to_owned()]);
        assert!(told[0].contains("`a = 1`"), "{told:?}");
    }
}
