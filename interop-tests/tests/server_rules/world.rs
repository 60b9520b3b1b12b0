//! A metadata server and its data servers, in this process and in folders that go with the test.
//! Here: starting, stopping, breaking and looking behind the scenes. Never an assertion of a test's own,
//! save the one that every test may end with: nothing leaked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use catalog::{Catalog, InodeId};
use headrace::metadata::{DataServerSpec, ExportSpec, IdentitySpec, Running, Spec, Watch};
use interop_tests::nfs41::{Client, ClientSetup, Failure, OpenFile};
use layout::DataServerId;
use mds::{Access, Delegations, ServerCopy, Squash, state};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use wire::nfs4::{Fh4, NfsImplId4, Nfsstat4, Nfstime4, flex};

use crate::clock::Hands;

pub const MIB: u64 = 1 << 20;
pub const IDS: (u32, u32) = (2_000_000, 4096);

/// Longer than anything here may take, so that a test that waits in vain ends.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub address: SocketAddr,
    clock: Arc<Hands>,
    spec: Spec,
    /// The metadata server has threads of its own, so that it can be ended as by a crash.
    metadata: Option<(Running, Runtime)>,
    data: Vec<(ds::Config, Option<ds::Running>)>,
    folder: TempDir,
}

/// Copies to and from every other server on loopback.
pub fn neighbours() -> ServerCopy {
    let loopback = vec!["127.0.0.0/8".parse().expect("a network")];
    ServerCopy {
        destinations: loopback.clone(),
        sources: loopback,
        addresses: Vec::new(),
        patience: Duration::from_secs(10),
    }
}

pub fn everything(path: &str) -> ExportSpec {
    ExportSpec {
        path: path.into(),
        clients: vec!["127.0.0.0/8".parse().expect("a network")],
        access: Access::ReadWrite,
        squash: Squash::None,
        anonymous: (65_534, 65_534),
        delegations: Delegations::ALL,
        manage_gids: false,
    }
}

/// Soon notices that a data server is away, back, or another one.
pub fn watchful(spec: &mut Spec) {
    spec.watch = Watch {
        look_every: Duration::from_millis(300),
        answer_within: Duration::from_secs(2),
    };
}

pub fn data_server(number: usize, address: SocketAddr) -> DataServerSpec {
    DataServerSpec {
        name: format!("ds{number}"),
        host: address.ip().to_string(),
        port: address.port(),
        mount_port: Some(address.port()),
        export: "/headrace".into(),
        weight: 1,
        client_host: None,
        read_bytes: None,
        write_bytes: None,
        moves_to_fence: false,
        has_files: false,
        ids: IDS,
    }
}

impl World {
    /// With two data servers, a root that everybody may change, and no grace to wait for.
    pub async fn start() -> Result<Self> {
        Self::with(2, |_| {}).await
    }

    pub async fn with(data_servers: usize, change: impl FnOnce(&mut Spec)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // An address of its own: a port that a restart gives up for a moment is nobody else's.
        let [b, c, d] = rand::random::<[u8; 3]>();
        let listen = SocketAddr::from(([127, b, c, d.clamp(2, 254)], 0));
        let mut data = Vec::new();
        let mut specs = Vec::new();
        for number in 0..data_servers {
            let mut config = ds::Config::new(folder.path().join(format!("ds{number}")));
            config.listen = vec![listen];
            config.engine = ds::EngineChoice::Threads;
            config.rings = 1;
            config.workers = 4;
            config.transfer_bytes = 256 << 10;
            config.buffer_bytes = 64 << 20;
            let running = ds::Server::start(config.clone())?;
            config.listen = running.addresses().to_vec();
            specs.push(data_server(number, running.addresses()[0]));
            data.push((config, Some(running)));
        }
        let mut spec = Spec {
            listen: vec![listen],
            state_dir: folder.path().join("mds"),
            limits: state::Limits {
                // One open is enough to get a delegation, unless a test is about that.
                delegation_trials: 0,
                ..state::Limits::default()
            },
            net: headrace::net::Limits {
                callback_timeout: Duration::from_millis(500),
                ..Default::default()
            },
            data_servers: specs,
            watch: Watch::default(),
            exports: vec![everything("/")],
            referrals: Vec::new(),
            backends: Vec::new(),
            junctions: Vec::new(),
            assimilated: Vec::new(),
            managed: Vec::new(),
            identity: IdentitySpec::default(),
            stripe_unit: 64 << 10,
            stripe_count: data_servers as u32,
            local_first: false,
            server_copy: neighbours(),
            ids: IDS,
            nfsv3: false,
            stats_seconds: 60,
            away_error: None,
            root_mode: 0o777,
            catalog_cache_bytes: None,
        };
        change(&mut spec);
        let mut world = Self {
            address: spec.listen[0],
            clock: Arc::new(Hands::new()),
            spec,
            metadata: None,
            data,
            folder,
        };
        world.begin().await?;
        Ok(world)
    }

