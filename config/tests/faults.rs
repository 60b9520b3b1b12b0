//! Each fault that a file can have, as the person who wrote it reads it.

use config::{AnyConfig, DsConfig, Faults, MdsConfig};

const GOOD: &str = r#"[server]
listen = "10.0.0.2:2049"
state_dir = "/var/lib/headrace"
lease_seconds = 90
grace_seconds = 90

[[data_server]]
name = "nvme1"
address = "10.0.0.11:2049"
export = "/nvme"
weight = 1

[[data_server]]
name = "nvme2"
address = "10.0.0.12:2049"
export = "/nvme"

[[export]]
path = "/data"
clients = ["10.0.0.0/24"]
access = "rw"

[layout]
stripe_unit = "1MiB"
stripe_count = 2
copies = 1
ids = { base = 500000, count = 4096 }

[limits]
clients = 100
"#;

const GOOD_DS: &str = r#"[ds]
listen = "10.0.0.11:2049"
data_dir = "/nvme/headrace"
mds = "10.0.0.2"
capacity = "3TB"
engine = "auto"
"#;

fn faults(result: Result<impl std::fmt::Debug, Faults>) -> Vec<String> {
    result
        .expect_err("the file has faults")
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The faults of the good file with some text replaced.
fn faults_with(replacements: &[(&str, &str)]) -> Vec<String> {
    let mut text = GOOD.to_owned();
    for (old, new) in replacements {
        assert!(text.contains(old), "the good file has {old}");
        text = text.replacen(old, new, 1);
    }
    faults(MdsConfig::parse("config.toml", &text))
}

fn one_fault_with(old: &str, new: &str) -> String {
    let faults = faults_with(&[(old, new)]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.into_iter().next().expect("there is one")
}

/// The one fault is on the line, and says all of these.
#[track_caller]
fn says(fault: &str, place: &str, parts: &[&str]) {
    assert!(
        fault.starts_with(&format!("config.toml:{place}: ")),
        "{fault}"
    );
    for part in parts {
        assert!(fault.contains(part), "no {part:?} in:\n{fault}");
    }
}

#[test]
fn the_good_files_are_good() {
    MdsConfig::parse("config.toml", GOOD).expect("the good file is good");
    DsConfig::parse("ds.toml", GOOD_DS).expect("the good file is good");
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_known_one() {
    assert_eq!(
        one_fault_with("weight = 1", "wieght = 3"),
        "config.toml:11:1: unknown key `wieght` in [[data_server]]\n   \
         11 | wieght = 3\n      | ^^^^^^ did you mean `weight`?"
    );
}

#[test]
fn a_key_like_no_other_is_answered_with_all_that_there_are() {
    let fault = one_fault_with("stripe_count = 2", "fluffiness = 2");
    says(
        &fault,
        "25:1",
        &["known are stripe_unit, stripe_count, recall_seconds, away_error_seconds"],
    );
}

#[test]
fn an_unknown_section_is_shown_with_the_nearest_known_one() {
    let fault = one_fault_with("[layout]", "[layuot]");
    says(
        &fault,
        "23:2",
        &["unknown section [layuot]", "did you mean `layout`?"],
    );
}

#[test]
fn a_key_above_its_section_is_told_where_it_belongs() {
    let fault = one_fault_with("[server]", "copies = 1\n[server]");
    says(&fault, "1:1", &["outside of any section", "[layout]"]);
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let faults = faults_with(&[
        ("state_dir = \"/var/lib/headrace\"", "state_dir = \"var\""),
        ("lease_seconds = 90", "lease_seconds = 0"),
        ("weight = 1", "wieght = 3"),
        ("name = \"nvme2\"", "name = \"nvme1\""),
        ("10.0.0.0/24", "10.0.0.0/40"),
        ("access = \"rw\"", "access = \"rx\""),
        ("stripe_unit = \"1MiB\"", "stripe_unit = \"3MiB\""),
        ("clients = 100", "clients = \"many\""),
    ]);
    let lines: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split(':').nth(1))
        .collect();
    assert_eq!(
        lines,
        ["3", "4", "11", "14", "20", "21", "24", "30"],
        "{faults:#?}"
    );
}

#[test]
fn a_syntax_fault_is_told_with_its_place_and_beside_the_others() {
    let faults = faults_with(&[
        ("lease_seconds = 90", "lease_seconds = = 90"),
        ("weight = 1", "wieght = 3"),
        ("copies = 1", "copies 1"),
    ]);
    let lines: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split(':').nth(1))
        .collect();
    assert_eq!(lines, ["4", "11", "26"], "{faults:#?}");
    assert!(!faults.concat().contains("TOML parse error"), "{faults:#?}");
}

#[test]
fn what_a_syntax_fault_made_unreadable_is_not_called_missing() {
    let fault = one_fault_with(
        "state_dir = \"/var/lib/headrace\"",
        "state_dir \"/var/lib\"",
    );
    says(&fault, "3:11", &["expected `=`"]);
}

#[test]
fn a_key_written_twice_is_told() {
    let fault = one_fault_with(
        "lease_seconds = 90",
        "lease_seconds = 90\nlease_seconds = 60",
    );
    says(&fault, "5:1", &["duplicate key"]);
}

#[test]
fn a_missing_key_is_told_at_its_section_with_an_example() {
    let fault = one_fault_with("address = \"10.0.0.12:2049\"\n", "");
    says(
        &fault,
        "13:1",
        &[
            "[[data_server]] has no `address`",
            "address = \"10.0.0.11:2049\"",
        ],
    );
}

#[test]
fn an_empty_file_lacks_a_state_folder_a_data_server_and_an_export() {
    let faults = faults(MdsConfig::parse("config.toml", ""));
    let all = faults.concat();
    assert_eq!(faults.len(), 3, "{all}");
    for part in [
        "[server] has no `state_dir`",
        "there is no [[data_server]]",
        "there is no [[export]]",
    ] {
        assert!(all.contains(part), "{all}");
    }
}

#[test]
fn one_table_where_a_list_is_due_is_told() {
    let good = "[[export]]\npath = \"/data\"";
    let fault = one_fault_with(good, "[export]\npath = \"/data\"");
    says(&fault, "18:1", &["expected [[export]] for each"]);
}

#[test]
fn two_data_servers_of_one_name_are_told() {
    let fault = one_fault_with("name = \"nvme2\"", "name = \"nvme1\"");
    says(
        &fault,
        "14:8",
        &["two data servers are called `nvme1`", "line 8"],
    );
}

#[test]
fn two_entries_that_are_one_server_are_told() {
    let fault = one_fault_with("10.0.0.12:2049", "10.0.0.11");
    says(&fault, "15:11", &["two data servers are one", "line 9"]);
}

#[test]
fn one_machine_may_serve_two_exports_as_two_data_servers() {
    let text =
        GOOD.replace("10.0.0.12", "10.0.0.11")
            .replacen("/nvme\"\nweight", "/nvme0\"\nweight", 1);
    MdsConfig::parse("config.toml", &text).expect("two exports are two servers");
}

#[test]
fn an_export_twice_is_told() {
    let again = "[[export]]\npath = \"/data\"\nclients = \"10.0.1.0/24\"\n\n[layout]";
    let fault = one_fault_with("[layout]", again);
    says(&fault, "24:8", &["`/data` is exported twice", "line 19"]);
}

#[test]
fn an_export_inside_another_is_told_whichever_comes_first() {
    let inner = "[[export]]\npath = \"/data/sets\"\nclients = \"10.0.1.0/24\"\n\n[layout]";
    let fault = one_fault_with("[layout]", inner);
    says(
        &fault,
        "24:8",
        &["`/data/sets` lies inside the export `/data`", "line 19"],
    );
    let outer = "[[export]]\npath = \"/\"\nclients = \"10.0.1.0/24\"\n\n[layout]";
    let fault = one_fault_with("[layout]", outer);
    says(
        &fault,
        "24:8",
        &["`/` contains the export `/data`", "line 19"],
    );
}

#[test]
fn exports_that_only_begin_alike_stand_side_by_side() {
    let beside = "[[export]]\npath = \"/data2\"\nclients = \"10.0.1.0/24\"\n\n[layout]";
    let text = GOOD.replace("[layout]", beside);
    MdsConfig::parse("config.toml", &text).expect("neither lies inside the other");
}

#[test]
fn relative_paths_are_told() {
    says(
        &one_fault_with("\"/var/lib/headrace\"", "\"state\""),
        "3:13",
        &[
            "`state_dir` can't be \"state\"",
            "expected an absolute path",
        ],
    );
    says(
        &one_fault_with("path = \"/data\"", "path = \"data\""),
        "19:8",
        &["expected an absolute path: \"/data\"?"],
    );
    says(
        &one_fault_with("export = \"/nvme\"", "export = \"./nvme\""),
        "10:10",
        &["expected an absolute path"],
    );
}

#[test]
fn a_state_folder_that_is_the_root_or_climbs_is_told() {
    for folder in ["/", "//", "/.", "/var/../etc"] {
        one_fault_with("/var/lib/headrace", folder);
    }
}

#[test]
fn impossible_sizes_are_told() {
    for (unit, part) in [
        ("\"3MiB\"", "expected \"2MiB\" or \"4MiB\""),
        ("\"2KiB\"", "expected 4KiB to 1GiB"),
        ("\"2GiB\"", "expected 4KiB to 1GiB"),
        ("0", "expected 4KiB to 1GiB"),
        ("-1", "expected"),
        ("\"1M\"", "did you mean `MiB` or `MB`?"),
        ("\"20000000TiB\"", "more than 64 bits"),
        ("99999999999999999999999", "expected"),
        ("1.5", "`stripe_unit` is a float"),
        ("true", "expected a size such as"),
    ] {
        let fault = one_fault_with("\"1MiB\"", unit);
        says(&fault, "24:15", &[part]);
    }
}

#[test]
fn a_lease_of_nothing_and_a_grace_period_shorter_than_the_lease_are_told() {
    says(
        &one_fault_with("lease_seconds = 90", "lease_seconds = 0"),
        "4:17",
        &["`lease_seconds` can't be 0", "expected 1 to 3600"],
    );
    says(
        &one_fault_with("grace_seconds = 90", "grace_seconds = 30"),
        "5:17",
        &["grace period of 30 s is shorter than the lease of 90 s"],
    );
}

#[test]
fn grace_lasts_as_long_as_the_lease_unless_said() {
    let text = GOOD.replace("grace_seconds = 90\n", "");
    let config = MdsConfig::parse("config.toml", &text).expect("grace has a default");
    assert_eq!(config.server.grace(), config.server.lease_seconds);
}

#[test]
fn more_stripes_than_data_servers_are_told() {
    let fault = one_fault_with("stripe_count = 2", "stripe_count = 3");
    says(
        &fault,
        "25:16",
        &[
            "3 stripes don't fit on 2 data servers",
            "at most 2, or \"all\"",
        ],
    );
}

#[test]
fn more_than_one_copy_is_refused_as_not_there_yet() {
    let fault = one_fault_with("copies = 1", "copies = 2");
    says(
        &fault,
        "26:10",
        &["more than one isn't there yet", "expected 1"],
    );
}

#[test]
fn bad_networks_are_told() {
    for (net, part) in [
        ("10.0.0.7/24", "did you mean \"10.0.0.0/24\""),
        ("10.0.0.0/33", "expected a network"),
        ("*", "expected a network"),
    ] {
        says(&one_fault_with("10.0.0.0/24", net), "20:12", &[part]);
    }
    let fault = one_fault_with("[\"10.0.0.0/24\"]", "[]");
    says(&fault, "20:11", &["`clients` is empty"]);
    let fault = one_fault_with("[\"10.0.0.0/24\"]", "[\"10.0.0.1\", \"10.0.0.1/32\"]");
    says(&fault, "20:24", &["names this twice"]);
}

#[test]
fn bad_ports_and_addresses_are_told() {
    for (address, part) in [
        ("10.0.0.12:0", "a port from 1 to 65535"),
        ("10.0.0.12:70000", "a port from 1 to 65535"),
        ("10.0.0.400:2049", "expected \"host:port\""),
        ("fd00::12", "\"[fd00::12]:2049\""),
    ] {
        says(&one_fault_with("10.0.0.12:2049", address), "15:11", &[part]);
    }
    for (address, part) in [
        ("10.0.0.2", "expected an IP address and a port"),
        ("mds.example.net:2049", "expected an IP address and a port"),
        ("10.0.0.2:0", "expected a port from 1 to 65535"),
    ] {
        says(&one_fault_with("10.0.0.2:2049", address), "2:10", &[part]);
    }
}

#[test]
fn two_sockets_on_one_port_are_told() {
    let twice = "listen = [\"10.0.0.2:2049\", \"0.0.0.0:2049\"]";
    let fault = one_fault_with("listen = \"10.0.0.2:2049\"", twice);
    says(&fault, "2:10", &["can't both be bound"]);
    let metrics = "lease_seconds = 90\nmetrics_listen = \"0.0.0.0:2049\"";
    let fault = one_fault_with("lease_seconds = 90", metrics);
    says(
        &fault,
        "5:18",
        &["where NFS is served", "expected another port"],
    );
}

#[test]
fn a_weight_of_nothing_is_told() {
    let fault = one_fault_with("weight = 1", "weight = 0");
    says(
        &fault,
        "11:10",
        &["`weight` can't be 0", "expected 1 to 1000"],
    );
}

#[test]
fn ranges_of_ids_that_are_somebodys_or_too_small_are_told() {
    for (ids, place, part) in [
        ("{ base = 0, count = 4096 }", "27:7", "which is root"),
        (
            "{ base = 65000, count = 4096 }",
            "27:7",
            "65534, which is nobody",
        ),
        (
            "{ base = 4294967295, count = 4096 }",
            "27:7",
            "ends before 4294967295",
        ),
        ("{ base = 500000, count = 3 }", "27:7", "at least 256"),
        ("{ base = 500000 }", "27:7", "has no `count`"),
        (
            "{ base = 500000, count = 4096, cuont = 1 }",
            "27:38",
            "did you mean `count`?",
        ),
        ("{ base = -1, count = 4096 }", "27:16", "`base` can't be -1"),
        ("500000", "27:7", "expected { base ="),
    ] {
        let fault = one_fault_with("{ base = 500000, count = 4096 }", ids);
        says(&fault, place, &[part]);
    }
}

#[test]
fn a_word_that_is_none_is_shown_with_the_nearest() {
    let fault = one_fault_with("access = \"rw\"", "access = \"rw\"\nsquash = \"roott\"");
    says(&fault, "22:10", &["did you mean `root`?"]);
    let fault = one_fault_with("access = \"rw\"", "access = \"full\"");
    says(&fault, "21:10", &["expected \"ro\" or \"rw\""]);
    let fault = one_fault_with("access = \"rw\"", "access = true");
    says(
        &fault,
        "21:10",
        &["`access` is a boolean", "expected \"ro\" or \"rw\""],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("absent.toml");
    let faults_told = faults(MdsConfig::load(&path));
    assert_eq!(faults_told.len(), 1);
    assert!(
        faults_told[0].contains("absent.toml: can't be read"),
        "{faults_told:?}"
    );
    assert!(!faults_told[0].contains("Os {"), "{faults_told:?}");

    let path = folder.path().join("bytes.toml");
    std::fs::write(&path, b"[server]\nlisten = \"\xff\"\n").expect("written");
    let faults_told = faults(MdsConfig::load(&path));
    assert!(
        faults_told[0].contains("isn't text in UTF-8 on line 2"),
        "{faults_told:?}"
    );

    let path = folder.path().join("large.toml");
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).expect("written");
    let faults_told = faults(MdsConfig::load(&path));
    assert!(
        faults_told[0].contains("is larger than 1MiB"),
        "{faults_told:?}"
    );
}

#[test]
fn a_data_servers_file_is_told_apart_by_its_section() {
    assert!(matches!(AnyConfig::parse("x", GOOD), Ok(AnyConfig::Mds(_))));
    assert!(matches!(
        AnyConfig::parse("x", GOOD_DS),
        Ok(AnyConfig::Ds(_))
    ));
}

#[test]
fn both_daemons_in_one_file_are_refused() {
    let faults = faults(AnyConfig::parse("config.toml", &format!("{GOOD_DS}{GOOD}")));
    assert!(
        faults.concat().contains("unknown section [server]"),
        "{faults:#?}"
    );
}

#[test]
fn faults_of_a_data_servers_file_are_told() {
    for (old, new, part) in [
        (
            "data_dir = \"/nvme/headrace\"",
            "data_dir = \"nvme\"",
            "expected an absolute path",
        ),
        ("mds = \"10.0.0.2\"\n", "", "[ds] has no `mds`"),
        (
            "capacity = \"3TB\"",
            "capacity = \"3\"",
            "expected 1MiB or more",
        ),
        (
            "engine = \"auto\"",
            "engine = \"iouring\"",
            "did you mean `io_uring`?",
        ),
        (
            "engine = \"auto\"",
            "[limits]\ntransfer_bytes = \"512kB\"",
            "isn't a power of two",
        ),
        ("engine", "motor", "unknown key `motor` in [ds]"),
    ] {
        let text = GOOD_DS.replace(old, new);
        let faults = faults(DsConfig::parse("ds.toml", &text));
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].contains(part), "{}", faults[0]);
    }
}
