//! A bucket whose chunks a data server caches: what clients read there by layout, and what becomes of it
//! when an object is overwritten, a server restarts, or the bucket is away.

use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use backend::tree::{Caller, Direct, Make, NodeChanges, Tree};
use backend::upstream::{ChunkCache, Upstream, Version};
use backend::{Error, ErrorKind, Nanos};
use backend_s3::{Options, S3Mirror, S3Upstream};
use bytes::Bytes;
use config::AnyConfig;
use headrace::check::caches;
use headrace::metadata::{BackendSpec, CacheAt, GivenTree, JunctionSpec, Keeper};
use interop_tests::nfs41::{Client, OpenFile, StatusOf, putfh};
use mds::Access;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::direct::Held;
use crate::s3_server::{BUCKET, Fault, S3Server};
use crate::unfit::file_of;
use crate::world::{World, at_last, until};

pub const CHUNK: usize = 64 << 10;

/// The data server as a cache, once the metadata server is there that knows it.
#[derive(Clone, Default)]
pub struct Late(Arc<Mutex<Option<CacheAt>>>);

impl Late {
    /// Of a bucket that is cached so.
    pub fn options(&self, bucket: &S3Server, state: &Path) -> Options {
        Options {
            cache: Some(Arc::new(self.clone())),
            ..bucket.options(state)
        }
    }

    /// Has the only data server cache the backend "lake" from now on.
    pub async fn begin(&self, world: &mut World, upstream: S3Upstream) -> Result<()> {
        let upstream = Arc::new(upstream) as Arc<dyn Upstream>;
        world.stop_data_server(0).await?;
        world.data_server_config(0).cache = Some(ds::Cache {
            bytes: Some(64 << 20),
            chunk_bytes: CHUNK as u32,
            ..ds::Cache::new(HashMap::from([("lake".to_owned(), upstream)]))
        });
        world.start_data_server(0)?;
        *self.0.lock() = Some(cache_of(world, "lake").await?);
        Ok(())
    }

    fn now(&self) -> Result<CacheAt, Error> {
        let after = Duration::from_millis(10);
        let away = || Error::new(ErrorKind::Retry { after }, "not yet");
        self.0.lock().clone().ok_or_else(away)
    }
}

#[async_trait]
impl ChunkCache for Late {
    async fn offer(&self, version: &Version, mtime: Nanos) -> Result<Direct, Error> {
        self.now()?.offer(version, mtime).await
    }

    async fn withdraw(&self, handle: &Bytes) -> Result<(), Error> {
        self.now()?.withdraw(handle).await
    }
}

/// The only data server as a cache of what `backend` keeps.
async fn cache_of(world: &World, backend: &str) -> Result<CacheAt> {
    let running = world.running();
    let known = running.catalog.data_servers().await?;
    let record = known.iter().find(|record| record.name == "ds0");
    let record = record.context("the data server's number")?;
    Ok(CacheAt::new(
        Arc::clone(&running.objects),
        record.id,
        backend,
    ))
}

struct Lake {
    world: World,
    bucket: S3Server,
    mirror: Arc<S3Mirror>,
    _state: tempfile::TempDir,
}

pub fn pattern(seed: u8, length: usize) -> Vec<u8> {
    let byte = |at: usize| seed.wrapping_add((at / 7) as u8);
    (0..length).map(byte).collect()
}

/// A bucket at /lake, cached by the only data server.
async fn lake() -> Result<Lake> {
    let bucket = S3Server::start().await;
    let state = tempfile::tempdir()?;
    let late = Late::default();
    let options = late.options(&bucket, state.path());
    let upstream = S3Upstream::new(&options).await;
    let (mirror, _) = S3Mirror::attach(options).await?;
    let mirror = Arc::new(mirror);
    let mut world = World::with(1, |spec| {
        spec.backends = vec![BackendSpec {
            name: "lake".into(),
            keeper: Keeper::Given(GivenTree(Arc::clone(&mirror) as _)),
            cache: Some("ds0".into()),
        }];
        spec.junctions = vec![JunctionSpec {
            path: "/lake".into(),
            backend: "lake".into(),
            folder: "/".into(),
            access: Access::ReadWrite,
        }];
    })
    .await?;
    late.begin(&mut world, upstream).await?;
    Ok(Lake {
        world,
        bucket,
        mirror,
        _state: state,
    })
}

impl Lake {
    fn fetches(&self, key: &str) -> usize {
        let line = format!("GET /{BUCKET}/{key}");
        let asked = self.bucket.asked();
        asked
            .iter()
            .filter(|asked| asked.starts_with(&line))
            .count()
    }

    async fn open(&self, client: &Client, name: &str) -> Result<OpenFile> {
        let folder = client.walk("/lake").await?;
        Ok(client.open(&folder, name).await?)
    }

