//! Rules between several keys of a file: what can't be meant, or can't work, together.
//! Never here: anything that needs the machine (is the port free, does the data server answer).

use crate::address::{ExportPath, HostPort, Name};
use crate::backend::{self, BackendMode};
use crate::document::Document;
use crate::fault::{Notes, line_of};
use crate::identity::{AccountName, IdentityDomain, IdentityMode};
use crate::mds::Access;
use crate::section::Section;
use crate::units::{Bytes, Seconds};
use crate::value::{StripeCount, Value, did_you_mean};
use std::fmt::Display;
use std::net::SocketAddr;

pub(crate) fn check_server(server: &Section<'_>, notes: &mut Notes) {
    let lease = server.glance::<Seconds>("lease_seconds");
    let grace = server.glance::<Option<Seconds>>("grace_seconds").flatten();
    if let (Some(lease), Some(grace)) = (lease, grace)
        && grace < lease
    {
        notes.add(
            server.span_of("grace_seconds"),
            format!("the grace period of {grace} is shorter than the lease of {lease}"),
            "a client that is silent for a lease would lose its locks: expected at least the lease",
        );
    }
}

/// No two sockets of one process on one port.
pub(crate) fn check_listeners(section: &Section<'_>, notes: &mut Notes) {
    let listen = section
        .glance::<Vec<SocketAddr>>("listen")
        .unwrap_or_default();
    let clash = |a: &SocketAddr, b: &SocketAddr| {
        a.port() == b.port()
            && a.is_ipv4() == b.is_ipv4()
            && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    };
    for (index, address) in listen.iter().enumerate() {
        if let Some(other) = listen[..index].iter().find(|other| clash(other, address)) {
            notes.add(
                section.span_of("listen"),
                format!("`listen` holds {other} and {address}, which can't both be bound"),
                "leave one of them out",
            );
        }
    }
    if let Some(metrics) = section
        .glance::<Option<SocketAddr>>("metrics_listen")
        .flatten()
        && listen.iter().any(|address| clash(address, &metrics))
    {
        notes.add(
            section.span_of("metrics_listen"),
            format!("`metrics_listen` is {metrics}, where NFS is served"),
            "expected another port",
        );
    }
}

