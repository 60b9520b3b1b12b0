//! Referring calls, RFC 8881 §2.10.6.3 and §20.9: a callback names the requests whose replies come before it.

use anyhow::{Context, Result};
use interop_tests::nfs41::{CallbackAnswer, Client, OpenFile, StatusOf, recalled};
use wire::nfs4::*;

use crate::copies::{copy, copy_args, filled};
use crate::delegations::{BOTH, READ};
use crate::world::{MIB, World, at_last, until};

/// What the latest callback refers to, when it is one of those that `which` tells.
async fn referred(client: &Client, which: impl Fn(&CbArgOp) -> bool) -> Result<Vec<(u32, u32)>> {
    while !which(&client.callbacks.next().await?) {}
    Ok(client.callbacks.referring(client.sessionid()))
}

fn is_layoutrecall(callback: &CbArgOp) -> bool {
    matches!(callback, CbArgOp::Layoutrecall(_))
}

/// Two clients with one file open.
async fn shared(world: &World) -> Result<(Client, OpenFile, Client, OpenFile)> {
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let other = b.open(&root, "f").await?;
    Ok((a, file, b, other))
}

async fn truncated(client: &Client, file: &OpenFile) -> Result<()> {
    let again = [Nfsstat4::Delay];
    at_last("a truncate", &again, async || {
        client.truncate(&file.fh, file.stateid, 0).await
    })
    .await
}

#[tokio::test]
async fn the_recall_of_a_layout_names_the_layoutget_until_its_client_went_on() -> Result<()> {
    let world = World::start().await?;
    let (a, file, b, other) = shared(&world).await?;
    for went_on in [false, true] {
        let again = [Nfsstat4::Delay, Nfsstat4::Recallconflict];
        let (layout, _) = at_last("a layout", &again, async || {
            a.layoutget(&file.fh, file.stateid, Layoutiomode4::Rw).await
        })
        .await?;
        let call = a.last_request();
        if went_on {
            a.root().await?;
        }
        let answered = async {
            let named = referred(&a, is_layoutrecall).await?;
            assert_eq!(named, if went_on { vec![] } else { vec![call] });
            a.layoutreturn(&file.fh, layout.stateid, Layoutiomode4::Any)
                .await?;
            Ok(())
        };
        tokio::try_join!(truncated(&b, &other), answered)?;
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_asks_for_time_until_the_reply_is_there_keeps_the_layout_so_long() -> Result<()> {
    let world = World::start().await?;
    let (a, file, b, other) = shared(&world).await?;
    let (layout, _) = a
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
        .await?;
    // As Linux does while it waits for the reply; more often than a layout may be unknown.
    for _ in 0..6 {
        a.callbacks
            .answer_next(CallbackAnswer::Refused(Nfsstat4::Delay));
    }
    let answered = async {
        referred(&a, is_layoutrecall).await?;
        a.layoutreturn(&file.fh, layout.stateid, Layoutiomode4::Any)
            .await?;
        Ok(())
    };
    tokio::try_join!(truncated(&b, &other), answered)?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn callbacks_about_a_delegation_name_the_open_that_gave_it() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.close(&file).await?;
    let other = b.root().await?;
    let (_, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    let call = a.last_request();
    a.callbacks.tell(Attributes {
        change: Some(1),
        size: Some(0),
        ..Attributes::default()
    });
    // CB_GETATTR, which has no stateid in it.
    b.getattr(&file.fh, &[Attr::Size]).await?;
    let asked = referred(&a, |callback| matches!(callback, CbArgOp::Getattr(_))).await?;
    assert_eq!(asked, [call]);
    let refused = b.open_wanting(&other, "f", READ).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::Delay);
    recalled(&a).await?;
    assert_eq!(a.callbacks.referring(a.sessionid()), [call]);
    a.delegreturn(&file.fh, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_recall_of_a_folder_s_delegation_names_the_call_that_gave_it() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let folder = a.mkdir(&root, "d").await?;
    let GetDirDelegation4Ok::Ok(given) = a.get_dir_delegation(&folder).await? else {
        panic!("nobody else is there")
    };
    let call = a.last_request();
    let refused = b.mkdir(&folder, "e").await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::Delay);
    recalled(&a).await?;
    assert_eq!(a.callbacks.referring(a.sessionid()), [call]);
    a.delegreturn(&folder, given.stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_end_of_a_copy_names_the_copy() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let from = filled(&a, "from", 6 * MIB, 5).await?;
    let to = a.open_create(&a.root().await?, "to").await?;
    let args = Copy4Args {
        synchronous: false,
        ..copy_args(&from, &to, (0, 0, 6 * MIB))
    };
    let begun = copy(&a, &from, &to, args).await?;
    let call = a.last_request();
    let named = referred(&a, |callback| matches!(callback, CbArgOp::Offload(_))).await?;
    assert_eq!(named, [call]);
    let stateid = begun.callback_id.context("it goes on")?;
    let status = ArgOp::OffloadStatus(OffloadStatus4Args { stateid });
    until("the copy is forgotten", async || {
        let asked = a.compound([status.clone()]).await?;
        Ok(asked.status != Nfsstat4::Ok)
    })
    .await?;
    world.ends_without_leak().await
}
