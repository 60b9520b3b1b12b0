//! What stands in the log of a metadata server whose data server goes and comes.

use anyhow::Result;
use interop_tests::nfs41::{Client, StatusOf};
use wire::nfs4::{Layoutiomode4, Nfsstat4};

use crate::process::{House, get, until};

fn health(house: &House, health: &str) -> Result<bool> {
    let line = format!(
        "headrace_data_server_health{{role=\"mds\",data_server=\"nvme1\",health=\"{health}\"}} 1"
    );
    Ok(get(house.mds_metrics(), "/metrics")?.1.contains(&line))
}

#[tokio::test]
async fn an_outage_is_one_line_when_it_begins_and_one_when_it_ends_however_much_is_asked_meanwhile()
-> Result<()> {
    let house = House::new()?;
    let mut ds = house.start_ds()?;
    let mds = house.start_mds()?;
    let client = Client::mount(house.mds(), "c").await?;
    let root = client.root().await?;
    let mut files = Vec::new();
    for number in 0..4 {
        let file = client.open_create(&root, &format!("f{number}")).await?;
        client.write(&file.fh, file.stateid, 0, "before").await?;
        let _held = client
            .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
            .await?;
        files.push(file);
    }
    let before = mds.log().len();
    ds.kill()?;
    // Reads, writes, creates and layouts, until it is known to be down and a good while after.
    for round in 0..40 {
        for file in &files {
            let read = client.read(&file.fh, file.stateid, 0, 10).await;
            assert_eq!(read.status(), Nfsstat4::Delay);
            let written = client.write(&file.fh, file.stateid, 0, "x").await;
            assert_eq!(written.status(), Nfsstat4::Delay);
            let _refused = client
                .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
                .await;
        }
        if let Ok(new) = client.open_create(&root, &format!("n{round}")).await {
            let _refused = client.write(&new.fh, new.stateid, 0, "x").await;
        }
    }
    until("it is known to be down", || health(&house, "down"))?;
    mds.says("nvme1 is down")?;
    let during: Vec<String> = mds.log().split_off(before);
    assert_eq!(during.len(), 1, "{during:#?}");
    let _ds = house.start_ds()?;
    until("it is known to be up", || health(&house, "up"))?;
    mds.says("nvme1 is back")?;
    let all: Vec<String> = mds.log().split_off(before);
    assert_eq!(all.len(), 2, "{all:#?}");
    Ok(())
}

#[tokio::test]
async fn a_data_server_that_is_away_at_the_start_is_one_line_with_the_way_out() -> Result<()> {
    let house = House::new()?;
    let mds = house.start_mds()?;
    let line = mds.says("nvme1")?;
    let place = format!("({}/nvme) is away, and its files wait", house.ds());
    assert!(
        line.contains(&place) && line.contains("Is it running"),
        "{line}"
    );
    assert!(health(&house, "down")?);
    let _ds = house.start_ds()?;
    until("it is taken in", || health(&house, "up"))?;
    mds.says("is there")?;
    let about: Vec<String> = mds
        .log()
        .into_iter()
        .filter(|line| line.contains("nvme1"))
        .collect();
    assert_eq!(about.len(), 2, "{about:#?}");
    Ok(())
}
