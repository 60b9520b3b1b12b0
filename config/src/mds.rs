//! What the metadata server is told: its sections and their keys.
//! Never here: rules between keys, which are in `rules`.

use crate::address::{Cidr, ExportPath, HostPort, IdRange, Name};
use crate::backend::{Backend, Junction};
use crate::document::Document;
use crate::fault::{Faults, Notes};
use crate::identity::{Group, Identity, User};
use crate::limits::Limits;
use crate::log::{LogFormat, LogLevel};
use crate::referral::Referral;
use crate::rules;
use crate::section::Change::Reload;
use crate::section::Default::{Toml, Unset};
use crate::section::{Section, section};
use crate::units::{Bytes, Seconds};
use crate::value::{StripeCount, words};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

words! {
    /// What an export's clients may do.
    Access {
        ReadOnly = "ro",
        ReadWrite = "rw",
    }
}

words! {
    /// Whose requests are taken for the anonymous user's.
    Squash {
        /// Nobody's: a client's root is root.
        None = "none",
        /// Root's.
        Root = "root",
        /// Everybody's.
        All = "all",
    }
}

words! {
    /// What becomes of clients' security labels.
    SecurityLabels {
        /// Clients are told that there are none.
        None = "none",
        Kept = "kept",
    }
}

words! {
    /// Which files' delegations are given.
    FileDelegations {
        /// None.
        None = "none",
        /// To read.
        Read = "read",
        /// To read and to write.
        Write = "write",
    }
}

words! {
    /// Whether something is done.
    Switch {
        Off = "off",
        On = "on",
    }
}

words! {
    /// How data servers are chosen for a new file.
    Placement {
        /// By free space, weight and load.
        Spread = "spread",
        /// On the machine that writes, while a data server there has room; else as `spread`.
        LocalFirst = "local-first",
    }
}

words! {
    /// How writers that lost their right are kept out of a data server.
    Fence {
        /// As its proof at the start says: by a new owner of the file's objects.
        Proven = "proven",
        /// By new objects in the place of the old ones. For a data server whose clients may write
        /// past its check of owners: the kernel's NFS server on a machine whose own programs use the
        /// file system (LOCALIO).
        Replace = "replace",
    }
}

