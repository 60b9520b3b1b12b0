//! The program as it is installed: its name, and the exit codes that scripts rely on.

use std::process::{Command, Output};

fn headrace(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headrace"))
        .args(words)
        .output()
        .expect("it starts")
}

#[test]
fn it_tells_its_version() {
    let told = headrace(&["--version"]);
    assert!(told.status.success());
    let wanted = format!("headrace {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&told.stdout), wanted);
}

#[test]
fn usage_and_faults_of_a_file_are_2_and_what_fails_is_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("mds.toml");
    std::fs::write(&path, "[server]\nlissten = 1\n").expect("it is written");
    let path = path.display().to_string();
    assert_eq!(headrace(&["no-such-verb"]).status.code(), Some(2));
    let faulty = headrace(&["mds", "--config", &path]);
    assert_eq!(faulty.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&faulty.stderr).contains("lissten"));
    let nothing = folder.path().join("nothing").display().to_string();
    let failed = headrace(&["fsck", "--state-dir", &nothing]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("holds no catalog"));
}
