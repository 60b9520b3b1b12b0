//! What can't work is told in one line at the start, and `headrace check` says what each data server was seen to do.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use headrace::check::{Asking, Report, check};
use headrace::metadata::{DataServerSpec, Running};
use headrace::observe::{Alive, Observed, Readiness};
use headrace::sources::MetadataSource;
use wire::nfs4::Layoutiomode4;

use crate::stranger::{Fault, Stranger};
use crate::world::{World, data_server, until, watchful};

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
pub fn file_of(world: &World, folder: &std::path::Path) -> Result<std::path::PathBuf> {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:2049\"\nstate_dir = \"{}\"\n",
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
    let mut world = World::with(2, watchful).await?;
    let folder = tempfile::tempdir()?;
    let path = file_of(&world, folder.path())?;
    // From its first order on they obey this metadata server alone: not in the middle of the check.
    until("both data servers have a metadata server", async || {
        Ok(world.data_server_terms().iter().all(|term| *term > 0))
    })
    .await?;
    let report = check(&path, Asking::AsMetadataServer, None).await?;
    assert_eq!(report.exit_code(), 0, "{report}");
    world.stop_data_server(1).await?;
    let report = check(&path, Asking::AsMetadataServer, None).await?;
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

/// What `/metrics` shows of the world's metadata server.
async fn metrics(world: &World) -> Result<String> {
    let source = MetadataSource::of(world.running()).await?;
    let observed = Observed {
        readiness: Readiness::starting("a test"),
        alive: Alive::default(),
        sources: vec![Arc::new(source)],
    };
    Ok(observed.metrics()?)
}

async fn shows(world: &World, name: &str, health: &str) -> Result<bool> {
    let line = format!(
        "headrace_data_server_health{{role=\"mds\",data_server=\"{name}\",health=\"{health}\"}} 1"
    );
    Ok(metrics(world)
        .await?
        .lines()
        .any(|shown| shown.starts_with(&line)))
}

pub fn stranger_at(name: &str, address: SocketAddr) -> DataServerSpec {
    DataServerSpec {
        name: name.into(),
        ..data_server(9, address)
    }
}

#[tokio::test]
async fn an_unfit_data_server_is_shown_as_such_gets_no_file_and_is_taken_in_once_it_is_mended()
-> Result<()> {
    for fault in [
        Fault::OldOwnersWrite,
        Fault::ReadersWrite,
        Fault::SquashesRoot,
        Fault::RefusesMount,
    ] {
        let stranger = Stranger::start(fault, 1).await?;
        let mut world = World::with(1, |spec| {
            watchful(spec);
            let address = stranger.addresses[0];
            spec.data_servers.push(stranger_at("stranger", address));
        })
        .await?;
        until("it is found out", async || {
            shows(&world, "stranger", "unfit").await
        })
        .await?;
        until("the other is in use", async || {
            shows(&world, "ds0", "up").await
        })
        .await?;
        let a = world.client("a").await?;
        let root = a.root().await?;
        for number in 0..4 {
            let file = a.open_create(&root, &format!("f{number}")).await?;
            world.to_write(&a, &file).await?.write(0, "x").await?;
        }
        let left = stranger.names();
        assert!(
            left.iter().all(|name| name == "data"),
            "{fault:?} left {left:?}"
        );
        stranger.set(Fault::None);
        until("it is taken in", async || {
            shows(&world, "stranger", "up").await
        })
        .await?;
        world.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_data_server_that_is_away_at_the_start_shows_as_down() -> Result<()> {
    // Held and never listened on: no other test gets the port meanwhile.
    let nobody = tokio::net::TcpSocket::new_v4()?;
    nobody.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
    let address = nobody.local_addr()?;
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.data_servers.push(stranger_at("stranger", address));
    })
    .await?;
    assert!(shows(&world, "stranger", "down").await?);
    world.stop().await
}

#[tokio::test]
async fn a_stranger_under_two_addresses_is_refused_and_two_strangers_with_one_root_handle_are_not()
-> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let one = Stranger::start(Fault::None, 2).await?;
    let line = refused(&world, |spec| {
        spec.data_servers = vec![
            stranger_at("s1", one.addresses[0]),
            stranger_at("s2", one.addresses[1]),
        ];
    })
    .await?;
    assert!(
        line.contains("s1 and s2 are one and the same") && !line.contains('\n'),
        "{line}"
    );
    let (a, b) = (
        Stranger::start(Fault::None, 1).await?,
        Stranger::start(Fault::None, 1).await?,
    );
    let mut two = World::with(0, |spec| {
        spec.stripe_count = 2;
        spec.data_servers = vec![
            stranger_at("s1", a.addresses[0]),
            stranger_at("s2", b.addresses[0]),
        ];
    })
    .await?;
    both_serve(&two).await?;
    two.restart().await?;
    both_serve(&two).await?;
    two.stop().await?;
    world.ends_without_leak().await
}

