//! The scenarios, each a story that a user would recognise. What they share is in `harness`.

mod assimilate;
mod basic;
pub mod bucket;
mod bucket_faults;
mod bucket_kill;
mod bypass;
pub mod crash;
mod delegations;
mod filer_million;
pub mod fio;
mod foreign;
mod history;
pub mod junction;
mod kernel_filer;
mod legacy;
mod managed;
mod managed_kill;
mod measure;
mod million;
mod options;
mod peer;
mod referral;
mod rights;
mod script;
mod server_copy;
mod suites;
pub mod tree;

use anyhow::Result;

use crate::harness::lab::Lab;

pub enum Verdict {
    /// What was seen, for the closing table.
    Held(Vec<String>),
    /// Why this machine cannot run it.
    Skipped(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    Each,
    /// Once, led by the newest kernel (others may take part).
    Newest,
}

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub kernels: Kernels,
    pub limit_minutes: u16,
    /// Not part of a run that names nothing.
    pub only_by_name: bool,
    pub run: fn(&mut Lab) -> Result<Verdict>,
}

const fn scenario(
    name: &'static str,
    about: &'static str,
    kernels: Kernels,
    limit_minutes: u16,
    run: fn(&mut Lab) -> Result<Verdict>,
) -> Scenario {
    Scenario {
        name,
        about,
        kernels,
        limit_minutes,
        only_by_name: false,
        run,
    }
}

