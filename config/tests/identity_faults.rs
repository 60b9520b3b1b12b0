//! Faults of `[identity]`, `[[user]]` and `[[group]]`, as the person who wrote them reads them.

use config::MdsConfig;

const GOOD: &str = include_str!("../examples/names-and-groups.toml");

/// Each fault of the good file with one text replaced, whole.
fn faults_with(old: &str, new: &str) -> Vec<String> {
    assert!(GOOD.contains(old), "the good file has {old}");
    let text = GOOD.replacen(old, new, 1);
    let faults = MdsConfig::parse("config.toml", &text).expect_err("the file has faults");
    faults.0.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn one_fault(old: &str, new: &str, parts: &[&str]) {
    let faults = faults_with(old, new);
    let [fault] = &faults[..] else {
        panic!("one fault: {faults:#?}");
    };
    for part in parts {
        assert!(fault.contains(part), "no {part:?} in:\n{fault}");
    }
}

#[test]
fn users_and_groups_are_read() {
    let config = MdsConfig::parse("config.toml", GOOD).expect("the good file is good");
    assert_eq!(config.users[1].uid, 1002);
    assert_eq!(config.users[1].groups.as_ref().map(Vec::len), Some(1));
    assert_eq!(config.groups[1].name.as_str(), "vision");
}

#[test]
fn names_without_a_domain_are_a_fault() {
    one_fault(
        "domain = \"example.org\"\n",
        "",
        &[
            "config.toml:19:8",
            "names have no domain",
            "^^^^^ expected a line like domain =",
        ],
    );
    one_fault(
        "example.org",
        "@example.org",
        &["config.toml:20:10", "without `@`"],
    );
}

#[test]
fn a_map_that_nobody_reads_or_that_is_empty_is_a_fault() {
    let faults = faults_with("mode = \"map\"", "mode = \"nss\"");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(
        faults[0].contains("config.toml:22:1: [[user]] counts for nothing"),
        "{}",
        faults[0]
    );
    let no_map = &GOOD[..GOOD.find("\n[[user]]").expect("there are users")];
    let faults = MdsConfig::parse("config.toml", no_map).expect_err("an empty map");
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert!(
        faults
            .to_string()
            .contains("there is no [[user]] and no [[group]]"),
        "{faults}"
    );
}

#[test]
fn two_of_one_name_or_number_are_told_with_the_first_ones_line() {
    one_fault(
        "\"bob\"",
        "\"alice\"",
        &[
            "config.toml:28:8",
            "two [[user]] have the name alice",
            "line 23",
        ],
    );
    one_fault(
        "uid = 1002",
        "uid = 1001",
        &[
            "config.toml:29:7",
            "two [[user]] have the uid 1001",
            "line 24",
        ],
    );
    one_fault(
        "gid = 5000",
        "gid = 50",
        &["two [[group]] have the gid 50", "line 34"],
    );
}

#[test]
fn a_group_that_isnt_there_is_told_with_the_nearest_one() {
    one_fault(
        "\"vision\"]",
        "\"vison\"]",
        &[
            "config.toml:25:10",
            "no [[group]] called `vison`",
            "did you mean `vision`?",
        ],
    );
}

#[test]
fn what_can_be_no_name_says_why() {
    one_fault("\"bob\"", "\"bob@example.org\"", &["leave out the `@`"]);
    one_fault("\"bob\"", "\"1002\"", &["would be taken for a number"]);
    one_fault("\"bob\"", "\"bo b\"", &["without spaces"]);
    one_fault("uid = 1002", "uid = 4294967295", &["0 to 4294967294"]);
}

#[test]
fn users_groups_and_how_they_are_called_change_at_reload() {
    let old = MdsConfig::parse("old", GOOD).expect("the good file is good");
    let text = GOOD
        .replace("uid = 1002", "uid = 1003")
        .replace("domain = \"example.org\"", "domain = \"example.com\"")
        .replace("manage_gids = \"on\"", "manage_gids = \"off\"");
    let new = MdsConfig::parse("new", &text).expect("it is good");
    let diff = old.reload_diff(&new);
    assert_eq!(
        diff.applied,
        [
            "export \"/data\": manage_gids",
            "identity.domain",
            "user \"bob\": uid"
        ]
    );
    assert!(old.reloaded(&new).reload_diff(&new).is_empty());
}
