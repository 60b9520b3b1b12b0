//! The roles that the binary plays: `mds`, `ds`, `demo`. From a configuration or command line to
//! running servers.

pub(crate) mod specs;

use crate::check::accounts_inside;
use crate::cli::{DemoArgs, LogArgs};
use crate::control::{Asked, Control};
use crate::daemon::{Shown, start_log, until_stopped};
use crate::metadata::{DataServerSpec, ExportSpec, IdentitySpec, Keeper, Running, Spec, Watch};
use crate::net;
use crate::observe::{Later, Source};
use crate::sources::{DataSource, MetadataSource};
use anyhow::Context;
use backend_s3::S3Upstream;
use config::{DsConfig, Engine, LogFormat, LogLevel, MdsConfig};
use mds::state::Limits;
use mds::{Access, Delegations, ServerCopy, Squash};
use specs::{backends, exports, identity, junctions, keeper, referrals, server_copy, spec};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Names a step of the catalog at which the process kills itself: `before-sync:12`. For crash tests.
const FAILPOINT: &str = "HEADRACE_FAILPOINT";

fn failpoint() -> anyhow::Result<Option<catalog::failpoint::Failpoint>> {
    match std::env::var(FAILPOINT) {
        Ok(named) => Ok(Some(named.parse().with_context(|| FAILPOINT.to_owned())?)),
        Err(_) => Ok(None),
    }
}

fn runtime(workers: Option<u32>, blocking: u32) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .max_blocking_threads(blocking as usize)
        .thread_name("headrace");
    if let Some(workers) = workers {
        builder.worker_threads(workers as usize);
    }
    builder.build().context("the runtime can't be started")
}

pub fn mds(path: &Path, log: LogArgs) -> anyhow::Result<()> {
    let config = MdsConfig::load(path)?;
    let control = start_log(log, config.server.log_format, config.server.log_level)?;
    runtime(config.server.worker_threads, config.server.blocking_threads)?.block_on(async {
        let source = Arc::new(Later::default());
        let shown =
            Shown::start(config.server.metrics_listen, vec![Arc::clone(&source) as _]).await?;
        refuse_accounts(config.layout.ids)?;
        let running = Running::start(spec(&config), failpoint()?).await?;
        let measured = Arc::new(MetadataSource::of(&running).await?);
        source.set(Arc::clone(&measured) as _);
        let _control = Control::start(&config.server.state_dir, Asked(measured))?;
        shown.alive.set(beats(&running));
        let status = format!("serving NFSv4 on {}", listed(&running.addresses));
        tracing::info!("{status}");
        let mut current = config.clone();
        until_stopped(&shown, &status, async || match MdsConfig::load(path) {
            Err(faults) => tracing::error!("the configuration stays as it was:\n{faults}"),
            Ok(new) => {
                let diff = current.reload_diff(&new);
                let next = current.reloaded(&new);
                control.set_level(next.server.log_level);
                if let Err(error) = running
                    .change_exports(
                        &exports(&next),
                        &referrals(&next),
                        (&backends(&next), &junctions(&next)),
                    )
                    .await
                {
                    tracing::error!(
                        "exports, referrals and junctions stay as they were: {error:#}"
                    );
                    return;
                }
                running.change_identity(&identity(&next));
                running.change_server_copy(server_copy(&next));
                current = next;
                tell_reload(&diff);
            }
        })
        .await?;
        running.stop().await;
        Ok(())
    })
}

/// The ids of layouts belong to nobody: an account that had one could write what a layout lets.
fn refuse_accounts(ids: config::IdRange) -> anyhow::Result<()> {
    let accounts = accounts_inside(ids);
    anyhow::ensure!(
        accounts.is_empty(),
        "layout.ids holds ids of accounts of this host ({}): choose a range that nobody has",
        accounts.join(", ")
    );
    Ok(())
}

fn tell_reload(diff: &config::ReloadDiff) {
    if diff.is_empty() {
        tracing::info!("reloaded: nothing has changed");
    }
    if !diff.applied.is_empty() {
        tracing::info!("reloaded: {}", diff.applied.join(", "));
    }
    if !diff.needs_restart.is_empty() {
        tracing::warn!(
            "these take effect with a restart: {}",
            diff.needs_restart.join(", ")
        );
    }
}

/// Whether the server's own round still comes about: for the supervisor's watchdog and `/healthz`.
fn beats(running: &Running) -> impl Fn() -> bool + Send + Sync + 'static {
    let server = Arc::clone(&running.server);
    move || server.keeps_house()
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

