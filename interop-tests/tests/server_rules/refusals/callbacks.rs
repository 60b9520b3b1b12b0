//! Every error that the RFC lists for a callback, handed back by a client that gives nothing up: the server gets
//! its way within the time that it grants, or does without. RFC 8881 §15.3, RFC 7862 §11.3.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use interop_tests::nfs41::rfc::callback_errors;
use interop_tests::nfs41::{CallbackAnswer, Client, StatusOf, delegated, putfh};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::copies::{copy, copy_args};
use crate::direct::Refused;
use crate::layouts::{asked, layoutget};
use crate::outages::watched;
use crate::world::{MIB, World, at_last, until};

/// Where nobody is waited for long.
async fn impatient() -> Result<World> {
    World::with(1, |spec| {
        spec.limits.delegation_recall = Duration::from_millis(400);
        spec.limits.recall = Duration::from_millis(400);
        spec.limits.lock_turn = Duration::from_millis(400);
        spec.limits.layouts_per_client = 2;
    })
    .await
}

/// One client for each error of a callback, which it answers with, at once; `story` is told of each.
async fn with_each(
    world: &World,
    callback: CbOpnum,
    story: impl AsyncFn(Client, &str) -> Result<()>,
) -> Result<()> {
    let answers = callback_errors(callback)
        .into_iter()
        .map(|status| match callback {
            CbOpnum::Sequence => CallbackAnswer::Refused(status),
            _ => CallbackAnswer::Status(status),
        });
    let stories = answers.map(async |answer| {
        let name = format!("{answer:?}");
        let client = world.client(&name).await?;
        client.callbacks.answer_all(answer);
        story(client, &name).await.context(name)
    });
    join_all(stories).await.into_iter().collect()
}

/// A write delegation of a file of this name, given to `client` alone.
async fn writes_by_delegation(client: &Client, name: &str) -> Result<(Fh4, Stateid4)> {
    let root = client.root().await?;
    let file = client.open_create(&root, name).await?;
    client.close(&file).await?;
    let want = OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG;
    let given = client.want_delegation(&file.fh, want, DelegClaim4::Fh);
    let (stateid, _) = delegated(&given.await?).context("a delegation")?;
    Ok((file.fh, stateid))
}

async fn is_gone(client: &Client, stateid: Stateid4) -> Result<bool> {
    Ok(client.test_stateids(&[stateid]).await? != [Nfsstat4::Ok])
}

