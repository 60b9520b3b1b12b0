//! The bucket as the contract's tree: each call by its deadline.
//!
//! Never here: what a call does.

use crate::attach::S3Mirror;
use crate::change::WRITE_BYTES;
use crate::failure::of_state;
use crate::key::{Kind, NAME_BYTES};
use crate::mirror::{At, gone, no_entry};
use crate::read::READ_BYTES;
use crate::{meta, xattrs};
use async_trait::async_trait;
use backend::tree::{
    Caller, CreateHow, Direct, FolderChange, Listing, Make, Node, NodeChanges, NodeStat, Rights,
    Tree, TreeAbilities, TreeError, TreeErrorKind, Unsent, XattrHow,
};
use backend::{Fetched, Space, Stability, WriteVerifier, Written};
use bytes::Bytes;
use std::time::Duration;

/// A bucket has no end: what is shown for one.
pub(crate) const SPACE: Space = Space {
    total: 1 << 60,
    free: 1 << 60,
};

impl S3Mirror {
    /// The metadata of a node, as it is to be where it is under change.
    async fn metadata(&self, at: &At) -> Result<meta::Metadata, TreeError> {
        let mirror = &self.0;
        match at.kind {
            Kind::Folder => {
                let sight = mirror.sight(&at.key).await?.ok_or_else(gone)?;
                let said = mirror.folder_meta(at.id, sight.marker.as_ref())?;
                Ok(said.into_owned())
            }
            Kind::File => {
                let spool = mirror.spools.lock().get(&at.id).cloned();
                if let Some(object) = spool.and_then(|spool| spool.object()) {
                    return Ok(object.meta);
                }
                let object = mirror.bucket.head(&at.key).await?.ok_or_else(gone)?;
                Ok(object.meta)
            }
        }
    }

    async fn change_metadata(
        &self,
        handle: &Bytes,
        apply: impl Fn(&mut meta::Metadata) -> Result<(), TreeError> + Send + Sync + 'static,
    ) -> Result<(), TreeError> {
        let mirror = std::sync::Arc::clone(&self.0);
        mirror.writable()?;
        let at = mirror.at(handle)?;
        let work = self.0.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            match at.kind {
                Kind::Folder => mirror.set_folder(&at, |meta, _| apply(meta)).await,
                Kind::File => {
                    let defaults = mirror.defaults;
                    let nothing = NodeChanges::default();
                    mirror
                        .set_meta(&at, |meta, modified| {
                            meta::apply(meta, &nothing, &defaults, false, modified);
                            apply(meta)
                        })
                        .await
                }
            }
        }));
        self.0.in_time(work).await
    }
}

#[async_trait]
impl Tree for S3Mirror {
    fn abilities(&self) -> TreeAbilities {
        TreeAbilities {
            judges: false,
            hard_links: false,
            symlinks: true,
            special_files: true,
            xattrs: true,
            read_bytes: READ_BYTES,
            write_bytes: WRITE_BYTES,
            largest_file_bytes: self.0.largest_file_bytes,
            name_bytes: NAME_BYTES as u32,
            links: 1,
            time_step_nanos: 1,
        }
    }

    async fn root(&self) -> Result<Node, TreeError> {
        self.0.in_time(self.0.root_node()).await
    }

    async fn stat(&self, _caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        let at = self.0.at(handle)?;
        self.0.in_time(self.0.stat_of(&at)).await
    }

    async fn rights(&self, _caller: &Caller, _handle: &Bytes) -> Result<Rights, TreeError> {
        Err(TreeError::new(
            TreeErrorKind::Unsupported,
            "a bucket's mirror doesn't judge",
        ))
    }

    async fn lookup(
        &self,
        _caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        let mirror = &self.0;
        let folder = mirror.folder(folder)?;
        let work = async {
            match mirror.seek(&folder, name).await? {
                Some((component, found)) => mirror.node(folder.id, component, found).await,
                None if mirror.folder_is_there(&folder.key).await? => {
                    mirror.forget_if_gone(&folder, name)?;
                    Err(no_entry())
                }
                None => Err(gone()),
            }
        };
        mirror.in_time(work).await
    }

