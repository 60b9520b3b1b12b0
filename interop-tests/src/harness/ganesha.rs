//! NFS-Ganesha in the sandbox: a peer to prove the harness against, and a foreign NFSv3 data server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock;
use super::command;
use super::headrace::{Server, Serves};

pub struct Ganesha {
    server: Server,
}

impl Ganesha {
    /// Exports `folder` as `/peer` by NFSv3 and NFSv4, root not squashed. rpcbind is started beside it.
    pub fn start(state: &Path, address: Ipv4Addr, folder: &Path) -> Result<Self> {
        start_rpcbind()?;
        fs::create_dir_all(folder)?;
        fs::create_dir_all("/run/ganesha")?;
        let config = state.join("ganesha.conf");
        fs::write(
            &config,
            format!(
                "NFS_CORE_PARAM {{ Protocols = 3, 4; Bind_addr = {address}; NFS_Port = 2049; MNT_Port = 20048;
                     Enable_NLM = false; Enable_RQUOTA = false; }}
                 NFSv4 {{ Graceless = true; Lease_Lifetime = 20; RecoveryBackend = fs; }}
                 EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /peer; Access_Type = RW; Squash = No_Root_Squash;
                     SecType = sys; Protocols = 3, 4; FSAL {{ Name = VFS; }} }}
                 LOG {{ Default_Log_Level = EVENT; }}\n",
                folder.display()
            ),
        )
        .with_context(|| format!("writing {}", config.display()))?;
        let log = state.join("ganesha-own.log");
        let arguments = [
            "-F",
            "-f",
            &config.display().to_string(),
            "-L",
            &log.display().to_string(),
            "-p",
            "/run/ganesha/pid",
        ]
        .map(str::to_owned)
        .to_vec();
        let listens = SocketAddrV4::new(address, 2049);
        let mut server = Server::new(
            "ganesha",
            Path::new("/usr/bin/ganesha.nfsd"),
            arguments,
            Serves::At(listens),
            state,
        );
        server.start()?;
        Ok(Self { server })
    }

    pub fn still_runs(&mut self) -> Result<()> {
        self.server.still_runs()
    }
}

fn start_rpcbind() -> Result<()> {
    if command::run("rpcinfo", &["-p", "127.0.0.1"]).is_ok() {
        return Ok(());
    }
    fs::create_dir_all("/run/rpcbind")?;
    command::run("rpcbind", &["-w"])?;
    clock::wait_for("rpcbind", Duration::from_secs(10), || {
        Ok(command::run("rpcinfo", &["-p", "127.0.0.1"]).ok())
    })?;
    Ok(())
}
