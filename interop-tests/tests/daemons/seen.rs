//! What the servers show over HTTP: every number that is promised, sane after real work.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;

use anyhow::{Context, Result};
use interop_tests::nfs41::Client;
use wire::nfs4::Layoutiomode4;

use crate::process::{House, Process, export, get, until};

/// Values by series, labels as they are written.
fn scrape(address: std::net::SocketAddr) -> Result<BTreeMap<String, f64>> {
    let (status, text) = get(address, "/metrics")?;
    anyhow::ensure!(status == 200, "{status}: {text}");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').context("a series and a value")?;
            Ok((series.to_owned(), value.parse()?))
        })
        .collect()
}

/// Sum over the series that begin with `name` and hold all of `labels`.
fn sum(all: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let named = |series: &str| series == name || series.starts_with(&format!("{name}{{"));
    all.iter()
        .filter(|(series, _)| named(series) && labels.iter().all(|label| series.contains(label)))
        .map(|(_, value)| value)
        .sum()
}

fn has(all: &BTreeMap<String, f64>, name: &str) -> bool {
    all.keys()
        .any(|series| series == name || series.starts_with(&format!("{name}{{")))
}

#[tokio::test]
async fn after_real_work_every_promised_number_is_there_and_sane() -> Result<()> {
    let house = House::new()?;
    let (_ds, _mds) = (house.start_ds()?, house.start_mds()?);
    let client = Client::mount(house.mds(), "c").await?;
    let root = client.root().await?;
    let file = client.open_create(&root, "f").await?;
    client
        .write(&file.fh, file.stateid, 0, vec![1; 1000])
        .await?;
    client.read(&file.fh, file.stateid, 0, 600).await?;
    let (_, layout) = client
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
        .await?;
    let data_server = &layout.mirrors[0].data_servers[0];
    direct(&client, data_server).await?;
    // The size is asked for, and an open of what isn't there is an error.
    assert!(client.open(&root, "absent").await.is_err());

    let mds = scrape(house.mds_metrics())?;
    let opens = ["operation=\"OPEN\""];
    assert!(sum(&mds, "headrace_operations_total", &opens) >= 2.0);
    let noent = ["operation=\"OPEN\"", "status=\"NOENT\""];
    assert!((sum(&mds, "headrace_operation_errors_total", &noent) - 1.0).abs() < 0.5);
    let counted = sum(&mds, "headrace_operation_latency_seconds_count", &opens);
    assert!((counted - sum(&mds, "headrace_operations_total", &opens)).abs() < 0.5);
    let seconds = sum(&mds, "headrace_operation_latency_seconds_sum", &opens);
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    let all = ["operation=\"OPEN\"", "le=\"+Inf\""];
    let in_buckets = sum(&mds, "headrace_operation_latency_seconds_bucket", &all);
    assert!((in_buckets - counted).abs() < 0.5);
    for (direction, bytes) in [("written", 1000.0), ("read", 600.0)] {
        let labels = ["path=\"proxy\"", &*format!("direction=\"{direction}\"")];
        let seen = sum(&mds, "headrace_data_bytes_total", &labels);
        assert!((seen - bytes).abs() < 0.5, "{direction}: {seen}");
    }
    for (gauge, least) in [
        ("headrace_clients", 1.0),
        ("headrace_sessions", 1.0),
        ("headrace_opens", 1.0),
        ("headrace_layouts", 1.0),
        ("headrace_ready", 1.0),
    ] {
        assert!(sum(&mds, gauge, &[]) >= least, "{gauge}");
    }
    for there in [
        "headrace_locks",
        "headrace_objects_to_delete",
        "headrace_recalls_pending",
        "headrace_recalls_total",
        "headrace_recalls_timed_out_total",
        "headrace_fences_total",
        "headrace_settled_total",
        "headrace_layout_errors_total",
        "headrace_compounds_total",
        "headrace_catalog_conflicts_total",
        "headrace_cached_reply_bytes",
        "headrace_data_server_free_bytes",
        "headrace_data_server_total_bytes",
        "headrace_data_server_health",
    ] {
        assert!(has(&mds, there), "{there}");
    }
    let commits = sum(&mds, "headrace_catalog_commits_total", &[]);
    let batches = sum(&mds, "headrace_catalog_batches_total", &[]);
    assert!(commits >= batches && batches > 0.0, "{commits} {batches}");
    let sizes = "headrace_catalog_batch_transactions";
    assert!((sum(&mds, &format!("{sizes}_count"), &[]) - batches).abs() < 5.0);
    assert!(sum(&mds, &format!("{sizes}_sum"), &[]) >= batches);
    assert!(sum(&mds, &format!("{sizes}_bucket"), &["le=\"1.0\""]) > 0.0);

    let ds = scrape(house.ds_metrics())?;
    let writes = ["operation=\"WRITE\""];
    assert!(sum(&ds, "headrace_operations_total", &writes) >= 2.0);
    assert!(sum(&ds, "headrace_operation_latency_seconds_count", &writes) >= 2.0);
    // Of the client itself, and of the metadata server for it.
    let written = ["path=\"direct\"", "direction=\"written\""];
    assert!((sum(&ds, "headrace_data_bytes_total", &written) - 1500.0).abs() < 0.5);
    let of_client = ["direction=\"written\"", "client=\"127."];
    assert!((sum(&ds, "headrace_client_bytes_total", &of_client) - 1500.0).abs() < 0.5);
    for (name, least) in [
        ("headrace_connections", 1.0),
        ("headrace_connections_accepted_total", 1.0),
        ("headrace_mount_calls_total", 1.0),
        ("headrace_space_free_bytes", 1.0),
        ("headrace_space_total_bytes", 1.0),
        ("headrace_mds_term", 1.0),
        ("headrace_ready", 1.0),
    ] {
        assert!(sum(&ds, name, &[]) >= least, "{name}");
    }
    for there in [
        "headrace_fences_total",
        "headrace_rpc_refusals_total",
        "headrace_connections_refused_total",
        "headrace_connections_cut_total",
        "headrace_in_flight_requests",
        "headrace_in_flight_bytes",
        "headrace_open_objects",
        "headrace_cut_off_bytes",
    ] {
        assert!(has(&ds, there), "{there}");
    }
    Ok(())
}

