//! SeaweedFS in the sandbox: a real S3 server, and a client of it that isn't ours.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::clock;
use super::command;
use super::headrace::{Server, Serves};
use super::lab::MINUTE;

const PORT: u16 = 8333;
const REGION: &str = "us-east-1";
const KEYS: (&str, &str) = ("operator", "not secret");
/// Of who may look, and change nothing.
const READERS_KEYS: (&str, &str) = ("reader", "not secret either");

pub struct Seaweed {
    server: Server,
    listens: SocketAddrV4,
    client: S3Client,
}

impl Deref for Seaweed {
    type Target = S3Client;

    fn deref(&self) -> &S3Client {
        &self.client
    }
}

/// A client that isn't ours.
pub struct S3Client {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Seaweed {
    /// With an empty bucket of this name. It takes puts once this returns.
    pub fn start(cache: &Path, state: &Path, address: Ipv4Addr, bucket: &str) -> Result<Self> {
        // Of this sandbox alone, and seen by who has another /tmp.
        let (folder, program) = (PathBuf::from("/run/s3"), PathBuf::from("/run/weed"));
        let data = state.join("s3");
        for new in [&data, &folder.join("data")] {
            fs::create_dir_all(new).with_context(|| format!("creating {}", new.display()))?;
        }
        fs::File::create_new(&program).context("a second S3 server in one sandbox")?;
        for (from, to) in [
            (&data, &folder.join("data")),
            (&cache.join("bin/weed"), &program),
        ] {
            let (from, to) = (from.display().to_string(), to.display().to_string());
            command::run("mount", &["--bind", &from, &to])?;
        }
        let data = folder.join("data");
        let accounts = folder.join("accounts.json");
        let account = |(id, secret): (&str, &str), actions: &[&str]| {
            json!({
                "name": id,
                "credentials": [{ "accessKey": id, "secretKey": secret }],
                "actions": actions,
            })
        };
        let identities = [
            account(KEYS, &["Admin", "Read", "Write", "List", "Tagging"]),
            account(READERS_KEYS, &["Read", "List"]),
        ];
        fs::write(&accounts, json!({ "identities": identities }).to_string())
            .with_context(|| format!("writing {}", accounts.display()))?;
        // Its parts meet at sockets in /tmp, by names that are those of every other one's.
        let alone = "mount -t tmpfs tmpfs /tmp && exec \"$0\" \"$@\"";
        let arguments = [
            "--mount".to_owned(),
            "sh".to_owned(),
            "-c".to_owned(),
            alone.to_owned(),
            program.display().to_string(),
            "server".to_owned(),
            format!("-dir={}", data.display()),
            format!("-ip={address}"),
            format!("-ip.bind={address}"),
            "-master.volumeSizeLimitMB=64".to_owned(),
            // What is written over goes after a quarter of an hour: there is to be room for that.
            "-volume.max=240".to_owned(),
            "-filer".to_owned(),
            "-s3".to_owned(),
            format!("-s3.port={PORT}"),
            format!("-s3.config={}", accounts.display()),
        ];
        let listens = SocketAddrV4::new(address, PORT);
        let mut server = Server::new(
            "s3",
            Path::new("unshare"),
            arguments.to_vec(),
            Serves::At(listens),
            state,
        );
        server.start()?;
        let mut seaweed = Self {
            server,
            listens,
            client: S3Client::of(listens)?,
        };
        // Its port answers some seconds before its volumes take anything.
        clock::wait_for("a bucket that takes puts", MINUTE, || {
            seaweed.server.still_runs()?;
            let made = seaweed.client.make(bucket).is_ok();
            Ok((made && seaweed.client.put(bucket, "first", b"first").is_ok()).then_some(()))
        })?;
        Ok(seaweed)
    }

    /// The `[[backend]]` of a configuration.
    pub fn backend(&self, name: &str, bucket: &str) -> String {
        Self::backend_at(self.listens, name, bucket)
    }

    /// The same, reached at another address.
    pub fn backend_at(at: SocketAddrV4, name: &str, bucket: &str) -> String {
        format!(
            "[[backend]]\nname = \"{name}\"\nkind = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"http://{at}\"\nregion = \"{REGION}\"\n"
        )
    }

    pub fn address(&self) -> SocketAddrV4 {
        self.listens
    }

    /// By which our servers are let in.
    pub fn environment() -> [(&'static str, &'static str); 2] {
        keys(KEYS)
    }

    /// By which they may change nothing.
    pub fn readers_environment() -> [(&'static str, &'static str); 2] {
        keys(READERS_KEYS)
    }

    /// By which they aren't let in.
    pub fn strangers_environment() -> [(&'static str, &'static str); 2] {
        keys(("stranger", "guessed"))
    }

