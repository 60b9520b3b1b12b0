//! The same caller may do the same to the same file by either version.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{ClientSetup, StatusOf, user as user4};
use nfs_client::Caller;
use wire::nfs3::*;
use wire::nfs4::{
    ACE4_ACCESS_ALLOWED_ACE_TYPE, ACE4_ACCESS_DENIED_ACE_TYPE, ACE4_READ_ATTRIBUTES,
    ACE4_READ_DATA, Attributes, Nfsace4, Nfsstat4, Stateid4,
};

use super::{
    Refused, client_of, create, fh4, mkdir, mode, mount_of, mounted, name, put, user, world,
};

const RIGHTS: u32 = 0x3f;

#[tokio::test]
async fn access_is_granted_and_refused_alike_by_both_versions() -> Result<()> {
    let world = world().await?;
    let (root, top) = mount_of(&world, 0).await?;
    let folder = mkdir(&root, &top, "d", 0o755).await?;
    let mut files = Vec::new();
    for bits in [
        0o000, 0o400, 0o040, 0o004, 0o644, 0o755, 0o711, 0o077, 0o4755,
    ] {
        let file = create(&root, &folder, &format!("{bits:o}")).await?;
        let wanted = Sattr3 {
            uid: Some(1001),
            gid: Some(2001),
            ..mode(bits)
        };
        root.setattr(&file, wanted, None).await?;
        files.push((bits, file));
        let inner = mkdir(&root, &folder, &format!("d{bits:o}"), 0).await?;
        root.setattr(&inner, wanted, None).await?;
        files.push((bits, inner));
    }
    let who = [(0, 0), (1001, 1001), (1002, 2001), (1003, 1003)];
    for (uid, gid) in who {
        let setup = ClientSetup::named(&format!("of {uid}")).with_credential(user4(uid, gid));
        let new = setup.mount(world.address).await?;
        let old = client_of(&world, Caller::sys("old", uid, gid, &[]));
        for (bits, file) in &files {
            let by3 = old.access(file, RIGHTS).await?.access;
            let by4 = new.access(&fh4(file), RIGHTS).await?;
            assert_eq!(by3, by4, "{uid}:{gid} of {bits:o}");
            let is_folder = old.getattr(file).await?.ftype == Ftype3::Dir;
            let listed = old.readdir(file, 0, [0; 8], 4096).await;
            let made = old.mkdir(file, &name("x"), mode(0o755)).await;
            if is_folder {
                assert_eq!(listed.is_ok(), by4 & ACCESS3_READ != 0);
                assert_eq!(made.is_ok(), by4 & ACCESS3_MODIFY != 0);
                if made.is_ok() {
                    old.rmdir(file, &name("x")).await?;
                }
                continue;
            }
            // Who hasn't made it reads and writes by the mode; its owner goes on with what he has open.
            let owner = uid == 1001;
            let reads = by4 & (ACCESS3_READ | ACCESS3_EXECUTE) != 0 || owner;
            let read = old.read(file, 0, 10).await;
            let refusal = (!reads).then_some(Nfsstat3::Acces);
            assert_eq!(read.refused(), refusal, "{uid} reads {bits:o}");
            let writes = by4 & ACCESS3_MODIFY != 0 || owner;
            let refusal = (!writes).then_some(Nfsstat3::Acces);
            let sized = Sattr3 {
                size: Some(0),
                ..Sattr3::default()
            };
            let cut = old.setattr(file, sized, None).await;
            assert_eq!(cut.refused(), refusal, "{uid} cuts {bits:o}");
        }
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_is_made_belongs_to_its_maker_and_the_others_may_not_change_it() -> Result<()> {
    let world = world().await?;
    let (root, top) = mount_of(&world, 0).await?;
    let shared = mkdir(&root, &top, "t", 0o1777).await?;
    let (owner, stranger) = (client_of(&world, user(1001)), client_of(&world, user(1002)));
    let file = create(&owner, &shared, "f").await?;
    let told = owner.getattr(&file).await?;
    assert_eq!((told.uid, told.gid), (1001, 1001));
    use Nfsstat3::{Acces, Perm};
    let owned = Sattr3 {
        uid: Some(1002),
        ..Sattr3::default()
    };
    let answers = [
        (
            stranger.setattr(&file, mode(0o777), None).await.refused(),
            Perm,
        ),
        (stranger.setattr(&file, owned, None).await.refused(), Perm),
        (owner.setattr(&file, owned, None).await.refused(), Perm),
        (stranger.remove(&shared, &name("f")).await.refused(), Perm),
        (
            stranger
                .rename(&shared, &name("f"), &shared, &name("g"))
                .await
                .refused(),
            Perm,
        ),
    ];
    for (answer, status) in answers {
        assert_eq!(answer, Some(status));
    }
    let device = Specdata3 { major: 1, minor: 3 };
    let made = owner
        .mknod(&shared, &name("c"), Mknoddata3::Chr(mode(0o600), device))
        .await;
    assert_eq!(made.refused(), Some(Perm));
    let closed = mkdir(&owner, &shared, "closed", 0o700).await?;
    create(&owner, &closed, "in").await?;
    let found = stranger.lookup(&closed, &name("in")).await;
    assert_eq!(found.refused(), Some(Acces));
    let found = mounted(&world, "/t/closed/in", &user(1002)).await;
    assert!(found.is_err(), "MNT walks in the caller's name");
    // A folder's group goes on to what is made in it.
    let wanted = Sattr3 {
        gid: Some(777),
        ..mode(0o2777)
    };
    root.setattr(&shared, wanted, None).await?;
    let inner = mkdir(&owner, &shared, "e", 0o755).await?;
    let told = owner.getattr(&inner).await?;
    assert_eq!((told.gid, told.mode), (777, 0o2755));
    world.ends_without_leak().await
}

#[tokio::test]
async fn set_id_bits_dont_outlive_a_write_by_somebody_else() -> Result<()> {
    let world = world().await?;
    let (root, top) = mount_of(&world, 0).await?;
    let file = create(&root, &top, "f").await?;
    root.setattr(&file, mode(0o6777), None).await?;
    put(&root, &file, 0, "root's").await?;
    assert_eq!(root.getattr(&file).await?.mode, 0o6777);
    put(&client_of(&world, user(1001)), &file, 0, "x").await?;
    assert_eq!(root.getattr(&file).await?.mode, 0o777);
    world.ends_without_leak().await
}

/// `open(O_CREAT | O_WRONLY, 0444)`, and a mode that is taken away from an open file.
#[tokio::test]
async fn who_owns_a_file_goes_on_writing_it_whatever_its_mode() -> Result<()> {
    let world = world().await?;
    let (root, top) = mount_of(&world, 0).await?;
    let shared = mkdir(&root, &top, "t", 0o1777).await?;
    let owner = client_of(&world, user(1001));
    let how = Createhow3::Guarded(mode(0o444));
    let made = owner.create(&shared, &name("f"), how).await?;
    let file = made.obj.expect("it is told");
    put(&owner, &file, 0, "written").await?;
    owner.setattr(&file, mode(0), None).await?;
    put(&owner, &file, 7, " on").await?;
    assert_eq!(&owner.read(&file, 0, 100).await?.data[..], b"written on");
    // It is what his client goes by that says no: ACCESS, as by NFSv4.
    assert_eq!(owner.access(&file, RIGHTS).await?.access, 0);
    let new = ClientSetup::named("new").with_credential(user4(1001, 1001));
    let new = new.mount(world.address).await?;
    let read = new.read(&fh4(&file), Stateid4::ANONYMOUS, 0, 10).await;
    assert_eq!(read.status(), Nfsstat4::Access, "by NFSv4 an open tells");
    world.ends_without_leak().await
}

/// Lists are set by NFSv4 alone, and judge everybody.
#[tokio::test]
async fn access_control_lists_count_for_those_who_dont_know_them() -> Result<()> {
    let world = world().await?;
    let (root, top) = mount_of(&world, 0).await?;
    let folder = mkdir(&root, &top, "d", 0o755).await?;
    let file = create(&root, &folder, "f").await?;
    put(&root, &file, 0, "listed").await?;
    let ace = |acetype, who: &'static str, access_mask| Nfsace4 {
        acetype,
        flag: 0,
        access_mask,
        who: Bytes::from_static(who.as_bytes()),
    };
    let aces = vec![
        ace(ACE4_ACCESS_DENIED_ACE_TYPE, "1002", ACE4_READ_ATTRIBUTES),
        ace(ACE4_ACCESS_ALLOWED_ACE_TYPE, "1001", ACE4_READ_DATA),
    ];
    let new = world.client("new").await?;
    let list = Attributes {
        acl: Some(aces),
        ..Attributes::default()
    };
    new.setattr(&fh4(&file), Stateid4::ANONYMOUS, list).await?;
    let granted = client_of(&world, user(1001));
    assert_eq!(&granted.read(&file, 0, 10).await?.data[..], b"listed");
    let denied = client_of(&world, user(1002));
    assert_eq!(denied.access(&file, RIGHTS).await?.access, 0);
    let answers = [
        denied.read(&file, 0, 10).await.refused(),
        denied.getattr(&file).await.refused(),
    ];
    assert_eq!(answers, [Some(Nfsstat3::Acces); 2]);
    // What can't be looked at is found and listed all the same.
    let found = denied.lookup(&folder, &name("f")).await?;
    assert_eq!((found.object, found.obj_attributes), (file.clone(), None));
    let page = denied.readdirplus(&folder, 2, [0; 8], 4096, 4096).await?;
    let entry = &page.reply.entries[0];
    assert_eq!(entry.name_attributes, None);
    assert_eq!(entry.fileid, root.getattr(&file).await?.fileid);
    world.ends_without_leak().await
}