pub fn ds(path: &Path, log: LogArgs) -> anyhow::Result<()> {
    let config = DsConfig::load(path)?;
    let control = start_log(log, config.ds.log_format, config.ds.log_level)?;
    runtime(Some(2), 8)?.block_on(async {
        let source = Arc::new(Later::default());
        let shown = Shown::start(config.ds.metrics_listen, vec![Arc::clone(&source) as _]).await?;
        let told = ds::Config {
            cache: cache(&config).await,
            ..data_config(&config)
        };
        // Measuring the folder takes long where many objects are: `/healthz` says "starting" meanwhile.
        let running = tokio::task::spawn_blocking(|| ds::Server::start(told))
            .await
            .context("the data server's start died")??;
        if let Some(observed) = observed(&running, config.ds.export.to_string()) {
            source.set(observed);
        }
        shown.alive.set(goes_round(&running));
        let status = format!(
            "serving data on {}, by {:?}",
            listed(running.addresses()),
            running.engine()
        );
        tracing::info!("{status}");
        let mut current = config.clone();
        until_stopped(&shown, &status, async || match DsConfig::load(path) {
            Err(faults) => tracing::error!("the configuration stays as it was:\n{faults}"),
            Ok(new) => {
                let diff = current.reload_diff(&new);
                current = current.reloaded(&new);
                control.set_level(current.ds.log_level);
                tell_reload(&diff);
            }
        })
        .await?;
        running.stop().await;
        Ok(())
    })
}

/// The same of a data server: whether its threads still go round.
fn goes_round(running: &ds::Running) -> impl Fn() -> bool + Send + Sync + 'static {
    let observer = running.observer();
    move || observer.as_ref().is_some_and(ds::Observer::is_alive)
}

fn observed(running: &ds::Running, name: String) -> Option<Arc<dyn Source>> {
    let observer = running.observer()?;
    Some(Arc::new(DataSource { name, observer }))
}

fn data_config(config: &DsConfig) -> ds::Config {
    let base = ds::Config::new(&config.ds.data_dir);
    ds::Config {
        listen: config.ds.listen.clone(),
        export: config.ds.export.to_string(),
        mds: config
            .ds
            .mds
            .iter()
            .map(|cidr| {
                let network = cidr.network();
                ds::Network {
                    address: network.addr(),
                    prefix_bits: network.prefix_len(),
                }
            })
            .collect(),
        engine: match config.ds.engine {
            Engine::Auto => ds::EngineChoice::Auto,
            Engine::IoUring => ds::EngineChoice::IoUring,
            Engine::Threads => ds::EngineChoice::Threads,
        },
        rings: config
            .ds
            .ring_threads
            .map_or(base.rings, |count| count as usize),
        workers: config
            .ds
            .worker_threads
            .map_or(base.workers, |count| count as usize),
        transfer_bytes: config.limits.transfer_bytes.0 as u32,
        buffer_bytes: config.limits.buffer_bytes.0 as usize,
        connection_bytes: config.limits.buffer_bytes_per_connection.0 as usize,
        max_requests: config.limits.requests_under_way as usize,
        max_connections: config.limits.connections as usize,
        open_objects: config.limits.open_objects as usize,
        capacity_bytes: config.ds.capacity.map(|bytes| bytes.0),
        ..base
    }
}

/// The buckets that a data server caches.
async fn cache(config: &DsConfig) -> Option<ds::Cache> {
    let mut upstreams = HashMap::new();
    for backend in &config.backends {
        if let Some(Keeper::S3(spec)) = keeper(backend) {
            // It asks only for bytes: nothing of it is kept on this host besides the chunks.
            let bucket = S3Upstream::new(&spec.options("/", PathBuf::new())).await;
            upstreams.insert(backend.name.to_string(), Arc::new(bucket) as _);
        }
    }
    (!upstreams.is_empty()).then(|| ds::Cache {
        bytes: config.ds.cache_capacity.map(|bytes| bytes.0),
        ..ds::Cache::new(upstreams)
    })
}

/// The data servers' export in a demo.
const DEMO_EXPORT: &str = "/data";

