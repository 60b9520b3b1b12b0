//! A bucket of an S3 server that is there already, shown in the mount: `HEADRACE_S3_SERVER` names a program that
//! is called with an address and a folder, serves the bucket `lake` there, and has put `there/before.txt`
//! in it. The keys are those of the environment.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use anyhow::{Context, Result};

use super::Verdict;
use crate::harness::headrace::{self, Server, Serves, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, mount};
use crate::harness::net;

const PORT: u16 = 8333;

const WORK: &str = r#"
set -e
cd /run/mnt/lake
[ "$(cat there/before.txt)" = "put by another" ]
echo mine >f
[ "$(cat f)" = mine ]
mkdir folder
dd if=/dev/urandom of=folder/large bs=1M count=20 conv=fsync 2>/dev/null
sha256sum folder/large >/run/large.sum
mv folder/large folder/moved
echo more >>f
chmod 600 f
[ "$(stat -c %a f)" = 600 ]
ln -s f link && [ "$(cat link)" = "$(cat f)" ]
mkdir headers
for i in $(seq 50); do echo "file $i" >headers/$i; done
[ "$(ls headers | wc -l)" = 50 ]
echo 3 >/proc/sys/vm/drop_caches
[ "$(sha256sum <folder/moved)" = "$(sed 's/ .*/  -/' /run/large.sum)" ]
[ "$(cat f)" = "mine
more" ]
truncate -s 3 f && [ "$(cat f)" = min ]
rm -r headers
mv /run/mnt/lake/folder /run/mnt/lake/elsewhere
[ "$(sha256sum <elsewhere/moved)" = "$(sed 's/ .*/  -/' /run/large.sum)" ]
"#;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let program =
        std::env::var("HEADRACE_S3_SERVER").context("HEADRACE_S3_SERVER names no program")?;
    let folder = lab.state.join("s3");
    fs::create_dir_all(&folder)?;
    let listens = SocketAddrV4::new(net::MDS, PORT);
    let arguments = vec![listens.to_string(), folder.display().to_string()];
    let mut s3 = Server::new(
        "s3",
        Path::new(&program),
        arguments,
        Serves::At(listens),
        &lab.state,
    );
    s3.start()?;
    let exports = format!(
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
         [[backend]]\nname = \"lake\"\nkind = \"s3\"\nbucket = \"lake\"\nendpoint = \"http://{listens}\"\nregion = \"us-east-1\"\n\n\
         [[junction]]\npath = \"/lake\"\nbackend = \"lake\"\n"
    );
    let mut split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports,
            lease_seconds: 10,
            grace_seconds: 10,
            ..SplitOptions::default()
        },
    )?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    client.sh(WORK, MINUTE * 5)?;
    s3.still_runs()?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(vec![
        "read, written, renamed and removed in a bucket that was there".to_owned(),
    ]))
}
