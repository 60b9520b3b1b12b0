//! Delegations over a restart of the metadata server (RFC 8881 §8.4.2.1, §10.2.1): taken back with the open that
//! they came with, against others who take back theirs.

use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{Client, Failure, OpenFile, StatusOf, delegated, recalled};
use wire::nfs4::*;

use super::{BOTH, READ, made};
use crate::restart::{back, complete};
use crate::world::{World, at_last};

async fn start() -> Result<World> {
    World::with(1, |spec| spec.limits.grace = Duration::from_mins(5)).await
}

async fn reclaim(
    client: &Client,
    fh: &Fh4,
    access: u32,
    delegation: OpenDelegationType4,
) -> Result<OpenFile, Failure> {
    let mut args = client.open_args("", Openflag4::NoCreate);
    args.share_access = access;
    args.claim = OpenClaim4::Previous(delegation);
    client.open_with(fh, args).await
}

/// Both have come back.
async fn restarted(world: &mut World) -> Result<(Client, Client)> {
    world.crash_and_restart().await?;
    Ok((back(world, "a").await?, back(world, "b").await?))
}

#[tokio::test]
async fn a_delegation_is_reclaimed_after_a_restart_and_keeps_others_out() -> Result<()> {
    let mut world = start().await?;
    let (a, _b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, old) = a.open_delegated(&root, "f", BOTH).await?;
    let (a, b) = restarted(&mut world).await?;
    let file = reclaim(&a, &fh, BOTH, OpenDelegationType4::Write).await?;
    let Some((stateid, true)) = delegated(&file.opened.delegation) else {
        panic!("{:?}", file.opened.delegation)
    };
    assert_ne!(stateid, old);
    for client in [&a, &b] {
        complete(client).await?;
    }
    let opening = at_last(
        "an open after grace",
        &[Nfsstat4::Grace, Nfsstat4::Delay],
        async || b.open_to_read(&root, "f").await,
    );
    let returning = async {
        assert_eq!(recalled(&a).await?.stateid, stateid);
        a.delegreturn(&fh, stateid).await
    };
    let (opened, returned) = tokio::join!(opening, returning);
    opened?;
    returned?;
    Ok(())
}

/// A's return was answered and the answer lost, so that it takes back what it no longer had; B had opened the file
/// since then.
async fn returned_unheard(world: &mut World) -> Result<(Client, Client, Fh4)> {
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    a.delegreturn(&fh, stateid).await?;
    b.open_to_read(&root, "f").await?;
    let (a, b) = restarted(world).await?;
    Ok((a, b, fh))
}

#[tokio::test]
async fn a_delegation_is_not_given_back_against_an_open_that_came_since() -> Result<()> {
    let mut world = start().await?;
    let (a, b, fh) = returned_unheard(&mut world).await?;
    reclaim(&b, &fh, READ, OpenDelegationType4::None).await?;
    let file = reclaim(&a, &fh, BOTH, OpenDelegationType4::Write).await?;
    assert_eq!(delegated(&file.opened.delegation), None);
    a.write(&fh, file.stateid, 0, "goes on").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_open_is_reclaimed_once_a_delegation_that_came_first_is_back() -> Result<()> {
    let mut world = start().await?;
    let (a, b, fh) = returned_unheard(&mut world).await?;
    let file = reclaim(&a, &fh, BOTH, OpenDelegationType4::Write).await?;
    let Some((stateid, true)) = delegated(&file.opened.delegation) else {
        panic!("{:?}", file.opened.delegation)
    };
    let reclaiming = at_last("the reclaim of an open", &[Nfsstat4::Delay], async || {
        reclaim(&b, &fh, READ, OpenDelegationType4::None).await
    });
    let returning = async {
        assert_eq!(recalled(&a).await?.stateid, stateid);
        a.delegreturn(&fh, stateid).await
    };
    let (reclaimed, returned) = tokio::join!(reclaiming, returning);
    reclaimed?;
    returned?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_return_of_a_delegation_from_before_a_restart_is_refused_and_harms_nobody() -> Result<()>
{
    let mut world = start().await?;
    let (a, _b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, old) = a.open_delegated(&root, "f", BOTH).await?;
    let (a, _b) = restarted(&mut world).await?;
    assert_eq!(a.delegreturn(&fh, old).await.status(), Nfsstat4::BadStateid);
    let file = reclaim(&a, &fh, BOTH, OpenDelegationType4::Write).await?;
    assert_eq!(a.delegreturn(&fh, old).await.status(), Nfsstat4::BadStateid);
    let Some((stateid, true)) = delegated(&file.opened.delegation) else {
        panic!("{:?}", file.opened.delegation)
    };
    a.delegreturn(&fh, stateid).await?;
    world.ends_without_leak().await
}
