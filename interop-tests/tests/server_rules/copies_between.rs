//! COPY from one server to another, and COPY_NOTIFY: RFC 7862 §4.6 to §4.10, §15.2, §15.3. Two servers on
//! loopback, and a client that has both mounted. Sources that don't do as they should are in `copies_broken`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, Failure, OpenFile, StatusOf, putfh};
use mds::ServerCopy;
use wire::nfs4::*;

use crate::copies::{all_of, copy_args, filled};
use crate::world::{MIB, World, neighbours, until};

/// Time enough for whatever ends with a lease.
const LEASE: Duration = Duration::from_secs(90);

pub fn location(address: SocketAddr) -> Netloc4 {
    Netloc4::Netaddr(Netaddr4::tcp(address))
}

/// COPY_NOTIFY of an open file, for the server at `destination`.
pub async fn notify(
    client: &Client,
    file: &OpenFile,
    src_stateid: Stateid4,
    destination: Netloc4,
) -> Result<CopyNotify4Ok, Failure> {
    let args = CopyNotify4Args {
        src_stateid,
        destination_server: destination,
    };
    client
        .ok([putfh(&file.fh), ArgOp::CopyNotify(args)])
        .await?
        .copy_notify()
}

/// COPY at the destination, of a file that is `fh` at the source.
pub async fn copy_from(
    client: &Client,
    fh: &Fh4,
    to: &OpenFile,
    args: Copy4Args,
) -> Result<WriteResponse4, Failure> {
    let ops = [putfh(fh), ArgOp::Savefh, putfh(&to.fh), ArgOp::Copy(args)];
    Ok(client.ok(ops).await?.copy()?.response)
}

/// How the copy that goes on behind `stateid` ended.
pub async fn told(client: &Client, stateid: Stateid4) -> Result<OffloadInfo4> {
    loop {
        if let CbArgOp::Offload(told) = client.callbacks.next().await?
            && told.stateid == stateid
        {
            return Ok(told.info);
        }
    }
}

/// A client of two servers, with a file open at each.
pub struct Pair {
    pub source: World,
    pub destination: World,
    pub at_source: Client,
    pub at_destination: Client,
    pub from: OpenFile,
    pub to: OpenFile,
}

impl Pair {
    async fn with(bytes: u64) -> Result<Self> {
        Self::of(World::start().await?, World::start().await?, bytes).await
    }

    /// The file at the source is full of threes.
    pub async fn of(source: World, destination: World, bytes: u64) -> Result<Self> {
        let at_source = source.new_kernel("a").await?;
        let at_destination = destination.new_kernel("a").await?;
        let from = filled(&at_source, "from", bytes, 3).await?;
        let to = at_destination
            .open_create(&at_destination.root().await?, "to")
            .await?;
        Ok(Self {
            source,
            destination,
            at_source,
            at_destination,
            from,
            to,
        })
    }

    pub async fn notify(&self) -> Result<CopyNotify4Ok, Failure> {
        let destination = location(self.destination.address);
        notify(&self.at_source, &self.from, self.from.stateid, destination).await
    }

    /// What COPY is to be asked, as COPY_NOTIFY answered.
    pub fn args(&self, notified: &CopyNotify4Ok, range: (u64, u64, u64)) -> Copy4Args {
        Copy4Args {
            src_stateid: notified.stateid,
            source_server: notified.source_server.clone(),
            ..copy_args(&self.from, &self.to, range)
        }
    }

    pub async fn copy(&self, args: Copy4Args) -> Result<WriteResponse4, Failure> {
        copy_from(&self.at_destination, &self.from.fh, &self.to, args).await
    }

    /// READ at the source by somebody who is no client of it otherwise.
    async fn read_by(&self, other: &Client, stateid: Stateid4) -> Nfsstat4 {
        let read = other.read(&self.from.fh, stateid, 0, 10).await;
        read.map(|_| ()).status()
    }

    pub async fn end(self) -> Result<()> {
        self.destination.ends_without_leak().await?;
        self.source.ends_without_leak().await
    }
}

