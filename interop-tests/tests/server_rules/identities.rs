//! How owners and groups are called (RFC 8881 §5.9), and groups that the server looks up by itself.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use headrace::metadata::{AccountsSource, ExportSpec, IdentitySpec};
use interop_tests::nfs41::{Client, Failure, Reply, StatusOf, name, putfh, user};
use mds::FixedAccounts;
use wire::nfs4::*;
use wire::rpc::{Credential, Gids};

use crate::world::{World, everything};

const ALICE: u32 = 1001;
const BOB: u32 = 1002;
const STAFF: u32 = 50;
const DOMAIN: &str = "example.org";

/// Alice is in two hundred groups, bob in staff alone.
fn accounts() -> AccountsSource {
    let mut accounts = FixedAccounts::default();
    accounts.add_group("staff", STAFF);
    accounts.add_user("alice", ALICE, 5000..5200);
    accounts.add_user("bob", BOB, [STAFF]);
    AccountsSource::Fixed(Arc::new(accounts))
}

fn named() -> IdentitySpec {
    IdentitySpec {
        source: accounts(),
        domain: Some(DOMAIN.to_owned()),
        ..IdentitySpec::default()
    }
}

async fn with_names() -> Result<World> {
    World::with(1, |spec| spec.identity = named()).await
}

fn owned_by(owner: &str, group: &str) -> Attributes {
    Attributes {
        owner: Some(name(owner)),
        owner_group: Some(name(group)),
        ..Attributes::default()
    }
}

async fn owners(client: &Client, fh: &Fh4) -> Result<(Bytes, Bytes)> {
    let shown = client.getattr(fh, &[Attr::Owner, Attr::OwnerGroup]).await?;
    Ok((
        shown.owner.unwrap_or_default(),
        shown.owner_group.unwrap_or_default(),
    ))
}

async fn give(client: &Client, fh: &Fh4, owner: &str, group: &str) -> Nfsstat4 {
    let given = client
        .setattr(fh, Stateid4::ANONYMOUS, owned_by(owner, group))
        .await;
    given.status()
}

#[tokio::test]
async fn owners_are_shown_and_taken_by_name_and_taken_by_number() -> Result<()> {
    let world = with_names().await?;
    let client = world.client("a").await?;
    let root = client.root().await?;
    let directory = client.mkdir(&root, "d").await?;
    // Numbers that have no name stay numbers.
    assert_eq!(owners(&client, &directory).await?, (name("0"), name("0")));
    let fully = (name("alice@example.org"), name("staff@example.org"));
    for (owner, group) in [("alice@example.org", "staff@EXAMPLE.ORG"), ("1001", "50")] {
        assert_eq!(give(&client, &directory, "2", "2").await, Nfsstat4::Ok);
        assert_eq!(give(&client, &directory, owner, group).await, Nfsstat4::Ok);
        assert_eq!(owners(&client, &directory).await?, fully, "{owner}");
    }
    let listed = client
        .readdir(&root, &[Attr::Owner, Attr::OwnerGroup])
        .await?;
    assert_eq!(listed[0].attrs.owner, Some(fully.0));
    assert_eq!(listed[0].attrs.owner_group, Some(fully.1));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_name_that_nobody_has_is_badowner() -> Result<()> {
    let world = with_names().await?;
    let client = world.client("a").await?;
    let root = client.root().await?;
    let directory = client.mkdir(&root, "d").await?;
    let long = format!("{}@{DOMAIN}", "a".repeat(256));
    for owner in [
        "carol@example.org",
        "alice@example.com",
        "alice",
        "staff@example.org",
        "@example.org",
        "",
        "01001",
        "+1001",
        "4294967295",
        &long,
    ] {
        let status = give(&client, &directory, owner, "50").await;
        assert_eq!(status, Nfsstat4::Badowner, "{owner:?}");
    }
    // A user's name is no group's.
    let status = give(&client, &directory, "1001", "alice@example.org").await;
    assert_eq!(status, Nfsstat4::Badowner);
    let mut args = client.open_args(
        "f",
        Openflag4::Create(Createhow4::Guarded(
            owned_by("carol@example.org", "50").into(),
        )),
    );
    args.share_access |= OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    let opened = client.open_with(&directory, args).await;
    assert_eq!(opened.status(), Nfsstat4::Badowner);
    assert_eq!(owners(&client, &directory).await?, (name("0"), name("0")));
    world.ends_without_leak().await
}

#[tokio::test]
async fn without_names_there_are_numbers_alone() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let directory = client.mkdir(&client.root().await?, "d").await?;
    for owner in ["root@localdomain", "root", "007"] {
        let status = give(&client, &directory, owner, "0").await;
        assert_eq!(status, Nfsstat4::Badowner, "{owner}");
    }
    assert_eq!(give(&client, &directory, "7", "8").await, Nfsstat4::Ok);
    assert_eq!(owners(&client, &directory).await?, (name("7"), name("8")));
    world.ends_without_leak().await
}

