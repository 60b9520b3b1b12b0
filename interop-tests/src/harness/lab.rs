//! Everything one scenario has at hand: its folder, its network, kernels to boot, programs to start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::Client;
use super::clock::say;
use super::guest::{Guest, Recipe};
use super::headrace::{self, DemoOptions, Server};
use super::kernels::Kernel;
use super::net::{self, Clients, Net};

pub const CLIENT_MODULES: &str = "nfsv4,nfsv3,nfs_layout_flexfiles";
/// Where guests mount what is tested.
pub const MOUNT: &str = "/run/mnt";
pub const MINUTE: Duration = Duration::from_mins(1);

pub struct Lab {
    pub net: Net,
    /// The scenario's own folder on the host.
    pub state: PathBuf,
    pub cache: PathBuf,
    /// Holds `guest/init.sh` and the lists of expected failures.
    pub sources: PathBuf,
    pub headrace: PathBuf,
    /// All kernels, the oldest first.
    pub kernels: Vec<Kernel>,
    /// The kernel that this run is about.
    pub kernel: Kernel,
    /// What random scenarios draw from, where one was asked for.
    pub seed: Option<u64>,
    guests: u8,
}

impl Lab {
    pub fn new(
        state: &Path,
        cache: &Path,
        headrace: &Path,
        kernels: Vec<Kernel>,
        kernel: Kernel,
        clients: Clients,
    ) -> Result<Self> {
        fs::create_dir_all(state).with_context(|| format!("creating {}", state.display()))?;
        Ok(Self {
            net: Net::up(clients)?,
            state: state.to_owned(),
            cache: cache.to_owned(),
            sources: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            headrace: headrace.to_owned(),
            kernels,
            kernel,
            seed: None,
            guests: 0,
        })
    }

    /// Boots a client with the kernel of this run.
    pub fn client(&mut self, name: &str) -> Result<Guest> {
        let kernel = self.kernel.clone();
        self.client_with(name, &kernel)
    }

    /// Boots a client with a kernel of its own.
    pub fn client_with(&mut self, name: &str, kernel: &Kernel) -> Result<Guest> {
        self.boot(name, kernel, CLIENT_MODULES, 768)
    }

    /// Client `a` with the kernel of this run and `b` with the other, both mounted at [`MOUNT`] by NFSv4.2.
    pub fn two_mounted(&mut self) -> Result<(Guest, Guest)> {
        let other_kernel = self.other_kernel();
        let mut a = self.client("a")?;
        let mut b = self.client_with("b", &other_kernel)?;
        mount(&mut a, "vers=4.2")?;
        mount(&mut b, "vers=4.2")?;
        Ok((a, b))
    }

    /// The kernel that is not the one of this run, where there are two.
    pub fn other_kernel(&self) -> Kernel {
        self.kernels
            .iter()
            .find(|kernel| **kernel != self.kernel)
            .unwrap_or(&self.kernel)
            .clone()
    }

    pub fn boot(
        &mut self,
        name: &str,
        kernel: &Kernel,
        modules: &str,
        memory_mib: u32,
    ) -> Result<Guest> {
        let recipe = Recipe {
            name: name.to_owned(),
            kernel: kernel.clone(),
            address: net::guest(self.guests),
            memory_mib,
            modules: modules.to_owned(),
            init: self.sources.join("guest/init.sh"),
            state: self.state.clone(),
            cache: self.cache.clone(),
        };
        self.guests += 1;
        let guest = self.boot_again(&recipe)?;
        say(format!(
            "client {name} is up: Linux {} at {}",
            guest.release(),
            guest.address()
        ));
        Ok(guest)
    }

    /// Boots what a recipe says; after [`Guest::kill9`], the same client after its crash.
    pub fn boot_again(&self, recipe: &Recipe) -> Result<Guest> {
        let guest = Guest::boot(recipe, &self.net)?;
        let program = std::env::current_exe().context("where is this program?")?;
        let copy = guest.shared().join("interop");
        if !copy.exists() {
            fs::copy(&program, &copy)
                .with_context(|| format!("copying {} for the guest", program.display()))?;
        }
        Ok(guest)
    }

    /// `headrace demo` with three data servers, or as `options` say.
    pub fn demo(&self, options: DemoOptions) -> Result<Server> {
        let server = headrace::demo(&self.headrace, &self.state, options)?;
        say(format!(
            "headrace serves: metadata at {}:{}, {} data servers from {} on",
            net::MDS,
            net::MDS_PORT,
            options.data_servers,
            net::data_server(0)
        ));
        Ok(server)
    }
}

/// Mounts the server's root at [`MOUNT`] and checks that it is NFS.
pub fn mount(client: &mut dyn Client, options: &str) -> Result<()> {
    mount_from(client, &format!("{}:/", net::MDS), options)
}

pub fn mount_from(client: &mut dyn Client, source: &str, options: &str) -> Result<()> {
    client.sh(
        &format!(
            "mkdir -p {MOUNT} && mount -t nfs4 -o {options} {source} {MOUNT} && stat -f -c %T {MOUNT} | grep -q nfs"
        ),
        MINUTE,
    )?;
    Ok(())
}

pub fn unmount(client: &mut dyn Client) -> Result<()> {
    client.sh(&format!("umount {MOUNT}"), MINUTE)?;
    Ok(())
}

/// A mount that has never seen what it is asked for: nothing comes from a cache.
pub fn mount_afresh(client: &mut dyn Client, options: &str) -> Result<()> {
    unmount(client)?;
    client.sh("echo 3 >/proc/sys/vm/drop_caches", MINUTE)?;
    mount(client, options)
}
