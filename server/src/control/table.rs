//! An answer of the control socket as lines for people.

use serde_json::Value;
use std::fmt::Write;

/// What `headrace ctl backends` prints.
pub fn table(told: &Value) -> String {
    let mut text = String::new();
    let data_servers = rows(all(told, "data_servers"), |server| {
        vec![
            word(server, "name"),
            word(server, "state"),
            bytes(server, "free_bytes"),
            bytes(server, "total_bytes"),
        ]
    });
    draw(
        &mut text,
        &["DATA SERVER", "STATE", "FREE", "OF"],
        &data_servers,
    );
    let scans = rows(all(told, "scans"), |scan| {
        vec![
            word(scan, "backend"),
            word(scan, "place"),
            word(scan, "state"),
            word(scan, "directories_left"),
            word(scan, "directories"),
            word(scan, "files"),
            bytes(scan, "bytes"),
        ]
    });
    if !scans.is_empty() {
        text.push('\n');
        let head = [
            "ASSIMILATED",
            "PLACE",
            "SCAN",
            "FOLDERS LEFT",
            "DONE",
            "FILES",
            "BYTES",
        ];
        draw(&mut text, &head, &scans);
    }
    for scan in all(told, "scans") {
        if let Some(why) = scan["why"].as_str() {
            let _ = writeln!(text, "\nthe scan of {} waits: {why}", word(scan, "backend"));
        }
    }
    let managed = rows(all(told, "managed"), |one| {
        vec![
            word(one, "backend"),
            word(one, "place"),
            word(one, "state"),
            unsent(one),
        ]
    });
    if !managed.is_empty() {
        text.push('\n');
        draw(
            &mut text,
            &["MANAGED", "PLACE", "STATE", "UNSENT"],
            &managed,
        );
    }
    for one in all(told, "managed") {
        if let Some(why) = one["why"].as_str() {
            let (backend, state) = (word(one, "backend"), word(one, "state"));
            let _ = writeln!(text, "\n{backend} is {state}: {why}");
        }
    }
    let junctions = rows(all(told, "junctions"), |junction| {
        vec![
            word(junction, "path"),
            word(junction, "backend"),
            format!("{} {}", word(junction, "kind"), word(junction, "place")),
            word(junction, "state"),
            bytes(junction, "free_bytes"),
            word(junction, "calls"),
            micros(junction, "call_p50_micros"),
            micros(junction, "call_p99_micros"),
            word(junction, "delayed"),
            word(junction, "failed"),
            word(junction, "layouts"),
            bytes(junction, "read_bytes"),
            bytes(junction, "written_bytes"),
            unsent(junction),
        ]
    });
    if !junctions.is_empty() {
        text.push('\n');
        let head = [
            "JUNCTION", "BACKEND", "PLACE", "STATE", "FREE", "CALLS", "P50", "P99", "LATER",
            "FAILED", "DIRECT", "READ", "WRITTEN", "UNSENT",
        ];
        draw(&mut text, &head, &junctions);
    }
    let cached = || all(told, "managed").chain(all(told, "junctions"));
    let caches = cached().filter(|one| one["cache"].is_object());
    let caches = rows(caches, |junction| {
        let cache = &junction["cache"];
        vec![
            word(junction, "path"),
            word(cache, "data_server"),
            share(cache, "hits", "misses"),
            bytes(cache, "read_bytes"),
            bytes(cache, "fetched_bytes"),
            bytes(cache, "saved_bytes"),
            bytes(cache, "held_bytes"),
            bytes(cache, "limit_bytes"),
        ]
    });
    if !caches.is_empty() {
        text.push('\n');
        let head = [
            "CACHED", "AT", "HITS", "READ", "FETCHED", "SAVED", "HELD", "OF",
        ];
        draw(&mut text, &head, &caches);
    }
    for junction in all(told, "junctions") {
        if let Some(why) = junction["why"].as_str() {
            let _ = writeln!(text, "\n{} is away: {why}", word(junction, "backend"));
        }
    }
    for one in cached() {
        if let Some(why) = one["cache"]["why"].as_str() {
            let _ = writeln!(text, "\n{} isn't cached: {why}", word(one, "backend"));
        }
    }
    text
}

fn all<'a>(told: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    told[name].as_array().into_iter().flatten()
}

fn rows<'a>(
    of: impl Iterator<Item = &'a Value>,
    row: impl Fn(&Value) -> Vec<String>,
) -> Vec<Vec<String>> {
    of.map(row).collect()
}

