//! Files in a managed bucket that a data server caches: read there by layout as they are now, or not at all.

use anyhow::Result;
use backend_s3::{S3Objects, S3Upstream};
use bytes::Bytes;
use headrace::metadata::{GivenServer, ManagedSpec, Storage};
use interop_tests::nfs41::{Client, OpenFile, StatusOf, name, putfh};
use std::sync::Arc;
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::cached_buckets::{CHUNK, Late, pattern, read};
use crate::direct::Held;
use crate::s3_server::S3Server;
use crate::world::{World, at_last, until};

struct Lake {
    world: World,
    bucket: S3Server,
    _state: tempfile::TempDir,
}

/// A managed bucket at /lake, cached by the only data server.
async fn lake() -> Result<Lake> {
    let bucket = S3Server::start().await;
    let state = tempfile::tempdir()?;
    let late = Late::default();
    let options = late.options(&bucket, state.path());
    let upstream = S3Upstream::new(&options).await;
    let (objects, _) = S3Objects::attach(options).await?;
    let mut world = World::with(1, |spec| {
        spec.managed = vec![ManagedSpec {
            name: "lake".into(),
            storage: Storage::Given(GivenServer(Arc::new(objects))),
            cache: Some("ds0".into()),
            path: "/lake".into(),
        }];
    })
    .await?;
    late.begin(&mut world, upstream).await?;
    until("the backend is there", async || {
        let shown = world.running().managed.shown();
        Ok(shown.iter().all(|one| one.state().0 == "up"))
    })
    .await?;
    Ok(Lake {
        world,
        bucket,
        _state: state,
    })
}

impl Lake {
    /// A file with these bytes, which are in the bucket.
    async fn file(&self, client: &Client, name: &str, data: &[u8]) -> Result<OpenFile> {
        let folder = client.walk("/lake").await?;
        let file = client.open_create(&folder, name).await?;
        write(client, &file, 0, data).await?;
        client.commit(&file.fh, 0, 0).await?;
        Ok(file)
    }

    /// A layout to read, as soon as the data server is taken for there.
    async fn layout(&self, client: &Client, file: &OpenFile) -> Result<Held> {
        let again = [Nfsstat4::Layoutunavailable, Nfsstat4::Delay];
        at_last("a layout to read", &again, async || {
            self.world.to_read(client, file).await
        })
        .await
    }

    async fn has_none(&self, client: &Client, file: &OpenFile) {
        let none = self.world.to_read(client, file).await.map(drop);
        assert_eq!(none.status(), Nfsstat4::Layoutunavailable);
    }
}

async fn write(client: &Client, file: &OpenFile, offset: u64, data: &[u8]) -> Result<()> {
    let unstable = Write4Args {
        stateid: file.stateid,
        offset,
        stable: StableHow4::Unstable,
        data: Bytes::copy_from_slice(data),
    };
    client.ok([putfh(&file.fh), ArgOp::Write(unstable)]).await?;
    Ok(())
}

#[tokio::test]
async fn a_file_of_a_managed_bucket_is_read_where_it_is_cached_and_written_here() -> Result<()> {
    let lake = lake().await?;
    let data = pattern(1, 3 * CHUNK + 17);
    let client = lake.world.client("a").await?;
    let file = lake.file(&client, "a", &data).await?;
    let held = lake.layout(&client, &file).await?;
    assert!(read(&held, 0, data.len()).await == Ok(data.clone()));
    assert!(held.write(0, "x").await.is_err());
    let writes = lake.world.layout(&client, &file, Layoutiomode4::Rw).await;
    assert_eq!(writes.map(drop).status(), Nfsstat4::Layoutunavailable);
    // Without the bucket, what is cached is there.
    let gets = |asked: Vec<String>| asked.iter().filter(|line| line.starts_with("GET ")).count();
    let before = gets(lake.bucket.asked());
    assert!(read(&held, 0, data.len()).await == Ok(data));
    assert_eq!(gets(lake.bucket.asked()), before);
    Ok(())
}

#[tokio::test]
async fn a_managed_file_is_read_by_nobody_as_it_was_once_a_change_is_answered() -> Result<()> {
    let lake = lake().await?;
    let old = pattern(1, 2 * CHUNK);
    let client = lake.world.client("a").await?;
    let file = lake.file(&client, "a", &old).await?;
    let held = lake.layout(&client, &file).await?;
    assert!(read(&held, 0, old.len()).await == Ok(old.clone()));
    let writer = lake.world.client("b").await?;
    let folder = writer.walk("/lake").await?;
    let its = writer.open(&folder, "a").await?;

    write(&writer, &its, 0, b"new").await?;
    assert_eq!(read(&held, 0, 3).await, Err(Nfsstat3::Stale));
    let return_it = async |held: &Held| {
        let iomode = Layoutiomode4::Read;
        client.layoutreturn(&file.fh, held.stateid, iomode).await
    };
    return_it(&held).await?;
    // Until it is in the bucket, only the metadata server has it.
    lake.has_none(&client, &file).await;
    let through = client.read(&file.fh, file.stateid, 0, 3).await?;
    assert_eq!(&through.data[..], b"new");
    writer.commit(&its.fh, 0, 0).await?;
    let held = lake.layout(&client, &file).await?;
    let now = [b"new", &old[3..]].concat();
    assert!(
        read(&held, 0, old.len()).await == Ok(now),
        "what was written"
    );

    writer.truncate(&its.fh, its.stateid, 100).await?;
    assert_eq!(read(&held, 0, 3).await, Err(Nfsstat3::Stale));
    return_it(&held).await?;
    lake.has_none(&client, &file).await;
    writer.close(&its).await?;
    Ok(())
}

#[tokio::test]
async fn a_removed_file_of_a_managed_bucket_is_gone_from_its_cache_too() -> Result<()> {
    let lake = lake().await?;
    let data = pattern(1, CHUNK);
    let client = lake.world.client("a").await?;
    let file = lake.file(&client, "a", &data).await?;
    let held = lake.layout(&client, &file).await?;
    assert!(read(&held, 0, data.len()).await == Ok(data));
    client.close(&file).await?;
    let folder = client.walk("/lake").await?;
    let remove = ArgOp::Remove(Remove4Args { target: name("a") });
    client.ok([putfh(&folder), remove]).await?;
    until("nothing of it is served", async || {
        Ok(read(&held, 0, 10).await == Err(Nfsstat3::Stale))
    })
    .await
}
