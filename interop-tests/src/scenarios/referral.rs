//! Two Headrace servers and one mount: a client walks from the one into a folder that lies on the other.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::{Context, Result, ensure};

use super::Verdict;
use crate::harness::headrace::{self, Server, Serves, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::net::{DS_PORT, MDS_PORT, data_server};

/// Places on the network that the first server's data servers don't take.
pub(super) const OTHER: u8 = 6;
const OTHER_DATA: u8 = 7;

const WALK: &str = r#"
set -e
cd /run/mnt
ls | grep -qx far
mkdir near
echo near >near/f
# The folder itself, before anybody walked in; then the walk.
stat far >/dev/null
mkdir far/inner
echo written-over-there >far/inner/f
[ "$(cat far/inner/f)" = written-over-there ]
dd if=/dev/urandom of=far/large bs=1M count=8 conv=fsync 2>/dev/null
sha256sum far/large >/run/shared/far.sum
ls -l far >/dev/null
ls -lR . >/dev/null
# Another file system: no rename and no link across.
! mv -T near far 2>/dev/null
! ln near/f far/f 2>/dev/null
mv far/inner/f far/inner/g
# Its name stays, whatever is tried.
! rmdir far 2>/dev/null
grep -q "/run/mnt/far nfs4" /proc/mounts
echo 3 >/proc/sys/vm/drop_caches
sha256sum -c /run/shared/far.sum >/dev/null
"#;

const AWAY: &str = r#"
set -e
umount /run/mnt/far
[ "$(cat /run/mnt/far/inner/g)" = written-over-there ]
cd /
umount /run/mnt/far
umount /run/mnt
"#;

/// A metadata server and a data server of its own; `more` stands in its file as well.
pub(super) fn other_server(lab: &Lab, more: &str) -> Result<(Server, Server)> {
    let address = data_server(OTHER_DATA);
    let data = headrace::data_server(&lab.headrace, &lab.state, OTHER_DATA, address)?;
    let folder = lab.state.join("other");
    fs::create_dir_all(&folder).context("the other server's folder")?;
    let listens = SocketAddrV4::new(data_server(OTHER), MDS_PORT);
    let file = lab.state.join("other.toml");
    let text = format!(
        "[server]\nlisten = \"{listens}\"\nstate_dir = \"{}\"\nlease_seconds = 10\n\n\
         [[data_server]]\nname = \"ds{OTHER_DATA}\"\naddress = \"{address}:{DS_PORT}\"\nexport = \"/data\"\n\n\
         [[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n{more}",
        folder.display(),
    );
    fs::write(&file, text).context("the other server's configuration")?;
    let arguments = vec![
        "mds".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    let mut server = Server::new(
        "other",
        &lab.headrace,
        arguments,
        Serves::WhenItSays,
        &lab.state,
    );
    server.start()?;
    Ok((server, data))
}

/// The server that clients mount first, beside the other.
pub(super) fn first_server(lab: &Lab, own_data_servers: u8, exports: String) -> Result<Split> {
    headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers,
            exports,
            lease_seconds: 10,
            grace_seconds: 10,
            ..SplitOptions::default()
        },
    )
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let (mut other, _data) = other_server(lab, "")?;
    let exports = format!(
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
         [[referral]]\npath = \"/far\"\nservers = \"{}\"\nremote_path = \"/\"\n",
        data_server(OTHER)
    );
    let mut split = first_server(lab, 1, exports)?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    let before = lab.net.traffic()?;
    client.sh(WALK, 2 * MINUTE)?;
    let moved = lab.net.traffic()?.since(&before);
    let to_other = moved.sum(|c| *c.server.ip() == data_server(OTHER_DATA));
    ensure!(
        to_other.to_server_bytes >= 8 << 20,
        "8 MiB were written to the other server's data server, and {} bytes came",
        to_other.to_server_bytes
    );
    client.sh(AWAY, MINUTE)?;
    // Straight to the other server, the files are there.
    client.sh(
        &format!(
            "mount -t nfs4 -o vers=4.2 {}:/ {MOUNT} && cat {MOUNT}/inner/g && umount {MOUNT}",
            data_server(OTHER)
        ),
        MINUTE,
    )?;
    other.still_runs()?;
    split.mds.still_runs()?;
    client.power_off()?;
    Ok(Verdict::Held(vec![
        "one mount reached both servers; written, read and listed beyond the referral".to_owned(),
    ]))
}
