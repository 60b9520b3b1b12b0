//! Whatever stands in a file, reading it ends with a configuration or with reasons.

use config::{AnyConfig, MdsConfig};
use proptest::prelude::*;

const THREE_SERVERS: &str = include_str!("../examples/three-nvme-servers.toml");

/// A line of what a person may write, right or wrong.
fn line() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "listen",
        "state_dir",
        "lease_seconds",
        "name",
        "address",
        "export",
        "clients",
        "path",
        "access",
        "squash",
        "stripe_unit",
        "stripe_count",
        "ids",
        "base",
        "copies",
        "weight",
    ]);
    let values = prop_oneof![
        Just("\"/a\"".to_owned()),
        Just("[".to_owned()),
        Just("[[\"a\", 1], {}]".to_owned()),
        Just("{ base = 1, count = -5 }".to_owned()),
        Just("\"\"\"\nx".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("0x7fffffffffffffffffffffff".to_owned()),
        Just("nan".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>(),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    prop_oneof![
        (keys, values).prop_map(|(key, value)| format!("{key} = {value}")),
        prop::sample::select(vec![
            "[server]",
            "[[data_server]]",
            "[[export]]",
            "[layout]",
            "[limits]",
            "[ds]",
            "[export]",
            "[[server]]",
            "[layout.ids]",
            "server = 1",
            "export = []",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text: String) {
        let _ = AnyConfig::parse("x", &text).map_err(|faults| faults.to_string());
    }

    #[test]
    fn no_lines_make_the_reader_panic_and_refusals_always_say_why(
        lines in prop::collection::vec(line(), 0..24)
    ) {
        for result in [
            AnyConfig::parse("x", &lines.join("\n")),
            AnyConfig::parse("x", &lines.join("\r\n")),
        ] {
            if let Err(faults) = result {
                prop_assert!(!faults.0.is_empty());
                prop_assert!(faults.0.iter().all(|fault| !fault.what.is_empty()));
            }
        }
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(
        at in 0..THREE_SERVERS.len(), drop in 0..40usize, insert: String
    ) {
        let end = (at + drop).min(THREE_SERVERS.len());
        let text = format!("{}{insert}{}", &THREE_SERVERS[..at], &THREE_SERVERS[end..]);
        let _ = MdsConfig::parse("x", &text).map_err(|faults| faults.to_string());
    }
}
