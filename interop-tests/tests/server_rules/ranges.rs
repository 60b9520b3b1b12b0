//! Holes, space set aside, repeated blocks: SEEK, ALLOCATE, DEALLOCATE, READ_PLUS, WRITE_SAME and
//! IO_ADVISE, RFC 7862 §15.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, OpenFile, StatusOf, putfh};
use wire::nfs4::*;

use crate::world::{MIB, World};

async fn seek(
    client: &Client,
    file: &OpenFile,
    offset: u64,
    what: DataContent4,
) -> Result<Seek4Ok, Failure> {
    let args = Seek4Args {
        stateid: file.stateid,
        offset,
        what,
    };
    client
        .ok([putfh(&file.fh), ArgOp::Seek(args)])
        .await?
        .seek()
}

async fn deallocate(
    client: &Client,
    file: &OpenFile,
    offset: u64,
    length: u64,
) -> Result<(), Failure> {
    let args = Deallocate4Args {
        stateid: file.stateid,
        offset,
        length,
    };
    client
        .ok([putfh(&file.fh), ArgOp::Deallocate(args)])
        .await
        .map(|_| ())
}

async fn allocate(
    client: &Client,
    file: &OpenFile,
    offset: u64,
    length: u64,
) -> Result<(), Failure> {
    let args = Allocate4Args {
        stateid: file.stateid,
        offset,
        length,
    };
    client
        .ok([putfh(&file.fh), ArgOp::Allocate(args)])
        .await
        .map(|_| ())
}

/// All bytes, by READ.
async fn whole(client: &Client, file: &OpenFile) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let read = client
            .read(&file.fh, file.stateid, bytes.len() as u64, 1 << 18)
            .await?;
        bytes.extend_from_slice(&read.data);
        if read.eof {
            return Ok(bytes);
        }
    }
}

/// 3 MiB of ones over both data servers.
async fn striped(world: &World, client: &Client) -> Result<OpenFile> {
    let file = client.open_create(&client.root().await?, "f").await?;
    for at in (0..3 * MIB).step_by(256 << 10) {
        client
            .write(&file.fh, file.stateid, at, vec![1; 256 << 10])
            .await?;
    }
    client.commit(&file.fh, 0, 0).await?;
    assert_eq!(world.spec().stripe_count, 2);
    Ok(file)
}

#[tokio::test]
async fn a_hole_that_was_made_reads_as_zeros_and_moves_no_end() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = striped(&world, &a).await?;
    let before = a.change_of(&file.fh).await?;
    deallocate(&a, &file, MIB - 1000, MIB + 2000).await?;
    deallocate(&a, &file, 3 * MIB - 10, 5 * MIB).await?;
    let bytes = whole(&a, &file).await?;
    let zeros = |at: u64| (MIB - 1000..2 * MIB + 1000).contains(&at) || at >= 3 * MIB - 10;
    assert_eq!(bytes.len() as u64, 3 * MIB);
    let wrong = (0..)
        .zip(&bytes)
        .find(|(at, byte)| (**byte == 0) != zeros(*at));
    assert_eq!(wrong, None);
    assert!(a.change_of(&file.fh).await? > before);
    world.ends_without_leak().await
}

#[tokio::test]
async fn data_and_holes_are_found_up_to_the_end_which_is_a_hole() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = striped(&world, &a).await?;
    let data = seek(&a, &file, 5, DataContent4::Data).await?;
    assert_eq!((data.offset, data.eof), (5, false));
    let hole = seek(&a, &file, 5, DataContent4::Hole).await?;
    assert_eq!((hole.offset, hole.eof), (3 * MIB, true));
    for what in [DataContent4::Data, DataContent4::Hole] {
        let past = seek(&a, &file, 3 * MIB, what).await.map(|_| ());
        assert_eq!(past.status(), Nfsstat4::Nxio);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn read_plus_gives_what_read_gives() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = striped(&world, &a).await?;
    deallocate(&a, &file, 64 << 10, 2 * MIB).await?;
    let mut bytes = Vec::new();
    loop {
        let args = ReadPlus4Args {
            stateid: file.stateid,
            offset: bytes.len() as u64,
            count: 300_000,
        };
        let mut read = a.ok([putfh(&file.fh), ArgOp::ReadPlus(args)]).await?;
        let read = read.read_plus()?;
        for piece in read.contents {
            match piece {
                ReadPlusContent::Data(data) => {
                    assert_eq!(data.offset, bytes.len() as u64);
                    bytes.extend_from_slice(&data.data);
                }
                ReadPlusContent::Hole(hole) => {
                    assert_eq!(hole.offset, bytes.len() as u64);
                    bytes.resize(bytes.len() + hole.length as usize, 0);
                }
            }
        }
        if read.eof {
            break;
        }
    }
    assert!(bytes == whole(&a, &file).await?);
    world.ends_without_leak().await
}

