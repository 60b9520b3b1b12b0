//! Faults of `[[backend]]` and `[[junction]]`, as the person who wrote them reads them.

use config::{BackendMode, MdsConfig};

const GOOD: &str = include_str!("../examples/existing-exports-and-buckets.toml");

#[track_caller]
fn one_fault(old: &str, new: &str, parts: &[&str]) {
    assert!(GOOD.contains(old), "the good file has {old}");
    let text = GOOD.replacen(old, new, 1);
    let faults = MdsConfig::parse("config.toml", &text).expect_err("the file has faults");
    let [fault] = &faults.0[..] else {
        panic!("one fault: {faults}");
    };
    let fault = fault.to_string();
    for part in parts {
        assert!(fault.contains(part), "no {part:?} in:\n{fault}");
    }
}

#[test]
fn exports_and_buckets_appear_where_they_are_told_to() {
    let config = MdsConfig::parse("config.toml", GOOD).expect("the good file is good");
    let modes: Vec<_> = config.backends.iter().map(config::Backend::mode).collect();
    assert_eq!(modes, [BackendMode::PassThrough, BackendMode::Mirror]);
    assert_eq!(config.junctions[1].path.as_str(), "/data/lake");
}

#[test]
fn a_backend_without_what_its_kind_needs_is_a_fault() {
    one_fault(
        "server = \"10.0.0.5\"\n",
        "",
        &[
            "config.toml:15:1",
            "[[backend]] of kind \"nfs\" has no `server`",
        ],
    );
    one_fault(
        "bucket = \"training-data\"\n",
        "",
        &["[[backend]] of kind \"s3\" has no `bucket`"],
    );
}

#[test]
fn what_is_assimilated_has_one_place_and_is_not_for_reading_alone() {
    let assimilated = "server = \"10.0.0.5\"\nmode = \"assimilated\"\n";
    let text = GOOD.replacen("server = \"10.0.0.5\"\n", assimilated, 1);
    let config = MdsConfig::parse("config.toml", &text).expect("an export can be assimilated");
    assert!(config.backends[0].is_assimilated());
    let name = config.backends[0].name.clone();
    let faults = |text: &str| {
        let faults = MdsConfig::parse("config.toml", text).expect_err("the file has faults");
        faults.to_string()
    };
    let shown = format!("backend = \"{name}\"\n");
    let read_only = text.replacen(&shown, &format!("{shown}access = \"ro\"\n"), 1);
    assert!(faults(&read_only).contains("not for reading alone"));
    let twice = format!("{text}\n[[junction]]\npath = \"/data/again\"\n{shown}");
    assert!(faults(&twice).contains("has two places"));
}

#[test]
fn what_is_managed_has_one_place_and_nothing_that_names_need() {
    let good = include_str!("../examples/managed-bucket.toml");
    let config = MdsConfig::parse("config.toml", good).expect("the good file is good");
    assert!(config.backends[0].is_managed());
    for (old, new, part) in [
        (
            "cache = \"nvme1\"",
            "cache = \"nvme7\"",
            "no data server is called `nvme7`",
        ),
        ("mode =", "uid = 7\nmode =", "`uid` means nothing"),
        (
            "backend = \"lake\"",
            "backend = \"lake\"\nfolder = \"/a\"",
            "no folders of its own",
        ),
        (
            "backend = \"lake\"",
            "backend = \"lake\"\naccess = \"ro\"",
            "not for reading alone",
        ),
        (
            "[[junction]]",
            "[[junction]]\npath = \"/data/again\"\nbackend = \"lake\"\n[[junction]]",
            "is managed, and has two places",
        ),
        (
            "kind = \"s3\"",
            "kind = \"nfs\"\nserver = \"a\"\nexport = \"/b\"",
            "mode \"managed\"",
        ),
    ] {
        let text = good.replacen(old, new, 1);
        let faults = MdsConfig::parse("config.toml", &text).expect_err("the file has faults");
        assert!(
            faults.to_string().contains(part),
            "no {part:?} in:\n{faults}"
        );
    }
}

#[test]
fn keys_and_modes_of_another_kind_are_faults() {
    one_fault(
        "server = \"10.0.0.5\"\n",
        "server = \"10.0.0.5\"\nregion = \"eu\"\n",
        &["config.toml:19:10", "`region` means nothing", "\"nfs\""],
    );
    one_fault(
        "bucket = \"training-data\"\n",
        "bucket = \"training-data\"\nmode = \"pass-through\"\n",
        &[
            "can't be in the mode \"pass-through\"",
            "expected \"mirror\" or \"managed\"",
        ],
    );
}

#[test]
fn names_of_backends_are_their_own_and_known() {
    one_fault(
        "[[junction]]",
        "[[backend]]\nname = \"filer1\"\nkind = \"s3\"\nbucket = \"b\"\n[[junction]]",
        &["two backends are called `filer1`", "line 16"],
    );
    one_fault(
        "backend = \"lake\"",
        "backend = \"lakes\"",
        &["no backend is called `lakes`"],
    );
}

#[test]
fn a_junction_that_hides_something_or_is_out_of_reach_is_a_fault() {
    one_fault(
        "\"/data/lake\"",
        "\"/data\"",
        &["the junction `/data` hides an export", "line 12"],
    );
    one_fault(
        "\"/data/lake\"",
        "\"/lake\"",
        &["no client can get to the junction `/lake`"],
    );
    one_fault(
        "\"/data/lake\"",
        "\"/data/projects/lake\"",
        &["lie in one another", "line 30"],
    );
}

#[test]
fn junctions_come_and_go_at_reload() {
    let good = MdsConfig::parse("old", GOOD).expect("the good file is good");
    let without = &GOOD[..GOOD.rfind("[[junction]]").expect("there is one")];
    let without = MdsConfig::parse("new", without).expect("it is good");
    assert_eq!(
        good.reload_diff(&without).applied,
        ["junction \"/data/lake\" removed"]
    );
    assert!(good.reloaded(&without).reload_diff(&without).is_empty());
}
