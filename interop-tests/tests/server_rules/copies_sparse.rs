//! Holes of a file that is copied: they stay holes, within a server and from another one, whatever that says.

use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, OpenFile, putfh};
use wire::nfs4::*;

use crate::copies::{all_of, copy_args, filled};
use crate::copies_between::{Pair, copy_from, told};
use crate::liar::{Liar, Says};
use crate::world::{MIB, World};

const PIECE: u64 = 64 << 10;
/// Where the second piece of data lies.
const FAR: u64 = 40 * MIB;
/// The rest is a hole.
const END: u64 = 100 * MIB;

/// Turns a file of one piece into one of two with holes between and behind them.
async fn make_sparse(client: &Client, file: &OpenFile) -> Result<()> {
    let piece = vec![3; PIECE as usize];
    client.write(&file.fh, file.stateid, FAR, piece).await?;
    client.truncate(&file.fh, file.stateid, END).await?;
    client.commit(&file.fh, 0, 0).await?;
    Ok(())
}

/// A target that has data where the source has holes.
async fn fill_target(client: &Client, file: &OpenFile) -> Result<()> {
    for at in [0, PIECE, END / 2] {
        let piece = vec![4; PIECE as usize];
        client.write(&file.fh, file.stateid, at, piece).await?;
    }
    Ok(())
}

async fn seek(
    client: &Client,
    file: &OpenFile,
    offset: u64,
    what: DataContent4,
) -> Result<Seek4Ok> {
    let args = Seek4Args {
        stateid: file.stateid,
        offset,
        what,
    };
    let mut found = client.ok([putfh(&file.fh), ArgOp::Seek(args)]).await?;
    Ok(found.seek()?)
}

async fn is_sparse(client: &Client, file: &OpenFile) -> Result<()> {
    assert_eq!(client.size_of(&file.fh).await?, END);
    for at in [0, FAR] {
        assert_eq!(all_of(client, file, at, PIECE as u32).await?, 3);
        let hole = seek(client, file, at, DataContent4::Hole).await?;
        assert_eq!(hole.offset, at + PIECE);
    }
    for at in [PIECE, END / 2, END - PIECE] {
        assert_eq!(all_of(client, file, at, PIECE as u32).await?, 0);
    }
    let data = seek(client, file, PIECE, DataContent4::Data).await?;
    assert_eq!((data.offset, data.eof), (FAR, false));
    let none = seek(client, file, FAR + PIECE, DataContent4::Data).await?;
    assert!(none.eof, "{none:?}");
    Ok(())
}

#[tokio::test]
async fn holes_of_another_server_s_file_are_not_fetched_and_stay_holes() -> Result<()> {
    let pair = Pair::of(World::start().await?, World::start().await?, PIECE).await?;
    make_sparse(&pair.at_source, &pair.from).await?;
    let (client, to) = (&pair.at_destination, &pair.to);
    fill_target(client, to).await?;
    let notified = pair.notify().await?;
    let fetched = || {
        let metrics = &pair.source.running().server.metrics;
        metrics.proxy_read_bytes.load(Relaxed)
    };
    let before = fetched();
    let args = Copy4Args {
        synchronous: false,
        ..pair.args(&notified, (0, 0, 0))
    };
    let stateid = pair.copy(args).await?.callback_id.context("it goes on")?;
    let OffloadInfo4::Ok(end) = told(client, stateid).await? else {
        panic!("it failed")
    };
    assert_eq!((end.count, end.committed), (END, StableHow4::FileSync));
    assert_eq!(fetched() - before, 2 * PIECE);
    is_sparse(client, to).await?;
    // At once as well, as there is little to fetch.
    fill_target(client, to).await?;
    let done = pair.copy(pair.args(&notified, (0, 0, 0))).await?;
    assert_eq!(done.count, END);
    is_sparse(client, to).await?;
    pair.end().await
}

#[tokio::test]
async fn holes_of_a_copied_file_stay_holes() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", PIECE, 3).await?;
    make_sparse(&a, &from).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    fill_target(&a, &to).await?;
    let mut copied = 0;
    while copied < END {
        let args = copy_args(&from, &to, (copied, copied, 0));
        let ops = [
            putfh(&from.fh),
            ArgOp::Savefh,
            putfh(&to.fh),
            ArgOp::Copy(args),
        ];
        copied += a.ok(ops).await?.copy()?.response.count;
    }
    assert_eq!(copied, END);
    is_sparse(&a, &to).await?;
    world.ends_without_leak().await
}

/// What a copy of a liar's whole file comes to.
async fn copied(liar: &Liar) -> Result<(Nfsstat4, u64, u64)> {
    let world = World::start().await?;
    let client = world.new_kernel("a").await?;
    let to = client.open_create(&client.root().await?, "to").await?;
    let stateid = Stateid4 {
        seqid: 1,
        other: [9; 12],
    };
    let args = Copy4Args {
        src_stateid: stateid,
        synchronous: false,
        source_server: vec![liar.location()],
        ..copy_args(&to, &to, (0, 0, 0))
    };
    let fh = Fh4::from_static(b"theirs");
    let begun = copy_from(&client, &fh, &to, args).await?;
    let stateid = begun.callback_id.context("it goes on")?;
    let (status, count) = match told(&client, stateid).await? {
        OffloadInfo4::Ok(end) => (Nfsstat4::Ok, end.count),
        OffloadInfo4::Failed {
            status,
            bytes_copied,
        } => (status, bytes_copied),
    };
    let size = client.size_of(&to.fh).await?;
    if status == Nfsstat4::Ok {
        assert_eq!(all_of(&client, &to, 0, count as u32).await?, 7);
    }
    world.ends_without_leak().await?;
    Ok((status, count, size))
}

#[tokio::test]
async fn a_source_that_tells_holes_as_no_honest_one_does_ends_the_copy_or_is_read() -> Result<()> {
    let at = |offset, eof| Ok(Seek4Ok { offset, eof });
    let everything = |args: &Read4Args, _| Says::bytes(args.count);
    let whole = (Nfsstat4::Ok, 2 * MIB, 2 * MIB);
    // Back, so that the copy would never end.
    for (data, hole) in [(0, MIB), (MIB, 0)] {
        let back = move |args: &Seek4Args| match args.what {
            DataContent4::Data => at(data, false),
            DataContent4::Hole => at(hole, false),
        };
        let back = Liar::sparse(2 * MIB, back, everything).await?;
        let (status, count, _) = copied(&back).await?;
        assert_eq!((status, count), (Nfsstat4::OffloadDenied, 0));
    }
    // Data and holes begin at the same byte.
    let both = Liar::sparse(2 * MIB, move |args| at(args.offset, false), everything).await?;
    assert_eq!(copied(&both).await?, whole);
    // Beyond all ends.
    let far = move |args: &Seek4Args| match args.what {
        DataContent4::Data => at(args.offset, false),
        DataContent4::Hole => at(u64::MAX, true),
    };
    let far = Liar::sparse(2 * MIB, far, everything).await?;
    assert_eq!(copied(&far).await?, whole);
    for refused in [Nfsstat4::Notsupp, Nfsstat4::Io, Nfsstat4::Access] {
        let refusing = Liar::sparse(2 * MIB, move |_| Err(refused), everything).await?;
        assert_eq!(copied(&refusing).await?, whole, "{refused:?}");
    }
    Ok(())
}