async fn a_delegation_goes(world: &World, callback: CbOpnum) -> Result<()> {
    let b = world.client("b").await?;
    with_each(world, callback, async |a, name| {
        let (_, stateid) = writes_by_delegation(&a, name).await?;
        let root = b.root().await?;
        at_last("an open of another", &[Nfsstat4::Delay], async || {
            b.open(&root, name).await
        })
        .await?;
        anyhow::ensure!(is_gone(&a, stateid).await?, "both have it");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn whatever_a_holder_says_to_a_recall_its_delegation_goes_in_time() -> Result<()> {
    let world = impatient().await?;
    a_delegation_goes(&world, CbOpnum::Recall).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_holder_says_to_the_sequence_of_a_recall_its_delegation_goes_in_time()
-> Result<()> {
    let world = impatient().await?;
    a_delegation_goes(&world, CbOpnum::Sequence).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_writer_says_when_it_is_asked_for_the_size_others_are_answered() -> Result<()> {
    let world = impatient().await?;
    let b = world.client("b").await?;
    with_each(&world, CbOpnum::Getattr, async |a, name| {
        let (fh, _) = writes_by_delegation(&a, name).await?;
        let size = at_last("the size", &[Nfsstat4::Delay], async || {
            b.size_of(&fh).await
        });
        anyhow::ensure!(size.await? == 0);
        Ok(())
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_holder_says_to_a_notice_it_knows_no_folder_wrongly_for_long() -> Result<()> {
    let world = impatient().await?;
    let b = world.client("b").await?;
    with_each(&world, CbOpnum::Notify, async |a, name| {
        let folder = a.mkdir(&a.root().await?, name).await?;
        let added = Bitmap4::of(&[NOTIFY4_ADD_ENTRY]);
        let given = a.get_dir_delegation_with(&folder, added).await?;
        let GetDirDelegation4Ok::Ok(given) = given else {
            anyhow::bail!("no delegation");
        };
        at_last("a folder in it", &[Nfsstat4::Delay], async || {
            b.mkdir(&folder, "new").await
        })
        .await?;
        until("it is no delegation any more", async || {
            is_gone(&a, given.stateid).await
        })
        .await
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_writer_says_to_a_recall_of_its_layout_it_writes_no_more_after_a_truncate()
-> Result<()> {
    let world = impatient().await?;
    let b = world.client("b").await?;
    with_each(&world, CbOpnum::Layoutrecall, async |a, name| {
        let root = a.root().await?;
        let file = a.open_create(&root, name).await?;
        let held = world.to_write(&a, &file).await?;
        held.write(0, "before").await?;
        let same = b.open(&root, name).await?;
        at_last("the truncate", &[Nfsstat4::Delay], async || {
            b.truncate(&same.fh, same.stateid, 0).await
        })
        .await?;
        let late = held.write(0, "late").await.refused();
        anyhow::ensure!(late == Some(Nfsstat3::Acces), "{late:?}");
        anyhow::ensure!(b.size_of(&same.fh).await? == 0);
        Ok(())
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_client_says_when_it_is_asked_for_some_layouts_it_gets_room_in_time()
-> Result<()> {
    let world = impatient().await?;
    with_each(&world, CbOpnum::RecallAny, async |a, name| {
        let root = a.root().await?;
        for number in 0..2 {
            let file = a.open_create(&root, &format!("{name} {number}")).await?;
            world.to_read(&a, &file).await?;
        }
        let more = a.open_create(&root, &format!("{name} more")).await?;
        let full = world.to_read(&a, &more).await.map(|_| ());
        anyhow::ensure!(full.status() == Nfsstat4::Layouttrylater, "{full:?}");
        let again = [
            Nfsstat4::Layouttrylater,
            Nfsstat4::Delay,
            Nfsstat4::Recallconflict,
        ];
        at_last("a layout", &again, async || {
            world.to_read(&a, &more).await.map(|_| ())
        })
        .await
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_waiter_says_when_it_is_its_turn_the_lock_goes_on_in_time() -> Result<()> {
    let world = impatient().await?;
    let (b, c) = (world.client("b").await?, world.client("c").await?);
    with_each(&world, CbOpnum::NotifyLock, async |a, name| {
        let root = a.root().await?;
        let mine = a.open_create(&root, name).await?;
        let (held, waits) = (b.open(&root, name).await?, c.open(&root, name).await?);
        let all = (0, 10);
        let lock = b.lock(&held, "b", LockType4::WriteLt, all).await?;
        let denied = a.lock(&mine, "a", LockType4::WritewLt, all).await;
        anyhow::ensure!(denied.status() == Nfsstat4::Denied, "{denied:?}");
        b.unlock(&held, lock, all).await?;
        at_last("the lock", &[Nfsstat4::Denied], async || {
            c.lock(&waits, "c", LockType4::WriteLt, all).await
        })
        .await?;
        Ok(())
    })
    .await?;
    world.ends_without_leak().await
}

/// Until the client was called so.
async fn called(client: &Client, which: fn(&CbArgOp) -> bool) -> Result<()> {
    while !which(&client.callbacks.next().await?) {}
    Ok(())
}

#[tokio::test]
async fn whatever_a_client_says_when_it_hears_of_another_device_it_writes_there_and_not_to_the_old()
-> Result<()> {
    let world = impatient().await?;
    let all = tokio::sync::Barrier::new(callback_errors(CbOpnum::NotifyDeviceid).len());
    with_each(&world, CbOpnum::NotifyDeviceid, async |a, name| {
        let file = a.open_create(&a.root().await?, name).await?;
        let held = world.to_write(&a, &file).await?;
        let old = held.layout.mirrors[0].data_servers[0].deviceid;
        a.ok([watched(old)]).await?;
        if all.wait().await.is_leader() {
            world.change_device().await?;
        }
        called(&a, |op| matches!(op, CbArgOp::NotifyDeviceid(_))).await?;
        let late = held.write(0, "late").await.refused();
        anyhow::ensure!(late == Some(Nfsstat3::Acces), "{late:?}");
        let again = world.to_write_at_last(&a, &file).await?;
        let new = again.layout.mirrors[0].data_servers[0].deviceid;
        anyhow::ensure!(new != old);
        again.write(0, "there").await?;
        let asked = a.compound([watched(old)]).await?.status;
        anyhow::ensure!(asked == Nfsstat4::Noent, "{asked:?}");
        Ok(())
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_client_says_when_it_hears_of_room_for_layouts_it_gets_them() -> Result<()> {
    let world = impatient().await?;
    with_each(&world, CbOpnum::RecallableObjAvail, async |a, name| {
        let root = a.root().await?;
        for number in 0..2 {
            let file = a.open_create(&root, &format!("{name} {number}")).await?;
            world.to_read(&a, &file).await?;
        }
        let more = a.open_create(&root, &format!("{name} more")).await?;
        let signal = Layoutget4Args {
            signal_layout_avail: true,
            ..layoutget(more.stateid, Layoutiomode4::Read)
        };
        let full = asked(&a, &more, signal).await.map(|_| ());
        anyhow::ensure!(full.status() == Nfsstat4::Layouttrylater, "{full:?}");
        called(&a, |op| matches!(op, CbArgOp::RecallableObjAvail(_))).await?;
        world.to_read(&a, &more).await?;
        Ok(())
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn whatever_a_client_says_to_the_end_of_a_copy_it_is_there_and_can_be_asked_for_until_heard()
-> Result<()> {
    const BYTES: u64 = 5 * MIB;
    let world = impatient().await?;
    let b = world.client("b").await?;
    let from = b.open_create(&b.root().await?, "from").await?;
    b.truncate(&from.fh, from.stateid, BYTES).await?;
    b.write(&from.fh, from.stateid, 0, "copied").await?;
    with_each(&world, CbOpnum::Offload, async |a, name| {
        let root = a.root().await?;
        let (from, to) = (
            a.open(&root, "from").await?,
            a.open_create(&root, name).await?,
        );
        let args = Copy4Args {
            synchronous: false,
            ..copy_args(&from, &to, (0, 0, BYTES))
        };
        let begun = copy(&a, &from, &to, args).await?;
        let stateid = begun.callback_id.context("it goes on")?;
        called(&a, |op| matches!(op, CbArgOp::Offload(_))).await?;
        anyhow::ensure!(a.size_of(&to.fh).await? == BYTES);
        let there = a.read(&to.fh, to.stateid, 0, 6).await?;
        anyhow::ensure!(&there.data[..] == b"copied");
        let status = ArgOp::OffloadStatus(OffloadStatus4Args { stateid });
        until("the end is known", async || {
            let mut asked = a.compound([putfh(&to.fh), status.clone()]).await?;
            Ok(match asked.status {
                // It asked for time, and is told again.
                Nfsstat4::Ok => {
                    name.contains("Delay") && asked.offload_status()?.complete == Some(Nfsstat4::Ok)
                }
                status => status == Nfsstat4::BadStateid,
            })
        })
        .await
    })
    .await?;
    world.ends_without_leak().await
}
