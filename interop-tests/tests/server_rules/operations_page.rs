//! docs/OPERATIONS.md against the RFCs' table and against the tests that it names. Whether a server agrees
//! is tried in `operations`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use interop_tests::nfs41::rfc::{ANY, FILE, Need, OPERATIONS, Operation};
use wire::nfs4::{Nfsstat4, Opnum};

use crate::operations::BEYOND;

const PAGE: &str = include_str!("../../../docs/OPERATIONS.md");

struct Row<'a> {
    name: &'a str,
    section: &'a str,
    need: &'a str,
    here: &'a str,
    fails_with: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let (_, table) = PAGE
        .split_once("## The operations")
        .expect("the page has its table");
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim);
    table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| {
            let row: Vec<&str> = cells(line).collect();
            let [name, section, need, here, fails_with] = row[..] else {
                panic!("five cells: {line}");
            };
            Row {
                name,
                section,
                need,
                here,
                fails_with,
            }
        })
        .collect()
}

/// `WrongType` is `WRONG_TYPE` in the RFC.
fn rfc_name(variant: &str) -> String {
    let mut name = String::new();
    for c in variant.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_uppercase());
    }
    name
}

fn operation(name: &str) -> &'static Operation {
    OPERATIONS
        .iter()
        .find(|row| rfc_name(&format!("{:?}", row.op)) == name)
        .unwrap_or_else(|| panic!("{name} is no operation"))
}

/// What the page says is there.
pub fn here() -> BTreeMap<Opnum, bool> {
    rows()
        .iter()
        .map(|row| (operation(row.name).op, row.here == "yes"))
        .collect()
}

#[test]
fn the_page_has_every_operation_with_its_section_and_need() {
    let told: Vec<_> = rows()
        .iter()
        .map(|row| (row.name, row.section, row.need))
        .map(|(name, section, need)| (name.to_owned(), section.to_owned(), need))
        .collect();
    let known: Vec<_> = OPERATIONS
        .iter()
        .map(|row| {
            let need = match row.need {
                Need::Required => "required",
                Need::Recommended => "recommended",
                Need::Optional => "optional",
                Need::Forbidden => "not to be",
            };
            let name = rfc_name(&format!("{:?}", row.op));
            (name, format!("RFC {}", row.section), need)
        })
        .collect();
    assert_eq!(told, known);
    let numbers: Vec<u32> = (3..=75).chain([Opnum::Illegal as u32]).collect();
    assert!(
        OPERATIONS.iter().map(|row| row.op as u32).eq(numbers),
        "the table has each number, in order"
    );
}

/// Bodies of all functions at the margin of the tests, by name; those of one name together.
fn bodies() -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for folder in [
        "server_rules",
        "server_rules/delegations",
        "server_rules/refusals",
        "session_rules",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(folder);
        for entry in fs::read_dir(folder).expect("the tests are there") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                continue;
            }
            let source = fs::read_to_string(path).expect("a source is text");
            for function in source.split("\nasync fn ").skip(1) {
                let name = function.split('(').next().unwrap_or_default();
                let body = function.split("\n}\n").next().unwrap_or_default();
                found.entry(name.to_owned()).or_default().push_str(body);
            }
        }
    }
    found
}

#[test]
fn every_error_on_the_page_is_the_operation_s_own_and_asked_for_by_a_test_beside_it() {
    let bodies = bodies();
    for row in rows() {
        if row.fails_with == "none of its own" {
            continue;
        }
        let operation = operation(row.name);
        for part in row.fails_with.split(';') {
            let (errors, tests) = part
                .split_once("[test: ")
                .unwrap_or_else(|| panic!("{}: no test: {part}", row.name));
            let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            for error in errors.trim().split(", ") {
                let status = operation
                    .own_errors()
                    .chain(
                        BEYOND
                            .iter()
                            .filter(|(op, _)| *op == operation.op)
                            .map(|(_, s)| *s),
                    )
                    .chain(FILE.iter().chain(ANY).copied())
                    .find(|status| rfc_name(&format!("{status:?}")) == error)
                    .unwrap_or_else(|| panic!("{} does not fail with {error}", row.name));
                let asked = format!("Nfsstat4::{status:?}");
                let is_asked = |test: &&str| -> bool {
                    let body = bodies.get(*test);
                    body.is_some_and(|body| body.contains(&asked)) || status == Nfsstat4::Notsupp
                };
                assert!(
                    tests.iter().any(is_asked),
                    "{}: none of {tests:?} asks for {asked}",
                    row.name
                );
            }
        }
    }
}
