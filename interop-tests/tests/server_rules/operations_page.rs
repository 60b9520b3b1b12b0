//! docs/OPERATIONS.md against the RFCs' table and against the tests that it names: each error of each operation
//! has a test or a reason. Whether a server agrees is tried in `operations`.

use std::collections::{BTreeMap, BTreeSet};
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

/// The rows of the table under a headline.
fn table(headline: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let (_, from) = PAGE
        .split_once(&format!("## {headline}\n"))
        .unwrap_or_else(|| panic!("the page has no {headline}"));
    let section = from.split("\n## ").next().unwrap_or(from);
    section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn status_name(status: Nfsstat4) -> String {
    rfc_name(&format!("{status:?}"))
}

fn tests_in(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Errors that the page says no test can ask for, and of which operations.
struct Never {
    errors: Vec<&'static str>,
    /// `None`: whoever lists it.
    of: Option<(bool, Vec<&'static str>)>,
}

impl Never {
    fn all() -> Vec<Self> {
        table("What is never answered")
            .map(|cells| {
                let [what, why] = cells[..] else {
                    panic!("two cells: {cells:?}");
                };
                assert!(!why.is_empty(), "{what} has no reason");
                let (errors, of) = match what.split_once(" of ") {
                    None => (what, None),
                    Some((errors, of)) => match of.strip_prefix("all but ") {
                        Some(of) => (errors, Some((false, of.split(", ").collect()))),
                        None => (errors, Some((true, of.split(", ").collect()))),
                    },
                };
                Self {
                    errors: errors.split(", ").collect(),
                    of,
                }
            })
            .collect()
    }

    fn says(&self, name: &str, error: &str) -> bool {
        let of = match &self.of {
            None => true,
            Some((among, names)) => names.contains(&name) == *among,
        };
        of && self.errors.contains(&error)
    }
}

/// Errors in an operation's own cell.
fn own(row: &Row<'static>) -> BTreeSet<&'static str> {
    if row.fails_with == "none of its own" {
        return BTreeSet::new();
    }
    let parts = row.fails_with.split(';');
    let errors = parts.filter_map(|part| part.split("[test: ").next());
    errors
        .flat_map(|errors| errors.trim().split(", "))
        .collect()
}

/// The operations that answer an error as others do: those that are here and list it, but for those with a test
/// of their own, or with a reason why they never do.
pub fn alike(status: Nfsstat4) -> Vec<&'static Operation> {
    let (never, error) = (Never::all(), status_name(status));
    rows()
        .iter()
        .filter(|row| row.here == "yes")
        .filter(|row| !own(row).contains(&error[..]))
        .filter(|row| !never.iter().any(|never| never.says(row.name, &error)))
        .map(|row| operation(row.name))
        .filter(|operation| operation.errors().contains(&status))
        .collect()
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

#[test]
fn every_error_that_the_rfc_lists_for_an_operation_has_a_test_or_a_reason() {
    let bodies = bodies();
    let shared: Vec<_> = table("What operations answer alike").collect();
    let mut left = BTreeMap::new();
    for operation in OPERATIONS {
        for status in operation.errors() {
            let owes = alike(status).iter().any(|row| row.op == operation.op);
            // A test that goes over all that owe it.
            let asked = format!("owed(Nfsstat4::{status:?})");
            let is_asked = shared.iter().any(|cells| {
                cells[0]
                    .split(", ")
                    .any(|error| error == status_name(status))
                    && tests_in(cells[2])
                        .iter()
                        .any(|test| bodies.get(*test).is_some_and(|body| body.contains(&asked)))
            });
            if owes && !is_asked {
                let names = left.entry(status_name(status)).or_insert_with(Vec::new);
                names.push(operation.op);
            }
        }
    }
    assert!(left.is_empty(), "neither tested nor explained: {left:#?}");
}

#[test]
fn what_is_never_answered_is_listed_and_asked_for_by_no_test() {
    let rows = rows();
    for never in Never::all() {
        for error in &never.errors {
            let listed = |row: &&Row<'static>| {
                let errors = operation(row.name).errors();
                errors
                    .into_iter()
                    .any(|status| status_name(status) == *error)
            };
            let (lists, rest): (Vec<_>, Vec<_>) = rows.iter().partition(listed);
            assert!(!lists.is_empty(), "{error} is no error of any operation");
            for row in lists {
                let both = never.says(row.name, error) && own(row).contains(error);
                assert!(!both, "{} answers {error} and never does", row.name);
            }
            if let Some((true, named)) = &never.of {
                let stray = rest.iter().find(|row| named.contains(&row.name));
                assert!(
                    stray.is_none(),
                    "{error} is not listed for all of {named:?}"
                );
            }
            let known = never.of.iter().flat_map(|(_, names)| names);
            known.for_each(|name| assert!(rows.iter().any(|row| row.name == *name), "{name}"));
        }
    }
}
