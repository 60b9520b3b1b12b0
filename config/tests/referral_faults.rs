//! Faults of `[[referral]]`, as the person who wrote it reads them.

use config::MdsConfig;

const GOOD: &str = include_str!("../examples/referral.toml");

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
fn a_referral_names_its_servers_and_where_it_lies_there() {
    let config = MdsConfig::parse("config.toml", GOOD).expect("the good file is good");
    assert_eq!(config.referrals[0].servers[0].location(), "10.0.1.2");
    assert_eq!(config.referrals[0].remote_path().as_str(), "/archive");
    let text = GOOD.replace("remote_path = \"/archive\"\n", "");
    let config = MdsConfig::parse("config.toml", &text).expect("it is good");
    assert_eq!(config.referrals[0].remote_path().as_str(), "/data/archive");
}

#[test]
fn a_referral_that_hides_an_export_or_is_the_root_is_a_fault() {
    one_fault(
        "\"/data/archive\"",
        "\"/data\"",
        &[
            "config.toml:17:8: the referral `/data` hides an export",
            "^^^^^^^ which is on line 13",
        ],
    );
    one_fault(
        "\"/data/archive\"",
        "\"/\"",
        &["config.toml:17:8", "the root can't be a referral"],
    );
}

#[test]
fn referrals_inside_each_other_are_a_fault() {
    let more = "remote_path = \"/archive\"\n[[referral]]\npath = \"/data/archive/old\"\nservers = \"10.0.1.3\"\n";
    one_fault(
        "remote_path = \"/archive\"\n",
        more,
        &["config.toml:21:8", "lie in one another", "line 17"],
    );
}

#[test]
fn servers_that_clients_can_not_be_told_are_faults() {
    one_fault("[\"10.0.1.2\"]", "[]", &["`servers` is empty"]);
    one_fault(
        "\"10.0.1.2\"",
        "\"mds2:2050\"",
        &["config.toml:18:12", "port of an IP address alone"],
    );
    one_fault("\"10.0.1.2\"", "\"fd00::2\"", &["in brackets"]);
    one_fault(
        "servers = [\"10.0.1.2\"]\n",
        "",
        &["[[referral]] has no `servers`"],
    );
}

#[test]
fn referrals_come_and_go_at_reload() {
    let good = MdsConfig::parse("old", GOOD).expect("the good file is good");
    let without = &GOOD[..GOOD.find("[[referral]]").expect("there is one")];
    let without = MdsConfig::parse("new", without).expect("it is good");
    assert_eq!(
        good.reload_diff(&without).applied,
        ["referral \"/data/archive\" removed"]
    );
    assert!(good.reloaded(&without).reload_diff(&without).is_empty());
}