section! {
    "[server]"
    /// The metadata server itself.
    Server {
        /// Where NFSv4 is served: one address, or several in brackets.
        listen: Vec<SocketAddr> = {
            default: Toml(r#"["0.0.0.0:2049", "[::]:2049"]"#),
            example: r#""10.0.0.2:2049""#,
        };
        /// Folder of the catalog and of all else that must outlive a restart. One process at a
        /// time holds it. On a local disk: every acknowledged change is synced there.
        state_dir: PathBuf = {
            example: r#""/var/lib/headrace""#,
        };
        /// Whether clients that have nothing newer may mount the same by NFSv3, whose MOUNT then is on the
        /// same port (`mount -o vers=3,nolock,port=2049,mountport=2049,proto=tcp`). They have no locks and no
        /// layouts: all their bytes pass the metadata server.
        nfsv3: Switch = {
            default: Toml(r#""off""#),
            example: r#""on""#,
        };
        /// How long a client may be silent before others may get what it has open, locked or laid out.
        /// Linux renews it every 5 seconds at most: of less than 8, an idle client loses it.
        lease_seconds: Seconds = {
            default: Toml("90"),
            range: (1, 3600),
            example: "60",
        };
        /// How long a client that has been silent for a lease keeps its opens, locks and layouts
        /// as long as nobody else wants what they exclude; 0 to take them with the lease.
        courtesy_seconds: Seconds = {
            default: Toml("86400"),
            range: (0, 31_536_000),
            example: "3600",
        };
        /// How long a client may take to return a delegation that is asked back before it is
        /// revoked. Linux first writes out what it has in memory.
        delegation_recall_seconds: Option<Seconds> = {
            default: Unset("as long as the lease"),
            range: (1, 3600),
            example: "30",
        };
        /// How long after a restart clients may take back what they had, before others get it.
        /// Not shorter than the lease: a silent client would come too late. Up to twice as long
        /// while clients are taking things back.
        grace_seconds: Option<Seconds> = {
            default: Unset("as long as the lease"),
            range: (1, 3600),
            example: "90",
        };
        /// Threads that serve requests.
        worker_threads: Option<u32> = {
            default: Unset("one for each core"),
            range: (1, 1024),
            example: "8",
        };
        /// Threads that wait for the disk, at most.
        blocking_threads: u32 = {
            default: Toml("64"),
            range: (1, 4096),
            example: "32",
        };
        /// Where /metrics and /healthz are served, over HTTP and to anybody who can reach it.
        metrics_listen: Option<SocketAddr> = {
            default: Unset("not served"),
            example: r#""127.0.0.1:9649""#,
        };
        /// Whether files have security labels (SELinux's, of clients that use them). A client that labels
        /// by them sees files without one as unlabeled, and programs under its policy may lose them:
        /// only for clients that are meant to.
        security_labels: SecurityLabels = {
            default: Toml(r#""none""#),
            example: r#""kept""#,
        };
        /// Form of the log on standard error: for people, or one JSON object a line.
        log_format: LogFormat = {
            default: Toml(r#""human""#),
            example: r#""json""#,
        };
        /// The least serious event that is logged. `debug` and `trace` log operations.
        log_level: LogLevel = {
            default: Toml(r#""info""#),
            change: Reload,
            example: r#""debug""#,
        };
    }
}

impl Server {
    /// How long a delegation may stay out that is asked back.
    pub fn delegation_recall(&self) -> Seconds {
        self.delegation_recall_seconds.unwrap_or(self.lease_seconds)
    }

    /// The grace period, which is the lease when it isn't set.
    pub fn grace(&self) -> Seconds {
        self.grace_seconds.unwrap_or(self.lease_seconds)
    }
}

section! {
    "[[data_server]]"
    /// A server of file data: `headrace ds`, or any NFSv3 server that lets the metadata server
    /// act as root (`no_root_squash` for its address alone).
    DataServer {
        /// What it is called in messages, metrics and the catalog. It stays with the data: a server
        /// that moves to another address keeps its name.
        name: Name = {
            example: r#""nvme1""#,
        };
        /// Where clients and the metadata server reach it; the port is 2049 unless said.
        address: HostPort = {
            example: r#""10.0.0.11:2049""#,
        };
        /// The path that it exports.
        export: ExportPath = {
            example: r#""/nvme""#,
        };
        /// Port of its MOUNT service.
        mount_port: Option<u16> = {
            default: Unset("the port of `address` for `headrace ds`, else the portmapper is asked"),
            range: (1, 65535),
            example: "20048",
        };
        /// How many of the new files it gets, compared with the others.
        weight: u32 = {
            default: Toml("1"),
            range: (1, 1000),
            example: "2",
        };
        /// The machine that it runs on, when clients run there too and reach the metadata server from
        /// another address than `address`: a name that resolves to it. For `placement = "local-first"`.
        host: Option<Name> = {
            default: Unset("the machine of `address`"),
            example: r#""gpu1""#,
        };
        /// How writers that lost their right are kept out of it: `proven` gives the objects of the
        /// file another owner, `replace` copies them and leaves the old ones to whoever may still
        /// write there. `replace` is for a kernel NFS server with clients on its own machine
        /// (LOCALIO: they open the file past its checks), and costs a copy of the file each time.
        fence: Fence = {
            default: Toml(r#""proven""#),
            example: r#""replace""#,
        };
        /// Largest READ that clients are told to send.
        read_bytes: Option<Bytes> = {
            default: Unset("what the server says"),
            range: (4096, 16 << 20),
            example: r#""1MiB""#,
        };
        /// Largest WRITE that clients are told to send; never more than the server says.
        write_bytes: Option<Bytes> = {
            default: Unset("what the server says"),
            range: (4096, 16 << 20),
            example: r#""1MiB""#,
        };
    }
}

section! {
    "[[export]]"
    /// A part of the namespace that clients may mount. No export lies inside another, so that
    /// each file has one set of rights.
    Export {
        /// The folder in the namespace; it is made when it isn't there.
        path: ExportPath = {
            change: Reload,
            example: r#""/data""#,
        };
        /// Who may use it: networks and IP addresses.
        clients: Vec<Cidr> = {
            change: Reload,
            example: r#"["10.0.0.0/24", "fd00::/64"]"#,
        };
        /// Whether they may change anything.
        access: Access = {
            default: Toml(r#""rw""#),
            change: Reload,
            example: r#""ro""#,
        };
        /// Whose requests count as the anonymous user's: a client's root, everybody, nobody.
        squash: Squash = {
            default: Toml(r#""root""#),
            change: Reload,
            example: r#""all""#,
        };
        /// User id of the anonymous user.
        anon_uid: u32 = {
            default: Toml("65534"),
            range: (0, u32::MAX as u64 - 1),
            change: Reload,
            example: "1000",
        };
        /// Group id of the anonymous user.
        anon_gid: u32 = {
            default: Toml("65534"),
            range: (0, u32::MAX as u64 - 1),
            change: Reload,
            example: "1000",
        };
        /// What a client may be given to manage by itself while nobody else wants it: `read`, files
        /// that it reads; `write`, also files that it writes. It then opens, locks and looks at
        /// them without asking, and each is asked back as soon as somebody else comes; data is
        /// written out at close as without it. `none` where files pass from client to client all
        /// the time, and unless said: under one Linux asks for no attributes on a mount with `noac` either. What was
        /// given before a change stays until it is returned.
        file_delegations: FileDelegations = {
            default: Toml(r#""none""#),
            change: Reload,
            example: r#""write""#,
        };
        /// Whether clients may be given folders, so that they look names up without asking (Linux
        /// 7.2 asks for them). Each is asked back when somebody else changes an entry, unless the client
        /// asked to be told of that, as Linux doesn't;
        /// `off` where many clients create files in the same folders, and unless said, as above.
        folder_delegations: Switch = {
            default: Toml(r#""off""#),
            change: Reload,
            example: r#""on""#,
        };
        /// Whether the server looks up which groups a user is in, in the place of those that the
        /// request names, of which AUTH_SYS carries 16 at most. The group that files are made with
        /// stays the request's. A user whom the server doesn't know is in no other group. Who knows
        /// users: `[[user]]` with `mode = "map"` of `[identity]`, else this host (NSS).
        manage_gids: Switch = {
            default: Toml(r#""off""#),
            change: Reload,
            example: r#""on""#,
        };
    }
}

section! {
    "[layout]"
    /// How the data of new files lies on the data servers. Files that are there keep theirs.
    Layout {
        /// Bytes on one data server before the next one's turn; a power of two.
        stripe_unit: Bytes = {
            default: Toml(r#""1MiB""#),
            range: (4096, 1 << 30),
            example: r#""512KiB""#,
        };
        /// Over how many data servers a file is spread, for clients that can do it (Linux 6.18 and
        /// later); other clients' files lie on one.
        stripe_count: StripeCount = {
            default: Toml(r#""all""#),
            range: (1, StripeCount::LARGEST as u64),
            example: "4",
        };
        /// How long a client may keep a layout that is taken back before its writes are fenced off.
        recall_seconds: Seconds = {
            default: Toml("15"),
            range: (1, 600),
            example: "30",
        };
        /// After how long reads and writes of a file whose data server is away fail with EIO, and whatever
        /// is asked of a junction whose backend is. Until then they wait, on soft mounts too: Linux asks
        /// again for ever.
        away_error_seconds: Option<Seconds> = {
            default: Unset("never: they wait until it is back"),
            range: (1, 86400),
            example: "300",
        };
        /// How long a data server may take to answer. One that doesn't answer a look within a third of it, and
        /// again, is taken for away: new files go elsewhere, and layouts on it are taken back.
        answer_seconds: Seconds = {
            default: Toml("10"),
            range: (1, 300),
            example: "30",
        };
        /// How often each data server is looked at: whether it is there, and how much room it has. So long
        /// one that is back may not be noticed.
        look_seconds: Seconds = {
            default: Toml("5"),
            range: (1, 300),
            example: "2",
        };
        /// How often clients report what they did at the data servers (LAYOUTSTATS).
        stats_seconds: Seconds = {
            default: Toml("60"),
            range: (1, 3600),
            example: "30",
        };
        /// Whole copies of each file. More than one isn't there yet, and is refused.
        copies: u32 = {
            default: Toml("1"),
            range: (1, 16),
            example: "1",
        };
        /// How data servers are chosen: `spread` goes by free space, weight and load; `local-first`
        /// takes those on the machine of the client that makes the file first (`host`).
        placement: Placement = {
            default: Toml(r#""spread""#),
            example: r#""local-first""#,
        };
        /// User and group ids that own the data objects on the data servers. They must be nobody's:
        /// no account of any machine, not 0, 65534 or 4294967295.
        ids: IdRange = {
            default: Toml("{ base = 1900000000, count = 4096 }"),
            example: "{ base = 500000, count = 4096 }",
        };
    }
}

section! {
    "[server_copy]"
    /// Copies between two servers that a client has both mounted (`copy_file_range`): the bytes go from
    /// server to server, and not through the client. Off at both ends unless said; a client that is refused
    /// copies by itself.
    ServerCopy {
        /// Servers to which files of this one may be copied: whoever reads in the right of a client that sent
        /// it comes from one of these, and needs an export that admits it besides. With AUTH_SYS a client says itself
        /// where it sends a copy, so that a destination must be a server that is trusted with whatever clients
        /// may read. The kernel's NFS server lets everybody be one.
        destinations: Option<Vec<Cidr>> = {
            default: Unset("nobody: clients are told that there is no COPY_NOTIFY"),
            change: Reload,
            example: r#"["10.0.1.2", "10.0.2.0/24"]"#,
        };
        /// Servers from which this one copies, at whatever port a client names. A client says where they are:
        /// without a list it could make this server connect to anything that it reaches. The kernel's NFS
        /// server connects anywhere once it is switched on, and isn't by default.
        sources: Option<Vec<Cidr>> = {
            default: Unset("nobody"),
            change: Reload,
            example: r#""10.0.1.0/24""#,
        };
        /// Where destinations reach this server, when that isn't where its clients reach it; Linux takes the
        /// first, and none is told beyond eight.
        addresses: Option<Vec<SocketAddr>> = {
            default: Unset("the address that the client came to"),
            change: Reload,
            example: r#""10.0.0.2:2049""#,
        };
        /// How long a source may take to answer, or to give a megabyte, before the copy is given up.
        patience_seconds: Seconds = {
            default: Toml("15"),
            range: (1, 300),
            change: Reload,
            example: "60",
        };
    }
}

/// The configuration of `headrace mds`, valid as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MdsConfig {
    pub server: Server,
    /// At least one.
    pub data_servers: Vec<DataServer>,
    /// At least one.
    pub exports: Vec<Export>,
    pub referrals: Vec<Referral>,
    pub backends: Vec<Backend>,
    pub junctions: Vec<Junction>,
    pub identity: Identity,
    pub users: Vec<User>,
    pub groups: Vec<Group>,
    pub layout: Layout,
    pub server_copy: ServerCopy,
    pub limits: Limits,
}

impl MdsConfig {
    /// Reads and validates a file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        crate::document::load(path, Self::parse)
    }

    /// Reads and validates a text; `file` is its name in the faults.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        Document::read(file, text, Self::from_document)
    }

    pub(crate) fn from_document(document: &Document<'_>, notes: &mut Notes) -> Option<Self> {
        document.refuse_other_sections(
            &[
                Server::SCHEMA,
                DataServer::SCHEMA,
                Export::SCHEMA,
                Referral::SCHEMA,
                Backend::SCHEMA,
                Junction::SCHEMA,
                Identity::SCHEMA,
                User::SCHEMA,
                Group::SCHEMA,
                Layout::SCHEMA,
                ServerCopy::SCHEMA,
                Limits::SCHEMA,
            ],
            notes,
        );
        let server = document.one(Server::SCHEMA, notes);
        let data_servers = document.several(DataServer::SCHEMA, notes);
        let exports = document.several(Export::SCHEMA, notes);
        let referrals = document.several(Referral::SCHEMA, notes);
        let backends = document.several(Backend::SCHEMA, notes);
        let junctions = document.several(Junction::SCHEMA, notes);
        let identity = document.one(Identity::SCHEMA, notes);
        let users = document.several(User::SCHEMA, notes);
        let groups = document.several(Group::SCHEMA, notes);
        let layout = document.one(Layout::SCHEMA, notes);
        let server_copy = document.one(ServerCopy::SCHEMA, notes);
        let limits = document.one(Limits::SCHEMA, notes);

        rules::check_server(&server, notes);
        rules::check_listeners(&server, notes);
        rules::check_data_servers(document.text, &data_servers, notes);
        rules::check_exports(document.text, &exports, notes);
        rules::check_referrals(document.text, &exports, &referrals, notes);
        rules::check_backends(document.text, &backends, notes);
        rules::check_caches(&backends, &data_servers, notes);
        rules::check_junctions(
            document.text,
            &exports,
            (&referrals, &junctions),
            &backends,
            notes,
        );
        rules::check_identity(document, &identity, &users, &groups, notes);
        rules::check_layout(document, &layout, data_servers.len(), notes);

        let server = Server::read(&server, notes);
        let data_servers = read_all(&data_servers, DataServer::read, notes);
        let exports = read_all(&exports, Export::read, notes);
        let referrals = read_all(&referrals, Referral::read, notes);
        let backends = read_all(&backends, Backend::read, notes);
        let junctions = read_all(&junctions, Junction::read, notes);
        let identity = Identity::read(&identity, notes);
        let users = read_all(&users, User::read, notes);
        let groups = read_all(&groups, Group::read, notes);
        let layout = Layout::read(&layout, notes);
        let server_copy = ServerCopy::read(&server_copy, notes);
        let limits = Limits::read(&limits, notes);
        Some(Self {
            server: server?,
            data_servers: data_servers?,
            exports: exports?,
            referrals: referrals?,
            backends: backends?,
            junctions: junctions?,
            identity: identity?,
            users: users?,
            groups: groups?,
            layout: layout?,
            server_copy: server_copy?,
            limits: limits?,
        })
    }
}

/// Reads every section, whatever became of those before it.
pub(crate) fn read_all<T>(
    sections: &[Section<'_>],
    read: impl Fn(&Section<'_>, &mut Notes) -> Option<T>,
    notes: &mut Notes,
) -> Option<Vec<T>> {
    let all: Vec<Option<T>> = sections
        .iter()
        .map(|section| read(section, notes))
        .collect();
    all.into_iter().collect()
}
