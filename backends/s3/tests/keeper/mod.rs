//! A bucket that keeps data objects, that can be attached anew.
//!
//! Never here: claims.

#![allow(dead_code, reason = "each test file uses its own part")]

use crate::s3_server::S3Server;
use crate::world::{options, real_server};
use async_trait::async_trait;
use backend::tree::Direct;
use backend::{
    Capabilities, DataServer, Error, Fetched, ObjectStat, Space, Stability, WriteVerifier, Written,
};
use backend_s3::{AttachError, Attached, Options, S3Objects};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use parking_lot::RwLock;
use std::sync::Arc;
use tempfile::TempDir;

pub const PREFIX: &str = "data";
pub const MARK: &str = "data/.headrace-managed";
pub const OWNER: Owner = Owner {
    uid: 70_001,
    gid: 70_011,
};

pub struct Keeper {
    pub server: Option<S3Server>,
    pub options: Options,
    attached: RwLock<Option<Arc<S3Objects>>>,
    _state: TempDir,
}

impl Keeper {
    /// Of the server that the environment names, or of one in memory.
    pub async fn any() -> Arc<Self> {
        match real_server().await {
            Some((options, state)) => Self::of(None, options, state).await,
            None => Self::new().await,
        }
    }

    /// Of a server in memory.
    pub async fn new() -> Arc<Self> {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Arc<Self> {
        let server = S3Server::start().await;
        let state = tempfile::tempdir().expect("a folder");
        let mut options = options(server.endpoint(), &state);
        options.prefix = PREFIX.into();
        change(&mut options);
        Self::of(Some(server), options, state).await
    }

    async fn of(server: Option<S3Server>, options: Options, state: TempDir) -> Arc<Self> {
        let (objects, _) = S3Objects::attach(options.clone())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Arc::new(Self {
            server,
            options,
            attached: RwLock::new(Some(Arc::new(objects))),
            _state: state,
        })
    }

    pub fn server(&self) -> &S3Server {
        self.server.as_ref().expect("the server is in memory")
    }

    pub async fn stop(&self) {
        let objects = self.attached.write().take().and_then(Arc::into_inner);
        objects.expect("nobody calls it any more").stop().await;
    }

    pub async fn start(&self) -> Result<Attached, AttachError> {
        let (objects, attached) = S3Objects::attach(self.options.clone()).await?;
        *self.attached.write() = Some(Arc::new(objects));
        Ok(attached)
    }

    /// As after the process died, whatever it did, and came again.
    pub async fn restart(&self) -> Attached {
        self.stop().await;
        self.start().await.expect("it is attached again")
    }

    pub fn objects(&self) -> Arc<S3Objects> {
        let objects = self.attached.read().clone();
        objects.expect("the bucket is attached")
    }

    pub async fn object(&self, number: u128) -> Bytes {
        let made = self.create(ObjectId(number), OWNER).await;
        made.expect("an object is made")
    }

    pub async fn put(&self, handle: &Bytes, offset: u64, data: impl Into<Bytes>) {
        let mut data = data.into();
        let mut at = offset;
        while !data.is_empty() {
            let written = self.write(handle, at, data.clone(), Stability::Unstable);
            let count = written.await.expect("a WRITE succeeds").count;
            data = data.split_off(count as usize);
            at += u64::from(count);
        }
    }

    pub async fn whole(&self, handle: &Bytes) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let read = self.read(handle, whole.len() as u64, 1 << 20).await;
            let read = read.unwrap_or_else(|error| panic!("{error}"));
            whole.extend_from_slice(&read.data);
            if read.at_end {
                return whole;
            }
        }
    }
}

/// The key of an object.
pub fn key(number: u128) -> String {
    format!("{PREFIX}/{:02x}/{number:032x}", number as u8)
}

#[async_trait]
impl DataServer for Keeper {
    fn capabilities(&self) -> Capabilities {
        self.objects().capabilities()
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        self.objects().create(object, owner).await
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        self.objects().stat(handle).await
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        self.objects().set_size(handle, size).await
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        self.objects().extend(handle, size).await
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        self.objects().fence(handle, owner).await
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        self.objects().read(handle, offset, count).await
    }

    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        self.objects().write(handle, offset, data, stability).await
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        self.objects().commit(handle).await
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        self.objects().remove(object).await
    }

    async fn cached(&self, handle: &Bytes) -> Result<Option<Direct>, Error> {
        self.objects().cached(handle).await
    }

    async fn space(&self) -> Result<Space, Error> {
        self.objects().space().await
    }
}
