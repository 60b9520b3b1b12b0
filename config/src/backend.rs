//! What other servers keep, and where it appears: existing exports and buckets, and the folders that
//! show them. Never here: rules between sections, which are in `rules`.

use crate::address::{ExportPath, HostPort, Name};
use crate::fault::Notes;
use crate::mds::{Access, DataServer, Fence};
use crate::section::Change::Reload;
use crate::section::Default::{Toml, Unset};
use crate::section::{Key, Section, section};
use crate::units::Bytes;
use crate::value::{Value, Written, from_text, words};

words! {
    /// What keeps a backend's files.
    BackendKind {
        /// An NFSv3 server that is there already: its export is shown as it is.
        Nfs = "nfs",
        /// A bucket of any S3.
        S3 = "s3",
    }
}

words! {
    /// Whose word counts on a backend's names.
    BackendMode {
        /// The NFS server's: others may change its files beside this one.
        PassThrough = "pass-through",
        /// This server's: its files become part of the namespace, and nobody else changes them any more.
        Assimilated = "assimilated",
        /// The bucket's: a key is a path.
        Mirror = "mirror",
        /// This server's: the bucket holds the bytes of files of the namespace, and a key says nothing of names.
        Managed = "managed",
    }
}

words! {
    /// Who else may write a bucket.
    Writers {
        /// Others may, and the bucket must honour conditions: who loses a race is told.
        Several = "several",
        /// Nobody but this server: for a bucket that ignores conditions.
        One = "one",
    }
}

section! {
    "[[backend]]" any_number
    /// Files that another server keeps under names of its own. `[[junction]]` says where they appear.
    Backend {
        /// What it is called in `[[junction]]`, messages and metrics.
        name: Name = {
            change: Reload,
            example: r#""filer1""#,
        };
        /// What it is: `nfs`, an export of an NFSv3 server; `s3`, a bucket.
        kind: BackendKind = {
            change: Reload,
            example: r#""nfs""#,
        };
        /// Whose word counts. `pass-through` of `nfs`: the server's, which also judges who may do
        /// what; a change made behind this server's back shows at the next look. `assimilated` of `nfs`: this
        /// server's, from the first scan on; you promise that nobody else changes anything there. Its files stay
        /// where they are, and clients read and write them there by themselves. It takes a restart to add one, and
        /// there is no way back. `mirror` of `s3`: a key is a path, its folders are what lies between the slashes.
        /// `managed` of `s3`: the junction's folder is one like any other, and what is made in it and below it has
        /// its bytes in the bucket, under keys of this server's, which nobody else may change. It too takes a
        /// restart to add one.
        mode: Option<BackendMode> = {
            default: Unset("`pass-through` for `nfs`, `mirror` for `s3`"),
            change: Reload,
            example: r#""pass-through""#,
        };
        /// Of `nfs`: the server; the port is 2049 unless said.
        server: Option<HostPort> = {
            default: Unset("must be there for `nfs`"),
            change: Reload,
            example: r#""10.0.0.5""#,
        };
        /// Of `nfs`: port of its MOUNT service.
        mount_port: Option<u16> = {
            default: Unset("the portmapper is asked"),
            range: (1, 65535),
            change: Reload,
            example: "20048",
        };
        /// Of `nfs`: the path that it exports.
        export: Option<ExportPath> = {
            default: Unset("must be there for `nfs`"),
            change: Reload,
            example: r#""/vol/projects""#,
        };
        /// Of `s3`: the bucket. Credentials come by the usual chain (environment, profile, role).
        bucket: Option<Text> = {
            default: Unset("must be there for `s3`"),
            change: Reload,
            example: r#""training-data""#,
        };
        /// Of `s3`: what the keys begin with that are shown, or in the mode `managed` are this server's.
        prefix: Option<Text> = {
            default: Unset("all keys are shown"),
            change: Reload,
            example: r#""datasets/""#,
        };
        /// Of `s3`: where it is spoken, for anything but AWS.
        endpoint: Option<Text> = {
            default: Unset("AWS, by `region`"),
            change: Reload,
            example: r#""https://s3.example.org""#,
        };
        /// Of `s3`: the region.
        region: Option<Text> = {
            default: Unset("by the usual chain, else `us-east-1`"),
            change: Reload,
            example: r#""eu-central-1""#,
        };
        /// Of `s3`: the `name` of a `[[data_server]]`, a `headrace ds` that has a `[[backend]]` of this
        /// name too. Clients read there; it fetches what they ask for, and keeps it on its disk.
        cache: Option<Name> = {
            default: Unset("reads pass this server"),
            change: Reload,
            example: r#""nvme1""#,
        };
        /// Of `s3`: bytes that files under change may take up in `state_dir` of the metadata server. Where
        /// that is full, what was written is sent up before anybody asks for it, and writers wait.
        spool_capacity: Option<Bytes> = {
            default: Unset("a tenth of the file system"),
            range: (64 << 20, u64::MAX),
            change: Reload,
            example: r#""200GB""#,
        };
        /// Of `s3`: whether others may write the bucket too.
        writers: Writers = {
            default: Toml(r#""several""#),
            change: Reload,
            example: r#""one""#,
        };
        /// Of `s3`: owner of what says nothing of one.
        uid: u32 = {
            default: Toml("0"),
            range: (0, u32::MAX as u64 - 1),
            change: Reload,
            example: "1000",
        };
        /// Of `s3`: group of what says nothing of one.
        gid: u32 = {
            default: Toml("0"),
            range: (0, u32::MAX as u64 - 1),
            change: Reload,
            example: "1000",
        };
    }
}

section! {
    "[[junction]]" any_number
    /// A folder that shows what a backend keeps. Clients see another file system there, without
    /// mounting anything: with space and file numbers of its own, and rename and link across are EXDEV.
    Junction {
        /// The folder in the namespace, below an export whose clients and squash count here too; it is
        /// made when it isn't there. What lay in it is out of sight.
        path: ExportPath = {
            change: Reload,
            example: r#""/data/projects""#,
        };
        /// The `name` of a `[[backend]]`.
        backend: Name = {
            change: Reload,
            example: r#""filer1""#,
        };
        /// The folder of the backend that is meant.
        folder: Option<ExportPath> = {
            default: Unset("all of it"),
            change: Reload,
            example: r#""/teams/vision""#,
        };
        /// Whether clients may change anything there; where the export is `ro`, nobody may.
        access: Access = {
            default: Toml(r#""rw""#),
            change: Reload,
            example: r#""ro""#,
        };
    }
}

/// Text of another system's, which judges it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(String);

impl Text {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Text {
    const KIND: &'static str = "text";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(written, key, "text in quotes", notes, |text| {
            if text.is_empty() {
                Err("expected at least one character".to_owned())
            } else if text.len() > 1024 || text.chars().any(char::is_control) {
                Err("expected one line of at most 1024 bytes".to_owned())
            } else {
                Ok(Self(text.to_owned()))
            }
        })
    }
}

