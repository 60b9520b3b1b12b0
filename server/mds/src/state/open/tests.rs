use proptest::prelude::*;

use super::super::fixture::*;
use super::super::{Limits, State};
use super::*;

#[test]
fn an_open_being_made_already_excludes_others() {
    let mut state = open_for_business(Limits::default());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let reserved = state
        .open_reserve(OpenRequest {
            client: a,
            owner: Bytes::from_static(b"o"),
            inode: FILE,
            access: Access::Write,
            deny: Deny::Both,
            reclaim: false,
            under: None,
        })
        .unwrap();
    let refused = open(&mut state, b, Access::Read, Deny::None);
    assert_eq!(refused, Err(OpenRefusal::ShareDenied));
    assert!(state.open_rollback(reserved).last);
    assert!(open(&mut state, b, Access::Read, Deny::None).is_ok());
    assert_eq!(state.metrics().opens, 1);
}

#[test]
fn a_downgrade_goes_back_to_earlier_opens_only() {
    let mut state = open_for_business(Limits::default());
    let a = ready(&mut state, "a");
    open(&mut state, a, Access::Both, Deny::None).unwrap();
    let stateid = open(&mut state, a, Access::Write, Deny::None).unwrap();
    assert_eq!(stateid.seqid, 2);
    let never = state.open_downgrade(a, stateid, FILE, Access::Read, Deny::None);
    assert_eq!(never, Err(DowngradeRefusal::NoSuchOpens));
    let down = state
        .open_downgrade(a, stateid, FILE, Access::Write, Deny::None)
        .unwrap();
    assert_eq!(state.open_of(a, down).unwrap().access, Access::Write);
    assert_eq!(state.open_of(a, stateid), Err(StateidRefusal::Old));
}

#[test]
fn an_open_and_its_layout_take_little_memory() {
    assert!(size_of::<Open>() <= 48, "{}", size_of::<Open>());
    assert!(size_of::<super::super::grant::Layout>() <= 96);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Open(usize, Access, Deny, bool),
    Close(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::Both)];
    let deny = prop_oneof![
        Just(Deny::None),
        Just(Deny::Read),
        Just(Deny::Write),
        Just(Deny::Both)
    ];
    let step = prop_oneof![
        (0usize..3, access, deny, any::<bool>())
            .prop_map(|(who, access, deny, kept)| Step::Open(who, access, deny, kept)),
        (0usize..3).prop_map(Step::Close),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Against a list that is scanned.
    #[test]
    fn opens_conflict_exactly_when_a_scan_says_so(steps in steps()) {
        let mut state: State = open_for_business(Limits::default());
        let clients = ["a", "b", "c"].map(|owner| ready(&mut state, owner));
        let mut held: [Option<(Stateid, u8, u8)>; 3] = [None; 3];
        for step in steps {
            match step {
                Step::Open(who, access, deny, kept) => {
                    let conflict = held.iter().enumerate().any(|(other, open)| {
                        other != who && open.is_some_and(|(_, has, denies)| {
                            access as u8 & denies != 0 || deny as u8 & has != 0
                        })
                    });
                    let reserved = state.open_reserve(OpenRequest {
                        client: clients[who],
                        owner: Bytes::from_static(b"o"),
                        inode: FILE,
                        access,
                        deny,
                        reclaim: false,
                        under: None,
                    });
                    prop_assert_eq!(reserved.is_err(), conflict);
                    match reserved {
                        Ok(reserved) if kept => {
                            let stateid = state.open_confirm(reserved).unwrap();
                            let (_, had, denied) = held[who].unwrap_or((stateid, 0, 0));
                            held[who] = Some((stateid, had | access as u8, denied | deny as u8));
                        }
                        Ok(reserved) => {
                            state.open_rollback(reserved);
                        }
                        Err(_) => {}
                    }
                }
                Step::Close(who) => {
                    if let Some((stateid, ..)) = held[who].take() {
                        let released = state.close(clients[who], stateid, FILE).unwrap();
                        prop_assert_eq!(released.last, held.iter().all(Option::is_none));
                    }
                }
            }
            for (who, open) in held.iter().enumerate() {
                if let Some((stateid, access, deny)) = open {
                    let seen = state.open_of(clients[who], *stateid).unwrap();
                    prop_assert_eq!((seen.access as u8, seen.deny as u8), (*access, *deny));
                }
            }
        }
    }
}
