//! Claims about listings. Never here: what the names stand for.

use super::{Subject, Work, text};
use crate::tree::{FIRST_COOKIE, TreeEntry};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Pages of a listing that a folder of a few hundred entries never needs.
const PAGES_MAX: usize = 10_000;

/// A listing, page for page.
pub(super) struct Pages {
    pub(super) entries: Vec<TreeEntry>,
    verifier: [u8; 8],
    most: usize,
    at_end: bool,
}

impl Pages {
    fn begin(most: usize) -> Self {
        Self {
            entries: Vec::new(),
            verifier: [0; 8],
            most,
            at_end: false,
        }
    }

    pub(super) async fn of(work: &Work, most: usize) -> Self {
        let mut pages = Self::begin(most);
        pages.finish(work).await;
        pages
    }

    async fn turn(&mut self, work: &Work) {
        let after = self.entries.last().map_or(0, |entry| entry.cookie);
        let page = work
            .tree
            .list(&work.caller, &work.folder, after, self.verifier, self.most)
            .await
            .expect("a folder can be listed");
        assert!(
            page.at_end || !page.entries.is_empty(),
            "a page before the end has an entry"
        );
        for entry in &page.entries {
            assert!(entry.cookie >= FIRST_COOKIE, "{entry:?}");
            assert!(!matches!(&entry.name[..], b"." | b".." | b""), "{entry:?}");
        }
        self.entries.extend(page.entries);
        self.verifier = page.verifier;
        self.at_end = page.at_end;
    }

    async fn finish(&mut self, work: &Work) {
        let mut pages = 0;
        while !self.at_end {
            self.turn(work).await;
            pages += 1;
            assert!(pages < PAGES_MAX, "a listing ends");
        }
    }

    fn count(&self, name: &str) -> usize {
        let named = |entry: &&TreeEntry| entry.name == text(name);
        self.entries.iter().filter(named).count()
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{at}")).collect()
}

pub async fn a_listing_has_each_entry_once_and_no_dots(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let mut expected = BTreeSet::new();
    for (at, name) in names("entry", 150).into_iter().enumerate() {
        if at % 10 == 0 {
            work.subfolder(&name).await;
        } else {
            work.file(&name).await;
        }
        expected.insert(text(&name));
    }
    for most in [1, 7, 1000] {
        let pages = Pages::of(&work, most).await;
        let cookies: BTreeSet<u64> = pages.entries.iter().map(|entry| entry.cookie).collect();
        assert_eq!(cookies.len(), pages.entries.len(), "cookies differ");
        assert_eq!(pages.entries.len(), expected.len());
        let listed: BTreeSet<Bytes> = pages.entries.into_iter().map(|entry| entry.name).collect();
        assert_eq!(listed, expected);
    }
}

pub async fn a_listing_goes_on_over_creates_and_removes(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let (stays, goes) = (names("stays", 60), names("goes", 60));
    for (stays, goes) in stays.iter().zip(&goes) {
        work.file(stays).await;
        work.file(goes).await;
    }
    let mut left: BTreeSet<Bytes> = goes.iter().map(|name| text(name)).collect();
    let mut pages = Pages::begin(7);
    let mut round = 0;
    while !pages.at_end {
        pages.turn(&work).await;
        // One of them may have been listed or not; the other is where the listing goes on.
        let last = pages.entries.last().map(|entry| entry.name.clone());
        for victim in [left.first().cloned(), last].into_iter().flatten() {
            if left.remove(&victim) {
                let removed = work.tree.remove(&work.caller, &work.folder, &victim);
                removed.await.expect("a name can be removed");
            }
        }
        if round < 10 {
            work.file(&format!("comes{round}")).await;
        }
        round += 1;
        assert!(round < PAGES_MAX, "a listing ends");
    }
    for name in &stays {
        assert_eq!(pages.count(name), 1, "{name} is listed once");
    }
    for name in &goes {
        assert!(pages.count(name) <= 1, "{name} is listed once at most");
    }
}

pub async fn every_cookie_goes_on_behind_its_entry(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    for name in names("entry", 20) {
        work.file(&name).await;
    }
    let whole = Pages::of(&work, 1000).await;
    for (at, entry) in whole.entries.iter().enumerate() {
        let page = work
            .tree
            .list(&work.caller, &work.folder, entry.cookie, whole.verifier, 1)
            .await
            .expect("a listing goes on");
        match whole.entries.get(at + 1) {
            Some(next) => assert_eq!(page.entries[0].name, next.name),
            None => assert!(page.entries.is_empty() && page.at_end),
        }
    }
}

pub async fn an_empty_folder_lists_nothing(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    assert!(work.names(10).await.is_empty());
    work.file("file").await;
    assert_eq!(work.names(10).await, [text("file")]);
    work.removed("file").await;
    assert!(work.names(10).await.is_empty());
}

pub async fn listed_nodes_are_what_a_lookup_finds(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    for name in names("file", 10) {
        work.file(&name).await;
    }
    work.subfolder("folder").await;
    let mut fileids = BTreeSet::new();
    for entry in Pages::of(&work, 4).await.entries {
        let found = work.tree.lookup(&work.caller, &work.folder, &entry.name);
        let found = found.await.expect("what is listed is found");
        assert!(fileids.insert(found.stat.fileid), "fileids differ");
        if let Some(node) = entry.node {
            assert_eq!(node.handle, found.handle);
            assert_eq!(node.stat.fileid, found.stat.fileid);
            assert_eq!(node.stat.kind, found.stat.kind);
        }
    }
}

pub async fn names_alone_are_listed_as_with_their_nodes(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    for name in names("file", 10) {
        work.file(&name).await;
    }
    work.subfolder("folder").await;
    let whole = Pages::of(&work, 1000).await;
    let (mut after, mut verifier, mut places) = (0, [0; 8], Vec::new());
    loop {
        let (tree, caller) = (&work.tree, &work.caller);
        let page = tree.list_names(caller, &work.folder, after, verifier, 4);
        let page = page.await.expect("names are listed");
        verifier = page.verifier;
        for entry in page.entries {
            let found = tree.lookup(caller, &work.folder, &entry.name);
            let found = found.await.expect("what is listed is found");
            let is_its = |fileid| fileid == found.stat.fileid;
            assert!(entry.fileid.is_none_or(is_its));
            assert!(entry.kind.is_none_or(|kind| kind == found.stat.kind));
            after = entry.cookie;
            places.push((entry.name, entry.cookie));
        }
        if page.at_end {
            break;
        }
    }
    let expected = whole.entries.into_iter();
    let expected: Vec<_> = expected.map(|entry| (entry.name, entry.cookie)).collect();
    assert_eq!(places, expected);
}
