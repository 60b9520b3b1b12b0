//! From the metadata server's configuration to what it is started and reloaded with.
//! Never here: reading a configuration, or doing what it says.

use crate::metadata::{
    AccountsSource, AssimilatedSpec, BackendSpec, DataServerSpec, ExportSpec, IdentitySpec,
    JunctionSpec, Keeper, ManagedSpec, NfsSpec, ReferralSpec, S3Spec, Spec, Storage, Watch,
};
use crate::net;
use config::{MdsConfig, SecurityLabels};
use mds::state::Limits;
use mds::{Access, Delegations, DirectoryOptions, FixedAccounts, ServerCopy, Squash};
use std::sync::Arc;

pub fn spec(config: &MdsConfig) -> Spec {
    let limits = &config.limits;
    let ids = (config.layout.ids.base, config.layout.ids.count);
    Spec {
        listen: config.server.listen.clone(),
        state_dir: config.server.state_dir.clone(),
        limits: Limits {
            lease: config.server.lease_seconds.duration(),
            grace: config.server.grace().duration(),
            courtesy: config.server.courtesy_seconds.duration(),
            recall: config.layout.recall_seconds.duration(),
            delegation_recall: config.server.delegation_recall().duration(),
            delegations: limits.delegations as usize,
            delegations_per_client: limits.delegations_per_client as usize,
            notes: limits.notifications as usize,
            notes_per_delegation: limits.notifications_per_delegation as usize,
            clients: limits.clients as usize,
            sessions_per_client: limits.sessions_per_client as usize,
            slots: limits.slots_per_session,
            slots_under_pressure: limits.slots_under_pressure,
            request_bytes: limits.request_bytes.0 as u32,
            response_bytes: limits.request_bytes.0 as u32,
            operations: limits.operations_per_request,
            cached_reply_bytes: limits.reply_cache_bytes.0 as usize,
            cached_reply_bytes_hard: limits.reply_cache_bytes.0.saturating_mul(2) as usize,
            opens: limits.opens as usize,
            opens_per_client: limits.opens_per_client as usize,
            open_owners_per_client: limits.open_owners_per_client as usize,
            locks_per_client: limits.locks_per_client as usize,
            locks_per_file: limits.locks_per_file as usize,
            lock_states_per_client: limits.lock_owners_per_client as usize,
            lock_waiters_per_file: limits.lock_waiters_per_file as usize,
            lock_waiters_per_client: limits.lock_waiters_per_client as usize,
            lock_turn: limits.lock_turn_seconds.duration(),
            layouts: limits.layouts as usize,
            layouts_per_client: limits.layouts_per_client as usize,
            refusals_per_second: limits.refusals_per_second,
            copies_per_client: limits.copies_per_client as usize,
            copies_between_servers: limits.copies_between_servers as usize,
            copy_notifies_per_client: limits.copy_notifies_per_client as usize,
            copy_notifies: limits.copy_notifies as usize,
            xattr_value_bytes: limits.xattr_value_bytes.0 as u32,
            xattrs_per_file: limits.xattrs_per_file,
            xattr_bytes_per_file: limits.xattr_bytes_per_file.0,
            acl_entries: limits.acl_entries as usize,
            label_bytes: match config.server.security_labels {
                SecurityLabels::Kept => limits.label_bytes.0 as usize,
                SecurityLabels::None => 0,
            },
            ..Limits::default()
        },
        net: net::Limits {
            connections: limits.connections as usize,
            connections_per_address: limits.connections_per_address as usize,
            requests: limits.requests_under_way as usize,
            record_bytes: limits.request_bytes.0 as usize + (16 << 10),
            requests_bytes: limits.requests_bytes.0 as usize,
            replies_bytes: limits.replies_bytes.0 as usize,
            ..net::Limits::default()
        },
        data_servers: config
            .data_servers
            .iter()
            .map(|server| DataServerSpec {
                name: server.name.to_string(),
                host: server.address.host.clone(),
                port: server.address.port,
                mount_port: server.mount_port,
                export: server.export.as_str().to_owned(),
                weight: server.weight,
                client_host: server.host.as_ref().map(ToString::to_string),
                read_bytes: server.read_bytes.map(|bytes| bytes.0 as u32),
                write_bytes: server.write_bytes.map(|bytes| bytes.0 as u32),
                moves_to_fence: server.fence == config::Fence::Replace,
                has_files: false,
                ids,
            })
            .collect(),
        watch: Watch {
            look_every: config.layout.look_seconds.duration(),
            answer_within: config.layout.answer_seconds.duration(),
        },
        exports: exports(config),
        referrals: referrals(config),
        backends: backends(config),
        junctions: junctions(config),
        assimilated: assimilated(config),
        managed: managed(config),
        identity: identity(config),
        stripe_unit: config.layout.stripe_unit.0 as u32,
        stripe_count: config.layout.stripe_count.among(config.data_servers.len()),
        local_first: config.layout.placement == config::Placement::LocalFirst,
        server_copy: server_copy(config),
        nfsv3: config.server.nfsv3 == config::Switch::On,
        ids,
        stats_seconds: config.layout.stats_seconds.duration().as_secs() as u32,
        away_error: config
            .layout
            .away_error_seconds
            .map(config::Seconds::duration),
        root_mode: 0o755,
        catalog_cache_bytes: Some(limits.catalog_cache_bytes.0),
    }
}

