//! How layouts come back, and what clients tell of their use: RFC 8881 §18.44, RFC 7862 §15.7.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{StatusOf, getattr, putfh};
use wire::nfs4::*;
use wire::xdr;

use crate::world::World;

#[tokio::test]
async fn what_a_writer_never_told_of_shows_once_it_returned_its_layout() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    for (size, whole) in [(5000, false), (7000, true)] {
        let held = world.to_write_at_last(&a, &file).await?;
        held.write(0, vec![1; size as usize]).await?;
        let returned = if whole {
            Layoutreturn4::All
        } else {
            Layoutreturn4::File(LayoutreturnFile4 {
                offset: 0,
                length: u64::MAX,
                stateid: held.stateid,
                body: Bytes::new(),
            })
        };
        // In one COMPOUND, so that no work in the background comes between.
        let args = Layoutreturn4Args {
            reclaim: false,
            layout_type: LAYOUT4_FLEX_FILES,
            iomode: Layoutiomode4::Any,
            layoutreturn: returned,
        };
        let told = a
            .ok([
                putfh(&file.fh),
                ArgOp::Layoutreturn(args),
                getattr(&[Attr::Size]),
            ])
            .await?
            .getattr()?
            .obj_attributes;
        assert_eq!(told.size, Some(size));
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_return_of_all_of_a_file_leaves_no_stateid() -> Result<()> {
    // Fact 19.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    assert_eq!(
        a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
            .await?,
        None
    );
    let late = a
        .layoutcommit(&file.fh, held.stateid, Some(0))
        .await
        .map(|_| ());
    assert!(
        matches!(late.status(), Nfsstat4::Badlayout | Nfsstat4::BadStateid),
        "{late:?}"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_voluntary_return_fences_nobody() -> Result<()> {
    // Fact 19.
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let (mine, other) = (a.open_create(&root, "f").await?, b.open(&root, "f").await?);
    let (first, second) = (
        world.to_write(&a, &mine).await?,
        world.to_write(&b, &other).await?,
    );
    a.layoutreturn(&mine.fh, first.stateid, Layoutiomode4::Any)
        .await?;
    second.write(0, "still mine").await?;
    assert_eq!(
        world
            .running()
            .server
            .metrics
            .fences
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_return_that_does_not_know_of_the_latest_layout_is_refused() -> Result<()> {
    // It was sent before its client had the answer of a LAYOUTGET, which would be worth nothing.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let (first, _) = a
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Read)
        .await?;
    let (second, _) = a
        .layoutget(&file.fh, first.stateid, Layoutiomode4::Rw)
        .await?;
    let early = a.layoutreturn(&file.fh, first.stateid, Layoutiomode4::Any);
    assert_eq!(early.await.status(), Nfsstat4::OldStateid);
    a.layoutreturn(&file.fh, second.stateid, Layoutiomode4::Any)
        .await?;
    world.ends_without_leak().await
}

fn latency() -> flex::IoLatency {
    let zero = Nfstime4 {
        seconds: 0,
        nseconds: 0,
    };
    flex::IoLatency {
        ops_requested: 0,
        bytes_requested: 0,
        ops_completed: 0,
        bytes_completed: 0,
        bytes_not_delivered: 0,
        total_busy_time: zero,
        aggregate_completion_time: zero,
    }
}

/// As Linux tells it: totals since it got the layout, `seconds` ago.
fn stats(held: &crate::direct::Held, written: u64, seconds: i64) -> Layoutstats4Args {
    let stripe = &held.layout.mirrors[0].data_servers[0];
    let told = flex::LayoutUpdate {
        addr: Netaddr4::tcp("127.0.0.1:2049".parse().expect("an address")),
        fhandle: stripe.fh_vers[0].clone(),
        read: latency(),
        write: latency(),
        duration: Nfstime4 {
            seconds,
            nseconds: 0,
        },
        local: false,
    };
    Layoutstats4Args {
        offset: 0,
        length: u64::MAX,
        stateid: held.stateid,
        read: IoInfo4 { count: 0, bytes: 0 },
        write: IoInfo4 {
            count: written / 10,
            bytes: written,
        },
        deviceid: stripe.deviceid,
        layoutupdate: Layoutupdate4 {
            layout_type: LAYOUT4_FLEX_FILES,
            body: xdr::to_bytes(&told),
        },
    }
}

#[tokio::test]
async fn statistics_of_layouts_are_kept_by_data_server_and_by_file() -> Result<()> {
    // Fact 22: Linux sends LAYOUTSTATS every `ffl_stats_collect_hint` seconds.
    let world = World::with(2, |spec| spec.stats_seconds = 7).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    assert_eq!(held.layout.stats_collect_hint, 7);
    let tell = async |args| a.ok([putfh(&file.fh), ArgOp::Layoutstats(args)]).await;
    tell(stats(&held, 100, 7)).await?;
    tell(stats(&held, 250, 14)).await?;
    let server = &world.running().server;
    let [(_, told)] = &server.reports_of_servers()[..] else {
        panic!("one data server: {:?}", server.reports_of_servers())
    };
    assert_eq!((told.traffic.written_bytes, told.traffic.writes), (250, 25));
    let busiest = server.busiest_files(10);
    assert_eq!(busiest[0].1.traffic.written_bytes, 250);
    // Not of a layout that is somebody else's, and not what is no report.
    let anonymous = Layoutstats4Args {
        stateid: Stateid4::ANONYMOUS,
        ..stats(&held, 300, 21)
    };
    let refused = tell(anonymous).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::BadStateid);
    let mut empty = stats(&held, 300, 21);
    empty.layoutupdate.body = Bytes::new();
    let refused = tell(empty).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::Badxdr);
    world.ends_without_leak().await
}
