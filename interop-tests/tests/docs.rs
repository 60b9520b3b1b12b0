//! What the documents claim of the sources: cited tests and scenarios exist, named files are there,
//! links lead somewhere, each claim of SEMANTICS names its test, versions are those of Cargo.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Pages whose every claim, an item of a list, names its tests.
const CLAIMING: &[&str] = &["docs/SEMANTICS.md", "docs/INVARIANTS.md"];
/// The highest number of docs/CLIENT-FACTS.md.
const FACTS: u32 = 62;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn files(extension: &str) -> Vec<PathBuf> {
    files_below(&root(), extension)
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    if !folder.is_dir() {
        return Vec::new();
    }
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|known| known == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The pages that people read, by their path below the root.
fn pages() -> Vec<(String, String)> {
    let root = root();
    files("md")
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("found below the root");
            let name = name.display().to_string();
            let text = read(&name);
            (name, text)
        })
        .filter(|(name, _)| name == "README.md" || name.starts_with("docs/"))
        .collect()
}

/// Names of test functions: behind an attribute that makes a test, or a claim of the suite that
/// every data server runs.
fn tests_of(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = function_name(line) {
            if is_test || line.contains("(subject: &dyn Subject)") {
                found.insert(name);
            }
            is_test = false;
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let name = line.strip_prefix("fn ")?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    Some(name[..end].to_owned())
}

fn all_tests() -> BTreeSet<String> {
    files("rs")
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| tests_of(&text))
        .collect()
}

fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What a page cites: `[test: `a`, `b`; scenario: `c`]`.
#[derive(Debug, Default, PartialEq)]
struct Cited {
    tests: Vec<String>,
    scenarios: Vec<String>,
}

fn cited(text: &str) -> Cited {
    let mut all = Cited::default();
    for bracket in text.split('[').skip(1) {
        let inside = bracket.split(']').next().unwrap_or_default();
        for part in inside.split(';').map(str::trim) {
            let names = || in_backticks(part).map(str::to_owned);
            if part.starts_with("test:") {
                all.tests.extend(names());
            } else if part.starts_with("scenario:") {
                all.scenarios.extend(names());
            }
        }
    }
    all
}

/// Items of lists, each with the lines that continue it; nested ones count by themselves.
fn items(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        let text = line.trim_start();
        if let Some(item) = text.strip_prefix("- ") {
            found.push(item.to_owned());
            inside = true;
        } else if text.is_empty() || text.starts_with(['#', '|']) {
            inside = false;
        } else if inside && let Some(item) = found.last_mut() {
            item.push(' ');
            item.push_str(text);
        }
    }
    found
}

fn says_how_it_is_proved(item: &str) -> bool {
    cited(item) != Cited::default()
}