#[tokio::test]
async fn a_copy_from_another_server_is_durable_and_tells_its_end_by_a_callback() -> Result<()> {
    let pair = Pair::with(20 * MIB + 1000).await?;
    let notified = pair.notify().await?;
    assert_eq!(
        notified.source_server,
        [location(pair.source.address)],
        "where the client reached it"
    );
    assert_eq!(notified.lease_time.seconds, 90);
    // To the end, from where it begins and to where it is told.
    let args = Copy4Args {
        synchronous: false,
        ..pair.args(&notified, (500, MIB, 0))
    };
    let begun = pair.copy(args).await?;
    let stateid = begun.callback_id.context("it goes on")?;
    let OffloadInfo4::Ok(end) = told(&pair.at_destination, stateid).await? else {
        panic!("it failed")
    };
    let bytes = 20 * MIB + 500;
    assert_eq!((end.count, end.committed), (bytes, StableHow4::FileSync));
    let client = &pair.at_destination;
    assert_eq!(client.size_of(&pair.to.fh).await?, MIB + bytes);
    assert_eq!(all_of(client, &pair.to, 0, 1 << 20).await?, 0);
    assert_eq!(all_of(client, &pair.to, MIB, bytes as u32).await?, 3);
    // It has left the source as it came: the client alone is there.
    until("the destination is gone from the source", async || {
        Ok(pair.source.running().server.held().clients == 1)
    })
    .await?;
    pair.end().await
}

#[tokio::test]
async fn a_copy_that_is_asked_for_at_once_is_answered_with_a_beginning() -> Result<()> {
    let pair = Pair::with(6 * MIB).await?;
    let notified = pair.notify().await?;
    let args = pair.args(&notified, (0, 0, 6 * MIB));
    let done = pair.copy(args).await?;
    assert_eq!((done.callback_id, done.count), (None, 4 * MIB));
    assert_eq!(done.committed, StableHow4::FileSync);
    let client = &pair.at_destination;
    assert_eq!(done.writeverf, client.commit(&pair.to.fh, 0, 0).await?);
    let rest = pair
        .copy(pair.args(&notified, (4 * MIB, 4 * MIB, 0)))
        .await?;
    assert_eq!(rest.count, 2 * MIB);
    assert_eq!(all_of(client, &pair.to, 0, 6 << 20).await?, 3);
    pair.end().await
}

#[tokio::test]
async fn a_copy_is_announced_only_of_a_file_that_its_client_reads() -> Result<()> {
    let pair = Pair::with(1000).await?;
    let (a, root) = (&pair.at_source, pair.at_source.root().await?);
    let there = || location(pair.destination.address);
    let asked = async |file: &OpenFile, stateid, to| {
        notify(a, file, stateid, to).await.map(|_| ()).status()
    };
    let lock = a
        .lock(&pair.from, "owner", LockType4::ReadLt, (0, 10))
        .await?;
    assert_eq!(asked(&pair.from, lock, there()).await, Nfsstat4::Ok);
    let other = a.open_create(&root, "other").await?;
    for stateid in [Stateid4::ANONYMOUS, Stateid4::BYPASS, other.stateid] {
        let bad = asked(&pair.from, stateid, there()).await;
        assert_eq!(bad, Nfsstat4::BadStateid);
    }
    // A second open of the same owner raised the seqid.
    let again = a.open(&root, "other").await?;
    assert_eq!(
        asked(&again, other.stateid, there()).await,
        Nfsstat4::OldStateid
    );
    let mut args = a.open_args("other", Openflag4::NoCreate);
    args.owner.owner = "another".into();
    args.share_access = OPEN4_SHARE_ACCESS_WRITE | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    let written = a.open_with(&root, args).await?;
    assert_eq!(
        asked(&written, written.stateid, there()).await,
        Nfsstat4::Openmode
    );
    for (kind, expected) in [
        (Createtype4::Dir, Nfsstat4::Isdir),
        (Createtype4::Lnk("to".into()), Nfsstat4::Symlink),
        (Createtype4::Fifo, Nfsstat4::WrongType),
    ] {
        let fh = a.create(&root, &format!("{expected:?}"), kind).await?;
        let file = OpenFile {
            fh,
            ..pair.from.clone()
        };
        assert_eq!(asked(&file, pair.from.stateid, there()).await, expected);
    }
    // A name leads anywhere, and so does an address outside of the list.
    for to in [
        Netloc4::Name("elsewhere".into()),
        Netloc4::Url("nfs://elsewhere".into()),
        location("192.0.2.1:2049".parse()?),
    ] {
        let refused = asked(&pair.from, pair.from.stateid, to).await;
        assert_eq!(refused, Nfsstat4::Access);
    }
    pair.end().await
}

