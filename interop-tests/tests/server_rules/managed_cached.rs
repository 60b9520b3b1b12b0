//! Files in a managed bucket that a data server caches: read there by layout as they are now, or not at all.

use anyhow::Result;
use backend_s3::{S3Objects, S3Upstream};
use bytes::Bytes;
use headrace::metadata::{GivenServer, ManagedSpec, Storage};
use interop_tests::nfs41::{CallbackAnswer, Client, OpenFile, StatusOf, name, putfh};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::cached_buckets::{CHUNK, Late, pattern, read};
use crate::copies::{copy, copy_args};
use crate::crossings::cloned;
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

    /// Layouts that were asked back so far.
    fn recalls(&self) -> u64 {
        let metrics = &self.world.running().server.metrics;
        metrics.recalls.load(Relaxed)
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

/// Waits for the recall of what a reader holds, and gives it back.
async fn gives_back(reader: &Client, file: &OpenFile, held: &Held) -> Result<()> {
    let CbArgOp::Layoutrecall(recall) = reader.callbacks.next().await? else {
        panic!("a recall");
    };
    let Layoutrecall4::File(recall) = recall.recall else {
        panic!("of the file");
    };
    assert_eq!(recall.fh, file.fh);
    let iomode = Layoutiomode4::Read;
    reader.layoutreturn(&file.fh, held.stateid, iomode).await?;
    Ok(())
}

#[tokio::test]
async fn whoever_reads_a_managed_file_where_it_is_cached_is_told_that_it_changes() -> Result<()> {
    let lake = lake().await?;
    let old = pattern(1, 2 * CHUNK);
    let (client, writer) = (lake.world.client("a").await?, lake.world.client("b").await?);
    let folder = writer.walk("/lake").await?;
    let file = lake.file(&client, "a", &old).await?;
    let source = lake.file(&writer, "source", &old).await?;
    let its = writer.open(&folder, "a").await?;
    let again = async || {
        writer.commit(&its.fh, 0, 0).await?;
        let held = lake.layout(&client, &file).await?;
        assert_eq!(
            read(&held, CHUNK as u64, 3).await,
            Ok(old[CHUNK..CHUNK + 3].to_vec())
        );
        anyhow::Ok(held)
    };

    let held = again().await?;
    write(&writer, &its, 0, b"new").await?;
    gives_back(&client, &file, &held).await?;
    let held = again().await?;
    let hole = Deallocate4Args {
        stateid: its.stateid,
        offset: 0,
        length: 10,
    };
    writer.ok([putfh(&its.fh), ArgOp::Deallocate(hole)]).await?;
    gives_back(&client, &file, &held).await?;
    let held = again().await?;
    let some = copy_args(&source, &its, (0, 0, 100));
    assert_eq!(copy(&writer, &source, &its, some).await?.count, 100);
    gives_back(&client, &file, &held).await?;
    let held = again().await?;
    // It waits until they are back.
    let (cloned, given) = tokio::join!(
        cloned(&writer, &source, &its, CHUNK as u64),
        gives_back(&client, &file, &held)
    );
    cloned?;
    given?;
    let held = again().await?;
    writer
        .truncate(&its.fh, its.stateid, 2 * CHUNK as u64 - 1)
        .await?;
    gives_back(&client, &file, &held).await?;
    assert_eq!(lake.recalls(), 5);
    Ok(())
}

#[tokio::test]
async fn a_writer_of_a_managed_file_waits_for_no_reader_and_asks_each_once() -> Result<()> {
    let lake = lake().await?;
    let old = pattern(1, 2 * CHUNK);
    let (client, writer) = (lake.world.client("a").await?, lake.world.client("b").await?);
    let file = lake.file(&client, "a", &old).await?;
    let held = lake.layout(&client, &file).await?;
    let folder = writer.walk("/lake").await?;
    let its = writer.open(&folder, "a").await?;
    let busy = CallbackAnswer::Status(Nfsstat4::Delay);
    client.callbacks.answer_all(busy);
    for at in 0..20 {
        write(&writer, &its, at, b"new").await?;
    }
    writer.commit(&its.fh, 0, 0).await?;
    assert_eq!(lake.recalls(), 1);
    assert_eq!(read(&held, 0, 3).await, Err(Nfsstat3::Stale));
    gives_back(&client, &file, &held).await?;
    // Nobody is left who could be told.
    for at in 0..20 {
        write(&writer, &its, at, b"new").await?;
    }
    writer.commit(&its.fh, 0, 0).await?;
    assert_eq!(lake.recalls(), 1);
    lake.layout(&client, &file).await?;
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
