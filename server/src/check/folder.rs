//! Tries whether a data server's folder can hold objects, on the machine where it is.
//! Never here: the network. It leaves nothing behind.

use super::{Outcome, Question, Verdict};
use config::DataServerProcess;
use rustix::fs::{XattrFlags, setxattr, statvfs};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Tries one folder. `scratch` names the file that is made and removed, unlike any other.
pub fn try_folder(ds: &DataServerProcess, scratch: u128) -> Verdict {
    let folder = ds.data_dir.as_path();
    let space = statvfs(folder).ok().map(|about| {
        let bytes = |blocks: u64| blocks.saturating_mul(about.f_frsize);
        (bytes(about.f_bavail), bytes(about.f_blocks))
    });
    let outcome = match hold(folder, scratch) {
        Ok(()) => capacity_fits(ds, space),
        Err((what, error)) => Outcome::Failed {
            why: format!("can't {what}: {error}."),
            way_out: "Give it a folder that its user owns, on a file system with user extended \
                      attributes: XFS, ext4 or Btrfs."
                .to_owned(),
        },
    };
    Verdict {
        name: ds.export.to_string(),
        place: folder.display().to_string(),
        trials: vec![(Question::HoldsObjects, outcome)],
        space,
        own_root: None,
    }
}

fn hold(folder: &Path, scratch: u128) -> Result<(), (&'static str, io::Error)> {
    let path = folder.join(format!(".headrace-check-{scratch:032x}"));
    let made = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = made.map_err(|error| ("create a file", error))?;
    let tried = file
        .write_all(b"headrace check")
        .and_then(|()| file.sync_all())
        .map_err(|error| ("write to a file", error))
        .and_then(|()| {
            setxattr(&path, "user.headrace.check", b"1", XattrFlags::empty())
                .map_err(|error| ("keep a file's owner beside it", error.into()))
        });
    let removed = std::fs::remove_file(&path).map_err(|error| ("remove a file", error));
    tried.and(removed)
}

fn capacity_fits(ds: &DataServerProcess, space: Option<(u64, u64)>) -> Outcome {
    match (ds.capacity, space) {
        (Some(capacity), Some((_, total))) if capacity.0 > total => Outcome::Failed {
            why: format!("has a `capacity` of {capacity}, and its file system {total} bytes."),
            way_out: "Leave `capacity` out, or make it smaller.".to_owned(),
        },
        _ => Outcome::Passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::DsConfig;

    fn ds(folder: &Path, more: &str) -> DataServerProcess {
        let folder = folder.display();
        let text = format!("[ds]\ndata_dir = \"{folder}\"\nmds = \"10.0.0.2\"\n{more}");
        DsConfig::parse("ds.toml", &text).expect("a good file").ds
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_with_a_way_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let verdict = try_folder(&ds(&folder.path().join("absent"), ""), 7);
        assert!(!verdict.is_fit());
        let (_, outcome) = &verdict.trials[0];
        let Outcome::Failed { why, way_out } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(why.contains("can't create a file: No such file"), "{why}");
        assert!(way_out.contains("extended attributes"), "{way_out}");
    }

    #[test]
    fn a_trial_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let verdict = try_folder(&ds(folder.path(), ""), 7);
        assert!(verdict.space.is_some());
        assert_eq!(
            std::fs::read_dir(folder.path())
                .expect("it is there")
                .count(),
            0
        );
    }

    #[test]
    fn a_capacity_beyond_the_file_system_is_told() {
        let ds = ds(Path::new("/somewhere"), "capacity = \"3TB\"");
        let outcome = capacity_fits(&ds, Some((5, 10)));
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
        assert_eq!(
            capacity_fits(&ds, Some((0, 3_000_000_000_000))),
            Outcome::Passed
        );
    }
}
