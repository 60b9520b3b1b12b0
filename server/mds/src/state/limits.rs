//! A bound on everything that a client can make the state grow by.
//! Numbers only: what happens at a bound is said where it is reached.

use std::time::Duration;

/// Bounds and durations of the state. The defaults fit a machine with a few GiB to spare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub lease: Duration,
    pub grace: Duration,
    /// How long a client out of its lease keeps what nobody wants; zero: not at all.
    pub courtesy: Duration,
    /// How long a client may take to return a recalled layout before it is fenced.
    pub recall: Duration,
    /// Clients, confirmed or not.
    pub clients: usize,
    /// Client owners are at most 1024 bytes on the wire (`NFS4_OPAQUE_LIMIT`).
    pub sessions_per_client: usize,
    pub connections_per_session: usize,
    /// Fore-channel slots of one session.
    pub slots: u32,
    /// What a session is left with when its share of `cached_reply_bytes` holds less.
    pub slots_under_pressure: u32,
    pub request_bytes: u32,
    pub response_bytes: u32,
    /// Largest reply kept in one slot.
    pub cached_response_bytes: u32,
    pub operations: u32,
    /// Slots that the server uses of a back channel, whatever the client offers.
    pub callback_slots: u32,
    /// Cached replies of all sessions. Each session is told to use no more slots than fit its
    /// share, and all come down to the least when it is used up.
    pub cached_reply_bytes: usize,
    /// Cached replies of all sessions: from here on a slot without a reply gets none, and its
    /// request waits.
    pub cached_reply_bytes_hard: usize,
    pub open_owners_per_client: usize,
    pub opens_per_client: usize,
    pub opens: usize,
    pub lock_states_per_client: usize,
    /// Byte ranges held on one file, over all owners.
    pub locks_per_file: usize,
    pub locks_per_client: usize,
    /// Those who wait for a lock of one file, and those of one client: beyond it they poll.
    pub lock_waiters_per_file: usize,
    pub lock_waiters_per_client: usize,
    /// How long a lock that came free is kept for the one whose turn it is.
    pub lock_turn: Duration,
    pub layouts_per_client: usize,
    pub layouts: usize,
    /// How often in a second a client may be told at once to come again later; 0: always.
    pub refusals_per_second: u32,
    /// Copies of one client that go on after their answer.
    pub copies_per_client: usize,
    /// Copies from other servers that are under way, of all clients.
    pub copies_between_servers: usize,
    /// Copy-notify stateids of one client, and of all.
    pub copy_notifies_per_client: usize,
    pub copy_notifies: usize,
    /// How long a client may take to return a recalled delegation before it is revoked.
    pub delegation_recall: Duration,
    /// How long a file whose delegations were recalled gets none.
    pub delegation_rest: Duration,
    pub delegations_per_client: usize,
    pub delegations: usize,
    /// Files of which it is remembered that they rest: the ones that rested longest are given up.
    pub contended_files: usize,
    /// Changes of a folder that one holder of its delegation has yet to be told of.
    pub notes_per_delegation: usize,
    /// The same of all holders.
    pub notes: usize,
    /// A client that has no preference reads a file by a delegation from its second open on: how many
    /// first opens are remembered, of all clients. With 0 the first is enough.
    pub delegation_trials: usize,
    /// Requests waiting at one inode's gate.
    pub gate_queue: usize,
    /// Value of one extended attribute; 64 KiB at most.
    pub xattr_value_bytes: u32,
    pub xattrs_per_file: u32,
    /// Names and values of one file's extended attributes.
    pub xattr_bytes_per_file: u64,
    /// Entries of one access control list.
    pub acl_entries: usize,
    /// Of one security label; 0: there are none.
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            lease: Duration::from_secs(90),
            grace: Duration::from_secs(90),
            courtesy: Duration::from_hours(24),
            recall: Duration::from_secs(15),
            clients: 20_000,
            sessions_per_client: 16,
            connections_per_session: 64,
            slots: 128,
            slots_under_pressure: 8,
            request_bytes: 1_049_600,
            response_bytes: 1_049_600,
            cached_response_bytes: 8_192,
            operations: 64,
            callback_slots: 16,
            cached_reply_bytes: 512 << 20,
            cached_reply_bytes_hard: 1 << 30,
            open_owners_per_client: 65_536,
            opens_per_client: 1_000_000,
            opens: 8_000_000,
            lock_states_per_client: 262_144,
            locks_per_file: 1_000_000,
            locks_per_client: 1_000_000,
            lock_waiters_per_file: 256,
            lock_waiters_per_client: 1_024,
            lock_turn: Duration::from_secs(5),
            layouts_per_client: 1_000_000,
            layouts: 8_000_000,
            refusals_per_second: 1_000,
            copies_per_client: 16,
            copies_between_servers: 16,
            copy_notifies_per_client: 256,
            copy_notifies: 65_536,
            delegation_recall: Duration::from_secs(90),
            delegation_rest: Duration::from_mins(1),
            delegations_per_client: 100_000,
            delegations: 2_000_000,
            contended_files: 65_536,
            notes_per_delegation: 1_024,
            notes: 262_144,
            delegation_trials: 65_536,
            gate_queue: 1_024,
            xattr_value_bytes: 65_536,
            xattrs_per_file: 1_024,
            xattr_bytes_per_file: 1 << 20,
            acl_entries: 256,
            label_bytes: 0,
        }
    }
}