/// In the order in which they run: what fails first is what the later ones rest on.
pub const ALL: &[Scenario] = &[
    Scenario {
        only_by_name: true,
        ..scenario(
            "peer",
            "the harness itself, proven against NFS-Ganesha",
            Kernels::Each,
            5,
            peer::run,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "peer-suites",
            "pjdfstest and fsx on NFS-Ganesha: what fails there too",
            Kernels::Each,
            20,
            peer::suites,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "peer-knfsd",
            "a kernel's NFS server in a guest, by itself",
            Kernels::Each,
            5,
            foreign::knfsd_alone,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "script",
            "the script named by HEADRACE_SCRIPT, on a mounted client",
            Kernels::Each,
            120,
            script::run,
        )
    },
    scenario(
        "bucket",
        "a bucket of SeaweedFS, read and changed through the mount, and read at a data server that caches it",
        Kernels::Newest,
        10,
        bucket::run,
    ),
    scenario(
        "bucket-faults",
        "a bucket that can only be read, is away, is gone, or refuses keys: said in words, and good again",
        Kernels::Newest,
        5,
        bucket_faults::run,
    ),
    Scenario {
        only_by_name: true,
        ..scenario(
            "bucket-large",
            "a folder of 100,000 objects of a bucket, listed, and the memory of the metadata server",
            Kernels::Newest,
            20,
            bucket_faults::large,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-headrace",
            "rates of fio through layouts, one data server",
            Kernels::Newest,
            20,
            measure::one_data_server,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-headrace-3",
            "rates of fio through layouts, three data servers",
            Kernels::Newest,
            20,
            measure::three_data_servers,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-ganesha",
            "the same on NFS-Ganesha by NFSv4.2",
            Kernels::Newest,
            20,
            measure::ganesha,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-ganesha-durable",
            "the same, of small files in a folder whose changes are synced each",
            Kernels::Newest,
            20,
            measure::durable_ganesha,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-plain",
            "the same on a plain NFSv3 mount of one data server",
            Kernels::Newest,
            20,
            measure::plain,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-filer",
            "rate of fio on a filer's file, through the namespace and by a plain mount of the filer",
            Kernels::Newest,
            20,
            measure::elsewhere::filer,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-filer-far",
            "the same, of a filer whose line is what bounds both",
            Kernels::Newest,
            20,
            measure::elsewhere::filer_far,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-bucket",
            "rate of an object at the data server that caches it, beside its own files and beside the bucket",
            Kernels::Newest,
            20,
            measure::elsewhere::bucket,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-bucket-far",
            "rate of a stream at the data server that caches a bucket, which is a slow way off, beside the SDK's",
            Kernels::Newest,
            20,
            measure::elsewhere::bucket_far,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-training",
            "how many accelerators of a training are kept busy, one data server",
            Kernels::Newest,
            30,
            measure::training::headrace,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-training-ganesha",
            "the same on NFS-Ganesha by NFSv4.2",
            Kernels::Newest,
            30,
            measure::training::ganesha,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-dlio",
            "how many accelerators DLIO keeps busy, and how fast its checkpoints are, one data server",
            Kernels::Newest,
            45,
            measure::dlio::headrace,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-dlio-ganesha",
            "the same on NFS-Ganesha by NFSv4.2",
            Kernels::Newest,
            45,
            measure::dlio::ganesha,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "measure-listing",
            "how fast a folder of a million files is listed, by name and as ls -l does",
            Kernels::Newest,
            30,
            measure::listing::run,
        )
    },
    // Minutes of making names: more than each run should take.
    Scenario {
        only_by_name: true,
        ..scenario(
            "million",
            "a folder of a million entries, a file of 65,000 names",
            Kernels::Newest,
            20,
            million::run,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "filer-million",
            "two million files of an existing export, listed in place",
            Kernels::Newest,
            60,
            filer_million::in_place,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "takeover-million",
            "two million files of an existing export, taken over with a death of the server half-way",
            Kernels::Newest,
            60,
            filer_million::taken_over,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "bucket-million",
            "a folder of a million objects of a bucket, listed by name, and the memory of the metadata server",
            Kernels::Newest,
            60,
            bucket_faults::million,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "fsx-million",
            "a million operations of fsx by two clients at once",
            Kernels::Newest,
            180,
            suites::fsx_million,
        )
    },
    scenario(
        "basic",
        "mount by 4.1 and 4.2, files of all kinds, locks, unmount",
        Kernels::Each,
        8,
        basic::run,
    ),
    scenario(
        "mount-options",
        "work under each mount option, and what the server sees of it",
        Kernels::Newest,
        12,
        options::run,
    ),
    scenario(
        "legacy",
        "the same namespace by NFSv3, beside clients of NFSv4, over a restart, and in exports",
        Kernels::Newest,
        12,
        legacy::run,
    ),
    scenario(
        "legacy-junction",
        "an existing export of another filer, by NFSv3",
        Kernels::Newest,
        6,
        legacy::junction,
    ),
    scenario(
        "exports",
        "squashing, read-only exports, groups, foreign networks",
        Kernels::Each,
        5,
        rights::exports,
    ),
    scenario(
        "referral",
        "a folder that lies on a second server, reached through one mount",
        Kernels::Each,
        5,
        referral::run,
    ),
    scenario(
        "junction",
        "an existing export of NFS-Ganesha, read directly from it and changed through the mount",
        Kernels::Newest,
        8,
        junction::run,
    ),
    scenario(
        "assimilate",
        "an existing export of NFS-Ganesha taken over, its files read and written where they are",
        Kernels::Newest,
        8,
        assimilate::run,
    ),
    Scenario {
        only_by_name: true,
        ..scenario(
            "assimilate-suites",
            "pjdfstest and fsx in an export that was taken over",
            Kernels::Newest,
            20,
            assimilate::suites,
        )
    },
    scenario(
        "managed",
        "a folder whose files lie in a bucket of SeaweedFS, over a death of the server",
        Kernels::Newest,
        8,
        managed::run,
    ),
    Scenario {
        only_by_name: true,
        ..scenario(
            "managed-suites",
            "pjdfstest and fsx in a folder whose files lie in a bucket",
            Kernels::Newest,
            30,
            managed::suites,
        )
    },
    Scenario {
        only_by_name: true,
        ..scenario(
            "managed-kill",
            "files in a cached bucket, while its servers are killed and the way to it is cut off, 60 times in all",
            Kernels::Each,
            15,
            managed_kill::run,
        )
    },
    scenario(
        "junction-suites",
        "pjdfstest and fsx on an existing export",
        Kernels::Newest,
        20,
        junction::suites,
    ),
    scenario(
        "server-copy",
        "files copied from server to server, and by the client where that is refused",
        Kernels::Each,
        5,
        server_copy::run,
    ),
    scenario(
        "tree",
        "a real source tree, compared from the other kernel",
        Kernels::Newest,
        20,
        tree::run,
    ),
    scenario(
        "fio",
        "checksummed I/O by two clients, on many files and on one",
        Kernels::Each,
        20,
        fio::run,
    ),
    scenario(
        "bypass",
        "the bytes of large files go past the metadata server",
        Kernels::Each,
        12,
        bypass::run,
    ),
    scenario(
        "proxied",
        "a client without layouts and one with them agree",
        Kernels::Each,
        10,
        rights::proxied,
    ),
    scenario(
        "delegations",
        "files and folders that a client manages by itself, and gives back",
        Kernels::Newest,
        10,
        delegations::run,
    ),
    scenario(
        "pjdfstest",
        "the POSIX suite pjdfstest through the mount",
        Kernels::Each,
        15,
        suites::pjdfstest,
    ),
    scenario(
        "fsx",
        "the file system exerciser fsx through the mount",
        Kernels::Each,
        20,
        suites::fsx,
    ),
    scenario(
        "ganesha",
        "NFS-Ganesha as a data server",
        Kernels::Newest,
        8,
        foreign::ganesha,
    ),
    scenario(
        "knfsd",
        "a Linux kernel's own NFS server as a data server",
        Kernels::Newest,
        8,
        foreign::knfsd,
    ),
    scenario(
        "knfsd-filer",
        "exports of a Linux kernel's own NFS server, shown in place and taken over",
        Kernels::Newest,
        8,
        kernel_filer::run,
    ),
    scenario(
        "history",
        "random work by six processes of two clients, checked against what a file system may answer",
        Kernels::Newest,
        15,
        history::run,
    ),
    scenario(
        "client-crash",
        "a client dies with files open and comes back",
        Kernels::Each,
        6,
        crash::client,
    ),
    scenario(
        "ds-kill",
        "data servers are killed under load",
        Kernels::Each,
        10,
        crash::data_server,
    ),
    scenario(
        "mds-kill",
        "the metadata server is killed 50 times under load, half of the times with delegations out",
        Kernels::Newest,
        25,
        crash::mds::run,
    ),
    scenario(
        "bucket-kill",
        "a cached bucket that two write, while its servers are killed and the way to it is cut off, 50 times in all",
        Kernels::Newest,
        15,
        bucket_kill::run,
    ),
];

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}
