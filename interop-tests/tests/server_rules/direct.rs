//! A client's I/O past the metadata server, as its layout says: which object, at which offset, as whom.

use anyhow::{Context, Result};
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, OpenFile};
use wire::nfs3::{Fattr3, Fh3, Nfsstat3, StableHow};
use wire::nfs4::{Layoutiomode4, Nfsstat4, Stateid4, flex};

use crate::world::{World, at_last};

/// A layout, and a connection to each of its data servers.
pub struct Held {
    pub stateid: Stateid4,
    pub layout: flex::Layout,
    stripes: Vec<(nfs_client::Client, Fh3)>,
}

impl World {
    pub async fn layout(
        &self,
        client: &Client,
        file: &OpenFile,
        iomode: Layoutiomode4,
    ) -> Result<Held, Failure> {
        let (granted, layout) = client.layoutget(&file.fh, file.stateid, iomode).await?;
        let mut stripes = Vec::new();
        for stripe in &layout.mirrors[0].data_servers {
            let server = self
                .data_server_of(client, stripe)
                .await
                .map_err(|error| Failure::Unasked(error.to_string()))?;
            let handle = Fh3::new(stripe.fh_vers[0].clone())
                .ok_or(Failure::Unasked("a filehandle too long".into()))?;
            stripes.push((server, handle));
        }
        Ok(Held {
            stateid: granted.stateid,
            layout,
            stripes,
        })
    }

    pub async fn to_write(&self, client: &Client, file: &OpenFile) -> Result<Held, Failure> {
        self.layout(client, file, Layoutiomode4::Rw).await
    }

    /// As Linux asks: again after DELAY, RECALLCONFLICT and GRACE.
    pub async fn to_write_at_last(&self, client: &Client, file: &OpenFile) -> Result<Held> {
        let again = [Nfsstat4::Delay, Nfsstat4::Recallconflict, Nfsstat4::Grace];
        at_last("a layout to write", &again, async || {
            self.to_write(client, file).await
        })
        .await
    }

    pub async fn to_read(&self, client: &Client, file: &OpenFile) -> Result<Held, Failure> {
        self.layout(client, file, Layoutiomode4::Read).await
    }
}

impl Held {
    /// The stripe of `offset`, and how far it goes (fact 10: sparse, index = offset / unit mod count).
    fn at(&self, offset: u64) -> (&(nfs_client::Client, Fh3), u64) {
        match self.layout.stripe_unit {
            0 => (&self.stripes[0], u64::MAX),
            unit => (
                &self.stripes[(offset / unit) as usize % self.stripes.len()],
                unit - offset % unit,
            ),
        }
    }

    /// FILE_SYNC, stripe by stripe.
    pub async fn write(
        &self,
        offset: u64,
        data: impl Into<Bytes>,
    ) -> Result<(), nfs_client::Error> {
        self.write_how(offset, data.into(), StableHow::FileSync)
            .await
    }

    pub async fn write_unstable(
        &self,
        offset: u64,
        data: impl Into<Bytes>,
    ) -> Result<(), nfs_client::Error> {
        self.write_how(offset, data.into(), StableHow::Unstable)
            .await
    }

    /// COMMIT of every object.
    pub async fn commit(&self) -> Result<(), nfs_client::Error> {
        for (server, object) in &self.stripes {
            server.commit(object, 0, 0).await?;
        }
        Ok(())
    }

    async fn write_how(
        &self,
        mut offset: u64,
        mut data: Bytes,
        how: StableHow,
    ) -> Result<(), nfs_client::Error> {
        while !data.is_empty() {
            let ((server, object), room) = self.at(offset);
            let now = data.split_to(data.len().min(room.min(128 << 10) as usize));
            let length = now.len() as u64;
            let written = server.write(object, offset, how, now.clone()).await?;
            assert_eq!(
                u64::from(written.count),
                length,
                "a data server takes a small write whole"
            );
            offset += length;
        }
        Ok(())
    }

    /// What a client reads there with O_DIRECT: up to the first end of an object.
    pub async fn read(&self, mut offset: u64, count: u64) -> Result<Vec<u8>, nfs_client::Error> {
        let mut read = Vec::new();
        while (read.len() as u64) < count {
            let ((server, object), room) = self.at(offset);
            let wanted = (count - read.len() as u64).min(room).min(128 << 10);
            let came = server.read(object, offset, wanted as u32).await?;
            offset += came.data.len() as u64;
            read.extend_from_slice(&came.data);
            if came.eof || came.data.is_empty() {
                break;
            }
        }
        Ok(read)
    }

    /// What lies in the object of one stripe, whatever the layout says of the offset.
    pub async fn read_object(
        &self,
        stripe: usize,
        offset: u64,
        count: u64,
    ) -> Result<Vec<u8>, nfs_client::Error> {
        let (server, object) = &self.stripes[stripe];
        let read = server.read(object, offset, count as u32).await?;
        Ok(read.data.to_vec())
    }

    /// Of every object, in the order of stripes.
    pub async fn objects(&self) -> Result<Vec<Fattr3>> {
        let mut all = Vec::new();
        for (server, object) in &self.stripes {
            all.push(
                server
                    .getattr(object)
                    .await
                    .context("GETATTR of an object")?,
            );
        }
        Ok(all)
    }
}

/// The status with which a data server refused.
pub trait Refused {
    fn refused(&self) -> Option<Nfsstat3>;
}

impl<T> Refused for Result<T, nfs_client::Error> {
    fn refused(&self) -> Option<Nfsstat3> {
        self.as_ref().err().and_then(nfs_client::Error::status)
    }
}
