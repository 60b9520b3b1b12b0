//! The house has floors: a crate imports only from lower ones. The table of docs/ARCHITECTURE.md is
//! compared with what cargo says of the workspace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A row of the table.
#[derive(Clone, Debug)]
struct Room {
    name: String,
    /// `None`: stands beside the house. It imports anything, and nothing imports it.
    floor: Option<u32>,
    folder: String,
    never: Vec<String>,
}

#[derive(Clone, Debug)]
struct Need {
    name: String,
    only_in_tests: bool,
}

/// A crate as cargo knows it.
#[derive(Clone, Debug)]
struct Crate {
    name: String,
    folder: String,
    needs: Vec<Need>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
        .to_owned()
}

fn in_backticks(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Rows `| floor | `crate` | `folder` | holds | never | never depends on |` of the page.
fn rooms(page: &str) -> Vec<Room> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim().split('|').map(str::trim).collect();
            let [_, floor, name, folder, _, _, never, _] = cells[..] else {
                return None;
            };
            let floor = match floor.parse() {
                Ok(floor) => Some(floor),
                Err(_) if floor == "–" => None,
                Err(_) => return None,
            };
            Some(Room {
                name: in_backticks(name).pop()?,
                floor,
                folder: in_backticks(folder).pop()?,
                never: in_backticks(never),
            })
        })
        .collect()
}

fn crates(metadata: &Value, root: &Path) -> Option<Vec<Crate>> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array()? {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        let folder = manifest.parent()?.strip_prefix(root).ok()?;
        let mut needs = Vec::new();
        for dependency in package["dependencies"].as_array()? {
            needs.push(Need {
                name: dependency["name"].as_str()?.to_owned(),
                only_in_tests: dependency["kind"] == "dev",
            });
        }
        found.push(Crate {
            name: package["name"].as_str()?.to_owned(),
            folder: folder.to_str()?.to_owned(),
            needs,
        });
    }
    Some(found)
}

/// What breaks the rules of the house. What only tests import may lie on any floor, but is
/// never what the table forbids, nor one of the rooms beside the house.
fn faults(rooms: &[Room], crates: &[Crate]) -> Vec<String> {
    let table: BTreeMap<&str, &Room> = rooms.iter().map(|room| (&*room.name, room)).collect();
    let mut found = Vec::new();
    for room in rooms {
        if !crates.iter().any(|known| known.name == room.name) {
            found.push(format!("{} has a row and no crate", room.name));
        }
    }
    for one in crates {
        let Some(room) = table.get(&*one.name) else {
            found.push(format!("{} has no row", one.name));
            continue;
        };
        if room.folder != one.folder {
            found.push(format!(
                "{} lies in {}, not in {}",
                one.name, one.folder, room.folder
            ));
        }
        for need in &one.needs {
            if room.never.contains(&need.name) {
                found.push(format!("{} never depends on {}", one.name, need.name));
            }
            let Some(below) = table.get(&*need.name) else {
                continue;
            };
            let fits = match (room.floor, below.floor) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(floor), Some(below)) => need.only_in_tests || below < floor,
            };
            if !fits {
                found.push(format!("{} imports {}", one.name, need.name));
            }
        }
    }
    found
}

#[test]
fn a_crate_imports_only_from_lower_floors() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).expect("the page is there");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(&root)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let crates = crates(&metadata, &root).expect("cargo's JSON has the documented form");
    assert!(crates.len() > 10, "cargo knows only {crates:?}");
    let found = faults(&rooms(&page), &crates);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_the_data_server_has_unsafe_code() {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut allowing = Vec::new();
    // In two pieces, so that this file isn't found.
    let permission = concat!("allow(", "unsafe_code)");
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(&path).is_ok_and(|text| text.contains(permission))
            {
                let path = path.strip_prefix(&root).expect("found below the root");
                allowing.push(path.display().to_string());
            }
        }
    }
    assert!(
        allowing.iter().all(|path| path.starts_with("server/ds/")),
        "{allowing:?}"
    );
}

const TABLE: &str = "
| floor | crate | folder | holds | never | never depends on |
|---|---|---|---|---|---|
| 0 | `low` | `low` | x | y | `tokio` |
| 1 | `mid` | `rooms/mid` | x | y | |
| 1 | `side` | `side` | x | y | `mid` |
| – | `tests` | `tests` | x | | |
";

fn sound_house() -> Vec<Crate> {
    let one = |name: &str, folder: &str, needs: &[&str]| Crate {
        name: name.to_owned(),
        folder: folder.to_owned(),
        needs: needs.iter().map(|name| need(name, false)).collect(),
    };
    vec![
        one("low", "low", &["bytes"]),
        one("mid", "rooms/mid", &["low", "tokio"]),
        one("side", "side", &["low"]),
        one("tests", "tests", &["mid", "side"]),
    ]
}

fn need(name: &str, only_in_tests: bool) -> Need {
    Need {
        name: name.to_owned(),
        only_in_tests,
    }
}

fn with_need(index: usize, need: Need) -> Vec<String> {
    let mut house = sound_house();
    house[index].needs.push(need);
    faults(&rooms(TABLE), &house)
}

#[test]
fn a_sound_house_has_no_faults() {
    assert_eq!(faults(&rooms(TABLE), &sound_house()), [""; 0]);
}

#[test]
fn an_import_from_above_or_beside_is_a_fault() {
    assert_eq!(with_need(0, need("mid", false)), ["low imports mid"]);
    assert_eq!(with_need(1, need("side", false)), ["mid imports side"]);
    assert_eq!(with_need(1, need("side", true)), [""; 0]);
}

#[test]
fn nothing_imports_what_stands_beside_the_house() {
    assert_eq!(with_need(1, need("tests", true)), ["mid imports tests"]);
}

#[test]
fn what_the_table_forbids_is_forbidden_in_tests_too() {
    assert_eq!(
        with_need(0, need("tokio", true)),
        ["low never depends on tokio"]
    );
    assert_eq!(
        with_need(2, need("mid", true)),
        ["side never depends on mid"]
    );
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_faults() {
    let mut house = sound_house();
    house[2].name = "new".to_owned();
    assert_eq!(
        faults(&rooms(TABLE), &house),
        ["side has a row and no crate", "new has no row"]
    );
}

#[test]
fn a_crate_that_moved_is_a_fault() {
    let mut house = sound_house();
    house[1].folder = "mid".to_owned();
    assert_eq!(
        faults(&rooms(TABLE), &house),
        ["mid lies in mid, not in rooms/mid"]
    );
}
