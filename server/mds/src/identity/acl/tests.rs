use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn ace() -> impl Strategy<Value = Ace> {
    let who = prop_oneof![
        Just(Who::Owner),
        Just(Who::OwningGroup),
        Just(Who::Everyone),
        (1..3_u32).prop_map(Who::User),
        (1..3_u32).prop_map(Who::Group),
    ];
    let kind = prop_oneof![Just(AceKind::Allow), Just(AceKind::Deny)];
    (kind, 0..16_u32, any::<u32>(), who).prop_map(|(kind, flags, mask, who)| Ace {
        kind,
        flags,
        mask: mask & 0x1f_07ff,
        who,
    })
}

fn allow(who: Who, mask: u32, flags: u32) -> Ace {
    Ace {
        kind: AceKind::Allow,
        flags,
        mask,
        who,
    }
}

const READ: u32 = ACE4_READ_DATA;
const WRITE: u32 = ACE4_WRITE_DATA | ACE4_APPEND_DATA;

proptest! {
    #[test]
    fn a_list_made_of_a_mode_shows_that_mode(mode in 0..0o1000_u32, directory: bool) {
        prop_assert_eq!(mode_of(&of_mode(mode, directory)), mode);
    }

    #[test]
    fn after_chmod_a_list_shows_the_mode_that_was_set(
        aces in vec(ace(), 0..8), mode in 0..0o1000_u32, directory: bool
    ) {
        let shown = under_mode(&aces, mode, directory);
        prop_assert_eq!(mode_of(&shown), mode);
        prop_assert_eq!(mode_of(&under_mode(&shown, mode, directory)), mode);
    }

    #[test]
    fn after_chmod_named_users_and_groups_have_no_more_than_the_groups_bits_allow(
        aces in vec(ace(), 0..8), own in ace(), mode in 0..0o1000_u32, directory: bool, user in 1..3_u32
    ) {
        let own = Ace { flags: 0, who: Who::User(user), ..own };
        let aces: Vec<Ace> = aces.into_iter().chain([own]).collect();
        let shown = under_mode(&aces, mode, directory);
        let stranger = |who| matches!(who, Who::Everyone) || who == Who::User(user);
        for (bit, mask) in [(4, READ), (2, ACE4_WRITE_DATA), (2, ACE4_APPEND_DATA), (1, ACE4_EXECUTE)] {
            if mode >> 3 & bit == 0 {
                prop_assert_ne!(judge(&shown, mask, stranger), Verdict::Allowed);
            }
        }
    }

    #[test]
    fn chmod_gives_nobody_with_an_entry_what_neither_the_list_nor_the_mode_gave(
        aces in vec(ace(), 0..8), mode in 0..0o1000_u32, directory: bool, user in 1..3_u32
    ) {
        let shown = under_mode(&aces, mode, directory);
        let stranger = |who| matches!(who, Who::Everyone) || who == Who::User(user);
        for bit in (0..21).map(|bit| 1 << bit).filter(|bit| bit & (OF_MODE | SEEING) == 0) {
            let had = judge(&aces, bit, stranger) == Verdict::Allowed;
            prop_assert!(had || judge(&shown, bit, stranger) != Verdict::Allowed);
        }
        for (bit, mask) in [(4, READ), (2, ACE4_WRITE_DATA), (1, ACE4_EXECUTE)] {
            let had = judge(&aces, mask, stranger) == Verdict::Allowed;
            let others_have = mode & bit != 0;
            prop_assert!(had || others_have || judge(&shown, mask, stranger) != Verdict::Allowed);
        }
    }

    #[test]
    fn what_is_for_files_below_stays_through_chmod(aces in vec(ace(), 0..8), mode in 0..0o1000_u32) {
        let below = |aces: &[Ace], directory| {
            let list = Acl { flags: 0, masked: false, aces: aces.to_vec() };
            inherited(&list, directory)
        };
        let shown = under_mode(&aces, mode, true);
        for directory in [true, false] {
            prop_assert_eq!(below(&shown, directory), below(&aces, directory));
        }
    }

    #[test]
    fn a_new_file_gets_no_more_of_an_inherited_list_than_its_mode_allows(
        aces in vec(ace(), 1..8), mode in 0..0o1000_u32, umask in 0..0o1000_u32, directory: bool
    ) {
        let parent = Acl { flags: 0, masked: false, aces };
        let (born, list) = at_birth(Some(&parent), BirthMode::WithUmask { mode, umask }, directory);
        prop_assert_eq!(born & !mode, 0);
        if let Some(list) = list {
            prop_assert_eq!(mode_of(&list.aces), born);
        }
    }
}

