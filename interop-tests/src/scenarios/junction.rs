//! An existing export of a filer (NFS-Ganesha), shown in the mount with its data in place.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::suites::{EXPECTED_OF_EXPORT, run_fsx_of_v3, run_pjdfstest};
use crate::harness::bytes::{MIB, human};
use crate::harness::client::Client;
use crate::harness::command;
use crate::harness::ganesha::Ganesha;
use crate::harness::headrace::{self, METRICS, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_from};
use crate::harness::metrics::Scrape;
use crate::harness::net;

/// The filer's place on the network, beside the data servers.
const FILER: u8 = 5;
pub const LARGE_MIB: u64 = 64;
const USER: u32 = 1001;

/// A tree that somebody left there long before this server came.
fn left_by_others(folder: &Path) -> Result<()> {
    let team = folder.join("team");
    fs::create_dir_all(&team)?;
    for number in 0..200 {
        let file = team.join(format!("note-{number}"));
        fs::write(&file, format!("note {number}\n"))?;
        chown(&file, Some(USER), Some(USER))?;
    }
    symlink("note-7", team.join("latest"))?;
    command::run(
        "dd",
        &[
            "if=/dev/urandom",
            &format!("of={}", folder.join("large").display()),
            "bs=1M",
            &format!("count={LARGE_MIB}"),
        ],
    )?;
    for (name, owner, mode) in [("large", USER, 0o640), ("team", USER, 0o755)] {
        let path = folder.join(name);
        chown(&path, Some(owner), Some(owner))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::write(folder.join("roots"), "of root alone\n")?;
    fs::set_permissions(folder.join("roots"), fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// NFS-Ganesha with a folder of its own.
pub struct Filer {
    server: Ganesha,
    pub folder: PathBuf,
    pub address: Ipv4Addr,
}

impl Filer {
    /// With files that were there before.
    pub fn start(lab: &Lab) -> Result<Self> {
        let filer = Self::empty(lab)?;
        left_by_others(&filer.folder)?;
        Ok(filer)
    }

    pub fn empty(lab: &Lab) -> Result<Self> {
        let folder = lab.state.join("filer");
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        let address = net::data_server(FILER);
        let server = Ganesha::start(&lab.state, address, &folder)?;
        Ok(Self {
            server,
            folder,
            address,
        })
    }

    /// One export of everything, and the filer's in it.
    pub fn exports(&self) -> String {
        format!(
            "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
             [[backend]]\nname = \"filer1\"\nkind = \"nfs\"\nserver = \"{}\"\nmount_port = 20048\nexport = \"{}\"\n\n\
             [[junction]]\npath = \"/projects\"\nbackend = \"filer1\"\n",
            self.address,
            self.folder.display()
        )
    }

    /// Before a command: as the owner of what the filer had before.
    pub fn as_owner() -> String {
        format!("setpriv --reuid {USER} --regid {USER} --clear-groups")
    }

    /// Mounts it by NFSv3, without Headrace.
    pub fn plain_mount(&self, place: &str) -> String {
        format!(
            "mkdir -p {place} && mount -t nfs -o vers=3,nolock,proto=tcp,port=2049,mountport=20048,mountproto=tcp {}:{} {place}",
            self.address,
            self.folder.display()
        )
    }

    /// A client reads a large file as its owner.
    pub fn read(&self, client: &mut dyn Client, name: &str) -> Result<()> {
        let file = self.folder.join(name).display().to_string();
        let sum = command::run("sha256sum", &[&file])?;
        let sum = sum.split(' ').next().context("a sum")?;
        let read = client.sh(
            &format!(
                "echo 3 >/proc/sys/vm/drop_caches && {} sha256sum {MOUNT}/projects/{name}",
                Self::as_owner()
            ),
            MINUTE,
        )?;
        ensure!(read.starts_with(sum), "other bytes were read: {read}");
        Ok(())
    }

    /// The same: the share of the bytes that came straight from the filer.
    pub fn read_directly(
        &self,
        lab: &Lab,
        (client, from): (&mut dyn Client, Ipv4Addr),
        name: &str,
    ) -> Result<f64> {
        let before = lab.net.traffic()?;
        self.read(client, name)?;
        let moved = lab.net.traffic()?.since(&before);
        let direct = moved
            .sum(|c| *c.server.ip() == self.address && *c.client.ip() == from)
            .to_client_bytes;
        let through = moved.to_mds().both_bytes();
        let share = direct as f64 / (direct + through) as f64;
        ensure!(
            direct >= LARGE_MIB * MIB && share >= 0.99,
            "of {} read {} came directly from the filer and {} passed the metadata server",
            human(LARGE_MIB * MIB),
            human(direct),
            human(through),
        );
        Ok(share)
    }

    pub fn still_runs(&mut self) -> Result<()> {
        self.server.still_runs()
    }
}

pub fn beside(lab: &Lab, filer: &Filer) -> Result<Split> {
    beside_with(lab, filer, false)
}

pub fn beside_with(lab: &Lab, filer: &Filer, nfsv3: bool) -> Result<Split> {
    headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: filer.exports(),
            lease_seconds: 10,
            grace_seconds: 10,
            nfsv3,
            ..SplitOptions::default()
        },
    )
}

/// As the programs of a user meet it: one mount, in which a folder is another file system.
pub const WORK: &str = r#"
set -e
cd /run/mnt/projects
[ "$(cat team/latest)" = "note 7" ]
[ "$(ls team | wc -l)" = 201 ]
# Written there by others' ids, as the filer judges them.
setpriv --reuid 1001 --regid 1001 --clear-groups sh -c 'echo more >>team/note-7; mkdir team/new; echo x >team/new/f'
! setpriv --reuid 1002 --regid 1002 --clear-groups sh -c 'echo no >team/note-8' 2>/dev/null
! setpriv --reuid 1002 --regid 1002 --clear-groups cat large >/dev/null 2>&1
[ "$(stat -c %u:%g team/new/f)" = 1001:1001 ]
[ "$(cat roots)" = "of root alone" ]
# Another file system, as between disks.
echo here >/run/mnt/here
! ln /run/mnt/here across 2>/dev/null
mv /run/mnt/here moved
[ "$(cat moved)" = here ]
find /run/mnt -xdev -name note-7 | grep -q . && exit 1
find /run/mnt -name note-7 | grep -q .
cp large /run/mnt/by-cp && cmp large /run/mnt/by-cp && cp /run/mnt/by-cp back && cmp large back && rm back
cp -r /usr/include/linux copied
diff -r /usr/include/linux copied
tar cf /run/tmp.tar copied && rm -r copied && tar xf /run/tmp.tar && diff -r /usr/include/linux copied
ln moved linked && [ "$(stat -c %h linked)" = 2 ]
mv copied renamed && rm -r renamed
ln -s moved soft && [ "$(cat soft)" = here ]
mkfifo pipe && [ -p pipe ]
chmod 640 moved && touch -d 2001-01-01 moved && [ "$(stat -c %a:%Y moved)" = 640:978307200 ]
truncate -s 1M moved && [ "$(stat -c %s moved)" = 1048576 ]
rm pipe soft linked
grep -q "/run/mnt/projects nfs4" /proc/mounts
df /run/mnt/projects >/dev/null
"#;

/// Between a folder that is a file system of its own (`$P`) and what is around it, whatever the version. What is
/// made on either side is removed.
const APART: &str = r#"
set -e
cd /run/mnt
device() { stat -c %d "$1"; }
mkdir $P/apart $P/apart/sub outside-of-it
echo x >$P/apart/only-there && ln -s only-there $P/apart/soft
findmnt -n $P >/dev/null && findmnt -n -o FSTYPE $P | grep -q nfs
[ "$(device $P)" != "$(device .)" ] && [ "$(device outside-of-it)" = "$(device .)" ]
for i in apart apart/sub apart/only-there apart/soft; do [ "$(device $P/$i)" = "$(device $P)" ]; done
[ "$(stat -L -c %i $P/apart/soft)" = "$(stat -c %i $P/apart/only-there)" ]
# No name leads across.
echo y >outside-of-it/here
! ln $P/apart/only-there outside-of-it/linked 2>/run/err && grep -q 'Invalid cross-device link' /run/err
! ln outside-of-it/here $P/apart/linked 2>/run/err && grep -q 'Invalid cross-device link' /run/err
ln $P/apart/only-there $P/apart/sub/linked && [ "$(stat -c %h $P/apart/only-there)" = 2 ] && rm $P/apart/sub/linked
mv $P/apart/only-there outside-of-it/ && [ "$(device outside-of-it/only-there)" = "$(device .)" ]
mv outside-of-it/only-there $P/apart/ && [ "$(cat $P/apart/soft)" = x ] && [ ! -e outside-of-it/only-there ]
mv $P/apart/sub outside-of-it/ && mv outside-of-it/sub $P/apart/ && [ -d $P/apart/sub ]
cp -p --reflink=auto $P/apart/only-there outside-of-it/copy && cmp $P/apart/only-there outside-of-it/copy
! cp --reflink=always $P/apart/only-there outside-of-it/cloned 2>/dev/null
rm -f outside-of-it/cloned
# rsync copies with times and links, and has nothing to do a second time, in either direction.
rsync -a $P/apart/ outside-of-it/synced && diff -r $P/apart outside-of-it/synced
[ -z "$(rsync -ain $P/apart/ outside-of-it/synced)" ]
echo changed >outside-of-it/synced/only-there && rm outside-of-it/synced/soft
rsync -a --delete outside-of-it/synced/ $P/apart && [ "$(cat $P/apart/only-there)" = changed ] && [ ! -L $P/apart/soft ]
[ -z "$(rsync -aicn --delete outside-of-it/synced/ $P/apart)" ]
rsync -a --remove-source-files outside-of-it/here $P/apart/ && [ ! -e outside-of-it/here ] && [ "$(cat $P/apart/here)" = y ]
rsync -ax --list-only --recursive . >/run/listed && grep -q outside-of-it/copy /run/listed && ! grep -q apart/here /run/listed
# The root stays where it is.
! rmdir $P 2>/dev/null
! mv -T $P elsewhere 2>/dev/null && [ ! -e elsewhere ]
# Who goes through one file system stays in it.
! find . -xdev -name only-there | grep -q .
find . -name only-there | grep -q . && find $P -xdev -name only-there | grep -q .
! tar --one-file-system -cvf /dev/null . 2>/dev/null | grep -q only-there
tar -cvf /dev/null $P/apart 2>/dev/null | grep -q only-there
sync && before=$(du -xsk . | cut -f1)
dd if=/dev/urandom of=$P/apart/bulk bs=1M count=16 conv=fsync 2>/dev/null
[ "$(du -xsk . | cut -f1)" = "$before" ] && [ "$(du -sk $P/apart/bulk | cut -f1)" -ge 16000 ]
size=$(df -k --output=size $P | tail -n 1 | tr -d ' ')
[ $size -ge $K ] && [ $size -le $((K + 1024)) ]
[ "$(df -k --output=target $P/apart/sub | tail -n 1)" = /run/mnt/$P ]
rm -r $P/apart outside-of-it
"#;

/// Nothing leads across the border of `folder`, in which `df` shows so many KiB in all, up to a block of the client's.
pub fn is_apart(client: &mut dyn Client, folder: &str, kib: u64) -> Result<()> {
    client.sh(&format!("P={folder} K={kib}\n{APART}"), MINUTE * 3)?;
    Ok(())
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::start(lab)?;
    let mut split = beside(lab, &filer)?;
    let (mut a, mut b) = lab.two_mounted()?;
    a.sh(WORK, MINUTE * 3)?;
    b.sh(
        &format!("[ \"$(cat {MOUNT}/projects/team/new/f)\" = x ]"),
        MINUTE,
    )?;
    let mut facts = Vec::new();
    for client in [&mut a, &mut b] {
        let address = client.address();
        let share = filer.read_directly(lab, (client, address), "large")?;
        facts.push(format!(
            "{}: {:.2} % of the bytes past the metadata server",
            client.release(),
            100.0 * share
        ));
    }
    // Behind this server's back.
    fs::write(filer.folder.join("team/note-9"), "changed at the filer\n")?;
    fs::write(filer.folder.join("team/note-new"), "made at the filer\n")?;
    a.sh(
        &format!(
            "for i in $(seq 100); do \
               [ \"$(cat {MOUNT}/projects/team/note-9)\" = 'changed at the filer' ] && \
               [ \"$(cat {MOUNT}/projects/team/note-new)\" = 'made at the filer' ] && exit 0; sleep 1; done; exit 1"
        ),
        MINUTE * 2,
    )?;
    let metrics = Scrape::of(METRICS)?;
    ensure!(
        metrics.sum("headrace_junction_layouts_total", &[]) >= 2.0
            && metrics.sum("headrace_junction_bytes_total", &["direction=\"written\""]) > 0.0,
        "the metrics don't tell which way bytes went"
    );
    filer.still_runs()?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(facts))
}

/// The suites of POSIX on an export in place.
pub fn suites(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::empty(lab)?;
    let _split = beside(lab, &filer)?;
    let mut client = lab.client("a")?;
    mount_from(&mut client, "10.99.0.1:/projects", "vers=4.2")?;
    run_fsx_of_v3(&mut client)?;
    let verdict = run_pjdfstest(lab, &mut client, EXPECTED_OF_EXPORT)?;
    filer.still_runs()?;
    Ok(verdict)
}
