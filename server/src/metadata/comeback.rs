//! Data servers that were in service, went away, and come back: as what they were, or with another
//! address or other sizes, which makes another device of them.
//!
//! Never here: those that were never reached.

use super::data_servers::{DataServerSpec, Registry, hosts_of, identify, member};
use anyhow::Context;
use layout::DataServerId;
use mds::Server;
use objects::{Health, Objects};
use std::sync::Arc;

/// Runs as long as the metadata server does.
pub async fn watch(
    registry: Registry,
    objects: Arc<Objects>,
    server: Arc<Server>,
    all: Vec<(DataServerId, DataServerSpec)>,
) {
    let mut health = objects.health();
    let mut before = health.borrow_and_update().clone();
    loop {
        tokio::select! {
            changed = health.changed() => if changed.is_err() { return },
            // One that is down may have moved: its configured address is looked up anew.
            () = tokio::time::sleep(registry.watch.look_every) => {}
        }
        let now = health.borrow_and_update().clone();
        for (id, spec) in &all {
            if before.get(id) != Some(&Health::Down) {
                continue;
            }
            if let Err(error) = look(&registry, &objects, &server, *id, spec).await {
                tracing::debug!("data server {} isn't there yet: {error:#}", spec.name);
            }
        }
        before = now;
    }
}

async fn look(
    registry: &Registry,
    objects: &Objects,
    server: &Arc<Server>,
    id: DataServerId,
    spec: &DataServerSpec,
) -> anyhow::Result<()> {
    let Ok(found) = registry.take_in(id, spec).await else {
        anyhow::bail!("it can't be reached");
    };
    let record = registry.catalog.read().data_server(id).await?;
    let record = record.context("its record is gone")?;
    let generation = record.device_generation;
    let (record, device) = identify(&registry.catalog, record, spec, &found).await?;
    if record.device_generation != generation {
        tracing::info!("data server {} came back as {}", spec.name, record.address);
        let hosts = hosts_of(spec).await;
        objects.attach(member(id, spec, hosts, Some(found))).await;
        server.change_device(id, record.device_generation, device);
    }
    Ok(())
}
