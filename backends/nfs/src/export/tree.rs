//! The export as the contract of trees wants it. Never here: what is behind more than one call.

use super::NfsExport;
use super::stat::{ALL_RIGHTS, rights_of, stat_of};
use async_trait::async_trait;
use backend::tree::{
    Caller, CreateHow, Direct, FolderChange, Listing, Make, Node, NodeChanges, NodeKind, NodeStat,
    Rights, Tree, TreeAbilities, TreeError, TreeErrorKind,
};
use backend::{Fetched, Space, Stability, WriteVerifier, Written};
use bytes::Bytes;
use layout::{Device, Owner};
use wire::nfs3::StableHow;

/// By which the owner reads.
const OWNER_READS: u32 = 0o400;

impl NfsExport {
    pub(super) fn too_large(&self) -> TreeError {
        let limit = self.abilities.largest_file_bytes;
        let what = format!("its files have at most {limit} bytes");
        self.error(TreeErrorKind::TooLarge, &what)
    }
}

#[async_trait]
impl Tree for NfsExport {
    fn abilities(&self) -> TreeAbilities {
        self.abilities.clone()
    }

    async fn root(&self) -> Result<Node, TreeError> {
        let root = self.recognise().await?;
        Ok(self.node(self.identity.root.clone(), &root))
    }

    async fn stat(&self, caller: &Caller, handle: &Bytes) -> Result<NodeStat, TreeError> {
        let client = self.asked_by(caller).await?;
        let said = client.getattr(&self.handle(handle)?).await;
        Ok(stat_of(&self.told(said).await?, self.identity.fsid))
    }

    async fn rights(&self, caller: &Caller, handle: &Bytes) -> Result<Rights, TreeError> {
        let client = self.asked_by(caller).await?;
        let said = client.access(&self.handle(handle)?, ALL_RIGHTS).await;
        Ok(rights_of(self.told(said).await?.access))
    }

    async fn lookup(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<Node, TreeError> {
        let client = self.asked_by(caller).await?;
        let (folder, name) = (self.handle(folder)?, self.name(name)?);
        let said = client.lookup(&folder, &name).await;
        let found = self.told(said).await?;
        let attributes = self
            .attributes(&client, &found.object, found.obj_attributes)
            .await?;
        Ok(self.node(found.object, &attributes))
    }

    async fn parent(&self, caller: &Caller, folder: &Bytes) -> Result<Node, TreeError> {
        if folder == self.identity.root.bytes() {
            return self.root().await;
        }
        let client = self.asked_by(caller).await?;
        let above = crate::place::name("..");
        let said = client.lookup(&self.handle(folder)?, &above).await;
        let found = self.told(said).await?;
        let attributes = self
            .attributes(&client, &found.object, found.obj_attributes)
            .await?;
        Ok(self.node(found.object, &attributes))
    }

    async fn list(
        &self,
        caller: &Caller,
        folder: &Bytes,
        after: u64,
        verifier: [u8; 8],
        most: usize,
    ) -> Result<Listing, TreeError> {
        self.list_folder(caller, folder, after, verifier, most)
            .await
    }

    async fn read_link(&self, caller: &Caller, handle: &Bytes) -> Result<Bytes, TreeError> {
        let client = self.asked_by(caller).await?;
        let said = client.readlink(&self.handle(handle)?).await;
        Ok(self.told(said).await?.data.into_bytes())
    }

    async fn read(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        let client = self.asked_by(caller).await?;
        let count = count.min(self.abilities.read_bytes);
        let said = client.read(&self.handle(handle)?, offset, count).await;
        let got = self.told(said).await?;
        if got.data.len() > count as usize {
            return Err(self.nonsense("READ gave more than was asked for"));
        }
        if got.data.is_empty() && !got.eof && count > 0 {
            return Err(self.nonsense("READ gave nothing before the end"));
        }
        Ok(Fetched {
            data: got.data,
            at_end: got.eof,
        })
    }

    async fn write(
        &self,
        caller: &Caller,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, TreeError> {
        let client = self.asked_by(caller).await?;
        let data = data.slice(..data.len().min(self.abilities.write_bytes as usize));
        let length = data.len();
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.abilities.largest_file_bytes) {
            return Err(self.too_large());
        }
        let stable = match stability {
            Stability::Unstable => StableHow::Unstable,
            Stability::Durable => StableHow::FileSync,
        };
        let file = self.handle(handle)?;
        let said = client.write(&file, offset, stable, data).await;
        let said = self.told(said).await?;
        if said.count as usize > length || (said.count == 0 && length > 0) {
            return Err(self.nonsense("WRITE took a wrong number of bytes"));
        }
        let durable = said.committed > StableHow::Unstable;
        if stability == Stability::Durable && !durable {
            return Err(self.nonsense("a FILE_SYNC WRITE was answered UNSTABLE"));
        }
        Ok(Written {
            count: said.count,
            durable,
            verifier: said.verf,
        })
    }

    async fn commit(&self, caller: &Caller, handle: &Bytes) -> Result<WriteVerifier, TreeError> {
        let client = self.asked_by(caller).await?;
        let said = client.commit(&self.handle(handle)?, 0, 0).await;
        Ok(self.told(said).await?.verf)
    }

    async fn create(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.create_file(caller, folder, name, how, born).await
    }

    async fn make(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
        what: Make,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.make_node(caller, folder, name, &what, born).await
    }

    async fn remove(
        &self,
        caller: &Caller,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.remove_name(caller, folder, name).await
    }

    async fn rename(
        &self,
        caller: &Caller,
        from: (&Bytes, &Bytes),
        to: (&Bytes, &Bytes),
    ) -> Result<(FolderChange, FolderChange), TreeError> {
        self.rename_name(caller, from, to).await
    }

    async fn link(
        &self,
        caller: &Caller,
        handle: &Bytes,
        folder: &Bytes,
        name: &Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.link_name(caller, handle, folder, name).await
    }

    async fn set(
        &self,
        caller: &Caller,
        handle: &Bytes,
        changes: &NodeChanges,
    ) -> Result<NodeStat, TreeError> {
        if *changes == NodeChanges::default() {
            return self.stat(caller, handle).await;
        }
        if changes.size.unwrap_or(0) > self.abilities.largest_file_bytes {
            return Err(self.too_large());
        }
        let client = self.asked_by(caller).await?;
        let file = self.handle(handle)?;
        let attributes = self.set_attributes(&client, &file, changes).await?;
        Ok(stat_of(&attributes, self.identity.fsid))
    }

    async fn space(&self) -> Result<Space, TreeError> {
        let client = self.asked_by(&Caller::root()).await?;
        let patient = client.within(self.options.probe_deadline);
        let said = self.told(patient.fsstat(&self.identity.root).await).await?;
        Ok(Space {
            total: said.tbytes,
            free: said.abytes.min(said.tbytes),
        })
    }

    fn device(&self) -> Option<Device> {
        Some(Device {
            addresses: vec![self.client.server()],
            read_bytes: self.abilities.read_bytes,
            write_bytes: self.abilities.write_bytes,
        })
    }

    /// With the owner's ids, which the filer lets read: root is squashed there, and gets none.
    async fn direct(&self, handle: &Bytes, stat: &NodeStat) -> Result<Option<Direct>, TreeError> {
        let readable = stat.kind == NodeKind::Regular && stat.mode & OWNER_READS != 0;
        Ok((readable && stat.uid != 0).then(|| Direct {
            handle: handle.clone(),
            reader: Owner {
                uid: stat.uid,
                gid: stat.gid,
            },
            of_this_version: false,
        }))
    }
}
