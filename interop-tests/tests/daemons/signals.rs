//! SIGTERM drains and exits 0, SIGHUP reads the file again, and what was written outlives both.

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, Failure, delegated};
use wire::nfs4::{GetDirDelegation4Ok, Nfsstat4, OPEN4_SHARE_ACCESS_BOTH};

use crate::process::{House, Process, export};

/// Writes a file through the server, and reads it back as a client that comes later.
async fn write(address: std::net::SocketAddr, name: &str) -> Result<()> {
    let client = Client::mount(address, "writer").await?;
    let root = client.root().await?;
    // After a restart nothing new is opened in grace.
    let file = at_last(async || client.open_create(&root, name).await).await?;
    at_last(async || client.write(&file.fh, file.stateid, 0, "kept").await).await?;
    client.close(&file).await?;
    Ok(())
}

async fn read(address: std::net::SocketAddr, name: &str) -> Result<String> {
    let client = Client::mount(address, "reader").await?;
    let root = client.root().await?;
    let file = at_last(async || client.open_to_read(&root, name).await).await?;
    let got = at_last(async || client.read(&file.fh, file.stateid, 0, 100).await).await?;
    Ok(String::from_utf8(got.data.to_vec())?)
}

pub async fn at_last<T>(ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        match ask().await {
            Err(Failure::Status {
                status: Nfsstat4::Grace | Nfsstat4::Delay,
                ..
            }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            answer => return Ok(answer?),
        }
    }
}

#[tokio::test]
async fn terminated_servers_end_what_is_under_way_exit_0_and_have_everything_at_the_next_start()
-> Result<()> {
    let house = House::new()?;
    let (mut ds, mut mds) = (house.start_ds()?, house.start_mds()?);
    write(house.mds(), "f").await?;
    assert!(mds.terminate()?.success(), "{:?}", mds.log());
    mds.says("stopping: what is under way is ended")?;
    assert!(ds.terminate()?.success(), "{:?}", ds.log());
    let (mut ds, mut mds) = (house.start_ds()?, house.start_mds()?);
    assert_eq!(read(house.mds(), "f").await?, "kept");
    // With a client that is connected and goes on asking.
    let client = Client::mount(house.mds(), "lasting").await?;
    assert!(mds.terminate()?.success(), "{:?}", mds.log());
    assert!(client.root().await.is_err(), "nobody serves any more");
    assert!(ds.terminate()?.success(), "{:?}", ds.log());
    Ok(())
}

#[tokio::test]
async fn a_demo_started_again_on_its_folder_has_its_data() -> Result<()> {
    let house = House::new()?;
    let metrics = house.at_port(20_500).to_string();
    for round in 0..2 {
        let mut demo = house.start_demo(&["--metrics-listen", &metrics, "--lease-seconds", "5"])?;
        demo.says("ready: 3 data servers")?;
        let line = demo.says("mount -t nfs4")?;
        let typed = format!("port={} {}:/ /mnt", house.mds().port(), house.ip);
        assert!(line.contains(&typed), "{line}");
        if round == 0 {
            write(house.mds(), "f").await?;
        } else {
            assert_eq!(read(house.mds(), "f").await?, "kept");
        }
        assert!(demo.terminate()?.success(), "{:?}", demo.log());
    }
    Ok(())
}

#[tokio::test]
async fn a_demo_delegates_files_and_folders_only_when_it_is_told_to() -> Result<()> {
    let house = House::new()?;
    let plain = ["--lease-seconds", "5"];
    let told = [&plain[..], &["--delegations"]].concat();
    for (words, name, wanted) in [(&plain[..], "plain", false), (&told, "told", true)] {
        let mut demo = house.start_demo(words)?;
        demo.says("ready: 3 data servers")?;
        let client = Client::mount(house.mds(), "lone").await?;
        let root = client.root().await?;
        let made = at_last(async || client.open_create(&root, "f").await).await?;
        client.close(&made).await?;
        let opened = client
            .open_wanting(&root, "f", OPEN4_SHARE_ACCESS_BOTH)
            .await?;
        let file = delegated(&opened.opened.delegation).is_some();
        let folder = client.mkdir(&root, name).await?;
        let asked = client.get_dir_delegation(&folder).await;
        let folder = matches!(asked, Ok(GetDirDelegation4Ok::Ok(_)));
        assert_eq!((file, folder), (wanted, wanted), "{words:?}");
        assert!(demo.terminate()?.success(), "{:?}", demo.log());
    }
    Ok(())
}

#[tokio::test]
async fn a_hang_up_changes_what_can_change_and_names_what_can_not() -> Result<()> {
    let house = House::new()?;
    let _ds = house.start_ds()?;
    let file = house.mds_file("lease_seconds = 5", &export("/a"))?;
    let mut mds = Process::start(&["headrace", "mds", "--config", &file])?;
    mds.says("serving NFSv4 on")?;
    let client = Client::mount(house.mds(), "c").await?;
    client.walk("/a").await?;
    assert!(client.walk("/b").await.is_err(), "/b isn't exported yet");

    house.mds_file("lease_seconds = 7", &(export("/a") + &export("/b")))?;
    mds.signal("HUP")?;
    let applied = mds.says("reloaded: ")?;
    assert!(applied.contains("export"), "{applied}");
    let waits = mds.says("these take effect with a restart: ")?;
    assert!(waits.contains("lease_seconds"), "{waits}");
    client.walk("/b").await?;

    house.mds_file("lease_secnods = 7", &export("/a"))?;
    mds.signal("HUP")?;
    mds.says("the configuration stays as it was")?;
    mds.says("did you mean `lease_seconds`?")?;
    client.walk("/b").await?;
    assert!(mds.terminate()?.success(), "{:?}", mds.log());
    Ok(())
}

#[test]
fn a_data_server_that_is_hung_up_says_what_waits_for_a_restart() -> Result<()> {
    let house = House::new()?;
    let mut ds = house.start_ds()?;
    house.ds_file("capacity = \"1GiB\"\nlog_level = \"debug\"")?;
    ds.signal("HUP")?;
    let applied = ds.says("reloaded: ")?;
    assert!(applied.contains("log_level"), "{applied}");
    let waits = ds.says("these take effect with a restart: ")?;
    assert!(waits.contains("capacity"), "{waits}");
    assert!(ds.terminate()?.success(), "{:?}", ds.log());
    Ok(())
}

#[test]
fn a_configuration_with_faults_ends_the_start_and_shows_them_all() -> Result<()> {
    let house = House::new()?;
    let file = house.mds_file("lease_secnods = 7", &export("relative"))?;
    let mut mds = Process::start(&["headrace", "mds", "--config", &file])?;
    assert!(!mds.end()?.success());
    mds.says("did you mean `lease_seconds`?")?;
    let line = mds.says("relative")?;
    assert!(line.contains("path"), "{line}");
    mds.log()
        .iter()
        .find(|line| line.contains("mds.toml:"))
        .context("the place of a fault")?;
    Ok(())
}
