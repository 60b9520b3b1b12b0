//! Who is measured: this Headrace, another one, NFS-Ganesha. Each server is started anew for each round.

use crate::costs::Process;
use crate::ganesha::{Ganesha, Names};
use crate::servers::{DataServer, Servers, Settings};
use anyhow::Result;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// By its program, and lines for `[server]` of its configuration.
    Headrace {
        program: PathBuf,
        settings: String,
    },
    Ganesha(Names),
}

#[derive(Debug, Clone)]
pub struct Side {
    pub name: String,
    pub kind: Kind,
}

/// A server of NFSv3 that serves one export.
pub struct DataEnd {
    pub address: SocketAddr,
    pub mount_port: u16,
    pub export: String,
    running: Data,
}

enum Data {
    Headrace(DataServer),
    Ganesha(Ganesha),
}

/// A server of NFSv4.2, whose root is where files are made.
pub struct NamesEnd {
    pub address: SocketAddr,
    running: Metadata,
}

enum Metadata {
    Headrace(Servers),
    Ganesha(Ganesha),
}

impl Side {
    pub fn data_server(&self, disk: &Path) -> Result<DataEnd> {
        Ok(match &self.kind {
            Kind::Headrace { program, .. } => {
                let server = DataServer::start(program, disk)?;
                DataEnd {
                    address: server.address,
                    mount_port: server.address.port(),
                    export: "/data".to_owned(),
                    running: Data::Headrace(server),
                }
            }
            Kind::Ganesha(names) => {
                let server = Ganesha::start(disk, *names)?;
                DataEnd {
                    address: server.address,
                    mount_port: server.mount_port,
                    export: server.export.clone(),
                    running: Data::Ganesha(server),
                }
            }
        })
    }

    pub fn metadata_server(&self, disk: &Path, more: &str) -> Result<NamesEnd> {
        Ok(match &self.kind {
            Kind::Headrace { program, settings } => {
                let settings = Settings {
                    server: settings,
                    more,
                };
                let servers = Servers::start(program, disk, settings)?;
                NamesEnd {
                    address: servers.address,
                    running: Metadata::Headrace(servers),
                }
            }
            Kind::Ganesha(names) => {
                let server = Ganesha::start(disk, *names)?;
                NamesEnd {
                    address: server.address,
                    running: Metadata::Ganesha(server),
                }
            }
        })
    }
}

impl DataEnd {
    pub fn processes(&self) -> Vec<Process> {
        match &self.running {
            Data::Headrace(server) => vec![server.process()],
            Data::Ganesha(server) => server.processes(),
        }
    }
}

impl NamesEnd {
    /// Kills the server that is asked.
    pub fn stop(&mut self) {
        match &mut self.running {
            Metadata::Headrace(servers) => servers.stop(),
            Metadata::Ganesha(server) => server.stop(),
        }
    }

    /// Starts the one that was stopped, on what it has on its disk.
    pub fn start_again(&mut self) -> Result<()> {
        match &mut self.running {
            Metadata::Headrace(servers) => servers.start_again(),
            Metadata::Ganesha(server) => server.start_again(),
        }
    }

    /// The folder of its catalog, where it has one.
    pub fn catalog(&self) -> Option<PathBuf> {
        match &self.running {
            Metadata::Headrace(servers) => Some(servers.catalog()),
            Metadata::Ganesha(_) => None,
        }
    }

    /// Of a metadata server that has one.
    pub fn data_server(&self) -> Option<&DataServer> {
        match &self.running {
            Metadata::Headrace(servers) => Some(&servers.data),
            Metadata::Ganesha(_) => None,
        }
    }

    /// The one that is asked first.
    pub fn processes(&self) -> Vec<Process> {
        match &self.running {
            Metadata::Headrace(servers) => servers.processes().to_vec(),
            Metadata::Ganesha(server) => server.processes(),
        }
    }
}