    pub fn still_runs(&mut self) -> Result<()> {
        self.server.still_runs()
    }
}

fn keys((id, secret): (&'static str, &'static str)) -> [(&'static str, &'static str); 2] {
    [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]
}

impl S3Client {
    pub fn of(server: SocketAddrV4) -> Result<Self> {
        let (id, secret) = KEYS;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(format!("http://{server}"))
            .credentials_provider(Credentials::new(id, secret, None, None, "given"))
            .force_path_style(true)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            client: Client::from_conf(config),
        })
    }

    fn make(&self, bucket: &str) -> Result<()> {
        let making = self.client.create_bucket().bucket(bucket).send();
        match self.runtime.block_on(making) {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = error.into_service_error();
                if error.is_bucket_already_owned_by_you() || error.is_bucket_already_exists() {
                    return Ok(());
                }
                Err(error.into())
            }
        }
    }

    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<()> {
        let putting = self
            .client
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(bytes.to_vec().into())
            .send();
        self.runtime
            .block_on(putting)
            .with_context(|| format!("putting {key}"))?;
        Ok(())
    }

    /// Many small ones at once, named by their numbers.
    pub fn put_many(&self, bucket: &str, prefix: &str, count: u64) -> Result<()> {
        const AT_ONCE: usize = 32;
        let puts = stream::iter(0..count).map(|number| {
            let key = format!("{prefix}{number:07}");
            let put = self.client.put_object().bucket(bucket).key(key);
            put.body(number.to_string().into_bytes().into()).send()
        });
        let done = puts
            .buffer_unordered(AT_ONCE)
            .try_for_each(|_| async { Ok(()) });
        self.runtime.block_on(done).context("putting many objects")
    }

    pub fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        self.runtime.block_on(async {
            let got = self.client.get_object().bucket(bucket).key(key).send();
            let got = got.await.with_context(|| format!("getting {key}"))?;
            Ok(got.body.collect().await?.to_vec())
        })
    }

    /// The whole object by ranges of `part_bytes`, `at_once` of them at a time: its bytes, and how long that took.
    pub fn get_in_parts(
        &self,
        bucket: &str,
        key: &str,
        at_once: usize,
        part_bytes: u64,
    ) -> Result<(u64, Duration)> {
        self.runtime.block_on(async {
            let head = self.client.head_object().bucket(bucket).key(key).send();
            let size = head.await?.content_length().unwrap_or(0) as u64;
            let begun = Instant::now();
            let next = Arc::new(AtomicU64::new(0));
            let mut getters = tokio::task::JoinSet::new();
            for _ in 0..at_once {
                let (client, next) = (self.client.clone(), Arc::clone(&next));
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                getters.spawn(async move {
                    let mut bytes = 0;
                    loop {
                        let from = next.fetch_add(part_bytes, Relaxed);
                        if from >= size {
                            return anyhow::Ok(bytes);
                        }
                        let range = format!("bytes={from}-{}", from + part_bytes - 1);
                        let get = client.get_object().bucket(&bucket).key(&key).range(range);
                        let mut body = get.send().await?.body;
                        while let Some(piece) = body.try_next().await? {
                            bytes += piece.len() as u64;
                        }
                    }
                });
            }
            let mut bytes = 0;
            while let Some(got) = getters.join_next().await {
                bytes += got??;
            }
            Ok((bytes, begun.elapsed()))
        })
    }

    /// `None`: it is another version by now, or gone.
    pub fn get_version(&self, bucket: &str, key: &str, etag: &str) -> Result<Option<Vec<u8>>> {
        self.runtime.block_on(async {
            let asking = self.client.get_object().bucket(bucket).key(key);
            match asking.if_match(etag).send().await {
                Ok(got) => Ok(Some(got.body.collect().await?.to_vec())),
                Err(error) => match error.raw_response().map(|said| said.status().as_u16()) {
                    Some(404 | 412) => Ok(None),
                    _ => Err(error).with_context(|| format!("getting a version of {key}")),
                },
            }
        })
    }

    /// All of them, with their sizes.
    pub fn keys(&self, bucket: &str) -> Result<BTreeMap<String, u64>> {
        self.runtime.block_on(async {
            let listing = self.client.list_objects_v2().bucket(bucket);
            let mut pages = listing.into_paginator().send();
            let mut keys = BTreeMap::new();
            while let Some(page) = pages.next().await {
                for object in page.context("listing the bucket")?.contents() {
                    let size = object.size().unwrap_or(0).unsigned_abs();
                    keys.insert(object.key().unwrap_or_default().to_owned(), size);
                }
            }
            Ok(keys)
        })
    }

    /// The keys of uploads by parts that nobody completed or aborted.
    pub fn uploads(&self, bucket: &str) -> Result<Vec<String>> {
        let listing = self.client.list_multipart_uploads().bucket(bucket).send();
        let listing = self.runtime.block_on(listing);
        let listing = listing.context("listing the uploads")?;
        let uploads = listing.uploads().iter();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(uploads.map(|upload| text(upload.key())).collect())
    }
}
