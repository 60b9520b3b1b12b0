//! COPY from a server that lies, is slow, goes away, or sends what is no XDR: an error within bounds, nothing
//! acknowledged that isn't there, and others served.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, OpenFile, StatusOf, putfh};
use wire::nfs4::*;

use crate::copies::{all_of, copy_args};
use crate::copies_between::{copy_from, location, told};
use crate::liar::{Liar, Says};
use crate::world::{MIB, World, until};

/// How long a source may take here.
const PATIENCE: Duration = Duration::from_millis(700);
/// Something of the source's kind.
const STATEID: Stateid4 = Stateid4 {
    seqid: 1,
    other: [9; 12],
};

struct Copying {
    world: World,
    client: Client,
    to: OpenFile,
}

impl Copying {
    async fn start() -> Result<Self> {
        Self::with_patience(PATIENCE).await
    }

    async fn with_patience(patience: Duration) -> Result<Self> {
        let world = World::with(2, |spec| {
            spec.server_copy.patience = patience;
            spec.limits.copies_between_servers = 1;
        })
        .await?;
        let client = world.new_kernel("a").await?;
        let to = client.open_create(&client.root().await?, "to").await?;
        Ok(Self { world, client, to })
    }

    fn args(&self, liar: &Liar, synchronous: bool) -> Copy4Args {
        Copy4Args {
            src_stateid: STATEID,
            synchronous,
            source_server: vec![liar.location()],
            ..copy_args(&self.to, &self.to, (0, 0, 0))
        }
    }

    async fn begin(&self, liar: &Liar) -> Result<Stateid4> {
        let fh = Fh4::from_static(b"theirs");
        let begun = copy_from(&self.client, &fh, &self.to, self.args(liar, false)).await?;
        begun.callback_id.context("it goes on")
    }

    /// What a copy of all of the liar's file comes to, and how far it says that it came.
    async fn ends(&self, liar: &Liar) -> Result<(Nfsstat4, u64)> {
        let stateid = self.begin(liar).await?;
        Ok(match told(&self.client, stateid).await? {
            OffloadInfo4::Ok(end) => (Nfsstat4::Ok, end.count),
            OffloadInfo4::Failed {
                status,
                bytes_copied,
            } => (status, bytes_copied),
        })
    }

    /// The same, asked for at once.
    async fn status(&self, liar: &Liar) -> Nfsstat4 {
        let fh = Fh4::from_static(b"theirs");
        let done = copy_from(&self.client, &fh, &self.to, self.args(liar, true)).await;
        done.map(|_| ()).status()
    }

    async fn end(self) -> Result<()> {
        self.world.ends_without_leak().await
    }
}

#[tokio::test]
async fn a_source_that_gives_other_than_it_was_asked_for_ends_the_copy() -> Result<()> {
    let copying = Copying::start().await?;
    let too_much = Liar::start(2 * MIB, |args, _| {
        Says::bytes(args.count.min(1000) + args.count)
    })
    .await?;
    let none = Liar::start(2 * MIB, |_, _| Says::bytes(0)).await?;
    let rubbish = Liar::start(2 * MIB, |_, _| Says::Rubbish).await?;
    for liar in [&too_much, &none, &rubbish] {
        assert_eq!(
            copying.ends(liar).await?,
            (Nfsstat4::OffloadDenied, 0),
            "the client copies by itself"
        );
        assert_eq!(copying.status(liar).await, Nfsstat4::OffloadDenied);
    }
    pair_of_reads(&copying).await?;
    copying.end().await
}

/// One that gives less than it was asked for, and all of it in the end, is an honest source.
async fn pair_of_reads(copying: &Copying) -> Result<()> {
    let honest = Liar::start(2 * MIB, |args, _| Says::bytes(args.count.min(100_000))).await?;
    assert_eq!(copying.ends(&honest).await?, (Nfsstat4::Ok, 2 * MIB));
    assert_eq!(all_of(&copying.client, &copying.to, 0, 2 << 20).await?, 7);
    Ok(())
}

#[tokio::test]
async fn a_source_that_is_cut_meanwhile_gives_what_it_still_has() -> Result<()> {
    let copying = Copying::start().await?;
    let cut = Liar::start(8 * MIB, |args, _| {
        let left = (3 * MIB + 5).saturating_sub(args.offset);
        let count = left.min(u64::from(args.count)) as usize;
        Says::Data {
            data: vec![7; count].into(),
            eof: count < args.count as usize,
        }
    })
    .await?;
    assert_eq!(copying.ends(&cut).await?, (Nfsstat4::Ok, 3 * MIB + 5));
    assert_eq!(copying.client.size_of(&copying.to.fh).await?, 3 * MIB + 5);
    copying.end().await
}

#[tokio::test]
async fn a_source_that_dies_in_the_middle_ends_the_copy_and_what_was_told_is_there() -> Result<()> {
    let copying = Copying::start().await?;
    // A stretch of 16 MiB is durable, and something of the next one is under way.
    let dying = Liar::start(64 * MIB, |args, _| {
        if args.offset < 18 * MIB {
            Says::bytes(args.count)
        } else {
            Says::Gone
        }
    })
    .await?;
    let (status, bytes_copied) = copying.ends(&dying).await?;
    assert_eq!(status, Nfsstat4::OffloadDenied);
    assert_eq!(bytes_copied, 16 * MIB, "a stretch counts when it is whole");
    let client = &copying.client;
    assert!(client.size_of(&copying.to.fh).await? >= 16 * MIB);
    assert_eq!(all_of(client, &copying.to, 0, 16 << 20).await?, 7);
    // Nobody is there at all.
    let address = dying.address;
    drop(dying);
    let args = Copy4Args {
        src_stateid: STATEID,
        source_server: vec![location(address)],
        ..copy_args(&copying.to, &copying.to, (0, 0, 0))
    };
    let fh = Fh4::from_static(b"theirs");
    let away = copy_from(&copying.client, &fh, &copying.to, args).await;
    assert_eq!(away.map(|_| ()).status(), Nfsstat4::OffloadDenied);
    copying.end().await
}

