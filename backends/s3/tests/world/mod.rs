//! A mirror of a bucket, that can be attached anew. The bucket is one of `s3_server`, or, where
//! `HEADRACE_S3_ENDPOINT` names one, of a real server: by the credentials of the environment.
//!
//! Never here: claims.

#![allow(dead_code, reason = "each test file uses its own part")]

mod front;

use crate::s3_server::{BUCKET, S3Server};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use backend::tree::{Caller, CreateHow, Make, Node, NodeChanges, Tree, TreeError};
use backend::{Fetched, Stability};
use backend_s3::{AttachError, Attached, Keys, Options, S3Mirror};
use bytes::Bytes;
pub use front::Front;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Where a real server is.
const ENDPOINT: &str = "HEADRACE_S3_ENDPOINT";
/// A real server is given no file longer than this: its disk is a test's.
const LARGEST_FILE_BYTES: u64 = 1 << 32;

pub struct World {
    pub server: Option<S3Server>,
    pub options: Options,
    pub front: Arc<Front>,
    /// Who asks: the metadata server calls as root.
    pub caller: Caller,
    _state: TempDir,
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set where {ENDPOINT} is"))
}

pub fn options(endpoint: String, state: &TempDir) -> Options {
    Options {
        endpoint: Some(endpoint),
        region: Some("us-east-1".into()),
        path_style: true,
        keys: Some(Keys {
            id: "key".into(),
            secret: "secret".into(),
            token: None,
        }),
        largest_file_bytes: LARGEST_FILE_BYTES,
        deadline: Duration::from_secs(30),
        ..Options::new(BUCKET, state.path())
    }
}

/// Makes the bucket of a real server, unless it is there.
async fn real(options: &mut Options) {
    let (id, secret) = (
        from_environment("AWS_ACCESS_KEY_ID"),
        from_environment("AWS_SECRET_ACCESS_KEY"),
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(options.endpoint.clone().unwrap_or_default())
        .force_path_style(true)
        .credentials_provider(Credentials::new(&id, &secret, None, None, "environment"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    // The attachment says what is wrong, if this doesn't succeed.
    let _ = Client::from_conf(config)
        .create_bucket()
        .bucket(BUCKET)
        .send()
        .await;
    options.keys = Some(Keys {
        id,
        secret,
        token: None,
    });
    options.prefix = format!("{:032x}", rand::random::<u128>());
}

/// The server that the environment names, with a prefix of its own.
pub async fn real_server() -> Option<(Options, TempDir)> {
    let endpoint = std::env::var(ENDPOINT).ok()?;
    let state = tempfile::tempdir().expect("a folder");
    let mut options = options(endpoint, &state);
    real(&mut options).await;
    Some((options, state))
}

impl World {
    /// Of the server that the environment names, or of one in memory.
    pub async fn any() -> Self {
        match real_server().await {
            Some((options, state)) => Self::attached(None, options, state).await,
            // A bucket's root can't have every name: the SDK takes a key of blanks for none.
            None => Self::with(|options| options.prefix = "below".into()).await,
        }
    }

    /// Of a server in memory.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Of a server in memory that is like SeaweedFS: a folder's marker keeps no metadata.
    pub async fn with_bare_markers() -> Self {
        let world = Self::with(|options| options.prefix = "below".into()).await;
        world.server().drop_metadata_of_markers();
        world
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let server = S3Server::start().await;
        let state = tempfile::tempdir().expect("a folder");
        let mut options = options(server.endpoint(), &state);
        change(&mut options);
        Self::attached(Some(server), options, state).await
    }

    async fn attached(server: Option<S3Server>, options: Options, state: TempDir) -> Self {
        let (mirror, _) = S3Mirror::attach(options.clone())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Self {
            server,
            options,
            front: Front::of(mirror),
            caller: Caller::root(),
            _state: state,
        }
    }

    pub fn server(&self) -> &S3Server {
        self.server.as_ref().expect("the server is in memory")
    }

    /// As after the process died, whatever it did, and came again.
    pub async fn restart(&self) -> Result<Attached, AttachError> {
        self.front.stop().await;
        let (mirror, attached) = S3Mirror::attach(self.options.clone()).await?;
        self.front.start(mirror);
        Ok(attached)
    }

    pub async fn root(&self) -> Bytes {
        self.front.root().await.expect("a root").handle
    }

    /// The node at a path of shown names.
    pub async fn find(&self, path: &str) -> Result<Node, TreeError> {
        let mut at = self.front.root().await?;
        for name in path.split('/') {
            let name = Bytes::copy_from_slice(name.as_bytes());
            at = self.front.lookup(&self.caller, &at.handle, &name).await?;
        }
        Ok(at)
    }

    pub async fn found(&self, path: &str) -> Node {
        let found = self.find(path).await;
        found.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub async fn create(&self, folder: &Bytes, name: &str) -> Result<Node, TreeError> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let (how, born) = (CreateHow::Guarded, NodeChanges::default());
        let made = self.front.create(&self.caller, folder, &name, how, &born);
        made.await.map(|(node, _)| node)
    }

    pub async fn write(
        &self,
        node: &Node,
        offset: u64,
        data: impl Into<Bytes>,
    ) -> Result<(), TreeError> {
        let data = data.into();
        let mut done = 0;
        while done < data.len() {
            let (at, rest) = (offset + done as u64, data.slice(done..));
            let write = self
                .front
                .write(&self.caller, &node.handle, at, rest, Stability::Unstable);
            done += write.await?.count as usize;
        }
        Ok(())
    }

    pub async fn commit(&self, node: &Node) -> Result<(), TreeError> {
        let commit = self.front.commit(&self.caller, &node.handle);
        commit.await.map(drop)
    }

    pub async fn read(&self, node: &Node, offset: u64, count: u32) -> Result<Fetched, TreeError> {
        let read = self.front.read(&self.caller, &node.handle, offset, count);
        read.await
    }

    pub async fn whole(&self, node: &Node) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let read = self.read(node, whole.len() as u64, 1 << 20).await;
            let read = read.expect("a READ succeeds");
            whole.extend_from_slice(&read.data);
            if read.at_end {
                return whole;
            }
        }
    }

    pub async fn rename(&self, from: (&Bytes, &str), to: (&Bytes, &str)) -> Result<(), TreeError> {
        let bytes = |name: &str| Bytes::copy_from_slice(name.as_bytes());
        let (old, new) = (bytes(from.1), bytes(to.1));
        let rename = self
            .front
            .rename(&self.caller, (from.0, &old), (to.0, &new));
        rename.await.map(drop)
    }

    pub async fn make_folder(&self, folder: &Bytes, name: &str) -> Result<Node, TreeError> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let born = NodeChanges::default();
        let made = self
            .front
            .make(&self.caller, folder, &name, Make::Folder, &born);
        made.await.map(|(node, _)| node)
    }

    pub async fn remove(&self, folder: &Bytes, name: &str) -> Result<(), TreeError> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let remove = self.front.remove(&self.caller, folder, &name);
        remove.await.map(drop)
    }

    /// All names of a folder, in pages of `most`.
    pub async fn names(&self, folder: &Bytes, most: usize) -> Vec<String> {
        let mut names = Vec::new();
        let (mut after, mut verifier) = (0, [0; 8]);
        loop {
            let page = self
                .front
                .list(&self.caller, folder, after, verifier, most)
                .await
                .expect("a folder can be listed");
            for entry in &page.entries {
                names.push(String::from_utf8(entry.name.to_vec()).expect("names are UTF-8"));
                after = entry.cookie;
            }
            verifier = page.verifier;
            if page.at_end {
                return names;
            }
        }
    }
}