    /// Starts the metadata server on the folder as it is.
    pub async fn begin(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            match runtime
                .spawn(Running::start_by(
                    self.clock.clone(),
                    self.spec.clone(),
                    None,
                ))
                .await?
            {
                Ok(running) => {
                    self.address = running.addresses[0];
                    // Clients find it there again.
                    self.spec.listen = vec![self.address];
                    self.metadata = Some((running, runtime));
                    return Ok(());
                }
                Err(error) => {
                    end(runtime).await?;
                    // The catalog's own threads end a little after a crash, which ends no process here.
                    let crashed = error.to_string().contains("in use by another process");
                    anyhow::ensure!(crashed && Instant::now() < deadline, error);
                }
            }
        }
    }

    /// Ends the metadata server as SIGTERM does.
    pub async fn stop(&mut self) -> Result<()> {
        let (running, runtime) = self.metadata.take().context("the metadata server runs")?;
        runtime.spawn(running.stop()).await?;
        end(runtime).await
    }

    /// Ends it between two instructions: what isn't on disk is gone.
    pub async fn crash(&mut self) -> Result<()> {
        let (running, runtime) = self.metadata.take().context("the metadata server runs")?;
        drop(running);
        end(runtime).await
    }

    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.begin().await
    }

    pub async fn crash_and_restart(&mut self) -> Result<()> {
        self.crash().await?;
        self.begin().await
    }

    pub async fn stop_data_server(&mut self, number: usize) -> Result<()> {
        self.data[number]
            .1
            .take()
            .context("the data server runs")?
            .stop()
            .await;
        Ok(())
    }

    /// Everything that a stopped data server held, and the place where it held it, is gone.
    pub fn lose_disk_of_data_server(&self, number: usize) -> Result<()> {
        let (config, running) = &self.data[number];
        anyhow::ensure!(running.is_none(), "it still runs");
        std::fs::remove_dir_all(&config.folder)?;
        Ok(())
    }

    pub fn start_data_server(&mut self, number: usize) -> Result<()> {
        let (config, running) = &mut self.data[number];
        *running = Some(ds::Server::start(config.clone())?);
        Ok(())
    }

    /// Leases and grace are that much further; nobody has waited.
    pub fn let_pass(&self, time: Duration) {
        self.clock.move_on(time);
    }

    /// Time passes for all, and `others` keep their leases, if each is longer than half of it.
    pub async fn let_pass_for(&self, others: &[&Client], time: Duration) -> Result<()> {
        for _ in 0..2 {
            self.let_pass(time / 2);
            for other in others {
                other.ok([]).await?;
            }
        }
        Ok(())
    }

    /// The first client is out of its lease, of an hour, with what it has; `others` kept theirs.
    pub async fn fall_silent(&self, others: &[&Client]) -> Result<()> {
        self.let_pass_for(others, Duration::from_mins(70)).await?;
        until("a client is out of its lease", async || {
            Ok(self.running().server.held().courtesy_clients == 1)
        })
        .await
    }

    /// The highest term of a metadata server that each running data server has seen.
    pub fn data_server_terms(&self) -> Vec<u64> {
        let running = self.data.iter().filter_map(|(_, running)| running.as_ref());
        running.map(|running| running.metrics().mds_term).collect()
    }

    pub fn data_server_metrics(&self, number: usize) -> Result<ds::Snapshot> {
        let running = self.data[number].1.as_ref();
        Ok(running.context("the data server runs")?.metrics())
    }

    /// Of one that is stopped, from its next start on.
    pub fn data_server_config(&mut self, number: usize) -> &mut ds::Config {
        &mut self.data[number].0
    }

    /// The first data server becomes another device: it takes less at once.
    pub async fn change_device(&self) -> Result<()> {
        let record = self.catalog().data_servers().await?.remove(0);
        let at = &self.spec.data_servers[0];
        let device = layout::Device {
            addresses: vec![SocketAddr::new(at.host.parse()?, at.port)],
            read_bytes: 4096,
            write_bytes: 4096,
        };
        let generation = record.device_generation + 1;
        let server = &self.running().server;
        server.change_device(record.id, generation, device);
        Ok(())
    }

    /// For the next start.
    pub fn spec_mut(&mut self) -> &mut Spec {
        &mut self.spec
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    pub fn running(&self) -> &Running {
        &self.metadata.as_ref().expect("the metadata server runs").0
    }

    pub fn catalog_folder(&self) -> std::path::PathBuf {
        self.spec.state_dir.join("catalog")
    }

    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.running().catalog
    }

    /// A client of no known kernel, as root.
    pub async fn client(&self, name: &str) -> Result<Client, Failure> {
        ClientSetup::named(name).mount(self.address).await
    }

    /// A client whose kernel takes stripes.
    pub async fn new_kernel(&self, name: &str) -> Result<Client, Failure> {
        kernel(name, "Linux 6.18.0 #1 SMP x86_64")
            .mount(self.address)
            .await
    }

    /// NFSv3 to the data server that a layout's stripe lies on, with the layout's ids.
    pub async fn data_server_of(
        &self,
        client: &Client,
        stripe: &flex::DataServer,
    ) -> Result<nfs_client::Client> {
        let device = client.getdeviceinfo(stripe.deviceid).await?;
        let address = device.netaddrs[0]
            .to_socket_addr()
            .context("an address over TCP")?;
        let id = |text: &Bytes| anyhow::Ok(std::str::from_utf8(text)?.parse::<u32>()?);
        let caller = nfs_client::Caller::sys("client", id(&stripe.user)?, id(&stripe.group)?, &[]);
        Ok(nfs_client::Client::new(
            address,
            caller,
            &nfs_client::Options::default(),
        ))
    }

    /// Takes every object that was written off its data server's disk, as a broken file system would.
    pub fn lose_written_objects(&self) -> Result<()> {
        for number in 0..self.data.len() {
            let root = self.folder.path().join(format!("ds{number}/data"));
            each_written(&root, &mut |path| Ok(std::fs::remove_file(path)?))?;
        }
        Ok(())
    }

    /// Sets the clock of what was written on data server `number` to `moment`, as a disk of another time would.
    pub fn date_written_objects(&self, number: usize, moment: SystemTime) -> Result<()> {
        let root = self.folder.path().join(format!("ds{number}/data"));
        each_written(&root, &mut |path| {
            let object = std::fs::File::options().write(true).open(path)?;
            Ok(object.set_modified(moment)?)
        })
    }

    /// Files that the data servers hold, by data server and object id.
    fn objects_on_disk(&self) -> Result<BTreeSet<(usize, String)>> {
        let mut found = BTreeSet::new();
        for number in 0..self.data.len() {
            let root = self.folder.path().join(format!("ds{number}/data"));
            collect(&root, &mut |name| {
                found.insert((number, name));
            })?;
        }
        Ok(found)
    }

    /// What the catalog knows, and whether anything of it is on its way.
    async fn objects_in_catalog(&self) -> Result<(BTreeSet<(usize, String)>, bool)> {
        let catalog = self.catalog();
        let numbers = catalog.data_servers().await?;
        let number = |id: DataServerId| -> Result<usize> {
            let record = numbers
                .iter()
                .find(|record| record.id == id)
                .context("a data server of no record")?;
            Ok(record.name.trim_start_matches("ds").parse()?)
        };
        let mut known = BTreeSet::new();
        let mut settled = catalog.delete_queue(None, 1).await?.is_empty();
        for entry in catalog.pool_list().await? {
            match entry {
                catalog::PoolEntry::Pooled(object) => {
                    known.insert((number(object.server)?, object.object.to_string()));
                }
                catalog::PoolEntry::Reserved { .. } => settled = false,
            }
        }
        for server in &numbers {
            let inodes: Vec<InodeId> = catalog.extents_on(server.id, None, usize::MAX >> 1).await?;
            for id in inodes {
                let inode = match catalog.read().inode(id).await {
                    Ok(inode) => inode,
                    // It went since it was listed.
                    Err(catalog::Error::Stale) => {
                        settled = false;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                let mirrors = inode.extents.iter().flat_map(|extent| &extent.mirrors);
                for object in mirrors.flat_map(|mirror| &mirror.stripes) {
                    known.insert((number(object.server)?, object.object.to_string()));
                }
            }
        }
        Ok((known, settled))
    }

    /// Objects that belong to files, not to the pool.
    pub async fn objects_of_files(&self) -> Result<usize> {
        let catalog = self.catalog();
        let mut objects = 0;
        for server in catalog.data_servers().await? {
            objects += catalog
                .extents_on(server.id, None, usize::MAX >> 1)
                .await?
                .len();
        }
        Ok(objects)
    }

    /// Stops the server. The catalog is sound, and the data servers hold what it knows of and nothing else.
    pub async fn ends_without_leak(self) -> Result<()> {
        until(
            "the data servers hold what the catalog knows of",
            async || {
                let (known, settled) = self.objects_in_catalog().await?;
                Ok(settled && known == self.objects_on_disk()?)
            },
        )
        .await?;
        self.ends_sound().await
    }

    /// Ends, and nothing in the catalog contradicts anything else there.
    pub async fn ends_sound(mut self) -> Result<()> {
        let catalog = Arc::clone(self.catalog());
        self.stop().await?;
        let faults = catalog.check().await?;
        anyhow::ensure!(faults.is_empty(), "the catalog has faults: {faults:#?}");
        Ok(())
    }

    /// After a restart, which is over for the clients of before.
    pub async fn opened_again(
        &self,
        client: &Client,
        folder: &Fh4,
        called: &str,
    ) -> Result<OpenFile> {
        self.let_pass_for(&[client], self.spec.limits.grace).await?;
        at_last("an open after grace", &[Nfsstat4::Grace], async || {
            client.open(folder, called).await
        })
        .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((running, runtime)) = self.metadata.take() {
            drop(running);
            // To wait for its threads is not allowed here.
            runtime.shutdown_background();
        }
    }
}

/// Ends when `holds`; fails when it doesn't in time.
pub async fn until(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        anyhow::ensure!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// What `ask` gives, asked again as long as the answer is one of `again`.
pub async fn at_last<T>(
    what: &str,
    again: &[Nfsstat4],
    ask: impl AsyncFn() -> Result<T, Failure>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(Failure::Status { status, .. }) if again.contains(&status) => {
                anyhow::ensure!(
                    Instant::now() < deadline,
                    "in vain: {what}, last {status:?}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return Ok(answer?),
        }
    }
}

async fn end(runtime: Runtime) -> Result<()> {
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await?;
    Ok(())
}

/// Removes every object that has bytes.
fn each_written(folder: &Path, treat: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            each_written(&entry.path(), treat)?;
        } else if entry.metadata()?.len() > 0 {
            treat(&entry.path())?;
        }
    }
    Ok(())
}

fn collect(folder: &Path, found: &mut impl FnMut(String)) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), found)?;
        } else {
            found(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// A client that tells its kernel's release.
pub fn kernel(name: &str, uname: &'static str) -> ClientSetup {
    let implementation = NfsImplId4 {
        domain: Bytes::from_static(b"kernel.org"),
        name: Bytes::from_static(uname.as_bytes()),
        date: Nfstime4 {
            seconds: 0,
            nseconds: 0,
        },
    };
    ClientSetup {
        implementation: Some(implementation),
        ..ClientSetup::named(name)
    }
}