pub(crate) fn check_data_servers(text: &str, data_servers: &[Section<'_>], notes: &mut Notes) {
    for (index, section) in data_servers.iter().enumerate() {
        let earlier = &data_servers[..index];
        if let Some(name) = section.glance::<Name>("name")
            && let Some(first) = earlier
                .iter()
                .find(|other| other.glance::<Name>("name").as_ref() == Some(&name))
        {
            let line = line_of(text, first.span_of("name").start);
            notes.add(
                section.span_of("name"),
                format!("two data servers are called `{name}`"),
                format!("the first is on line {line}: give each a name of its own"),
            );
        }
        if let Some(place) = server_and_export(section)
            && let Some(first) = earlier
                .iter()
                .find(|other| server_and_export(other).as_ref() == Some(&place))
        {
            let line = line_of(text, first.span_of("address").start);
            notes.add(
                section.span_of("address"),
                format!("two data servers are one: {} exports {}", place.0, place.1),
                format!("the first is on line {line}: leave one of them out"),
            );
        }
    }
}

fn server_and_export(section: &Section<'_>) -> Option<(HostPort, ExportPath)> {
    Some((section.glance("address")?, section.glance("export")?))
}

pub(crate) fn check_exports(text: &str, exports: &[Section<'_>], notes: &mut Notes) {
    for (index, section) in exports.iter().enumerate() {
        let Some(path) = section.glance::<ExportPath>("path") else {
            continue;
        };
        for other in &exports[..index] {
            let Some(first) = other.glance::<ExportPath>("path") else {
                continue;
            };
            let line = line_of(text, other.span_of("path").start);
            let (what, hint) = if first == path {
                (
                    format!("`{path}` is exported twice"),
                    format!("the first is on line {line}: leave one of them out"),
                )
            } else if first.holds(&path) {
                (
                    format!("the export `{path}` lies inside the export `{first}`"),
                    format!(
                        "which is on line {line}: each file has one export, so put them side by side"
                    ),
                )
            } else if path.holds(&first) {
                (
                    format!("the export `{path}` contains the export `{first}`"),
                    format!(
                        "which is on line {line}: each file has one export, so put them side by side"
                    ),
                )
            } else {
                continue;
            };
            notes.add(section.span_of("path"), what, hint);
        }
    }
}

pub(crate) fn check_power_of_two(section: &Section<'_>, name: &str, notes: &mut Notes) {
    if let Some(size) = section.glance::<Bytes>(name)
        && !size.0.is_power_of_two()
        && size.0 > 0
    {
        let (below, above) = (1 << size.0.ilog2(), size.0.next_power_of_two());
        notes.add(
            section.span_of(name),
            format!("`{name}` is {size}, which isn't a power of two"),
            format!("expected \"{}\" or \"{}\"", Bytes(below), Bytes(above)),
        );
    }
}

pub(crate) fn check_layout(
    document: &Document<'_>,
    layout: &Section<'_>,
    data_servers: usize,
    notes: &mut Notes,
) {
    check_power_of_two(layout, "stripe_unit", notes);
    if let Some(copies) = layout.glance::<u32>("copies")
        && copies > 1
    {
        notes.add(
            layout.span_of("copies"),
            format!("{copies} copies of each file: more than one isn't there yet"),
            "expected 1",
        );
    }
    // Where the text as such is broken, a data server may have been lost in reading it.
    if document.is_broken() {
        return;
    }
    if let Some(StripeCount::Exactly(count)) = layout.glance::<StripeCount>("stripe_count")
        && count as usize > data_servers
        && data_servers > 0
    {
        notes.add(
            layout.span_of("stripe_count"),
            format!(
                "{count} stripes don't fit on {}",
                counted(data_servers, "data server")
            ),
            format!("expected at most {data_servers}, or \"all\""),
        );
    }
}

/// A referral is no export and holds none, and none lies in another.
pub(crate) fn check_referrals(
    text: &str,
    exports: &[Section<'_>],
    referrals: &[Section<'_>],
    notes: &mut Notes,
) {
    let path_of = |section: &Section<'_>| section.glance::<ExportPath>("path");
    for (index, section) in referrals.iter().enumerate() {
        let Some(path) = path_of(section) else {
            continue;
        };
        if path.components().next().is_none() {
            notes.add(
                section.span_of("path"),
                "the root can't be a referral",
                "expected a folder below it",
            );
            continue;
        }
        let line = |other: &Section<'_>| line_of(text, other.span_of("path").start);
        let inside = exports
            .iter()
            .find(|export| path_of(export).is_some_and(|export| path.holds(&export)));
        if let Some(export) = inside {
            notes.add(
                section.span_of("path"),
                format!("the referral `{path}` hides an export"),
                format!(
                    "which is on line {}: a client there is sent to another server",
                    line(export)
                ),
            );
        }
        let clash = referrals[..index].iter().find(|other| {
            path_of(other).is_some_and(|other| other.holds(&path) || path.holds(&other))
        });
        if let Some(other) = clash {
            notes.add(
                section.span_of("path"),
                format!("the referral `{path}` and another one lie in one another"),
                format!(
                    "the other is on line {}: leave one of them out",
                    line(other)
                ),
            );
        }
    }
}

/// Each has a name of its own, and what its kind needs.
pub(crate) fn check_backends(text: &str, backends: &[Section<'_>], notes: &mut Notes) {
    for (index, section) in backends.iter().enumerate() {
        let name = section.glance::<Name>("name");
        let twin = backends[..index]
            .iter()
            .find(|other| name.is_some() && other.glance::<Name>("name") == name);
        if let (Some(name), Some(first)) = (&name, twin) {
            let line = line_of(text, first.span_of("name").start);
            notes.add(
                section.span_of("name"),
                format!("two backends are called `{name}`"),
                format!("the first is on line {line}: give each a name of its own"),
            );
        }
        backend::check_kind(section, notes);
    }
}

/// Who caches a backend is a data server that there is.
pub(crate) fn check_caches(
    backends: &[Section<'_>],
    data_servers: &[Section<'_>],
    notes: &mut Notes,
) {
    for section in backends {
        let named = section.glance::<Option<Name>>("cache").flatten();
        if let Some(name) = named
            && !data_servers
                .iter()
                .any(|server| server.glance::<Name>("name").as_ref() == Some(&name))
        {
            notes.add(
                section.span_of("cache"),
                format!("no data server is called `{name}`"),
                "expected the `name` of a [[data_server]]",
            );
        }
    }
}

/// A junction lies below an export, hides none, and shows a backend that there is.
pub(crate) fn check_junctions(
    text: &str,
    exports: &[Section<'_>],
    (referrals, junctions): (&[Section<'_>], &[Section<'_>]),
    backends: &[Section<'_>],
    notes: &mut Notes,
) {
    let path_of = |section: &Section<'_>| section.glance::<ExportPath>("path");
    let line = |other: &Section<'_>| line_of(text, other.span_of("path").start);
    for (index, section) in junctions.iter().enumerate() {
        if let Some(name) = section.glance::<Name>("backend")
            && !backends
                .iter()
                .any(|backend| backend.glance::<Name>("name").as_ref() == Some(&name))
        {
            notes.add(
                section.span_of("backend"),
                format!("no backend is called `{name}`"),
                "expected the `name` of a [[backend]]",
            );
        }
        check_own(text, (&junctions[..index], section), backends, notes);
        let Some(path) = path_of(section) else {
            continue;
        };
        let hidden = exports
            .iter()
            .find(|export| path_of(export).is_some_and(|export| path.holds(&export)));
        let around = exports
            .iter()
            .any(|export| path_of(export).is_some_and(|export| export.holds(&path)));
        if let Some(export) = hidden {
            notes.add(
                section.span_of("path"),
                format!("the junction `{path}` hides an export"),
                format!(
                    "which is on line {}: expected a folder below it",
                    line(export)
                ),
            );
            continue;
        }
        if !around {
            notes.add(
                section.span_of("path"),
                format!("no client can get to the junction `{path}`"),
                "expected a folder below an [[export]], whose clients may use it",
            );
        }
        let clash = junctions[..index].iter().chain(referrals).find(|other| {
            path_of(other).is_some_and(|other| other.holds(&path) || path.holds(&other))
        });
        if let Some(other) = clash {
            notes.add(
                section.span_of("path"),
                format!("the junction `{path}` and another section lie in one another"),
                format!(
                    "the other is on line {}: leave one of them out",
                    line(other)
                ),
            );
        }
    }
}

/// What becomes part of the namespace has one place, and can be changed there.
fn check_own(
    text: &str,
    (before, section): (&[Section<'_>], &Section<'_>),
    backends: &[Section<'_>],
    notes: &mut Notes,
) {
    let name = section.glance::<Name>("backend");
    let is_it = |other: &Section<'_>| name.is_some() && other.glance::<Name>("name") == name;
    let mode = backends.iter().find(|backend| is_it(backend));
    let mode = mode.and_then(|backend| backend.glance::<Option<BackendMode>>("mode").flatten());
    let Some(mode) = mode.filter(|mode| mode.is_own()) else {
        return;
    };
    let Some(name) = &name else {
        return;
    };
    if section.glance::<Access>("access") == Some(Access::ReadOnly) {
        notes.add(
            section.span_of("access"),
            format!(
                "the files of `{name}` become this server's own, and are not for reading alone"
            ),
            "expected \"rw\": an [[export]] of its own can be `ro`",
        );
    }
    if mode == BackendMode::Managed && section.is_written("folder") {
        notes.add(
            section.span_of("folder"),
            format!("`{name}` is managed, and has no folders of its own"),
            "leave it out: `prefix` of the [[backend]] says where in the bucket its keys lie",
        );
    }
    let shown = |other: &&Section<'_>| other.glance::<Name>("backend").as_ref() == Some(name);
    if let Some(first) = before.iter().find(shown) {
        let line = line_of(text, first.span_of("backend").start);
        notes.add(
            section.span_of("backend"),
            format!("`{name}` is {mode}, and has two places"),
            format!("the first is on line {line}: leave one of them out"),
        );
    }
}

/// Names need a domain, and users and groups somebody who reads them.
pub(crate) fn check_identity(
    document: &Document<'_>,
    identity: &Section<'_>,
    users: &[Section<'_>],
    groups: &[Section<'_>],
    notes: &mut Notes,
) {
    let mode = identity.glance::<IdentityMode>("mode");
    let domain = identity.glance::<Option<IdentityDomain>>("domain");
    if let (Some(mode), Some(None)) = (mode, domain)
        && mode != IdentityMode::Numeric
    {
        notes.add(
            identity.span_of("mode"),
            format!("`mode` is \"{mode}\", and names have no domain"),
            "expected a line like domain = \"example.org\", the same as in clients' idmapd.conf",
        );
    }
    let listed = users.iter().chain(groups);
    if let Some(mode) = mode.filter(|mode| *mode != IdentityMode::Map)
        && let Some(first) = listed.clone().next()
    {
        notes.add(
            first.span.clone(),
            format!(
                "{} counts for nothing: `mode` of [identity] is \"{mode}\"",
                first.schema.header
            ),
            "expected mode = \"map\", or no such section",
        );
    }
    if mode == Some(IdentityMode::Map) && listed.count() == 0 && !document.is_broken() {
        notes.add(
            identity.span_of("mode"),
            "`mode` is \"map\", and there is no [[user]] and no [[group]]",
            "expected at least one",
        );
    }
    for (sections, id) in [(users, "uid"), (groups, "gid")] {
        check_unique::<AccountName>(document.text, sections, "name", notes);
        check_unique::<u32>(document.text, sections, id, notes);
    }
    let known: Vec<AccountName> = groups
        .iter()
        .filter_map(|group| group.glance("name"))
        .collect();
    for user in users {
        let named = user.glance::<Option<Vec<AccountName>>>("groups").flatten();
        for group in named.iter().flatten() {
            if !known.contains(group) && !document.is_broken() {
                let hint = did_you_mean(group.as_str(), known.iter().map(AccountName::as_str));
                notes.add(
                    user.span_of("groups"),
                    format!("there is no [[group]] called `{group}`"),
                    hint.unwrap_or_else(|| "expected the `name` of a [[group]]".to_owned()),
                );
            }
        }
    }
}

/// No two sections of a kind have one value of `key`.
fn check_unique<T: Value + PartialEq + Display>(
    text: &str,
    sections: &[Section<'_>],
    key: &str,
    notes: &mut Notes,
) {
    for (index, section) in sections.iter().enumerate() {
        let Some(value) = section.glance::<T>(key) else {
            continue;
        };
        let mut earlier = sections[..index].iter();
        if let Some(first) = earlier.find(|other| other.glance::<T>(key).as_ref() == Some(&value)) {
            let line = line_of(text, first.span_of(key).start);
            notes.add(
                section.span_of(key),
                format!("two {} have the {key} {value}", section.schema.header),
                format!("the first is on line {line}: give each one of its own"),
            );
        }
    }
}

fn counted(count: usize, thing: &str) -> String {
    if count == 1 {
        format!("one {thing}")
    } else {
        format!("{count} {thing}s")
    }
}
