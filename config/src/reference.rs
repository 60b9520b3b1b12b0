//! The reference of every key, written from the same declarations that read the files.
//! Never here: text about one key; that stands at its declaration.

use crate::backend::{Backend, Junction};
use crate::ds::{DataServerProcess, DsLimits};
use crate::identity::{Group, Identity, User};
use crate::limits::Limits;
use crate::mds::{DataServer, Export, Layout, Server, ServerCopy};
use crate::referral::Referral;
use crate::section::{Change, Default, Key, Schema};
use crate::units::Bytes;
use crate::value::Value;
use std::fmt::Write;

const MDS: &[&Schema] = &[
    Server::SCHEMA,
    DataServer::SCHEMA,
    Export::SCHEMA,
    Referral::SCHEMA,
    Backend::SCHEMA,
    Junction::SCHEMA,
    Identity::SCHEMA,
    User::SCHEMA,
    Group::SCHEMA,
    Layout::SCHEMA,
    ServerCopy::SCHEMA,
    Limits::SCHEMA,
];

const DS: &[&Schema] = &[DataServerProcess::SCHEMA, DsLimits::SCHEMA];

const HEAD: &str = "\
# Configuration

Written by the code that reads it (`config::reference_markdown`); a test compares this page with it.

There are two kinds of files, both TOML: one for `headrace mds`, one for `headrace ds`. Complete ones, \
each loaded by a test, are in [config/examples](../config/examples). `headrace check FILE` says what is \
wrong with a file, all faults at once, each with its line, and tries every data server and backend that it names.

Values:

- A *size* is a number of bytes, or a string with a unit: `\"64MiB\"`, `\"1TB\"` \
(kB, MB, GB, TB, PB are powers of 1000; KiB, MiB, GiB, TiB, PiB powers of 1024).
- A *network* is `\"10.0.0.0/24\"`, or one IP address. Where several are taken, one needs no brackets.
- *host:port* takes an IP address or a name; an IPv6 address stands in brackets, and a missing port is 2049.
- A key marked **reload** is obeyed when the process gets SIGHUP; a change of any other is named in the \
log and counts after a restart.
";

/// docs/CONFIG.md.
pub fn reference_markdown() -> String {
    let mut page = HEAD.to_owned();
    for (title, schemas) in [
        ("The metadata server: `headrace mds --config FILE`", MDS),
        ("A data server: `headrace ds --config FILE`", DS),
    ] {
        push(&mut page, format_args!("\n## {title}\n"));
        for schema in schemas {
            push(
                &mut page,
                format_args!("\n### `{}`\n\n{}", schema.header, tidy(schema.about)),
            );
            if schema.any_number {
                page.push_str(" Repeated for each; there may be none.");
            } else if schema.repeats() {
                page.push_str(" Repeated for each; at least one.");
            }
            page.push_str(
                "\n\n| key | type | default | meaning | example |\n|---|---|---|---|---|\n",
            );
            for key in schema.keys {
                push_key(&mut page, key);
            }
        }
    }
    page
}

fn push_key(page: &mut String, key: &Key) {
    let default = match key.default {
        Default::Required => "must be given".to_owned(),
        Default::Toml(text) => format!("`{text}`"),
        Default::Unset(words) => words.to_owned(),
    };
    let range = if key.range == Key::PLAIN.range {
        String::new()
    } else {
        format!(", {}", key.range_in_words(key.kind == Bytes::KIND))
    };
    let reload = match key.change {
        Change::Reload => " **reload**",
        Change::Restart => "",
    };
    push(
        page,
        format_args!(
            "| `{}` | {}{range} | {default} | {}{reload} | `{} = {}` |\n",
            key.name,
            key.kind.replace("\" \"", "\", \""),
            tidy(key.meaning),
            key.name,
            key.example,
        ),
    );
}

/// Doc comments begin each line with a space.
fn tidy(text: &str) -> &str {
    text.trim()
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text)
        .expect("writing to a String never fails");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_example_of_the_reference_can_be_read() {
        let faults = [
            Server::unreadable_documentation(),
            DataServer::unreadable_documentation(),
            Export::unreadable_documentation(),
            Referral::unreadable_documentation(),
            Backend::unreadable_documentation(),
            Junction::unreadable_documentation(),
            Identity::unreadable_documentation(),
            User::unreadable_documentation(),
            Group::unreadable_documentation(),
            Layout::unreadable_documentation(),
            ServerCopy::unreadable_documentation(),
            Limits::unreadable_documentation(),
            DataServerProcess::unreadable_documentation(),
            DsLimits::unreadable_documentation(),
        ]
        .concat();
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn every_key_says_what_it_means() {
        let page = reference_markdown();
        for key in MDS.iter().chain(DS).flat_map(|schema| schema.keys) {
            assert!(tidy(key.meaning).ends_with('.'), "{}", key.name);
            assert!(page.contains(&format!("| `{}` |", key.name)));
        }
    }
}