#[test]
fn every_cited_test_exists() {
    let known = all_tests();
    assert!(known.len() > 300, "only {} tests were found", known.len());
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for name in cited(&text).tests {
            if !known.contains(&name) {
                missing.push(format!("{page}: no test {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_cited_scenario_exists() {
    let list = read("interop-tests/src/scenarios/mod.rs");
    let mut missing = Vec::new();
    for (page, text) in pages() {
        for name in cited(&text).scenarios {
            if !list.contains(&format!("\"{name}\",")) {
                missing.push(format!("{page}: no scenario {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_claim_names_its_test_or_says_that_there_is_none() {
    let mut silent = Vec::new();
    for page in CLAIMING {
        let claims = items(&read(page));
        assert!(claims.len() > 10, "{page} has {} claims", claims.len());
        for claim in claims.iter().filter(|claim| !says_how_it_is_proved(claim)) {
            silent.push(format!("{page}: {claim}"));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn every_file_that_a_page_names_is_there() {
    const ROOMS: &[&str] = &[
        "server/",
        "layout/",
        "config/",
        "backends/",
        "interop-tests/",
        "bench/",
        "xtask/",
        "docs/",
    ];
    let root = root();
    let mut missing = Vec::new();
    for (page, text) in pages() {
        // Blocks of code are no names of files.
        let prose: String = text.split("```").step_by(2).collect();
        for name in in_backticks(&prose) {
            let is_place = ROOMS.iter().any(|room| name.starts_with(room))
                && !name.contains([' ', '*', '<', '{', '…']);
            if is_place && !root.join(name).exists() {
                missing.push(format!("{page}: no {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let folder = root.join(&page);
        let folder = folder.parent().expect("a page lies in a folder");
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap_or_default();
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                missing.push(format!("{page}: no {file}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Everything of `text` but comments and empty lines.
fn settings(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

#[test]
fn the_configuration_in_the_readme_is_the_example_that_a_test_loads() {
    let readme = read("README.md");
    let blocks: Vec<Vec<&str>> = readme
        .split("```toml")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(settings)
        .collect();
    for example in ["config/examples/minimal.toml", "config/examples/ds.toml"] {
        let text = read(example);
        assert!(
            blocks.contains(&settings(&text)),
            "README.md doesn't show {example} as it is"
        );
    }
}

/// Name and version of every package that Cargo.lock holds.
fn locked(lock: &str) -> BTreeMap<String, Vec<String>> {
    let value = |line: &str, key: &str| {
        line.strip_prefix(key)
            .map(|rest| rest.trim_matches('"').to_owned())
    };
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in lock.lines() {
        if let Some(value) = value(line, "name = ") {
            name = value;
        } else if let Some(version) = value(line, "version = ") {
            found.entry(name.clone()).or_default().push(version);
        }
    }
    found
}

/// Packages of `manifest`'s sections of dependencies.
fn needs_of(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && !line.contains("workspace");
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ']) {
            found.push(name.to_owned());
        }
    }
    found
}

/// Whether sources name a crate: a path that begins with it, or `use` of it alone.
fn names_crate(text: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    let code = || {
        text.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
    };
    let begins = |line: &str, at: usize| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    };
    code().any(|line| {
        ["::", "!", ";"].iter().any(|end| {
            line.match_indices(&format!("{name}{end}"))
                .any(|(at, _)| begins(line, at))
        })
    })
}

/// A crate's sources, and folders of another's that its tests take in by `#[path]`.
fn sources_of(folder: &Path) -> Vec<String> {
    let own: Vec<PathBuf> = ["src", "tests", "examples"]
        .iter()
        .flat_map(|room| files_below(&folder.join(room), "rs"))
        .collect();
    let text = |path: &PathBuf| fs::read_to_string(path).ok();
    let mut sources: Vec<String> = own.iter().filter_map(text).collect();
    for path in &own {
        let named = |line: &str| {
            let inner = line.trim().strip_prefix("#[path = \"")?;
            let module = path.parent()?.join(inner.strip_suffix("/mod.rs\"]")?);
            Some(files_below(&module, "rs"))
        };
        let text = text(path).unwrap_or_default();
        let taken_in = text.lines().filter_map(named).flatten();
        sources.extend(taken_in.filter_map(|path| fs::read_to_string(path).ok()));
    }
    sources
}

#[test]
fn every_crate_uses_what_its_manifest_names() {
    let root = root();
    let mut faults = Vec::new();
    for manifest in files("toml") {
        let folder = manifest.parent().expect("a file lies in a folder");
        if manifest.file_name().is_none_or(|name| name != "Cargo.toml") || folder == root {
            continue;
        }
        let text = fs::read_to_string(&manifest).expect("a manifest can be read");
        // A crate may have others in its folder: their sources are not its own.
        let sources = sources_of(folder);
        for need in needs_of(&text) {
            if !sources.iter().any(|source| names_crate(source, &need)) {
                faults.push(format!("{}: {need} is not used", manifest.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_crate_is_told_from_words_that_hold_its_name() {
    assert!(names_crate("use tokio::sync::Notify;", "tokio"));
    assert!(names_crate("    proptest! {", "proptest"));
    assert!(names_crate("use sd_notify;", "sd-notify"));
    assert!(!names_crate("use tokio_util::sync::X;", "tokio"));
    assert!(!names_crate("my_tokio::x()", "tokio"));
    assert!(!names_crate("// tokio::sync", "tokio"));
    assert_eq!(
        needs_of(
            "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = { x = 1 }\n[lints]\nc = 1\n"
        ),
        ["a", "b"]
    );
}

#[test]
fn every_dependency_has_a_row_with_its_version() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest
        .split_once("[workspace.dependencies]")
        .expect("the root manifest lists the dependencies");
    let table = rest.split("\n[").next().unwrap_or_default();
    let page = read("docs/DEPENDENCIES.md");
    let locked = locked(&read("Cargo.lock"));
    let mut faults = Vec::new();
    for line in table.lines().filter(|line| !line.contains("path =")) {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        let row = page
            .lines()
            .find(|row| row.starts_with(&format!("| `{name}` |")));
        let shown = row.and_then(|row| row.split('|').nth(2)).map(str::trim);
        match (shown, locked.get(name)) {
            (None, _) => faults.push(format!("{name} has no row")),
            (Some(shown), known) => {
                let known = known.map_or(&[][..], Vec::as_slice);
                if !known.iter().any(|version| version == shown) {
                    faults.push(format!("{name} is {known:?}, its row says {shown}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The number in `fact_9_older_clients_get_no_stripes`.
fn fact_of(test: &str) -> Option<u32> {
    test.strip_prefix("fact_")?.split('_').next()?.parse().ok()
}

#[test]
fn every_fact_of_the_client_has_a_row_and_every_test_of_one_is_in_it() {
    let page = read("docs/CLIENT-FACTS.md");
    let rows: BTreeMap<u32, &str> = page
        .lines()
        .filter_map(|line| {
            let number = line.strip_prefix("| ")?.split(' ').next()?;
            Some((number.parse().ok()?, line))
        })
        .collect();
    assert!(rows.keys().copied().eq(1..=FACTS), "{:?}", rows.keys());
    for (number, row) in &rows {
        assert!(says_how_it_is_proved(row), "fact {number} names no test");
    }
    for test in all_tests() {
        if let Some(fact) = fact_of(&test) {
            let row = rows.get(&fact).copied().unwrap_or_default();
            assert!(
                cited(row).tests.contains(&test),
                "fact {fact} doesn't name {test}"
            );
        }
    }
}

/// First cells of the table that follows `heading`.
fn first_cells(page: &str, heading: &str) -> String {
    let (_, rest) = page
        .split_once(heading)
        .unwrap_or_else(|| panic!("no section {heading}"));
    rest.lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('|').nth(1))
        .collect::<Vec<_>>()
        .join(",")
}

#[test]
fn every_attribute_that_is_absent_is_listed_with_its_reason() {
    let served = read("server/mds/src/attributes.rs");
    let is_served = |attribute: &str| {
        served
            .split("Attr::")
            .any(|rest| rest.split(|c: char| !c.is_alphanumeric()).next() == Some(attribute))
    };
    // Rows `Name = number, field: type` of the wire's table.
    let known = read("server/wire/src/nfs4/attributes.rs");
    let absent: BTreeSet<&str> = known
        .lines()
        .filter_map(|line| line.trim().split_once(" = "))
        .filter_map(|(name, rest)| {
            let (number, field) = rest.split_once(", ")?;
            number.parse::<u32>().ok()?;
            (!is_served(name)).then_some(field.split(':').next()?)
        })
        .collect();
    assert!(absent.contains("sacl"), "{absent:?}");
    let page = read("docs/SEMANTICS.md");
    let listed = first_cells(&page, "## Attributes that are absent");
    assert_eq!(in_backticks(&listed).collect::<BTreeSet<_>>(), absent);
}

/// `CopyNotify` is `COPY_NOTIFY` in the RFC.
fn rfc_name(operation: &str) -> String {
    let mut name = String::new();
    for c in operation.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_uppercase());
    }
    name
}

#[test]
fn every_operation_that_is_not_supported_is_listed_with_its_reason() {
    let dispatch = read("server/mds/src/ops/mod.rs");
    let end = dispatch
        .find("=> ResOp::failed(opnum, Nfsstat4::Notsupp)")
        .expect("one arm holds all operations that are not supported");
    let start = dispatch[..end].rfind("=>").expect("it isn't the first arm");
    let refused: BTreeSet<String> = dispatch[start..end]
        .split("ArgOp::")
        .skip(1)
        .filter_map(|rest| rest.split('(').next())
        .map(rfc_name)
        .collect();
    assert!(refused.contains("OPENATTR"), "{refused:?}");
    let page = read("docs/SEMANTICS.md");
    let listed = first_cells(&page, "## Operations that answer NFS4ERR_NOTSUPP");
    let listed: BTreeSet<String> = listed
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    assert_eq!(listed, refused);
}

#[test]
fn citations_are_found_and_links_are_none() {
    let text = "It is so. [test: `a_b`, `c`; scenario: `tree`] And [here](docs/A.md) [`x`](y).";
    let found = cited(text);
    assert_eq!(found.tests, ["a_b", "c"]);
    assert_eq!(found.scenarios, ["tree"]);
    assert!(!says_how_it_is_proved("A claim with [a link](x) alone."));
    assert!(!says_how_it_is_proved("A claim. [no test yet]"));
}

#[test]
fn tests_are_told_from_other_functions() {
    let source = "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn c() {}\npub async fn d(subject: &dyn Subject) {\n";
    let found = tests_of(source);
    assert!(found.iter().eq(["a", "c", "d"]), "{found:?}");
}

#[test]
fn an_item_has_the_lines_that_continue_it() {
    let page = "- one\n  goes on\n\nNo item.\n- two\n# Head\nnor this";
    assert_eq!(items(page), ["one goes on", "two"]);
}