#[tokio::test]
async fn space_is_set_aside_and_the_file_grows_to_its_end_or_nothing_is_done() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = striped(&world, &a).await?;
    match allocate(&a, &file, 2 * MIB, 4 * MIB).await {
        Ok(()) => {
            assert_eq!(a.size_of(&file.fh).await?, 6 * MIB);
            let bytes = whole(&a, &file).await?;
            let (old, new) = bytes.split_at(3 << 20);
            assert!(old.iter().all(|byte| *byte == 1) && new.iter().all(|byte| *byte == 0));
        }
        refused => {
            assert_eq!(refused.status(), Nfsstat4::Notsupp);
            assert_eq!(a.size_of(&file.fh).await?, 3 * MIB);
        }
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn ranges_that_are_none_and_opens_that_do_not_write_are_refused() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let reading = a.open_to_read(&root, "f").await;
    for (offset, length) in [(0, 0), (u64::MAX, 2), (10, u64::MAX)] {
        assert_eq!(
            allocate(&a, &file, offset, length).await.status(),
            Nfsstat4::Inval
        );
        assert_eq!(
            deallocate(&a, &file, offset, length).await.status(),
            Nfsstat4::Inval
        );
    }
    assert_eq!(
        allocate(&a, &file, 1 << 63, 1).await.status(),
        Nfsstat4::Fbig
    );
    let b = world.client("b").await?;
    let reader = b.open_to_read(&root, "f").await?;
    assert_eq!(
        deallocate(&b, &reader, 0, 1).await.status(),
        Nfsstat4::Openmode
    );
    let folder = OpenFile {
        fh: root.clone(),
        ..reader
    };
    assert_eq!(
        deallocate(&b, &folder, 0, 1).await.status(),
        Nfsstat4::Isdir
    );
    reading?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn blocks_of_one_pattern_hold_it_and_their_number() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let blocks = |block_size, reloff_pattern| AppDataBlock4 {
        offset: 100,
        block_size,
        block_count: 3,
        reloff_blocknum: 0,
        block_num: 7,
        reloff_pattern,
        pattern: Bytes::from_static(b"pattern"),
    };
    let same = |adb| {
        let args = WriteSame4Args {
            stateid: file.stateid,
            stable: StableHow4::FileSync,
            adb,
        };
        a.compound([putfh(&file.fh), ArgOp::WriteSame(args)])
    };
    let written = same(blocks(16, 8)).await?.ok()?.write_same()?.response;
    assert_eq!(
        (written.count, written.committed),
        (48, StableHow4::FileSync)
    );
    let mut expected = vec![0; 100];
    for number in 7..10_u32 {
        expected.extend_from_slice(&number.to_be_bytes());
        expected.extend_from_slice(b"\0\0\0\0pattern\0");
    }
    assert_eq!(whole(&a, &file).await?, expected);
    for adb in [blocks(0, 0), blocks(16, 10), blocks(u64::MAX, 8)] {
        assert_eq!(same(adb).await?.status, Nfsstat4::Inval);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn advice_is_heard_and_none_of_it_promised() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let advise = |offset, count| {
        let args = IoAdvise4Args {
            stateid: file.stateid,
            offset,
            count,
            hints: Bitmap4::of(&[1, 4]),
        };
        a.compound([putfh(&file.fh), ArgOp::IoAdvise(args)])
    };
    assert_eq!(advise(0, 0).await?.ok()?.io_advise()?.hints, Bitmap4::EMPTY);
    assert_eq!(advise(10, u64::MAX).await?.status, Nfsstat4::Inval);
    world.ends_without_leak().await
}