#[tokio::test]
async fn what_the_source_says_of_the_right_to_read_begins_the_copy_anew() -> Result<()> {
    let copying = Copying::start().await?;
    for (said, meant) in [
        (Nfsstat4::PartnerNoAuth, Nfsstat4::PartnerNoAuth),
        (Nfsstat4::Expired, Nfsstat4::PartnerNoAuth),
        (Nfsstat4::BadStateid, Nfsstat4::PartnerNoAuth),
        (Nfsstat4::Stale, Nfsstat4::Stale),
        (Nfsstat4::Access, Nfsstat4::OffloadDenied),
        (Nfsstat4::Io, Nfsstat4::OffloadDenied),
    ] {
        let liar = Liar::start(MIB, move |_, _| Says::Status(said)).await?;
        assert_eq!(copying.ends(&liar).await?, (meant, 0), "{said:?}");
    }
    let busy = Liar::start(MIB, |args, nth| {
        if nth == 0 {
            Says::Status(Nfsstat4::Delay)
        } else {
            Says::bytes(args.count)
        }
    })
    .await?;
    assert_eq!(copying.ends(&busy).await?, (Nfsstat4::Ok, MIB));
    copying.end().await
}

#[tokio::test]
async fn a_copy_from_a_silent_source_is_called_off_or_ends_by_itself_and_makes_room() -> Result<()>
{
    let copying = Copying::start().await?;
    let silent = Liar::start(64 * MIB, |_, _| Says::Silence).await?;
    let stateid = copying.begin(&silent).await?;
    until("it is read from", async || {
        Ok(silent.reads.load(Relaxed) > 0)
    })
    .await?;
    // One at a time here: whoever comes meanwhile copies by itself.
    assert_eq!(copying.status(&silent).await, Nfsstat4::OffloadDenied);
    let cancel = ArgOp::OffloadCancel(OffloadCancel4Args { stateid });
    let fh = &copying.to.fh;
    copying.client.ok([putfh(fh), cancel]).await?;
    let status = ArgOp::OffloadStatus(OffloadStatus4Args { stateid });
    until("the copy is gone", async || {
        let asked = copying.client.compound([putfh(fh), status.clone()]).await?;
        Ok(asked.status == Nfsstat4::BadStateid)
    })
    .await?;
    // There is room again, and a source that gives nothing isn't waited for longer than its patience.
    let another = Liar::start(64 * MIB, |_, _| Says::Silence).await?;
    let ended = until_there_is_room(&copying, &another).await?;
    assert_eq!(ended, (Nfsstat4::OffloadDenied, 0));
    copying.end().await
}

async fn until_there_is_room(copying: &Copying, liar: &Liar) -> Result<(Nfsstat4, u64)> {
    let fh = Fh4::from_static(b"theirs");
    let begun = crate::world::at_last("room", &[Nfsstat4::OffloadDenied], async || {
        copy_from(&copying.client, &fh, &copying.to, copying.args(liar, false)).await
    })
    .await?;
    let stateid = begun.callback_id.context("it goes on")?;
    match told(&copying.client, stateid).await? {
        OffloadInfo4::Ok(end) => Ok((Nfsstat4::Ok, end.count)),
        OffloadInfo4::Failed {
            status,
            bytes_copied,
        } => Ok((status, bytes_copied)),
    }
}

#[tokio::test]
async fn a_copy_that_nobody_wants_any_more_waits_for_no_source() -> Result<()> {
    // Longer than anybody here waits.
    let copying = Copying::with_patience(Duration::from_mins(5)).await?;
    let silent = Liar::start(64 * MIB, |_, _| Says::Silence).await?;
    let stateid = copying.begin(&silent).await?;
    until("it is read from", async || {
        Ok(silent.reads.load(Relaxed) > 0)
    })
    .await?;
    let cancel = ArgOp::OffloadCancel(OffloadCancel4Args { stateid });
    copying.client.ok([putfh(&copying.to.fh), cancel]).await?;
    // Only one copy has room here.
    let honest = Liar::start(MIB, |args, _| Says::bytes(args.count)).await?;
    let ended = until_there_is_room(&copying, &honest).await?;
    assert_eq!(ended, (Nfsstat4::Ok, MIB));
    // Nor when its client goes.
    let another = Liar::start(64 * MIB, |_, _| Says::Silence).await?;
    copying.begin(&another).await?;
    until("it is read from", async || {
        Ok(another.reads.load(Relaxed) > 0)
    })
    .await?;
    copying.client.close(&copying.to).await?;
    copying.client.destroy_session().await?;
    copying.client.destroy_clientid().await?;
    let client = copying.world.new_kernel("b").await?;
    let to = client.open_create(&client.root().await?, "to").await?;
    let next = Copying {
        client,
        to,
        ..copying
    };
    let ended = until_there_is_room(&next, &honest).await?;
    assert_eq!(ended, (Nfsstat4::Ok, MIB));
    next.end().await
}