fn access(access: config::Access) -> Access {
    match access {
        config::Access::ReadOnly => Access::ReadOnly,
        config::Access::ReadWrite => Access::ReadWrite,
    }
}

pub fn exports(config: &MdsConfig) -> Vec<ExportSpec> {
    config
        .exports
        .iter()
        .map(|export| ExportSpec {
            path: export.path.as_str().to_owned(),
            clients: export.clients.iter().map(config::Cidr::network).collect(),
            access: access(export.access),
            squash: match export.squash {
                config::Squash::None => Squash::None,
                config::Squash::Root => Squash::Root,
                config::Squash::All => Squash::All,
            },
            anonymous: (export.anon_uid, export.anon_gid),
            delegations: Delegations {
                read: export.file_delegations != config::FileDelegations::None,
                write: export.file_delegations == config::FileDelegations::Write,
                folders: export.folder_delegations == config::Switch::On,
            },
            manage_gids: export.manage_gids == config::Switch::On,
        })
        .collect()
}

pub fn referrals(config: &MdsConfig) -> Vec<ReferralSpec> {
    config
        .referrals
        .iter()
        .map(|referral| ReferralSpec {
            path: referral.path.as_str().to_owned(),
            servers: referral
                .servers
                .iter()
                .map(config::Host::location)
                .collect(),
            remote_path: referral.remote_path().as_str().to_owned(),
        })
        .collect()
}

fn is_own(config: &MdsConfig, backend: &config::Name) -> bool {
    let backend = config.backends.iter().find(|other| other.name == *backend);
    backend.is_some_and(config::Backend::is_own)
}

/// Those whose files become part of the namespace; they are none of the others.
pub fn assimilated(config: &MdsConfig) -> Vec<AssimilatedSpec> {
    let shown = config.junctions.iter().filter_map(|junction| {
        let backend = config.backends.iter();
        let backend = backend
            .filter(|backend| backend.is_assimilated())
            .find(|backend| backend.name == junction.backend)?;
        let Keeper::Nfs(nfs) = keeper(backend)? else {
            return None;
        };
        Some(AssimilatedSpec {
            name: backend.name.as_str().to_owned(),
            nfs,
            path: junction.path.as_str().to_owned(),
            folder: junction
                .folder
                .as_ref()
                .map_or("/", config::ExportPath::as_str)
                .to_owned(),
        })
    });
    shown.collect()
}

