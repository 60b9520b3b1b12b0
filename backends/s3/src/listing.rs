//! A folder's names, a page at a time: what is held is a page, whatever the folder's size.
//!
//! The order is that of the keys, where a folder's key has its slash. A cookie is the entry's place in
//! the local store, which knows the key to go on behind, also after a restart, and after the name is gone.
//!
//! Never here: how names are shown (`key`).

use crate::bucket::PAGE;
use crate::failure::of_state;
use crate::key::{self, Kind};
use crate::looked::{Looks, Told};
use crate::mirror::{At, Mirror, gone, is_blank};
use crate::names::TARGET_BYTES;
use backend::tree::{Listing, Node, NodeKind, TreeEntry, TreeError, TreeErrorKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::HashSet;

/// Nodes of a listing that are looked at together.
const LOOKS: usize = 64;
/// Behind everything that begins with what it is put after.
const HIGHEST: char = '\u{10FFFF}';

/// An entry as it was listed.
struct Seen {
    kind: Kind,
    component: String,
    shaded: bool,
    /// Of a file.
    told: Option<Told>,
}

impl Seen {
    /// What can be known without a look: what is no regular file has no more content than a symlink's target.
    fn node_kind(&self) -> Option<NodeKind> {
        match (self.kind, &self.told) {
            (Kind::Folder, _) => Some(NodeKind::Folder),
            (Kind::File, Some(told)) if told.size > TARGET_BYTES as u64 => Some(NodeKind::Regular),
            (Kind::File, _) => None,
        }
    }
}

impl Mirror {
    fn listing_verifier(&self) -> [u8; 8] {
        self.ids.nonce.to_be_bytes()
    }

    /// The key that a listing goes on behind.
    fn position(
        &self,
        folder: &At,
        after: u64,
        verifier: [u8; 8],
    ) -> Result<Option<String>, TreeError> {
        if after == 0 {
            return Ok(None);
        }
        let place = if verifier == self.listing_verifier() {
            let place = self.ids.place(folder.id, after);
            place.map_err(|error| of_state(&error))?
        } else {
            None
        };
        let (kind, component) = place.ok_or_else(|| {
            TreeError::new(
                TreeErrorKind::BadCookie,
                "where this listing stopped isn't known any more",
            )
        })?;
        Ok(Some(folder.inner(kind, &component)))
    }

    /// Names, fileids and what kinds a listing tells: no object is looked at.
    pub(crate) async fn list_names(
        &self,
        folder: &At,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let (listing, _) = self.list_page(folder, after, verifier, most).await?;
        Ok(listing)
    }

    pub(crate) async fn list(
        &self,
        folder: &At,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let (mut listing, found) = self.list_page(folder, after, verifier, most).await?;
        let looks = Looks::default();
        let nodes = found
            .into_iter()
            .map(|(at, told)| self.node_if_there(at, told, &looks));
        let nodes: Vec<Option<Node>> = stream::iter(nodes).buffered(LOOKS).try_collect().await?;
        self.keep_looks(looks).await?;
        for (entry, node) in listing.entries.iter_mut().zip(nodes) {
            entry.node = node;
        }
        Ok(listing)
    }

    /// Entries without nodes, and where those of each are to be looked for.
    async fn list_page(
        &self,
        folder: &At,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<(Listing, Vec<(At, Option<Told>)>), TreeError> {
        let position = self.position(folder, after, verifier)?;
        let most = most.clamp(1, PAGE as usize);
        let (seen, at_end) = self.see(folder, position, most).await?;
        if seen.is_empty() && after == 0 && !self.folder_is_there(&folder.key).await? {
            return Err(gone());
        }
        let wanted: Vec<_> = seen
            .iter()
            .map(|seen| (seen.kind, seen.component.clone()))
            .collect();
        let id = folder.id;
        let assigned = self.store(move |ids| ids.assign(id, &wanted)).await?;
        let mut entries = Vec::with_capacity(seen.len());
        let mut found = Vec::with_capacity(seen.len());
        for (seen, (id, place)) in seen.into_iter().zip(assigned) {
            entries.push(TreeEntry {
                name: key::show(seen.kind, &seen.component, seen.shaded).into(),
                cookie: place,
                fileid: Some(id),
                kind: seen.node_kind(),
                node: None,
            });
            let key = folder.inner(seen.kind, &seen.component);
            let at = At {
                id,
                kind: seen.kind,
                key,
            };
            found.push((at, seen.told));
        }
        let listing = Listing {
            entries,
            at_end,
            verifier: self.listing_verifier(),
        };
        Ok((listing, found))
    }

    async fn node_if_there(
        &self,
        at: At,
        told: Option<Told>,
        looks: &Looks,
    ) -> Result<Option<Node>, TreeError> {
        let stat = async {
            let Some(told) = told.filter(|_| self.under_change(at.id).is_none()) else {
                return self.stat_of(&at).await;
            };
            let object = self.look_at(&at, &told, looks).await?.ok_or_else(gone)?;
            self.stat_of_file(at.id, &object).await
        };
        match stat.await {
            Ok(stat) => Ok(Some(Node {
                handle: self.handle(at.id),
                stat,
            })),
            Err(error) if error.kind == TreeErrorKind::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// At most so many entries behind a position, and whether there are no more.
    async fn see(
        &self,
        folder: &At,
        position: Option<String>,
        most: usize,
    ) -> Result<(Vec<Seen>, bool), TreeError> {
        // A folder's own key would bring it again: keys in it lie behind that.
        let after = position.as_ref().map(|key| match key.strip_suffix('/') {
            Some(_) => format!("{key}{HIGHEST}"),
            None => key.clone(),
        });
        let mut seen = Vec::new();
        let mut next = None;
        loop {
            // One more, for the marker, and to see the end.
            let ask = i32::try_from(most - seen.len() + 2)
                .unwrap_or(PAGE)
                .min(PAGE);
            let page = self
                .bucket
                .list(&folder.key, true, after.as_deref(), next, ask)
                .await?;
            let folders: HashSet<&str> = page.prefixes.iter().map(String::as_str).collect();
            let keys = page.keys.iter();
            let keys = keys.map(|listed| (listed.key.as_str(), Kind::File, Some(listed)));
            let prefixes = page.prefixes.iter();
            let prefixes = prefixes.map(|key| (key.as_str(), Kind::Folder, None));
            let mut all: Vec<_> = keys.chain(prefixes).collect();
            all.sort_unstable_by_key(|(key, kind, _)| (*key, *kind));
            let last = all.last().map(|(key, ..)| (*key).to_owned());
            for (key, kind, listed) in all {
                let is_behind = position.as_deref().is_none_or(|position| key > position);
                let component = key.strip_prefix(&folder.key).unwrap_or_default();
                if !is_behind || component.is_empty() || is_blank(key) {
                    continue;
                }
                if seen.len() == most {
                    return Ok((seen, false));
                }
                let component = match kind {
                    Kind::File => component,
                    Kind::Folder => component.strip_suffix('/').unwrap_or(component),
                };
                let shaded = kind == Kind::File && {
                    let shade = format!("{key}/");
                    // A folder of that name may come on a later page.
                    let is_later = page.next.is_some() && last.as_ref() < Some(&shade);
                    folders.contains(shade.as_str())
                        || (is_later && self.folder_is_there(&shade).await?)
                };
                seen.push(Seen {
                    kind,
                    component: component.to_owned(),
                    shaded,
                    told: listed.map(Told::listed),
                });
            }
            next = page.next;
            if next.is_none() {
                return Ok((seen, true));
            }
        }
    }
}