#[test]
fn entries_are_heeded_in_order_and_each_bit_by_the_first_that_names_it() {
    let deny = |mask| Ace {
        kind: AceKind::Deny,
        ..allow(Who::Everyone, mask, 0)
    };
    let list = [
        allow(Who::User(7), READ, 0),
        deny(READ | ACE4_EXECUTE),
        allow(Who::Everyone, READ | WRITE, 0),
    ];
    let seven = |who| matches!(who, Who::Everyone | Who::User(7));
    let others = |who| who == Who::Everyone;
    assert_eq!(judge(&list, READ | WRITE, seven), Verdict::Allowed);
    assert_eq!(judge(&list, READ, others), Verdict::Denied);
    assert_eq!(judge(&list, WRITE, others), Verdict::Allowed);
    assert_eq!(judge(&list, ACE4_DELETE, seven), Verdict::Silent);
    assert_eq!(judge(&list, WRITE | ACE4_EXECUTE, seven), Verdict::Denied);
}

#[test]
fn a_named_entry_survives_a_chmod_that_takes_the_groups_rights_and_gives_them_back() {
    let list = [
        allow(Who::Owner, READ | WRITE, 0),
        allow(Who::User(7), READ | WRITE, 0),
    ];
    let seven = |who| matches!(who, Who::Everyone | Who::User(7));
    let may_write = |mode| judge(&under_mode(&list, mode, false), WRITE, seven);
    assert_ne!(may_write(0o600), Verdict::Allowed);
    assert_eq!(may_write(0o660), Verdict::Allowed);
}

#[test]
fn files_and_folders_inherit_what_is_flagged_for_them() {
    let (f, d, n, i) = (
        ACE4_FILE_INHERIT_ACE,
        ACE4_DIRECTORY_INHERIT_ACE,
        ACE4_NO_PROPAGATE_INHERIT_ACE,
        ACE4_INHERIT_ONLY_ACE,
    );
    let of = |flags, directory| {
        let parent = Acl {
            aces: vec![allow(Who::User(7), READ, flags)],
            ..Acl::default()
        };
        let taken = inherited(&parent, directory);
        assert!(taken.iter().all(|ace| ace.flags & ACE4_INHERITED_ACE != 0));
        taken.first().map(|ace| ace.flags & !ACE4_INHERITED_ACE)
    };
    for (parent, file, folder) in [
        (0, None, None),
        (f, Some(0), Some(f | i)),
        (d, None, Some(d)),
        (f | d, Some(0), Some(f | d)),
        (f | d | i, Some(0), Some(f | d)),
        (f | d | n, Some(0), Some(0)),
        (f | n, Some(0), None),
        (d | n | i, None, Some(0)),
    ] {
        assert_eq!(
            (of(parent, false), of(parent, true)),
            (file, folder),
            "{parent:#x}"
        );
    }
}

#[test]
fn the_umask_counts_only_for_those_of_whom_nothing_is_inherited() {
    let parent = Acl {
        aces: vec![
            allow(Who::User(7), READ | WRITE, ACE4_FILE_INHERIT_ACE),
            allow(Who::OwningGroup, READ | WRITE, ACE4_FILE_INHERIT_ACE),
        ],
        ..Acl::default()
    };
    let asked = BirthMode::WithUmask {
        mode: 0o666,
        umask: 0o022,
    };
    let (mode, list) = at_birth(Some(&parent), asked, false);
    assert_eq!(mode, 0o664);
    let seven = |who| matches!(who, Who::Everyone | Who::User(7));
    let list = list.unwrap();
    assert_eq!(judge(&list.aces, READ | WRITE, seven), Verdict::Allowed);
    let (mode, list) = at_birth(None, asked, false);
    assert_eq!((mode, list), (0o644, None));
    // Sent without mode_umask the mode bounds everybody, as chmod does.
    let (mode, list) = at_birth(Some(&parent), BirthMode::Said(0o640), false);
    let list = list.unwrap();
    assert!(list.masked && mode == 0o640);
    let shown = under_mode(&list.aces, mode, false);
    assert_ne!(judge(&shown, WRITE, seven), Verdict::Allowed);
    assert_eq!(judge(&shown, READ, seven), Verdict::Allowed);
}

#[test]
fn a_list_that_says_what_the_mode_says_is_none() {
    let (mode, list) = set(0o4000, of_mode(0o640, false), OF_MODE_FLAGS, false);
    assert_eq!((mode, list), (0o4640, None));
    let (mode, list) = set(0o4777, Vec::new(), 0, false);
    assert_eq!((mode, list.is_some()), (0o4000, true));
}