#[tokio::test]
async fn copies_are_announced_to_nobody_where_nobody_is_named_and_within_limits() -> Result<()> {
    let off = World::with(1, |spec| spec.server_copy = ServerCopy::off()).await?;
    let a = off.client("a").await?;
    let file = filled(&a, "f", 10, 3).await?;
    let refused = notify(&a, &file, file.stateid, location(off.address)).await;
    assert_eq!(refused.map(|_| ()).status(), Nfsstat4::Notsupp);
    off.ends_without_leak().await?;
    let told: SocketAddr = "192.0.2.1:2049".parse()?;
    let full = World::with(1, |spec| {
        spec.limits.copy_notifies_per_client = 1;
        spec.server_copy.addresses = vec![told];
    })
    .await?;
    let a = full.client("a").await?;
    let file = filled(&a, "f", 10, 3).await?;
    let given = notify(&a, &file, file.stateid, location(full.address)).await?;
    assert_eq!(given.source_server, [location(told)]);
    let another = notify(&a, &file, file.stateid, location(full.address)).await;
    assert_eq!(another.map(|_| ()).status(), Nfsstat4::Delay);
    // Called off, it makes room.
    let cancel = ArgOp::OffloadCancel(OffloadCancel4Args {
        stateid: given.stateid,
    });
    a.ok([putfh(&file.fh), cancel.clone()]).await?;
    notify(&a, &file, file.stateid, location(full.address)).await?;
    let twice = a.compound([putfh(&file.fh), cancel]).await?;
    assert_eq!(twice.status, Nfsstat4::BadStateid);
    full.ends_without_leak().await
}

#[tokio::test]
async fn what_was_announced_is_read_by_the_destination_for_as_long_as_it_lives() -> Result<()> {
    let pair = Pair::with(1000).await?;
    let b = pair.source.client("destination").await?;
    let notified = pair.notify().await?.stateid;
    assert_eq!(pair.read_by(&b, notified).await, Nfsstat4::Ok);
    // That file alone, and to read alone.
    let root = pair.at_source.root().await?;
    let other = pair.at_source.open_create(&root, "other").await?;
    let elsewhere = b.read(&other.fh, notified, 0, 10).await.map(|_| ());
    assert_eq!(elsewhere.status(), Nfsstat4::BadStateid);
    let written = b.write(&pair.from.fh, notified, 0, "x").await.map(|_| ());
    assert_eq!(written.status(), Nfsstat4::BadStateid);
    let read_plus = |stateid| {
        ArgOp::ReadPlus(ReadPlus4Args {
            stateid,
            offset: 0,
            count: 10,
        })
    };
    // As long as it is read by, it lives; then a lease, and no longer.
    for _ in 0..3 {
        pair.source
            .let_pass_for(&[&pair.at_source, &b], LEASE)
            .await?;
        let read = pair.read_by(&b, notified).await;
        assert_eq!(read, Nfsstat4::PartnerNoAuth);
        let late = b
            .compound([putfh(&pair.from.fh), read_plus(notified)])
            .await?;
        assert_eq!(late.status, Nfsstat4::PartnerNoAuth);
        let fresh = pair.notify().await?.stateid;
        pair.source.let_pass(LEASE / 2);
        assert_eq!(pair.read_by(&b, fresh).await, Nfsstat4::Ok);
        pair.source.let_pass(LEASE / 2);
        assert_eq!(pair.read_by(&b, fresh).await, Nfsstat4::Ok);
    }
    let notified = pair.notify().await?.stateid;
    let seek = |stateid| {
        ArgOp::Seek(Seek4Args {
            stateid,
            offset: 0,
            what: DataContent4::Hole,
        })
    };
    for op in [seek(notified), read_plus(notified)] {
        b.ok([putfh(&pair.from.fh), op]).await?;
    }
    // Who is no destination any more reads nothing.
    let nobody = ServerCopy {
        destinations: vec!["192.0.2.0/24".parse()?],
        ..neighbours()
    };
    let running = pair.source.running();
    running.change_server_copy(nobody);
    assert_eq!(pair.read_by(&b, notified).await, Nfsstat4::Access);
    running.change_server_copy(neighbours());
    assert_eq!(pair.read_by(&b, notified).await, Nfsstat4::Ok);
    // Nobody else takes it back, and with the open it is gone.
    let cancel = ArgOp::OffloadCancel(OffloadCancel4Args { stateid: notified });
    let stranger = b.compound([putfh(&pair.from.fh), cancel]).await?;
    assert_eq!(stranger.status, Nfsstat4::BadStateid);
    pair.at_source.close(&pair.from).await?;
    assert_eq!(pair.read_by(&b, notified).await, Nfsstat4::BadStateid);
    for op in [seek(notified), read_plus(notified)] {
        let late = b.compound([putfh(&pair.from.fh), op]).await?;
        assert_eq!(late.status, Nfsstat4::BadStateid);
    }
    pair.end().await
}