/// A busy machine may take one for away at the start; it is taken in when it answers.
async fn both_serve(world: &World) -> Result<()> {
    until("both strangers are in service", async || {
        Ok(shows(world, "s1", "up").await? && shows(world, "s2", "up").await?)
    })
    .await
}

/// Our data server, listening at two addresses.
fn at_two_addresses(folder: &std::path::Path) -> Result<ds::Running> {
    let mut config = ds::Config::new(folder);
    config.listen = vec!["127.0.0.1:0".parse()?, "127.0.0.1:0".parse()?];
    config.engine = ds::EngineChoice::Threads;
    Ok(ds::Server::start(config)?)
}

#[tokio::test]
async fn one_data_server_of_ours_under_two_addresses_is_refused() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let folder = tempfile::tempdir()?;
    let running = at_two_addresses(folder.path())?;
    let specs: Vec<DataServerSpec> = (1..)
        .zip(running.addresses())
        .map(|(number, address)| data_server(number, *address))
        .collect();
    let line = refused(&world, |spec| spec.data_servers = specs).await?;
    assert!(line.contains("ds1 and ds2 are one and the same"), "{line}");
    running.stop().await;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_second_address_of_a_data_server_that_comes_up_later_is_left_out() -> Result<()> {
    let stranger = Stranger::start(Fault::None, 2).await?;
    let away = std::net::TcpListener::bind("127.0.0.1:0")?;
    let second = away.local_addr()?;
    drop(away);
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.data_servers = vec![
            stranger_at("s1", stranger.addresses[0]),
            stranger_at("s2", second),
        ];
    })
    .await?;
    assert!(shows(&world, "s2", "down").await?);
    stranger.listen_at(second).await?;
    until("it is known for what it is", async || {
        shows(&world, "s2", "unfit").await
    })
    .await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let device = a
        .getdeviceinfo(held.layout.mirrors[0].data_servers[0].deviceid)
        .await?;
    assert_eq!(
        device.netaddrs[0].to_socket_addr(),
        Some(stranger.addresses[0])
    );
    a.layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    world.stop().await
}

async fn checked(stranger: &Stranger) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let address = stranger.addresses[0];
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:2049\"\nstate_dir = \"/state\"\n\
         [[data_server]]\nname = \"s1\"\naddress = \"{address}\"\nmount_port = {}\nexport = \"/x\"\n\
         [[export]]\npath = \"/\"\nclients = \"127.0.0.1\"\n",
        address.port()
    );
    let path = folder.path().join("mds.toml");
    std::fs::write(&path, text)?;
    Ok(check(&path, Asking::AsMetadataServer, None).await?)
}

#[tokio::test]
async fn a_check_says_of_each_stranger_what_makes_it_unfit_and_leaves_nothing_there() -> Result<()>
{
    for (fault, said) in [
        (
            Fault::OldOwnersWrite,
            "lets an owner write whose file was given to another",
        ),
        (Fault::ReadersWrite, "lets a reader write"),
        (Fault::SquashesRoot, "doesn't let the metadata server"),
        (Fault::RefusesMount, "doesn't let this host mount /x"),
        (Fault::IgnoresGuards, "ignores the guard of a SETATTR"),
    ] {
        let stranger = Stranger::start(fault, 1).await?;
        let report = checked(&stranger).await?;
        assert_eq!(report.exit_code(), 1, "{fault:?}: {report}");
        assert!(report.to_string().contains(said), "{fault:?}: {report}");
        assert_eq!(stranger.names(), [""; 0], "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_check_finds_a_stranger_fit_and_notices_a_clock_that_is_late() -> Result<()> {
    let stranger = Stranger::start(Fault::None, 1).await?;
    let report = checked(&stranger).await?;
    assert_eq!(report.exit_code(), 0, "{report}");
    stranger.set(Fault::LateClock);
    let report = checked(&stranger).await?;
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(
        report.to_string().contains("has a clock that is 360"),
        "{report}"
    );
    Ok(())
}
