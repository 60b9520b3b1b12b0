//! Attributes of folders whose markers say nothing. SeaweedFS drops a marker's metadata without a word: there they
//! are kept in the local store, by id, and other tools don't see them.
//!
//! Never here: requests.

use crate::bucket::Object;
use crate::failure::of_state;
use crate::ids::{Ids, IdsError};
use crate::key::Kind;
use crate::meta::{Metadata, TOKEN};
use crate::mirror::{Mirror, Sight, says_something};
use crate::rows::{fields, join, text};
use backend::tree::TreeError;
use std::borrow::Cow;

const DAMAGED: IdsError = IdsError::Damaged("a folder's attributes can't be read");

impl Ids {
    fn attributes_of(&self, folder: u64) -> Result<Option<Metadata>, IdsError> {
        let Some(bytes) = self.attributes.get(folder.to_be_bytes())? else {
            return Ok(None);
        };
        let fields = fields(&bytes).ok_or(DAMAGED)?;
        let pairs = fields.chunks(2).map(|pair| match pair {
            [key, value] => text(key).zip(text(value)).ok_or(DAMAGED),
            _ => Err(DAMAGED),
        });
        pairs.collect::<Result<_, _>>().map(Some)
    }

    fn set_attributes(&self, folder: u64, meta: Option<&Metadata>) -> Result<(), IdsError> {
        let mut batch = self.batch();
        match meta {
            Some(meta) => {
                let pairs = meta.iter().flat_map(|(key, value)| [key, value]);
                let pairs: Vec<&[u8]> = pairs.map(String::as_bytes).collect();
                batch.insert(&self.attributes, folder.to_be_bytes(), join(&pairs));
            }
            None => batch.remove(&self.attributes, folder.to_be_bytes()),
        }
        batch.commit()?;
        Ok(())
    }
}

impl Mirror {
    /// What is said of a folder: by its marker, or where that says nothing, by the local store.
    pub(crate) fn folder_meta<'a>(
        &self,
        id: u64,
        marker: Option<&'a Object>,
    ) -> Result<Cow<'a, Metadata>, TreeError> {
        if let Some(marker) = marker.filter(|marker| says_something(&marker.meta)) {
            return Ok(Cow::Borrowed(&marker.meta));
        }
        let kept = self.ids.attributes_of(id);
        let kept = kept.map_err(|error| of_state(&error))?;
        Ok(Cow::Owned(kept.unwrap_or_default()))
    }

    /// The token of whoever made a folder, or put its marker since.
    pub(crate) fn token_of_folder(
        &self,
        parent: u64,
        component: &str,
        sight: &Sight,
    ) -> Option<String> {
        let marker = sight.marker.as_ref();
        let id = self.ids.find(parent, Kind::Folder, component).ok()?;
        let said = match id {
            Some(id) => self.folder_meta(id, marker).ok()?,
            None => Cow::Borrowed(&marker?.meta),
        };
        said.get(TOKEN).cloned()
    }

    /// Of a folder that was made with this marker, before it is looked at.
    pub(crate) async fn keep_newborn(
        &self,
        (parent, component): (u64, String),
        put: &Metadata,
        sight: &Sight,
    ) -> Result<(), TreeError> {
        let marker = sight.marker.as_ref();
        if marker.is_some_and(|marker| says_something(&marker.meta)) {
            return Ok(());
        }
        let wanted = (Kind::Folder, component);
        let assigned = self.store(move |ids| ids.assign(parent, &[wanted])).await?;
        self.keep_folder_meta(assigned[0].0, put, marker).await
    }

    /// Keeps what a marker was put with, where the marker that is there doesn't.
    pub(crate) async fn keep_folder_meta(
        &self,
        id: u64,
        put: &Metadata,
        marker: Option<&Object>,
    ) -> Result<(), TreeError> {
        if marker.is_some_and(|marker| says_something(&marker.meta)) {
            let kept = self.ids.attributes_of(id);
            if kept.map_err(|error| of_state(&error))?.is_none() {
                return Ok(());
            }
            return self.store(move |ids| ids.set_attributes(id, None)).await;
        }
        let put = put.clone();
        self.store(move |ids| ids.set_attributes(id, Some(&put)))
            .await
    }
}
