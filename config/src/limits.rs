//! How much the metadata server holds, and how many it serves.
//! Never here: limits of a data server, which are in `ds`.

use crate::section::Default::Toml;
use crate::section::section;
use crate::units::{Bytes, Seconds};

section! {
    "[limits]"
    /// What the metadata server holds at most. At a limit a client is refused or told to wait;
    /// others are served on.
    Limits {
        /// TCP connections.
        connections: u32 = {
            default: Toml("16384"), range: (1, 1_000_000), example: "4096",
        };
        /// TCP connections from one IP address.
        connections_per_address: u32 = {
            default: Toml("1024"), range: (1, 1_000_000), example: "64",
        };
        /// Requests that are worked on at the same time; the next ones wait unread.
        requests_under_way: u32 = {
            default: Toml("4096"), range: (1, 1_000_000), example: "1024",
        };
        /// Largest request that is taken in; a WRITE through the metadata server must fit.
        request_bytes: Bytes = {
            default: Toml(r#""1025KiB""#), range: (64 << 10, 16 << 20), example: r#""2MiB""#,
        };
        /// Memory for requests of more than 4 KiB that are coming in or worked on. While it is taken, others wait,
        /// and the connections that have been sending one for longest are closed, from a second on.
        requests_bytes: Bytes = {
            default: Toml(r#""256MiB""#), range: (32 << 20, 1 << 32), example: r#""1GiB""#,
        };
        /// Memory for replies that are made or that their clients haven't taken. While it is taken, others wait,
        /// and the connections that have taken nothing for longest are closed, from a second on.
        replies_bytes: Bytes = {
            default: Toml(r#""256MiB""#), range: (32 << 20, 1 << 32), example: r#""1GiB""#,
        };
        /// Operations of one request (of a COMPOUND).
        operations_per_request: u32 = {
            default: Toml("64"), range: (16, 1024), example: "32",
        };
        /// Clients with a lease.
        clients: u32 = {
            default: Toml("20000"), range: (1, 1_000_000), example: "2000",
        };
        /// Sessions of one client.
        sessions_per_client: u32 = {
            default: Toml("16"), range: (1, 1024), example: "8",
        };
        /// Slots of one session: requests that a client may have under way in it.
        slots_per_session: u32 = {
            default: Toml("128"), range: (1, 1024), example: "64",
        };
        /// Slots that a session may always use, however many sessions there are.
        slots_under_pressure: u32 = {
            default: Toml("8"), range: (1, 1024), example: "4",
        };
        /// Memory for replies that are kept to answer a repeated request. Each session is told to
        /// use no more slots than fit its share of it, all come down to `slots_under_pressure`
        /// when it is used up, and at twice as much requests wait.
        reply_cache_bytes: Bytes = {
            default: Toml(r#""512MiB""#), range: (1 << 20, 1 << 40), example: r#""2GiB""#,
        };
        /// Open files of all clients.
        opens: u64 = {
            default: Toml("8000000"), range: (1, 1 << 32), example: "1000000",
        };
        /// Open files of one client.
        opens_per_client: u64 = {
            default: Toml("1000000"), range: (1, 1 << 32), example: "100000",
        };
        /// Open-owners of one client: a Linux client has one for each user that has files open.
        open_owners_per_client: u32 = {
            default: Toml("65536"), range: (1, 1 << 24), example: "4096",
        };
        /// Byte-range locks of one client.
        locks_per_client: u64 = {
            default: Toml("1000000"), range: (1, 1 << 32), example: "100000",
        };
        /// Byte-range locks on one file.
        locks_per_file: u64 = {
            default: Toml("1000000"), range: (1, 1 << 32), example: "100000",
        };
        /// Lock-owners of one client, counted for each file: a Linux client has one for each
        /// process that locks.
        lock_owners_per_client: u32 = {
            default: Toml("262144"), range: (1, 1 << 28), example: "10000",
        };
        /// Those who wait for a lock of one file and are told of their turn; others ask again
        /// from time to time.
        lock_waiters_per_file: u32 = {
            default: Toml("256"), range: (1, 4096), example: "64",
        };
        /// Those of one client who wait for a lock and are told of their turn.
        lock_waiters_per_client: u32 = {
            default: Toml("1024"), range: (1, 1 << 20), example: "256",
        };
        /// How long a lock that came free is kept for the one whose turn it is.
        lock_turn_seconds: Seconds = {
            default: Toml("5"), range: (1, 600), example: "2",
        };
        /// Layouts that clients hold.
        layouts: u64 = {
            default: Toml("8000000"), range: (1, 1 << 32), example: "1000000",
        };
        /// Layouts that one client holds.
        layouts_per_client: u64 = {
            default: Toml("1000000"), range: (1, 1 << 32), example: "100000",
        };
        /// How often in a second one client is told at once to come again later, as by NFS4ERR_DELAY; beyond that
        /// it is told late, so that one that asks again without waiting doesn't slow the others. 0: always at once.
        refusals_per_second: u32 = {
            default: Toml("1000"), range: (0, 1_000_000), example: "200",
        };
        /// Value of one extended attribute.
        xattr_value_bytes: Bytes = {
            default: Toml(r#""64KiB""#), range: (256, 64 << 10), example: r#""4KiB""#,
        };
        /// Extended attributes of one file or folder.
        xattrs_per_file: u32 = {
            default: Toml("1024"), range: (1, 65_536), example: "64",
        };
        /// Names and values of one file's extended attributes, all together.
        xattr_bytes_per_file: Bytes = {
            default: Toml(r#""1MiB""#), range: (256, 8 << 20), example: r#""64KiB""#,
        };
        /// Entries of one access control list.
        acl_entries: u32 = {
            default: Toml("256"), range: (8, 1024), example: "64",
        };
        /// One security label, where there are any.
        label_bytes: Bytes = {
            default: Toml(r#""2KiB""#), range: (64, 4096), example: r#""256""#,
        };
        /// Copies of one client that go on after their answer; one more is answered with a short count.
        copies_per_client: u64 = {
            default: Toml("16"), range: (1, 1024), example: "64",
        };
        /// Copies from other servers that are under way, of all clients; a client that asks for one more copies by
        /// itself. Each holds up to 8 MiB in memory.
        copies_between_servers: u64 = {
            default: Toml("16"), range: (1, 1024), example: "4",
        };
        /// Files of one client that other servers may read to copy them, at the same time.
        copy_notifies_per_client: u64 = {
            default: Toml("256"), range: (1, 65_536), example: "16",
        };
        /// The same of all clients.
        copy_notifies: u64 = {
            default: Toml("65536"), range: (1, 1 << 24), example: "1024",
        };
        /// Delegations that clients hold. When nearly as many are out, holders are asked for some.
        delegations: u64 = {
            default: Toml("2000000"), range: (1, 1 << 28), example: "1000000",
        };
        /// Delegations that one client holds.
        delegations_per_client: u64 = {
            default: Toml("100000"), range: (1, 1 << 28), example: "10000",
        };
        /// Changes in folders that holders of their delegations have yet to be told of. Beyond it the
        /// delegation is asked back.
        notifications: u64 = {
            default: Toml("262144"), range: (1, 1 << 28), example: "65536",
        };
        /// The same of one holder and folder.
        notifications_per_delegation: u64 = {
            default: Toml("1024"), range: (1, 1 << 20), example: "256",
        };
        /// Names, numbers and lists of groups that are kept for a while (16 groups of a list count for
        /// one of them).
        accounts: u32 = {
            default: Toml("65536"), range: (64, 1 << 24), example: "1000000",
        };
        /// Memory for cached folders and inodes, and for what leads to them: that of a hundred million files takes
        /// half a gigabyte.
        catalog_cache_bytes: Bytes = {
            default: Toml(r#""1GiB""#), range: (1 << 20, 1 << 40), example: r#""4GiB""#,
        };
    }
}