pub fn demo(args: &DemoArgs, log: LogArgs) -> anyhow::Result<()> {
    start_log(log, LogFormat::Human, LogLevel::Info)?;
    let addresses = args.data_addresses().map_err(anyhow::Error::msg)?;
    runtime(None, 64)?.block_on(async {
        let later: Vec<Arc<Later>> = (0..=addresses.len()).map(|_| Arc::default()).collect();
        let sources = later.iter().map(|source| Arc::clone(source) as _).collect();
        let shown = Shown::start(args.metrics_listen, sources).await?;
        let mut data_servers = Vec::new();
        let mut specs = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let name = format!("ds{}", index + 1);
            let running = ds::Server::start(ds::Config {
                listen: vec![*address],
                export: DEMO_EXPORT.into(),
                mds: own_networks(&[args.listen.ip(), address.ip()]),
                // All share one process and its open files.
                max_connections: 2048,
                open_objects: 1024,
                ..ds::Config::new(args.data_dir.join(&name))
            })?;
            let at = *running
                .addresses()
                .first()
                .context("a data server listens somewhere")?;
            specs.push(demo_data_server(name.clone(), at));
            data_servers.push((name, running));
        }
        let running = Running::start(demo_spec(args, specs), failpoint()?).await?;
        let beats = beats(&running);
        let others: Vec<_> = data_servers
            .iter()
            .map(|(_, running)| goes_round(running))
            .collect();
        shown
            .alive
            .set(move || beats() && others.iter().all(|goes_round| goes_round()));
        let measured = Arc::new(MetadataSource::of(&running).await?);
        let mut numbered: Vec<Arc<dyn Source>> = vec![Arc::clone(&measured) as _];
        numbered.extend(
            data_servers
                .iter()
                .filter_map(|(name, running)| observed(running, name.clone())),
        );
        for (later, source) in later.iter().zip(numbered) {
            later.set(source);
        }
        let _control = Control::start(&demo_state(args), Asked(measured))?;
        let at = running
            .addresses
            .first()
            .context("the metadata server listens somewhere")?;
        println!(
            "ready: {} data servers. On a Linux client:\n  {}",
            data_servers.len(),
            mount_line(*at)
        );
        until_stopped(&shown, "serving", async || {
            tracing::info!("a demo has no configuration to read again");
        })
        .await?;
        running.stop().await;
        for (_, running) in data_servers {
            running.stop().await;
        }
        Ok(())
    })
}

/// What a client types. An IPv6 address stands in brackets, or its colons would end the host.
fn mount_line(at: SocketAddr) -> String {
    let host = match at.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    format!("mount -t nfs4 -o vers=4.2,port={} {host}:/ /mnt", at.port())
}

/// From where the demo's own metadata server calls: any of the machine's addresses that it was given.
fn own_networks(addresses: &[IpAddr]) -> Vec<ds::Network> {
    let loopback = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
    ];
    addresses
        .iter()
        .chain(&loopback)
        .map(|address| ds::Network::host(*address))
        .collect()
}

/// Ids of the layouts; no account has them.
const DEMO_IDS: (u32, u32) = (1_900_000_000, 4096);

fn demo_data_server(name: String, at: SocketAddr) -> DataServerSpec {
    DataServerSpec {
        name,
        host: at.ip().to_string(),
        port: at.port(),
        mount_port: Some(at.port()),
        export: DEMO_EXPORT.into(),
        weight: 1,
        client_host: None,
        read_bytes: None,
        write_bytes: None,
        moves_to_fence: false,
        has_files: false,
        ids: DEMO_IDS,
    }
}

fn demo_state(args: &DemoArgs) -> PathBuf {
    args.data_dir.join("mds")
}

fn demo_spec(args: &DemoArgs, data_servers: Vec<DataServerSpec>) -> Spec {
    let lease = Duration::from_secs(args.lease_seconds);
    Spec {
        listen: vec![args.listen],
        state_dir: demo_state(args),
        limits: Limits {
            lease,
            grace: args.grace_seconds.map_or(lease, Duration::from_secs),
            delegation_recall: lease,
            ..Limits::default()
        },
        net: net::Limits::default(),
        stripe_count: data_servers.len() as u32,
        local_first: false,
        server_copy: ServerCopy::off(),
        nfsv3: args.nfsv3,
        data_servers,
        watch: Watch::default(),
        exports: vec![ExportSpec {
            path: "/".into(),
            clients: vec![
                ipnet::IpNet::from(ipnet::Ipv4Net::default()),
                ipnet::IpNet::from(ipnet::Ipv6Net::default()),
            ],
            access: Access::ReadWrite,
            squash: Squash::None,
            anonymous: (65534, 65534),
            delegations: if args.delegations {
                Delegations::ALL
            } else {
                Delegations::default()
            },
            manage_gids: false,
        }],
        referrals: Vec::new(),
        backends: Vec::new(),
        junctions: Vec::new(),
        assimilated: Vec::new(),
        managed: Vec::new(),
        identity: IdentitySpec::default(),
        stripe_unit: 1 << 20,
        ids: DEMO_IDS,
        stats_seconds: 60,
        away_error: None,
        root_mode: 0o755,
        catalog_cache_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_line_can_be_typed_with_either_kind_of_address() {
        let line = |at: &str| mount_line(at.parse().expect("an address"));
        assert_eq!(
            line("10.0.0.2:2050"),
            "mount -t nfs4 -o vers=4.2,port=2050 10.0.0.2:/ /mnt"
        );
        assert_eq!(
            line("[fd00::2]:2049"),
            "mount -t nfs4 -o vers=4.2,port=2049 [fd00::2]:/ /mnt"
        );
    }
}