/// Keys of one kind alone.
const OF_NFS: &[&str] = &["server", "mount_port", "export"];
const OF_S3: &[&str] = &[
    "bucket",
    "prefix",
    "endpoint",
    "region",
    "cache",
    "spool_capacity",
    "writers",
    "uid",
    "gid",
];

impl Backend {
    pub fn is_assimilated(&self) -> bool {
        self.mode() == BackendMode::Assimilated
    }

    pub fn is_managed(&self) -> bool {
        self.mode() == BackendMode::Managed
    }

    /// Whether its files are part of the namespace: the catalog knows of it from then on.
    pub fn is_own(&self) -> bool {
        self.mode().is_own()
    }

    /// What is assimilated is a data server too, which gets no new files.
    pub fn as_data_server(&self) -> Option<DataServer> {
        if !self.is_assimilated() {
            return None;
        }
        Some(DataServer {
            name: self.name.clone(),
            address: self.server.clone()?,
            export: self.export.clone()?,
            mount_port: self.mount_port,
            weight: 0,
            host: None,
            fence: Fence::Proven,
            read_bytes: None,
            write_bytes: None,
        })
    }

    pub fn mode(&self) -> BackendMode {
        self.mode.unwrap_or(match self.kind {
            BackendKind::Nfs => BackendMode::PassThrough,
            BackendKind::S3 => BackendMode::Mirror,
        })
    }
}

impl BackendMode {
    pub fn is_own(self) -> bool {
        matches!(self, Self::Assimilated | Self::Managed)
    }
}

/// Keys of buckets whose objects have names there.
const OF_MIRRORS: &[&str] = &["uid", "gid"];

/// What each kind must have, and what it can't.
pub(crate) fn check_kind(section: &Section<'_>, notes: &mut Notes) {
    let Some(kind) = section.glance::<BackendKind>("kind") else {
        return;
    };
    let (needs, others, modes): (&[&str], _, &[BackendMode]) = match kind {
        BackendKind::Nfs => (
            &["server", "export"],
            OF_S3,
            &[BackendMode::PassThrough, BackendMode::Assimilated],
        ),
        BackendKind::S3 => (
            &["bucket"],
            OF_NFS,
            &[BackendMode::Mirror, BackendMode::Managed],
        ),
    };
    for key in needs {
        if !section.is_written(key) {
            notes.add(
                section.span.clone(),
                format!("[[backend]] of kind \"{kind}\" has no `{key}`"),
                format!("expected a line like {key} = …"),
            );
        }
    }
    for key in others.iter().filter(|key| section.is_written(key)) {
        notes.add(
            section.span_of(key),
            format!("`{key}` means nothing for a backend of kind \"{kind}\""),
            "leave it out",
        );
    }
    let mode = section.glance::<Option<BackendMode>>("mode").flatten();
    if mode == Some(BackendMode::Managed) {
        let written = OF_MIRRORS.iter().filter(|key| section.is_written(key));
        for key in written {
            notes.add(
                section.span_of(key),
                format!("`{key}` means nothing for a bucket in the mode \"managed\""),
                "leave it out",
            );
        }
    }
    if let Some(other) = mode
        && !modes.contains(&other)
    {
        let modes: Vec<String> = modes.iter().map(|mode| format!("\"{mode}\"")).collect();
        notes.add(
            section.span_of("mode"),
            format!("a backend of kind \"{kind}\" can't be in the mode \"{other}\""),
            format!("expected {}", modes.join(" or ")),
        );
    }
}