    async fn parent(&self, _caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        let mirror = &self.0;
        let folder = mirror.folder(folder)?;
        let row = mirror
            .ids
            .row(folder.id)
            .map_err(|error| of_state(&error))?;
        let parent = row.ok_or_else(gone)?.parent;
        let work = async {
            if !mirror.folder_is_there(&folder.key).await? {
                return Err(gone());
            }
            let at = mirror.at_id(parent)?.ok_or_else(gone)?;
            Ok(Node {
                handle: mirror.handle(parent),
                stat: mirror.stat_of(&at).await?,
            })
        };
        mirror.in_time(work).await
    }

    async fn list(
        &self,
        _caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let folder = self.0.folder(folder)?;
        let work = self.0.list(&folder, after, verifier, most);
        self.0.in_time(work).await
    }

    async fn list_names(
        &self,
        _caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        let folder = self.0.folder(folder)?;
        let work = self.0.list_names(&folder, after, verifier, most);
        self.0.in_time(work).await
    }

    async fn read_link(&self, _caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        let at = self.0.at(handle)?;
        self.0.in_time(self.0.read_link(&at)).await
    }

    async fn read(
        &self,
        _caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        let at = self.0.at(handle)?;
        self.0.in_time(self.0.read(&at, offset, count)).await
    }

    async fn write(
        &self,
        _caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        let at = self.0.at(handle)?;
        let work = self.0.write(at, offset, data, stability);
        self.0.in_time(work).await
    }

    async fn commit(&self, _caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        let at = self.0.at(handle)?;
        self.0.in_time(self.0.commit(at)).await?;
        Ok(self.0.verifier)
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let folder = self.0.folder(folder)?;
        let work = self.0.create(caller, folder, name.clone(), how, *born);
        self.0.in_time(work).await
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let folder = self.0.folder(folder)?;
        let work = self.0.make(caller, folder, name.clone(), what, *born);
        self.0.in_time(work).await
    }

    async fn remove(
        &self,
        _caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        let folder = self.0.folder(folder)?;
        self.0.in_time(self.0.remove(folder, name.clone())).await
    }

    async fn rename(
        &self,
        _caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        let old = (self.0.folder(from.0)?, from.1.clone());
        let new = (self.0.folder(to.0)?, to.1.clone());
        self.0.in_time(self.0.rename(old, new)).await
    }

    async fn set(
        &self,
        _caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        let at = self.0.at(handle)?;
        self.0.in_time(self.0.set(at, *changes)).await
    }

    async fn direct(&self, handle: &Bytes, _stat: &NodeStat) -> Result<Option<Direct>, TreeError> {
        let at = self.0.at(handle)?;
        self.0.in_time(self.0.direct(at)).await
    }

    async fn space(&self) -> Result<Space, TreeError> {
        Ok(SPACE)
    }

    fn unsent(&self) -> Unsent {
        self.0.unsent()
    }

    async fn finish(&self, patience: Duration) {
        self.0.end(patience).await;
    }

    async fn xattr(
        &self,
        _caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<Bytes, TreeError> {
        let at = self.0.at(handle)?;
        let meta = self.0.in_time(self.metadata(&at)).await?;
        xattrs::get(&meta, name)
    }

    async fn xattrs(&self, _caller: &Caller, handle: &Bytes) -> Result<Vec<Bytes>, TreeError> {
        let at = self.0.at(handle)?;
        let meta = self.0.in_time(self.metadata(&at)).await?;
        Ok(xattrs::names(&meta))
    }

    async fn set_xattr(
        &self,
        _caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
        value: &Bytes,
        how: XattrHow,
    ) -> Result<(), TreeError> {
        let (name, value) = (name.clone(), value.clone());
        self.change_metadata(handle, move |meta| xattrs::set(meta, &name, &value, how))
            .await
    }

    async fn remove_xattr(
        &self,
        _caller: &Caller,
        handle: &Bytes,
        name: &Bytes,
    ) -> Result<(), TreeError> {
        let name = name.clone();
        self.change_metadata(handle, move |meta| xattrs::remove(meta, &name))
            .await
    }
}