#[tokio::test]
async fn verify_compares_owners_and_not_how_they_are_written() -> Result<()> {
    let world = with_names().await?;
    let client = world.client("a").await?;
    let directory = client.mkdir(&client.root().await?, "d").await?;
    assert_eq!(give(&client, &directory, "1001", "50").await, Nfsstat4::Ok);
    for (owner, same) in [
        ("1001", true),
        ("alice@example.org", true),
        ("bob@example.org", false),
        // Nobody's file: VERIFY has no BADOWNER (RFC 8881 §15.2).
        ("carol@example.org", false),
    ] {
        let attributes = Attributes {
            owner: Some(name(owner)),
            ..Attributes::default()
        };
        let asked = |op: ArgOp| client.ok([putfh(&directory), op]);
        let verified = asked(ArgOp::Verify(Verify4Args {
            obj_attributes: attributes.clone().into(),
        }))
        .await;
        let expected = if same {
            Nfsstat4::Ok
        } else {
            Nfsstat4::NotSame
        };
        assert_eq!(verified.status(), expected, "{owner}");
        let nverified = asked(ArgOp::Nverify(Nverify4Args {
            obj_attributes: attributes.into(),
        }))
        .await;
        let expected = if same { Nfsstat4::Same } else { Nfsstat4::Ok };
        assert_eq!(nverified.status(), expected, "{owner}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn entries_of_a_list_name_users_and_groups() -> Result<()> {
    let world = with_names().await?;
    let client = world.client("a").await?;
    let directory = client.mkdir(&client.root().await?, "d").await?;
    let allow = |who: &str, flag| Nfsace4 {
        acetype: ACE4_ACCESS_ALLOWED_ACE_TYPE,
        flag,
        access_mask: ACE4_READ_DATA,
        who: name(who),
    };
    let set = |aces: Vec<Nfsace4>| {
        let attributes = Attributes {
            acl: Some(aces),
            ..Attributes::default()
        };
        client.setattr(&directory, Stateid4::ANONYMOUS, attributes)
    };
    set(vec![
        allow("OWNER@", 0),
        allow("alice@example.org", 0),
        allow("staff@example.org", ACE4_IDENTIFIER_GROUP),
        allow("77", 0),
        allow("EVERYONE@", 0),
    ])
    .await?;
    let shown = client.getattr(&directory, &[Attr::Acl, Attr::Dacl]).await?;
    let who = |aces: Vec<Nfsace4>| -> Vec<Bytes> { aces.into_iter().map(|ace| ace.who).collect() };
    let expected = [
        "OWNER@",
        "alice@example.org",
        "staff@example.org",
        "77",
        "EVERYONE@",
    ]
    .map(name);
    assert_eq!(who(shown.acl.unwrap_or_default()), expected);
    assert_eq!(
        who(shown.dacl.map(|list| list.aces).unwrap_or_default()),
        expected
    );
    for ace in [
        allow("carol@example.org", 0),
        allow("staff@example.org", 0),
        allow("alice@example.org", ACE4_IDENTIFIER_GROUP),
    ] {
        assert_eq!(set(vec![ace]).await.status(), Nfsstat4::Badowner);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn names_follow_what_the_operator_changes() -> Result<()> {
    let world = with_names().await?;
    let client = world.client("a").await?;
    let directory = client.mkdir(&client.root().await?, "d").await?;
    assert_eq!(give(&client, &directory, "1003", "50").await, Nfsstat4::Ok);
    assert_eq!(owners(&client, &directory).await?.0, name("1003"));
    let mut accounts = FixedAccounts::default();
    accounts.add_user("carol", 1003, []);
    world.running().change_identity(&IdentitySpec {
        source: AccountsSource::Fixed(Arc::new(accounts)),
        ..named()
    });
    assert_eq!(
        owners(&client, &directory).await?,
        (name("carol@example.org"), name("50"))
    );
    world.ends_without_leak().await
}

/// A caller, and the groups that its request names.
fn saying(uid: u32, groups: impl IntoIterator<Item = u32>) -> Result<Credential> {
    let Credential::Sys(mut sys) = user(uid, uid) else {
        anyhow::bail!("a user calls by AUTH_SYS");
    };
    sys.gids = Gids::first(groups.into_iter().collect());
    Ok(Credential::Sys(sys))
}

async fn may_read(
    client: &Client,
    credential: Credential,
    ops: impl IntoIterator<Item = ArgOp>,
) -> Result<bool, Failure> {
    let access = ArgOp::Access(Access4Args {
        access: ACCESS4_READ,
    });
    let asked = client
        .compound_as(credential, ops.into_iter().chain([access]))
        .await?;
    let mut reply: Reply = asked.ok()?;
    Ok(reply.access()?.access == ACCESS4_READ)
}

#[tokio::test]
async fn groups_beyond_those_of_the_request_count_where_the_server_knows_them() -> Result<()> {
    let managed = ExportSpec {
        manage_gids: true,
        ..everything("/managed")
    };
    let world = World::with(1, |spec| {
        // Groups are looked up whatever owners are called.
        spec.identity = IdentitySpec {
            domain: None,
            ..named()
        };
        spec.exports = vec![managed, everything("/plain")];
    })
    .await?;
    let client = world.client("a").await?;
    let mut folders = Vec::new();
    for path in ["/managed", "/plain"] {
        let directory = client.walk(path).await?;
        let mode = Attributes {
            mode: Some(0o777),
            ..Attributes::default()
        };
        client
            .setattr(&directory, Stateid4::ANONYMOUS, mode)
            .await?;
        let folder = client.mkdir(&directory, "of the last group").await?;
        let mode = Attributes {
            mode: Some(0o750),
            ..owned_by("0", "5199")
        };
        client.setattr(&folder, Stateid4::ANONYMOUS, mode).await?;
        folders.push(folder);
    }
    let [managed, plain] = &folders[..] else {
        anyhow::bail!("two folders");
    };
    let reads = |uid, groups: Vec<u32>, fh: &Fh4| {
        let ops = [putfh(fh)];
        let credential = saying(uid, groups);
        let client = &client;
        async move { anyhow::Ok(may_read(client, credential?, ops).await?) }
    };
    // Sixteen groups fit a request, and alice has two hundred.
    let sixteen: Vec<u32> = (5000..5016).collect();
    assert!(reads(ALICE, sixteen.clone(), managed).await?);
    assert!(!reads(ALICE, sixteen, plain).await?);
    // What the request claims doesn't count.
    assert!(!reads(BOB, vec![5199], managed).await?);
    assert!(reads(BOB, vec![5199], plain).await?);
    // Nor for somebody whom the server doesn't know.
    assert!(!reads(4711, vec![5199], managed).await?);
    // Also where the COMPOUND walks in from the pseudo file system.
    let walk = ["managed", "of the last group"].map(|entry| {
        ArgOp::Lookup(Lookup4Args {
            objname: name(entry),
        })
    });
    let ops = std::iter::once(ArgOp::Putrootfh).chain(walk);
    assert!(may_read(&client, saying(ALICE, [])?, ops).await?);
    world.ends_without_leak().await
}