/// Those that hold files of the namespace.
pub fn managed(config: &MdsConfig) -> Vec<ManagedSpec> {
    let kept = config.junctions.iter().filter_map(|junction| {
        let mut backends = config
            .backends
            .iter()
            .filter(|backend| backend.is_managed());
        let backend = backends.find(|backend| backend.name == junction.backend)?;
        let Keeper::S3(s3) = keeper(backend)? else {
            return None;
        };
        Some(ManagedSpec {
            name: backend.name.as_str().to_owned(),
            storage: Storage::S3(s3),
            cache: backend.cache.as_ref().map(ToString::to_string),
            path: junction.path.as_str().to_owned(),
        })
    });
    kept.collect()
}

pub fn junctions(config: &MdsConfig) -> Vec<JunctionSpec> {
    config
        .junctions
        .iter()
        .filter(|junction| !is_own(config, &junction.backend))
        .map(|junction| JunctionSpec {
            path: junction.path.as_str().to_owned(),
            backend: junction.backend.as_str().to_owned(),
            folder: junction
                .folder
                .as_ref()
                .map_or("/", config::ExportPath::as_str)
                .to_owned(),
            access: access(junction.access),
        })
        .collect()
}

pub fn backends(config: &MdsConfig) -> Vec<BackendSpec> {
    config
        .backends
        .iter()
        .filter(|backend| !backend.is_own())
        .filter_map(|backend| {
            Some(BackendSpec {
                name: backend.name.as_str().to_owned(),
                keeper: keeper(backend)?,
                cache: backend.cache.as_ref().map(ToString::to_string),
            })
        })
        .collect()
}

pub fn keeper(backend: &config::Backend) -> Option<Keeper> {
    match backend.kind {
        config::BackendKind::Nfs => {
            let server = backend.server.as_ref()?;
            Some(Keeper::Nfs(NfsSpec {
                host: server.host.clone(),
                port: server.port,
                mount_port: backend.mount_port,
                export: backend.export.as_ref()?.as_str().to_owned(),
            }))
        }
        config::BackendKind::S3 => {
            let text =
                |text: &Option<config::Text>| text.as_ref().map(|text| text.as_str().to_owned());
            Some(Keeper::S3(S3Spec {
                bucket: text(&backend.bucket)?,
                prefix: text(&backend.prefix).unwrap_or_default(),
                endpoint: text(&backend.endpoint),
                region: text(&backend.region),
                spool_bytes: backend.spool_capacity.map(|bytes| bytes.0),
                others_write: backend.writers == config::Writers::Several,
                owner: (backend.uid, backend.gid),
            }))
        }
    }
}

pub fn server_copy(config: &MdsConfig) -> ServerCopy {
    let section = &config.server_copy;
    let networks = |listed: &Option<Vec<config::Cidr>>| {
        let listed = listed.iter().flatten();
        listed.map(config::Cidr::network).collect()
    };
    ServerCopy {
        destinations: networks(&section.destinations),
        sources: networks(&section.sources),
        addresses: section.addresses.clone().unwrap_or_default(),
        patience: section.patience_seconds.duration(),
    }
}

pub fn identity(config: &MdsConfig) -> IdentitySpec {
    let section = &config.identity;
    let source = match section.mode {
        config::IdentityMode::Map => {
            let mut accounts = FixedAccounts::default();
            for group in &config.groups {
                accounts.add_group(group.name.as_str(), group.gid);
            }
            let gid_of = |name: &config::AccountName| {
                let group = config.groups.iter().find(|group| group.name == *name);
                group.map(|group| group.gid)
            };
            for user in &config.users {
                let groups = user.groups.iter().flatten().filter_map(gid_of);
                accounts.add_user(user.name.as_str(), user.uid, groups);
            }
            AccountsSource::Fixed(Arc::new(accounts))
        }
        config::IdentityMode::Numeric | config::IdentityMode::Nss => AccountsSource::Host,
    };
    IdentitySpec {
        source,
        domain: match section.mode {
            config::IdentityMode::Numeric => None,
            _ => section.domain.as_ref().map(ToString::to_string),
        },
        options: DirectoryOptions {
            keep: section.cache_seconds.duration(),
            keep_unknown: section.unknown_cache_seconds.duration(),
            answers: config.limits.accounts as usize,
            ..DirectoryOptions::default()
        },
    }
}
