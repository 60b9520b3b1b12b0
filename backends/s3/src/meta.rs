//! Attributes in an object's own metadata, by the names and forms of s3fs, which rclone and goofys's
//! heirs share for the most part: `mode`, `uid`, `gid`, `mtime`, `ctime`, `atime`, `xattr`.
//!
//! `mode` is written as s3fs does: decimal, with the bits of the kind. rclone writes it in octal; which
//! of the two it is shows by the bits of the kind. Times are seconds with a fraction, as both write them.
//! A symlink is an object whose mode says so and whose content is the target (s3fs). Ours alone are
//! `rdev`, `headrace-token` (whose put it was) and `headrace-verifier` (of an exclusive create).
//! What else is in the metadata stays there.
//!
//! Never here: requests.

use backend::Nanos;
use backend::tree::{NodeChanges, NodeKind, SetTime};
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) type Metadata = HashMap<String, String>;

pub(crate) const TOKEN: &str = "headrace-token";
pub(crate) const CTIME: &str = "ctime";
pub(crate) const VERIFIER: &str = "headrace-verifier";
pub(crate) const XATTR: &str = "xattr";

const TYPE_BITS: u32 = 0o170000;
const SECOND: Nanos = 1_000_000_000;

/// What objects are that say nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    pub uid: u32,
    pub gid: u32,
    pub file_mode: u32,
    pub folder_mode: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            folder_mode: 0o755,
        }
    }
}

pub(crate) struct Attributes {
    pub kind: NodeKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: (u32, u32),
    pub mtime: Option<Nanos>,
    pub ctime: Option<Nanos>,
    pub atime: Option<Nanos>,
}

pub(crate) fn now() -> Nanos {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as Nanos)
}

fn type_bits(kind: NodeKind) -> u32 {
    match kind {
        NodeKind::Fifo => 0o010000,
        NodeKind::Character => 0o020000,
        NodeKind::Folder => 0o040000,
        NodeKind::Block => 0o060000,
        NodeKind::Regular => 0o100000,
        NodeKind::Symlink => 0o120000,
        NodeKind::Socket => 0o140000,
    }
}

fn kind_of(mode: u32) -> Option<NodeKind> {
    [
        NodeKind::Fifo,
        NodeKind::Character,
        NodeKind::Folder,
        NodeKind::Block,
        NodeKind::Regular,
        NodeKind::Symlink,
        NodeKind::Socket,
    ]
    .into_iter()
    .find(|kind| mode & TYPE_BITS == type_bits(*kind))
}

/// The kind, where the text has it, and the permission bits.
fn mode_of(text: &str) -> Option<(Option<NodeKind>, u32)> {
    let octal = u32::from_str_radix(text, 8).ok();
    let decimal = text.parse::<u32>().ok();
    let whole = |mode: u32| {
        let kind = kind_of(mode).filter(|_| mode <= 0o177777)?;
        Some((Some(kind), mode & 0o7777))
    };
    decimal
        .and_then(whole)
        .or_else(|| octal.and_then(whole))
        // Permission bits alone, as people write them.
        .or_else(|| octal.filter(|mode| *mode <= 0o7777).map(|m| (None, m)))
}

fn time_of(text: &str) -> Option<Nanos> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 64 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: Nanos = format!("{fraction:0<9.9}").parse().ok()?;
    let whole = Nanos::from(seconds) * SECOND;
    Some(if negative {
        whole - nanos
    } else {
        whole + nanos
    })
}

fn time_text(time: Nanos) -> String {
    let sign = if time < 0 { "-" } else { "" };
    let time = time.unsigned_abs();
    let second = SECOND.unsigned_abs();
    format!("{sign}{}.{:09}", time / second, time % second)
}

/// When it last changed, where the metadata says.
pub(crate) fn ctime(meta: &Metadata) -> Option<Nanos> {
    time_of(meta.get(CTIME)?.trim())
}

pub(crate) fn mtime(meta: &Metadata) -> Option<Nanos> {
    time_of(meta.get("mtime")?.trim())
}

pub(crate) fn put_ctime(meta: &mut Metadata, ctime: Nanos) {
    meta.insert(CTIME.into(), time_text(ctime));
}

