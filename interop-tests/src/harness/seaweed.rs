//! SeaweedFS in the sandbox: a real S3 server, and a client of it that isn't ours.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use serde_json::json;

use super::clock;
use super::headrace::{Server, Serves};
use super::lab::MINUTE;

const PORT: u16 = 8333;
const REGION: &str = "us-east-1";
const KEYS: (&str, &str) = ("operator", "not secret");

pub struct Seaweed {
    server: Server,
    listens: SocketAddrV4,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Seaweed {
    /// With an empty bucket of this name. It takes puts once this returns.
    pub fn start(cache: &Path, state: &Path, address: Ipv4Addr, bucket: &str) -> Result<Self> {
        let folder = state.join("s3");
        let data = folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let accounts = folder.join("accounts.json");
        let (id, secret) = KEYS;
        let account = json!({
            "name": id,
            "credentials": [{ "accessKey": id, "secretKey": secret }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        });
        fs::write(&accounts, json!({ "identities": [account] }).to_string())
            .with_context(|| format!("writing {}", accounts.display()))?;
        let arguments = [
            "server".to_owned(),
            format!("-dir={}", data.display()),
            format!("-ip={address}"),
            format!("-ip.bind={address}"),
            "-master.volumeSizeLimitMB=64".to_owned(),
            "-volume.max=30".to_owned(),
            "-filer".to_owned(),
            "-s3".to_owned(),
            format!("-s3.port={PORT}"),
            format!("-s3.config={}", accounts.display()),
        ];
        let listens = SocketAddrV4::new(address, PORT);
        let mut server = Server::new(
            "s3",
            &cache.join("bin/weed"),
            arguments.to_vec(),
            Serves::At(listens),
            state,
        );
        server.start()?;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(format!("http://{listens}"))
            .credentials_provider(Credentials::new(id, secret, None, None, "given"))
            .force_path_style(true)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut seaweed = Self {
            server,
            listens,
            runtime,
            client: Client::from_conf(config),
        };
        // Its port answers some seconds before its volumes take anything.
        clock::wait_for("a bucket that takes puts", MINUTE, || {
            seaweed.server.still_runs()?;
            let made = seaweed.make(bucket).is_ok();
            Ok((made && seaweed.put(bucket, "first", b"first").is_ok()).then_some(()))
        })?;
        Ok(seaweed)
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

    /// The `[[backend]]` of a configuration.
    pub fn backend(&self, name: &str, bucket: &str) -> String {
        format!(
            "[[backend]]\nname = \"{name}\"\nkind = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"http://{}\"\nregion = \"{REGION}\"\n",
            self.listens
        )
    }

    /// By which our servers are let in.
    pub fn environment() -> [(&'static str, &'static str); 2] {
        let (id, secret) = KEYS;
        [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]
    }

    pub fn still_runs(&mut self) -> Result<()> {
        self.server.still_runs()
    }
}