fn draw(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .chain(head.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn word(of: &Value, key: &str) -> String {
    match &of[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn bytes(of: &Value, key: &str) -> String {
    let Some(bytes) = of[key].as_u64() else {
        return "-".to_owned();
    };
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut amount = bytes as f64;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{amount:.1} {}", UNITS[unit]),
    }
}

/// How many of a hundred were of the one kind.
fn share(of: &Value, one: &str, other: &str) -> String {
    match (of[one].as_u64(), of[other].as_u64()) {
        (Some(one), Some(other)) if one + other > 0 => {
            format!("{:.1} %", one as f64 * 100.0 / (one + other) as f64)
        }
        _ => "-".to_owned(),
    }
}

fn micros(of: &Value, key: &str) -> String {
    match of[key].as_u64() {
        None => "-".to_owned(),
        Some(micros @ 0..1_000) => format!("≤{micros} µs"),
        Some(micros @ 1_000..1_000_000) => format!("≤{} ms", micros as f64 / 1e3),
        Some(micros) => format!("≤{} s", micros as f64 / 1e6),
    }
}

fn unsent(junction: &Value) -> String {
    match junction["unsent_files"].as_u64() {
        None | Some(0) => "0 B".to_owned(),
        Some(files) => format!(
            "{} in {files} files, {} s old",
            bytes(junction, "unsent_bytes"),
            word(junction, "unsent_seconds")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_stand_below_each_other_and_reasons_below_them() {
        let told = json!({
            "data_servers": [{ "name": "nvme1", "state": "up", "total_bytes": 2048, "free_bytes": 100 }],
            "junctions": [{
                "path": "/lake", "backend": "lake", "kind": "s3", "place": "training-data/",
                "state": "away", "why": "connection refused", "total_bytes": 0, "free_bytes": 0,
                "calls": 3, "call_p50_micros": 2500, "call_p99_micros": null, "delayed": 2, "failed": 1,
                "layouts": 0, "read_bytes": 0, "written_bytes": 3 << 20,
                "unsent_files": 1, "unsent_bytes": 5, "unsent_seconds": 7,
                "cache": {
                    "data_server": "nvme1", "hits": 39, "misses": 1, "read_bytes": 3 << 20,
                    "fetched_bytes": 1 << 20, "saved_bytes": 2 << 20, "held_bytes": 1024, "limit_bytes": 2048,
                },
            }, {
                "path": "/old", "backend": "filer", "kind": "nfs", "place": "10.0.0.5:/vol",
                "state": "up", "why": null, "total_bytes": 9, "free_bytes": 8,
                "calls": 0, "call_p50_micros": null, "call_p99_micros": null, "delayed": 0, "failed": 0,
                "layouts": 1, "read_bytes": 0, "written_bytes": 0,
                "unsent_files": 0, "unsent_bytes": 0, "unsent_seconds": 0, "cache": null,
            }],
        });
        assert_eq!(
            table(&told),
            "\
DATA SERVER  STATE  FREE   OF
nvme1        up     100 B  2.0 KiB

JUNCTION  BACKEND  PLACE              STATE  FREE  CALLS  P50      P99  LATER  FAILED  DIRECT  READ  WRITTEN  UNSENT
/lake     lake     s3 training-data/  away   0 B   3      ≤2.5 ms  -    2      1       0       0 B   3.0 MiB  5 B in 1 files, 7 s old
/old      filer    nfs 10.0.0.5:/vol  up     8 B   0      -        -    0      0       1       0 B   0 B      0 B

CACHED  AT     HITS    READ     FETCHED  SAVED    HELD     OF
/lake   nvme1  97.5 %  3.0 MiB  1.0 MiB  2.0 MiB  1.0 KiB  2.0 KiB

lake is away: connection refused
"
        );
    }

    #[test]
    fn a_scan_shows_how_far_it_came_and_what_keeps_it() {
        let told = json!({
            "data_servers": [], "junctions": [],
            "scans": [{
                "backend": "filer1", "path": "/projects", "place": "10.0.0.5:/vol", "state": "held",
                "why": "it doesn't answer", "directories_left": 7, "directories": 40, "files": 900, "bytes": 2048,
            }],
        });
        assert_eq!(
            table(&told),
            "\
DATA SERVER  STATE  FREE  OF

ASSIMILATED  PLACE          SCAN  FOLDERS LEFT  DONE  FILES  BYTES
filer1       10.0.0.5:/vol  held  7             40    900    2.0 KiB

the scan of filer1 waits: it doesn't answer
"
        );
    }

    #[test]
    fn a_managed_backend_has_a_row_and_says_what_it_lacks() {
        let told = json!({
            "data_servers": [], "junctions": [], "scans": [],
            "managed": [{
                "backend": "lake", "path": "/lake", "place": "training-data/", "state": "held",
                "why": "/lake isn't empty", "unsent_files": 0, "unsent_bytes": 0, "unsent_seconds": 0,
            }],
        });
        assert_eq!(
            table(&told),
            "\
DATA SERVER  STATE  FREE  OF

MANAGED  PLACE           STATE  UNSENT
lake     training-data/  held   0 B

lake is held: /lake isn't empty
"
        );
    }

    #[test]
    fn without_junctions_there_is_one_table() {
        let told = json!({ "data_servers": [], "junctions": [] });
        assert_eq!(table(&told), "DATA SERVER  STATE  FREE  OF\n");
    }
}