/// 500 bytes straight to the data server, as the layout allows.
async fn direct(client: &Client, at: &wire::nfs4::flex::DataServer) -> Result<()> {
    let device = client.getdeviceinfo(at.deviceid).await?;
    let address = device.netaddrs[0]
        .to_socket_addr()
        .context("an address over TCP")?;
    let id = |text: &[u8]| anyhow::Ok(std::str::from_utf8(text)?.parse::<u32>()?);
    let caller = nfs_client::Caller::sys("client", id(&at.user)?, id(&at.group)?, &[]);
    let straight = nfs_client::Client::new(address, caller, &nfs_client::Options::default());
    let handle = wire::nfs3::Fh3::new(at.fh_vers[0].clone()).context("a handle")?;
    straight
        .write(
            &handle,
            0,
            wire::nfs3::StableHow::FileSync,
            vec![2; 500].into(),
        )
        .await?;
    Ok(())
}

#[test]
fn a_server_that_starts_is_alive_and_ready_only_when_it_serves() -> Result<()> {
    let house = House::new()?;
    // In the place of the data server stands one that takes the call and says nothing: the start waits for it.
    let silent = TcpListener::bind(house.ds())?;
    let file = house.mds_file("", &export("/"))?;
    let mds = Process::start(&["headrace", "mds", "--config", &file])?;
    let (mut call, _) = silent.accept()?;
    let (status, body) = get(house.mds_metrics(), "/healthz")?;
    assert!(
        status == 200 && body.contains("\"alive\":true") && body.contains("starting"),
        "{status}: {body}"
    );
    assert_eq!(get(house.mds_metrics(), "/healthz?ready")?.0, 503);
    drop(silent);
    call.set_nonblocking(true)?;
    let _ = call.read(&mut [0; 64]);
    drop(call);
    mds.says("serving NFSv4 on")?;
    until("it is ready", || {
        Ok(get(house.mds_metrics(), "/healthz?ready")?.0 == 200)
    })
}

#[test]
fn data_servers_and_demos_show_their_health_too() -> Result<()> {
    let house = House::new()?;
    let ds = house.start_ds()?;
    until("the data server is ready", || {
        Ok(get(house.ds_metrics(), "/readyz")?.0 == 200)
    })?;
    drop(ds);
    let metrics = house.at_port(20_500).to_string();
    let demo = house.start_demo(&["--data-servers", "1", "--metrics-listen", &metrics])?;
    demo.says("ready: 1 data servers")?;
    until("the demo is ready", || {
        Ok(get(house.at_port(20_500), "/readyz")?.0 == 200)
    })?;
    let (_, body) = get(house.at_port(20_500), "/healthz")?;
    assert!(body.contains("\"alive\":true"), "{body}");
    Ok(())
}
