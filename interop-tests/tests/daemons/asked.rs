//! What a metadata server that runs tells its operator by `headrace ctl`.

use std::os::unix::fs::PermissionsExt;
use std::process::ExitStatus;

use anyhow::{Context, Result, ensure};
use backend::tree::MemoryTree;
use serde_json::Value;
use tokio::runtime::Runtime;
use wire::nfs3::{Nfsstat3, Procedure};

use crate::filer::server::{Accident, EXPORT, Filer, Habits};
use crate::process::{House, Process, export, until};

/// Nobody listens there.
const AWAY: &str = "\n[[backend]]\nname = \"filer\"\nkind = \"nfs\"\nserver = \"127.0.0.1:9\"\nmount_port = 9\n\
                    export = \"/vol\"\n[[junction]]\npath = \"/data/vol\"\nbackend = \"filer\"\naccess = \"rw\"\n";

fn ctl(house: &House, words: &[&str]) -> Result<(ExitStatus, Process)> {
    let state_dir = house.path("mds").display().to_string();
    let before = ["headrace", "ctl", "--state-dir", &state_dir];
    let mut asking = Process::start(&[&before[..], words].concat())?;
    let status = asking.end()?;
    Ok((status, asking))
}

fn told(house: &House) -> Result<Value> {
    let (status, asking) = ctl(house, &["backends", "--json"])?;
    ensure!(status.success(), "{}", asking.log().join("\n"));
    let text = asking.output().join("\n");
    // The test harness of the program itself says something before and after.
    let (from, to) = (text.find("{\n"), text.rfind('}'));
    let json = from.zip(to).and_then(|(from, to)| text.get(from..=to));
    Ok(serde_json::from_str(json.context("no JSON was printed")?)?)
}

#[test]
fn ctl_tells_of_data_servers_and_of_backends_that_are_away() -> Result<()> {
    let house = House::new()?;
    let _ds = house.start_ds()?;
    let exports = format!("{}{AWAY}", export("/data"));
    let file = house.mds_file("", &exports)?;
    let words = ["headrace", "mds", "--config", &file];
    let mut mds = Process::start(&words)?;
    mds.says("serving NFSv4")?;
    let socket = house.path("mds").join("control.sock");
    let mode = std::fs::metadata(&socket)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its own user and root");

    let first = told(&house)?;
    assert_eq!(first["data_servers"][0]["name"], "nvme1");
    assert_eq!(first["data_servers"][0]["state"], "up");
    assert!(first["data_servers"][0]["total_bytes"].as_u64() > Some(0));
    let junction = &first["junctions"][0];
    assert_eq!(junction["path"], "/data/vol");
    assert_eq!(junction["place"], "127.0.0.1:/vol");
    assert_eq!(junction["state"], "away");
    assert!(junction["why"].is_string(), "{junction}");
    assert_eq!(junction["unsent_bytes"], 0);

    let (status, asking) = ctl(&house, &["backends"])?;
    assert!(status.success());
    asking.says("nvme1")?;
    asking.says("filer is away: ")?;

    // A socket of one that was killed is no obstacle, and one that ended leaves none.
    mds.kill()?;
    assert!(socket.exists());
    let mut mds = Process::start(&words)?;
    mds.says("serving NFSv4")?;
    assert_eq!(told(&house)?["data_servers"][0]["name"], "nvme1");
    assert!(mds.terminate()?.success());
    assert!(!socket.exists());
    Ok(())
}

/// So many that nothing is listed while the test lasts.
const REFUSALS: usize = 100_000;

#[test]
fn ctl_pauses_a_scan_and_lets_it_go_on() -> Result<()> {
    let house = House::new()?;
    let _ds = house.start_ds()?;
    let runtime = Runtime::new()?;
    let tree = MemoryTree::new("filer").judging();
    let filer = runtime.block_on(Filer::start(tree, Habits::default()));
    for _ in 0..REFUSALS {
        filer.plan(Procedure::Readdirplus, Accident::Refused(Nfsstat3::Jukebox));
    }
    let port = filer.address.port();
    let taken_over = format!(
        "\n[[backend]]\nname = \"filer1\"\nkind = \"nfs\"\nmode = \"assimilated\"\nserver = \"127.0.0.1:{port}\"\n\
         mount_port = {port}\nexport = \"{EXPORT}\"\n[[junction]]\npath = \"/data/vol\"\nbackend = \"filer1\"\n"
    );
    let file = house.mds_file("", &format!("{}{taken_over}", export("/data")))?;
    let mut mds = Process::start(&["headrace", "mds", "--config", &file])?;
    mds.says("serving NFSv4")?;
    let state = || -> Result<String> {
        let state = &told(&house)?["scans"][0]["state"];
        Ok(state.as_str().context("a state")?.to_owned())
    };
    // While the filer refuses, it is held, and goes on trying.
    let goes_on = || Ok(["scanning", "held"].contains(&&*state()?));
    until("the scan has begun", goes_on)?;
    let (status, asking) = ctl(&house, &["scan", "pause", "filer1"])?;
    assert!(status.success(), "{}", asking.log().join("\n"));
    assert_eq!(state()?, "paused");
    let (status, asking) = ctl(&house, &["scan", "pause", "filer2"])?;
    assert!(!status.success());
    asking.says("no scan of a backend filer2 is under way")?;
    let (status, asking) = ctl(&house, &["scan", "resume", "filer1"])?;
    assert!(status.success(), "{}", asking.log().join("\n"));
    assert!(goes_on()?);
    assert!(mds.terminate()?.success());
    Ok(())
}

#[test]
fn ctl_says_that_nobody_answers() -> Result<()> {
    let house = House::new()?;
    let (status, asking) = ctl(&house, &["backends"])?;
    assert!(!status.success());
    asking.says("there is no folder")?;
    std::fs::create_dir(house.path("mds"))?;
    let (status, asking) = ctl(&house, &["backends"])?;
    assert!(!status.success());
    asking.says("no metadata server answers at")?;
    Ok(())
}
