use super::*;
use catalog::{Acl, InodeId, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;

fn inode(kind: FileKind, mode: u32) -> Inode {
    let then = Timestamp::default();
    Inode {
        id: InodeId { home: 1, number: 2 },
        kind,
        mode,
        uid: 10,
        gid: 20,
        nlink: 1,
        size: 0,
        atime: then,
        mtime: then,
        ctime: then,
        btime: then,
        change: 0,
        rdev: (0, 0),
        target: None,
        parent: None,
        size_epoch: 0,
        extents: Vec::new(),
        entries: 0,
        create_verifier: None,
        birth_epoch: 0,
        unscanned: false,
        keeper: None,
        data_stamp: catalog::DataStamp::default(),
        used: 0,
        acl: None,
        label: None,
        xattrs: catalog::XattrTotals::default(),
    }
}

fn user(uid: u32, gid: u32) -> Credential {
    Credential {
        uid,
        gid,
        groups: Vec::new(),
    }
}

fn with_list(kind: FileKind, aces: &[(catalog::AceKind, Who, u32)]) -> Inode {
    let aces = aces.iter().map(|(kind, who, mask)| Ace {
        kind: *kind,
        flags: 0,
        mask: *mask,
        who: *who,
    });
    let aces: Vec<Ace> = aces.collect();
    Inode {
        mode: acl::mode_of(&aces),
        acl: Some(Arc::new(Acl {
            aces,
            ..Acl::default()
        })),
        ..inode(kind, 0)
    }
}

use catalog::AceKind::{Allow, Deny};

proptest! {
    #[test]
    fn the_list_that_a_mode_shows_grants_what_the_mode_grants(
        mode in 0..0o1000_u32, uid in 10..12_u32, gid in 20..22_u32, directory: bool
    ) {
        let kind = if directory { FileKind::Directory } else { FileKind::Regular };
        let plain = inode(kind, mode);
        let listed = Inode {
            acl: Some(Arc::new(Acl { aces: acl::of_mode(mode, directory), ..Acl::default() })),
            ..plain.clone()
        };
        let who = user(uid, gid);
        for want in [Want::READ, Want::WRITE, Want::EXECUTE, Want::ADD_FILE, Want::ADD_SUBDIRECTORY,
            Want::WRITE_ACL, Want::WRITE_ATTRIBUTES, Want::WRITE_OWNER, Want::READ_ACL] {
            prop_assert_eq!(may(&who, &plain, want), may(&who, &listed, want), "{:?}", want);
        }
        prop_assert_eq!(may_take_names(&who, &plain), may_take_names(&who, &listed));
    }
}

#[test]
fn an_entry_lets_somebody_in_whom_the_mode_keeps_out() {
    let file = with_list(
        FileKind::Regular,
        &[
            (Allow, Who::User(30), ACE4_READ_DATA),
            (Deny, Who::Group(40), ACE4_READ_DATA),
            (Allow, Who::Everyone, ACE4_READ_DATA),
        ],
    );
    assert!(may(&user(30, 40), &file, Want::READ));
    assert!(!may(&user(31, 40), &file, Want::READ));
    assert!(may(&user(31, 41), &file, Want::READ));
    assert!(!may(&user(30, 1), &file, Want::WRITE));
    assert!(may(&user(0, 0), &file, Want::WRITE) && !may(&user(0, 0), &file, Want::EXECUTE));
}

#[test]
fn an_owner_who_is_denied_everything_can_still_mend_the_list() {
    let file = with_list(FileKind::Regular, &[(Deny, Who::Everyone, u32::MAX)]);
    assert!(may(&user(10, 1), &file, Want::WRITE_ACL) && may(&user(10, 1), &file, Want::READ_ACL));
    assert!(!may(&user(10, 1), &file, Want::READ) && !may_not_see(&user(10, 1), &file));
    assert!(!may(&user(11, 1), &file, Want::READ_ACL) && may_not_see(&user(11, 1), &file));
}

#[test]
fn a_name_goes_by_the_folders_right_or_by_its_own() {
    let all = ACE4_EXECUTE | ACE4_READ_DATA;
    let plain = inode(FileKind::Regular, 0o600);
    let folder = |mask| with_list(FileKind::Directory, &[(Allow, Who::Everyone, all | mask)]);
    let other = user(30, 30);
    let take = |folder: &Inode, entry: &Inode| may_take_away(&other, folder, entry);
    assert_eq!(take(&folder(0), &plain), TakeAway::Refused);
    assert_eq!(take(&folder(ACE4_DELETE_CHILD), &plain), TakeAway::Granted);
    assert_eq!(
        take(&folder(ACE4_WRITE_DATA), &plain),
        TakeAway::Granted,
        "nothing is said of it"
    );
    let mortal = with_list(FileKind::Regular, &[(Allow, Who::User(30), ACE4_DELETE)]);
    assert_eq!(take(&folder(0), &mortal), TakeAway::Granted);
    let kept = with_list(FileKind::Regular, &[(Deny, Who::User(30), ACE4_DELETE)]);
    assert_eq!(take(&folder(ACE4_WRITE_DATA), &kept), TakeAway::Refused);
    assert_eq!(take(&folder(ACE4_DELETE_CHILD), &kept), TakeAway::Granted);
    let sticky = Inode {
        mode: 0o1777,
        ..folder(ACE4_DELETE_CHILD)
    };
    assert_eq!(take(&sticky, &plain), TakeAway::Sticky);
    assert_eq!(take(&sticky, &mortal), TakeAway::Granted);
}
