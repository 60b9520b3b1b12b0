//! What can't work is told in one line at the start, and `headrace check` says what each data server was seen to do.

use anyhow::Result;
use headrace::check::{Asking, check};
use headrace::metadata::Running;
use std::fmt::Write as _;

use crate::world::World;

/// The line that a start failed with.
async fn refused(
    world: &World,
    change: impl FnOnce(&mut headrace::metadata::Spec),
) -> Result<String> {
    let other = tempfile::tempdir()?;
    let mut spec = world.spec().clone();
    spec.listen = vec!["127.0.0.1:0".parse()?];
    spec.state_dir = other.path().to_owned();
    change(&mut spec);
    let Err(error) = Running::start(spec, None).await else {
        anyhow::bail!("it started")
    };
    Ok(format!("{error:#}"))
}

#[tokio::test]
async fn two_entries_that_are_one_data_server_are_refused_in_one_line() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let line = refused(&world, |spec| {
        let twin = headrace::metadata::DataServerSpec {
            name: "twin".into(),
            ..spec.data_servers[0].clone()
        };
        spec.data_servers.push(twin);
    })
    .await?;
    assert!(
        line.contains("ds0 and twin are one and the same") && !line.contains('\n'),
        "{line}"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_second_server_on_one_namespace_is_refused_in_one_line() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let state_dir = world.spec().state_dir.clone();
    let line = refused(&world, |spec| spec.state_dir = state_dir).await?;
    assert!(line.contains("catalog") && !line.contains('\n'), "{line}");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_second_server_on_one_address_is_refused_in_one_line() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let line = refused(&world, |spec| spec.listen = vec![world.address]).await?;
    assert!(
        line.contains("can't listen on") && !line.contains('\n'),
        "{line}"
    );
    world.ends_without_leak().await
}

/// A file for `headrace check` that names these data servers.
fn file_of(world: &World, folder: &std::path::Path) -> Result<std::path::PathBuf> {
    let mut text = format!(
        "[server]\nstate_dir = \"{}\"\n",
        folder.join("mds").display()
    );
    for server in &world.spec().data_servers {
        write!(
            text,
            "\n[[data_server]]\nname = \"{}\"\naddress = \"{}:{}\"\nexport = \"{}\"\n",
            server.name, server.host, server.port, server.export
        )?;
    }
    text += "\n[[export]]\npath = \"/\"\nclients = [\"127.0.0.0/8\"]\n";
    let path = folder.join("mds.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

#[tokio::test]
async fn a_check_finds_our_data_servers_fit_and_one_that_is_away_unfit() -> Result<()> {
    let mut world = World::start().await?;
    let folder = tempfile::tempdir()?;
    let path = file_of(&world, folder.path())?;
    let report = check(&path, Asking::AsMetadataServer).await?;
    assert_eq!(report.exit_code(), 0, "{report}");
    world.stop_data_server(1).await?;
    let report = check(&path, Asking::AsMetadataServer).await?;
    assert_eq!(report.exit_code(), 1, "{report}");
    let fit: Vec<bool> = report
        .verdicts
        .iter()
        .map(headrace::check::Verdict::is_fit)
        .collect();
    assert_eq!(fit, [true, false], "{report}");
    world.start_data_server(1)?;
    world.ends_without_leak().await
}