#[tokio::test]
async fn a_source_that_the_operator_did_not_name_is_not_gone_to() -> Result<()> {
    let pair = Pair::with(1000).await?;
    let notified = pair.notify().await?;
    let args = |source_server| Copy4Args {
        source_server,
        ..pair.args(&notified, (0, 0, 0))
    };
    for unnamed in [
        location("192.0.2.1:2049".parse()?),
        Netloc4::Name("elsewhere".into()),
    ] {
        let refused = pair.copy(args(vec![unnamed])).await.map(|_| ());
        assert_eq!(refused.status(), Nfsstat4::OffloadDenied);
    }
    pair.destination
        .running()
        .change_server_copy(ServerCopy::off());
    let refused = pair.copy(args(notified.source_server.clone())).await;
    assert_eq!(refused.map(|_| ()).status(), Nfsstat4::OffloadDenied);
    pair.destination.running().change_server_copy(neighbours());
    // Nor with a stateid that would be this server's own right.
    let special = Copy4Args {
        src_stateid: Stateid4::ANONYMOUS,
        ..args(notified.source_server.clone())
    };
    let refused = pair.copy(special).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::BadStateid);
    // Where nothing was put and saved, there is no file.
    let ops = [
        putfh(&pair.to.fh),
        ArgOp::Copy(args(notified.source_server.clone())),
    ];
    let refused = pair.at_destination.compound(ops).await?;
    assert_eq!(refused.status, Nfsstat4::Nofilehandle);
    // A handle of another server is let pass for such a copy alone.
    let ops = [putfh(&pair.from.fh), ArgOp::Savefh];
    let refused = pair.at_destination.compound(ops).await?;
    assert_eq!(refused.status, Nfsstat4::Badhandle);
    pair.end().await
}

#[tokio::test]
async fn a_copy_tells_why_its_source_does_not_give_it() -> Result<()> {
    let pair = Pair::with(1000).await?;
    let notified = pair.notify().await?;
    for range in [(1001, 0, 0), (0, 0, 1001)] {
        let refused = pair.copy(pair.args(&notified, range)).await.map(|_| ());
        assert_eq!(refused.status(), Nfsstat4::Inval, "{range:?}");
    }
    let far = pair.copy(pair.args(&notified, (0, u64::MAX, 10))).await;
    assert_eq!(far.map(|_| ()).status(), Nfsstat4::Fbig);
    let client = &pair.at_destination;
    let unknown = vec![1; 32].into();
    let stale = copy_from(client, &unknown, &pair.to, pair.args(&notified, (0, 0, 0))).await;
    assert_eq!(stale.map(|_| ()).status(), Nfsstat4::Stale);
    // A data server speaks NFSv3 alone.
    let data = &pair.source.spec().data_servers[0];
    let unfit = Copy4Args {
        source_server: vec![location(SocketAddr::new(data.host.parse()?, data.port))],
        ..pair.args(&notified, (0, 0, 0))
    };
    let refused = pair.copy(unfit).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::PartnerNotsupp);
    // The client took its word back.
    pair.at_source.close(&pair.from).await?;
    let refused = pair.copy(pair.args(&notified, (0, 0, 0))).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::PartnerNoAuth);
    let late = Copy4Args {
        synchronous: false,
        ..pair.args(&notified, (0, 0, 0))
    };
    let stateid = pair.copy(late).await?.callback_id.context("it goes on")?;
    let OffloadInfo4::Failed {
        status,
        bytes_copied,
    } = told(client, stateid).await?
    else {
        panic!("it went well")
    };
    assert_eq!((status, bytes_copied), (Nfsstat4::PartnerNoAuth, 0));
    assert_eq!(client.size_of(&pair.to.fh).await?, 0);
    pair.end().await
}