pub(crate) fn attributes(meta: &Metadata, defaults: &Defaults, folder: bool) -> Attributes {
    let text = |key: &str| meta.get(key).map(String::as_str);
    let number = |key: &str| text(key).and_then(|text| text.trim().parse::<u32>().ok());
    let time = |key: &str| text(key).and_then(|text| time_of(text.trim()));
    let written = text("mode").and_then(|text| mode_of(text.trim()));
    // A key says by itself whether it is a folder; no mode turns it into one.
    let kind = match written {
        _ if folder => NodeKind::Folder,
        Some((Some(kind), _)) if kind != NodeKind::Folder => kind,
        _ => NodeKind::Regular,
    };
    let mode = written.map_or(
        if folder {
            defaults.folder_mode
        } else {
            defaults.file_mode
        },
        |(_, mode)| mode,
    );
    let rdev = text("rdev").and_then(|text| {
        let (major, minor) = text.split_once(',')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    Attributes {
        kind,
        mode,
        uid: number("uid").unwrap_or(defaults.uid),
        gid: number("gid").unwrap_or(defaults.gid),
        rdev: rdev.unwrap_or_default(),
        mtime: time("mtime"),
        ctime: time(CTIME),
        atime: time("atime"),
    }
}

fn put_mode(meta: &mut Metadata, kind: NodeKind, mode: u32) {
    let whole = type_bits(kind) | (mode & 0o7777);
    meta.insert("mode".into(), whole.to_string());
}

pub(crate) fn put_times(meta: &mut Metadata, mtime: Nanos, ctime: Nanos) {
    meta.insert("mtime".into(), time_text(mtime));
    meta.insert(CTIME.into(), time_text(ctime));
}

/// What a new node is born with. `owner`: the caller, for what isn't named.
pub(crate) fn newborn(
    kind: NodeKind,
    born: &NodeChanges,
    owner: (u32, u32),
    defaults: &Defaults,
) -> Metadata {
    let mut meta = Metadata::new();
    let mode = match kind {
        NodeKind::Folder => defaults.folder_mode,
        NodeKind::Symlink => 0o777,
        _ => defaults.file_mode,
    };
    put_mode(&mut meta, kind, born.mode.unwrap_or(mode));
    meta.insert("uid".into(), born.uid.unwrap_or(owner.0).to_string());
    meta.insert("gid".into(), born.gid.unwrap_or(owner.1).to_string());
    let now = now();
    put_times(&mut meta, now, now);
    put_set_times(&mut meta, born, now);
    meta
}

fn put_set_times(meta: &mut Metadata, changes: &NodeChanges, now: Nanos) {
    for (key, time) in [("atime", changes.atime), ("mtime", changes.mtime)] {
        match time {
            None => {}
            Some(SetTime::Now) => drop(meta.insert(key.into(), time_text(now))),
            Some(SetTime::At(at)) => drop(meta.insert(key.into(), time_text(at))),
        }
    }
}

pub(crate) fn put_device(meta: &mut Metadata, major: u32, minor: u32) {
    meta.insert("rdev".into(), format!("{major},{minor}"));
}

/// Applies all but the size. `modified`: what mtime is where the metadata doesn't say, and stays so.
pub(crate) fn apply(
    meta: &mut Metadata,
    changes: &NodeChanges,
    defaults: &Defaults,
    folder: bool,
    modified: Nanos,
) {
    let was = attributes(meta, defaults, folder);
    if let Some(mode) = changes.mode {
        put_mode(meta, was.kind, mode);
    }
    if let Some(uid) = changes.uid {
        meta.insert("uid".into(), uid.to_string());
    }
    if let Some(gid) = changes.gid {
        meta.insert("gid".into(), gid.to_string());
    }
    let now = now();
    put_times(meta, was.mtime.unwrap_or(modified), now);
    put_set_times(meta, changes, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pairs: &[(&str, &str)], folder: bool) -> Attributes {
        let meta = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        attributes(&meta, &Defaults::default(), folder)
    }

    #[test]
    fn modes_of_s3fs_and_of_rclone_are_both_understood() {
        for (text, kind, mode) in [
            ("33188", NodeKind::Regular, 0o644),
            ("100644", NodeKind::Regular, 0o644),
            ("41471", NodeKind::Symlink, 0o777),
            ("120777", NodeKind::Symlink, 0o777),
            ("0755", NodeKind::Regular, 0o755),
            ("nonsense", NodeKind::Regular, 0o644),
        ] {
            let read = read(&[("mode", text)], false);
            assert_eq!((read.kind, read.mode), (kind, mode), "{text}");
        }
        for text in ["16832", "40700"] {
            let read = read(&[("mode", text)], true);
            assert_eq!((read.kind, read.mode), (NodeKind::Folder, 0o700), "{text}");
        }
    }

    #[test]
    fn an_object_whose_mode_calls_it_a_folder_stays_a_file() {
        let read = read(&[("mode", "16877")], false);
        assert_eq!(read.kind, NodeKind::Regular);
    }

    proptest! {
        #[test]
        fn times_come_back_as_they_went(time in -(1i128 << 62)..(1i128 << 62)) {
            prop_assert_eq!(time_of(&time_text(time)), Some(time));
        }

        #[test]
        fn modes_come_back_as_they_went(mode in 0u32..=0o7777) {
            for kind in [NodeKind::Regular, NodeKind::Symlink, NodeKind::Fifo, NodeKind::Socket, NodeKind::Block, NodeKind::Character, NodeKind::Folder] {
                let mut meta = Metadata::new();
                put_mode(&mut meta, kind, mode);
                prop_assert_eq!(mode_of(&meta["mode"]), Some((Some(kind), mode)));
            }
        }

        #[test]
        fn nonsense_is_no_time(text in "\\PC{0,20}") {
            let _ = time_of(&text);
            let _ = mode_of(&text);
        }
    }
}