    /// A layout to read, as soon as the data server is taken for there.
    async fn layout(&self, client: &Client, file: &OpenFile) -> Result<Held> {
        let again = [Nfsstat4::Layoutunavailable, Nfsstat4::Delay];
        at_last("a layout to read", &again, async || {
            self.world.to_read(client, file).await
        })
        .await
    }

    fn cache(&self) -> Result<ds::CacheSnapshot> {
        self.world
            .data_server_metrics(0)?
            .cache
            .context("it caches")
    }
}

/// Waits out what a kernel waits out by itself.
pub async fn read(held: &Held, offset: u64, count: usize) -> Result<Vec<u8>, Nfsstat3> {
    loop {
        match held.read(offset, count as u64).await {
            Ok(read) => return Ok(read),
            Err(error) => match error.status() {
                Some(Nfsstat3::Jukebox) => tokio::task::yield_now().await,
                Some(status) => return Err(status),
                None => panic!("{error}"),
            },
        }
    }
}

#[tokio::test]
async fn a_cached_bucket_is_read_at_the_data_server_and_fetched_once_for_all() -> Result<()> {
    let lake = lake().await?;
    let data = pattern(1, 5 * CHUNK + 1000);
    lake.bucket.put("a", data.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    let readers = (0..8).map(|_| read(&held, 0, data.len()));
    for read in futures_util::future::join_all(readers).await {
        assert!(read == Ok(data.clone()), "the bytes are the object's");
    }
    assert_eq!(lake.fetches("a"), 6, "one for each chunk");
    assert_eq!(
        read(&held, CHUNK as u64 - 10, 20).await,
        Ok(data[CHUNK - 10..CHUNK + 10].to_vec())
    );
    // Another client finds them there.
    let other = lake.world.client("b").await?;
    let opened = lake.open(&other, "a").await?;
    let its = lake.layout(&other, &opened).await?;
    assert!(read(&its, 0, data.len()).await == Ok(data.clone()));
    assert_eq!(lake.fetches("a"), 6);
    let cache = lake.cache()?;
    assert_eq!(cache.fetched_bytes, data.len() as u64);
    assert!(cache.hits > 0 && cache.misses > 0 && cache.held_bytes >= data.len() as u64);
    // Nobody writes there, and whoever has other ids doesn't read.
    assert!(held.write(0, "x").await.is_err());
    Ok(())
}

#[tokio::test]
async fn the_metadata_server_is_told_how_much_of_a_backend_was_read_at_its_cache() -> Result<()> {
    let lake = lake().await?;
    let data = pattern(1, 3 * CHUNK);
    lake.bucket.put("a", data.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    let cache = cache_of(&lake.world, "lake").await?;
    assert_eq!(cache.demand().await?.read_bytes, 0);
    for _ in 0..3 {
        assert!(read(&held, 0, data.len()).await == Ok(data.clone()));
    }
    let demand = cache.demand().await?;
    let bytes = data.len() as u64;
    assert_eq!(demand.read_bytes, 3 * bytes);
    assert_eq!(demand.fetched_bytes, bytes);
    assert_eq!(demand.saved_bytes(), 2 * bytes);
    // Chunks that were on their way when they were asked for are neither.
    assert!((1..=3).contains(&demand.misses), "{demand:?}");
    assert!(demand.hits <= 8, "{demand:?}");
    assert_eq!(demand.limit_bytes, 64 << 20);
    let refused = cache_of(&lake.world, "pond")
        .await?
        .demand()
        .await
        .unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    assert!(refused.to_string().contains("name is pond"), "{refused}");
    // A check asks the same, beside a metadata server that runs.
    let folder = tempfile::tempdir()?;
    let config = AnyConfig::load(&file_of(&lake.world, folder.path())?);
    let AnyConfig::Mds(config) = config.map_err(|faults| anyhow!("{faults}"))? else {
        bail!("a metadata server's");
    };
    let server = config.data_servers.first().context("a data server")?;
    assert_eq!(caches(server, "lake").await, Ok(()));
    let refused = caches(server, "pond").await.unwrap_err();
    assert!(refused.starts_with("doesn't cache it: "), "{refused}");
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_overwritten_is_never_mixed_and_its_layout_is_called_back() -> Result<()>
{
    let lake = lake().await?;
    let (old, new) = (pattern(1, 3 * CHUNK), pattern(99, 2 * CHUNK));
    lake.bucket.put("a", old.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    // All of it: what is fetched ahead would meet the new version.
    assert!(read(&held, 0, old.len()).await == Ok(old.clone()));
    lake.bucket.put("a", new.clone());
    // Nobody was told yet: what is cached is the version that was opened.
    assert_eq!(read(&held, 10, 20).await, Ok(old[10..30].to_vec()));
    assert_eq!(client.size_of(&file.fh).await?, new.len() as u64);
    // Now somebody was told, and no byte of the old version comes any more.
    assert_eq!(read(&held, 0, CHUNK).await, Err(Nfsstat3::Stale));
    let CbArgOp::Layoutrecall(recall) = client.callbacks.next().await? else {
        panic!("a recall");
    };
    let Layoutrecall4::File(recall) = recall.recall else {
        panic!("of the file");
    };
    assert_eq!(recall.fh, file.fh);
    client
        .layoutreturn(&file.fh, held.stateid, Layoutiomode4::Read)
        .await?;
    let held = lake.layout(&client, &file).await?;
    assert!(read(&held, 0, new.len()).await == Ok(new));
    Ok(())
}

#[tokio::test]
async fn a_change_that_nobody_has_seen_yet_gives_stale_for_what_is_not_here() -> Result<()> {
    let lake = lake().await?;
    let old = pattern(1, 30 * CHUNK);
    lake.bucket.put("a", old.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    assert_eq!(read(&held, 0, CHUNK).await, Ok(old[..CHUNK].to_vec()));
    lake.bucket.put("a", pattern(99, 30 * CHUNK));
    assert_eq!(
        read(&held, 25 * CHUNK as u64, 10).await,
        Err(Nfsstat3::Stale)
    );
    assert_eq!(read(&held, 0, 10).await, Err(Nfsstat3::Stale));
    Ok(())
}

#[tokio::test]
async fn what_is_written_through_the_server_is_read_by_nobody_as_it_was() -> Result<()> {
    let lake = lake().await?;
    let old = pattern(1, CHUNK);
    lake.bucket.put("a", old.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    assert_eq!(read(&held, 0, CHUNK).await, Ok(old.clone()));
    let writer = lake.world.client("b").await?;
    let folder = writer.walk("/lake").await?;
    let its = writer.open(&folder, "a").await?;
    let unstable = Write4Args {
        stateid: its.stateid,
        offset: 0,
        stable: StableHow4::Unstable,
        data: Bytes::from_static(b"new"),
    };
    writer.ok([putfh(&its.fh), ArgOp::Write(unstable)]).await?;
    assert_eq!(read(&held, 0, 3).await, Err(Nfsstat3::Stale));
    client
        .layoutreturn(&file.fh, held.stateid, Layoutiomode4::Read)
        .await?;
    // Until it is in the bucket, only the metadata server has it.
    let unavailable = lake.world.to_read(&client, &file).await.map(drop);
    assert_eq!(unavailable.status(), Nfsstat4::Layoutunavailable);
    let through = client.read(&file.fh, file.stateid, 0, 3).await?;
    assert_eq!(&through.data[..], b"new");
    writer.commit(&its.fh, 0, 0).await?;
    let held = lake.layout(&client, &file).await?;
    let now = [b"new", &old[3..]].concat();
    assert!(read(&held, 0, CHUNK).await == Ok(now), "what was written");
    writer.close(&its).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_cached_outlives_a_restart_and_needs_no_bucket() -> Result<()> {
    let mut lake = lake().await?;
    let data = pattern(5, 3 * CHUNK);
    lake.bucket.put("a", data.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    assert!(read(&held, 0, data.len()).await == Ok(data.clone()));
    until("all of it is written", async || {
        Ok(lake.cache()?.held_bytes >= data.len() as u64)
    })
    .await?;
    lake.world.stop_data_server(0).await?;
    lake.world.start_data_server(0)?;
    lake.bucket
        .fail(usize::MAX, "GET", "/a", Fault::Refused(503, "SlowDown"));
    assert!(read(&held, 0, data.len()).await == Ok(data));
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_away_makes_readers_wait_and_no_more() -> Result<()> {
    let lake = lake().await?;
    let data = pattern(5, CHUNK);
    lake.bucket.put("a", data.clone());
    let client = lake.world.client("a").await?;
    let file = lake.open(&client, "a").await?;
    let held = lake.layout(&client, &file).await?;
    lake.bucket
        .fail(usize::MAX, "GET", "/a", Fault::Refused(503, "SlowDown"));
    let refused = held.read(0, 10).await.map_err(|error| error.status());
    assert_eq!(refused, Err(Some(Nfsstat3::Jukebox)));
    lake.bucket.recover();
    assert!(read(&held, 0, CHUNK).await == Ok(data));
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_stopped_asks_a_bucket_for_no_change() -> Result<()> {
    let mut lake = lake().await?;
    let root = lake.mirror.root().await?.handle;
    let make = async |name: &'static str| {
        let name = Bytes::from_static(name.as_bytes());
        let (caller, born) = (Caller::root(), NodeChanges::default());
        let made = lake.mirror.make(&caller, &root, &name, Make::Folder, &born);
        made.await.map(drop)
    };
    make("before").await?;
    lake.world.stop().await?;
    let refused = make("after").await.expect_err("it is over");
    assert!(refused.is_passing(), "{refused}");
    assert_eq!(lake.bucket.keys(), ["before/"]);
    Ok(())
}
