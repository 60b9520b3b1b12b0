//! The state under every history that a seed can make: clients that lose, repeat and reorder
//! messages, restart and fall asleep; a server that crashes between any two awaits; data servers
//! that take late writes, restart and lose what was not committed; another server that reads by what clients lent
//! it; a folder whose changes are told. After each step the numbered invariants of docs/INVARIANTS.md are
//! checked. It drives `mds::state` alone: the operations here are the smallest that use it right.

mod client;
mod delegations;
mod disk;
mod folder;
mod operations;
mod oracle;
mod partners;
mod server;
mod tasks;
mod world;

use std::fmt::Write as _;

use catalog::InodeId;
use mds::state::{
    Access, ClientId, ConnectionId, Delegation, Deny, GrantId, LayoutMode, LockKind, LockRange,
    Notices, SessionId, Stateid,
};

use world::World;

const FILES: usize = 4;
/// Behind the files, a folder.
const FOLDER: usize = FILES;
const CLIENTS: usize = 4;
const SLOTS: u32 = 3;
const STEPS: usize = 20_000;
/// With [`STEPS`] ten million steps, a minute of one core.
const SEEDS: u64 = 500;

/// What a step may find: the invariant broken, in words.
type Check = Result<(), String>;

/// A fault built into the model server, to prove that the checker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    None,
    /// A truncate enters no gate.
    SkipGate,
    /// A fence is declared done without telling the data server.
    FenceInNameOnly,
    /// LAYOUTCOMMIT ignores the size epoch.
    BelieveStaleCommits,
    /// A lapsed client is dropped, and its durable record kept.
    KeepRecords,
    /// An RW layout leaves without a durable write intent.
    ForgetIntents,
    /// A retry is executed again.
    ExecuteRetries,
    /// Changes wait for no delegation.
    ChangeUnderDelegations,
    /// A size is shown though a restart of its data server could take it back.
    PadInMemory,
    /// A data server restarts and says that it didn't.
    KeepVerifier,
    /// Every record gives the right to reclaim, whether its client had completed or not.
    RecordsAlwaysCount,
    /// Another server that was let read once is never asked again by what right.
    PartnersReadOn,
    /// A change of a folder counts as over before its holders' notes of it are made.
    TellInAnyOrder,
    /// Holders of the folder are told of nothing.
    TellNothing,
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    fn per_mille(&mut self, chance: u64) -> bool {
        self.next() % 1000 < chance
    }
}

fn inode(file: usize) -> InodeId {
    InodeId {
        home: 1,
        number: 10 + file as u64,
    }
}

#[derive(Debug, Clone)]
enum Op {
    Open {
        access: Access,
        deny: Deny,
        reclaim: bool,
        /// By this delegation the client has it open already.
        under: Option<Stateid>,
    },
    Close {
        stateid: Stateid,
    },
    Lock {
        open: Stateid,
        lock: Option<Stateid>,
        range: LockRange,
        kind: LockKind,
        wait: bool,
    },
    Unlock {
        lock: Stateid,
        range: LockRange,
    },
    LayoutGet {
        stateid: Stateid,
        mode: LayoutMode,
    },
    LayoutCommit {
        stateid: Stateid,
        end: u64,
    },
    LayoutReturn {
        stateid: Stateid,
    },
    Truncate {
        size: u64,
    },
    Delegate {
        write: bool,
        reclaim: bool,
        notices: Notices,
    },
    DelegReturn {
        stateid: Stateid,
    },
    /// Of attributes, or of names.
    Change,
    ChangeEntry {
        added: bool,
    },
    CopyNotify {
        stateid: Stateid,
    },
    /// OFFLOAD_CANCEL of a copy-notify stateid.
    CallOff {
        stateid: Stateid,
    },
    ReclaimComplete,
    Renew,
}

/// A compound in a session: SEQUENCE and one operation on one file.
#[derive(Debug, Clone)]
struct Request {
    /// Unique over the whole history: what exactly-once is about.
    id: u64,
    client: usize,
    connection: ConnectionId,
    session: SessionId,
    slot: u32,
    sequence: u32,
    file: usize,
    op: Op,
}

/// Why an operation was refused, as far as the model clients care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Later,
    Stateid,
    Reclaim,
    Denied,
}

#[derive(Debug, Clone)]
enum Answer {
    Done,
    Stateid(Stateid),
    Layout {
        stateid: Stateid,
        write: bool,
        /// Of the object, when the layout was made: what its data server checks.
        generation: u32,
        serial: u64,
    },
    Refused(Refused),
}

#[derive(Debug, Clone)]
enum Setup {
    ExchangeId,
    CreateSession { client: ClientId, sequence: u32 },
}

#[derive(Debug, Clone)]
enum SetupAnswer {
    Known {
        client: ClientId,
        sequence: u32,
        confirmed: bool,
    },
    Session {
        client: ClientId,
        session: SessionId,
    },
    Refused,
}

