//! What is written for people, and lies outside of the code, agrees with the code.

use config::{AnyConfig, reference_markdown};
use std::path::Path;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_example_loads() {
    let mut loaded = Vec::new();
    for entry in std::fs::read_dir(folder("examples")).expect("the examples are there") {
        let path = entry.expect("an entry").path();
        let config = AnyConfig::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        assert_eq!(
            matches!(config, AnyConfig::Ds(_)),
            name == "ds.toml",
            "{name} is for the daemon that its name says"
        );
        loaded.push(name.to_owned());
    }
    loaded.sort();
    assert_eq!(
        loaded,
        [
            "ds.toml",
            "existing-exports-and-buckets.toml",
            "foreign-nfs-server.toml",
            "managed-bucket.toml",
            "minimal.toml",
            "names-and-groups.toml",
            "read-only-export.toml",
            "referral.toml",
            "three-nvme-servers.toml",
            "tier0.toml",
        ]
    );
}

#[test]
fn the_reference_page_is_what_the_code_says() {
    let page = folder("../docs/CONFIG.md");
    if std::env::var_os("HEADRACE_WRITE_DOCS").is_some() {
        std::fs::write(&page, reference_markdown()).expect("docs/CONFIG.md can be written");
    }
    let written = std::fs::read_to_string(&page).expect("docs/CONFIG.md is there");
    assert!(
        written == reference_markdown(),
        "docs/CONFIG.md is old: HEADRACE_WRITE_DOCS=1 cargo test -p config --test written"
    );
}
