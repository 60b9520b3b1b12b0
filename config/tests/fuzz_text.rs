//! Any bytes as the text of a configuration: reading it ends with one, or with reasons that can be told.
//! `tests/__fuzz__` keeps inputs that are worth trying every time.

use bolero::check;
use config::{AnyConfig, DsConfig, MdsConfig};

const ITERATIONS: usize = 3_000;

/// What a person may write, by the byte that stands for it; other bytes stand for themselves.
const PIECES: [&str; 32] = [
    "[server]\n",
    "[[data_server]]\n",
    "[[export]]\n",
    "[layout]\n",
    "[limits]\n",
    "[ds]\n",
    "[layout.ids]\n",
    "listen = ",
    "state_dir = ",
    "lease_seconds = ",
    "name = ",
    "address = ",
    "export = ",
    "path = ",
    "clients = ",
    "squash = ",
    "ids = ",
    "stripe_unit = ",
    "stripe_count = ",
    "placement = ",
    "\"/a\"\n",
    "\"10.0.0.2:2049\"\n",
    "[\"10.0.0.0/8\", \"::/0\"]\n",
    "\"1MiB\"\n",
    "{ base = 500000, count = 64 }\n",
    "\"all\"\n",
    "0x7fffffffffffffff\n",
    "-1\n",
    "\"\"\"",
    "\n",
    "#",
    "\u{202e}",
];

fn ends_well(text: &str) {
    for faults in [
        AnyConfig::parse("x", text).err(),
        MdsConfig::parse("x", text).err(),
        DsConfig::parse("x", text).err(),
    ]
    .into_iter()
    .flatten()
    {
        assert!(!faults.0.is_empty());
        assert!(faults.0.iter().all(|fault| !fault.what.is_empty()));
        assert!(!faults.to_string().is_empty());
    }
}

#[test]
fn any_bytes_as_a_configuration() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            ends_well(&String::from_utf8_lossy(input));
            let mut text = Vec::new();
            for byte in input {
                match PIECES.get(usize::from(byte.wrapping_sub(0x80))) {
                    Some(piece) => text.extend_from_slice(piece.as_bytes()),
                    None => text.push(*byte),
                }
            }
            ends_well(&String::from_utf8_lossy(&text));
        });
}