#[derive(Debug, Clone)]
enum Packet {
    Setup {
        client: usize,
        verifier: u64,
        call: Setup,
    },
    SetupAnswer {
        client: usize,
        verifier: u64,
        answer: SetupAnswer,
    },
    Request(Request),
    Reply {
        client: usize,
        id: u64,
    },
    /// The session is not known.
    BadSession {
        client: usize,
        id: u64,
    },
    Recall {
        client: ClientId,
        file: usize,
        stateid: Stateid,
        grant: GrantId,
    },
    Forgotten {
        boot: u32,
        grant: GrantId,
    },
    /// CB_NOTIFY_LOCK.
    Turn {
        client: ClientId,
        file: usize,
    },
    RecallDelegation {
        client: ClientId,
        file: usize,
        delegation: Delegation,
    },
    Disowned {
        boot: u32,
        delegation: Delegation,
    },
    /// READ by another server.
    PartnerRead {
        file: usize,
        stateid: Stateid,
    },
    Write {
        client: usize,
        verifier: u64,
        file: usize,
        generation: u32,
        serial: u64,
        end: u64,
    },
    Written {
        client: usize,
        verifier: u64,
        file: usize,
        serial: u64,
        end: u64,
        /// The start of the data server that has it, unless it was refused.
        disk: Option<u32>,
    },
    /// COMMIT, of what was written up to `end`.
    Sync {
        client: usize,
        verifier: u64,
        file: usize,
        generation: u32,
        serial: u64,
        end: u64,
    },
    Synced {
        client: usize,
        verifier: u64,
        file: usize,
        serial: u64,
        end: u64,
        disk: Option<u32>,
    },
}

/// One history from one seed.
fn run(seed: u64, sabotage: Sabotage) -> Check {
    let mut world = World::new(seed, sabotage);
    for _ in 0..STEPS {
        world.step()?;
    }
    world.wind_down()
}

fn seeds() -> Vec<u64> {
    match std::env::var("HEADRACE_SEED") {
        Ok(seed) => vec![seed.parse().expect("HEADRACE_SEED is a number")],
        Err(_) => (1..=SEEDS).collect(),
    }
}

#[test]
fn no_history_breaks_an_invariant() {
    let seeds = seeds();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let report = std::thread::scope(|scope| {
        let share = seeds.len().div_ceil(cores);
        let runs: Vec<_> = seeds
            .chunks(share)
            .map(|seeds| scope.spawn(|| violations(seeds)))
            .collect();
        let reports = runs
            .into_iter()
            .map(|run| run.join().expect("no history panics"));
        reports.collect::<String>()
    });
    assert!(report.is_empty(), "{report}");
}

/// Those of each seed, with the command that shows them again.
fn violations(seeds: &[u64]) -> String {
    let mut report = String::new();
    for seed in seeds {
        if let Err(violation) = run(*seed, Sabotage::None) {
            let _ = writeln!(
                report,
                "{violation}\n  replay: HEADRACE_SEED={seed} cargo test -p mds --test simulation"
            );
        }
    }
    report
}

#[test]
fn a_history_is_the_same_each_time() {
    let histories: Vec<String> = (0..2)
        .map(|_| {
            let mut world = World::new(5, Sabotage::None);
            for _ in 0..2_000 {
                world.step().expect("no invariant breaks in this history");
            }
            world.summary()
        })
        .collect();
    assert_eq!(histories[0], histories[1]);
}

#[test]
fn the_histories_reach_every_corner() {
    let mut total = server::Tally::new();
    for seed in 1..=30 {
        let mut world = World::new(seed, Sabotage::None);
        for _ in 0..3 * STEPS {
            world.step().expect("no invariant breaks in this history");
        }
        for (what, count) in world.tally() {
            *total.entry(what).or_default() += count;
        }
    }
    for (what, count) in total {
        assert!(count > 0, "no {what}: the simulation is too tame");
    }
}

/// Runs the fault over many seeds until the checker complains of what it must.
fn caught(sabotage: Sabotage, invariant: &str) {
    let found = (1..=60).find_map(|seed| run(seed, sabotage).err());
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} went unseen"));
    assert!(
        found.contains(invariant),
        "{sabotage:?} was seen as: {found}"
    );
}

#[test]
fn a_truncate_that_skips_the_gate_is_caught() {
    caught(Sabotage::SkipGate, "invariant 6");
}

#[test]
fn a_fence_in_name_only_is_caught() {
    caught(Sabotage::FenceInNameOnly, "invariant 5");
}

#[test]
fn a_layoutcommit_of_an_older_epoch_believed_is_caught() {
    caught(Sabotage::BelieveStaleCommits, "invariant 6");
}

#[test]
fn a_lapsed_client_left_on_record_is_caught() {
    caught(Sabotage::KeepRecords, "invariant 7");
}

#[test]
fn a_missing_write_intent_is_caught() {
    caught(Sabotage::ForgetIntents, "invariant 6");
}

#[test]
fn a_retry_executed_again_is_caught() {
    caught(Sabotage::ExecuteRetries, "invariant 1");
}

#[test]
fn a_change_that_waits_for_no_delegation_is_caught() {
    caught(Sabotage::ChangeUnderDelegations, "invariant 3");
}

#[test]
fn a_size_that_is_shown_before_it_is_durable_is_caught() {
    caught(Sabotage::PadInMemory, "invariant 6 and 8");
}

#[test]
fn a_data_server_that_keeps_its_verifier_over_a_restart_is_caught() {
    caught(Sabotage::KeepVerifier, "invariant 6 and 9");
}

#[test]
fn a_record_that_counts_before_its_reclaims_are_complete_is_caught() {
    caught(Sabotage::RecordsAlwaysCount, "invariant 7");
}

#[test]
fn another_server_that_reads_on_without_a_right_is_caught() {
    caught(Sabotage::PartnersReadOn, "invariant 2");
}

#[test]
fn a_holder_of_a_folder_who_is_told_of_nothing_is_caught() {
    caught(Sabotage::TellNothing, "invariant 3");
}

#[test]
fn word_of_a_folder_in_another_order_than_its_changes_is_caught() {
    caught(Sabotage::TellInAnyOrder, "invariant 3");
}
