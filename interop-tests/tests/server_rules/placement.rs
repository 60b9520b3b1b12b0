//! Where new files go, as the configuration says.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use wire::nfs4::Layoutiomode4;

use crate::world::World;

/// Where the files that a client makes lie.
async fn places(world: &World) -> Result<Vec<SocketAddr>> {
    let a = world.client("a").await?;
    let root = a.root().await?;
    let mut found = Vec::new();
    for number in 0..12 {
        let file = a.open_create(&root, &format!("f{number}")).await?;
        let held = world.to_write(&a, &file).await?;
        let device = held.layout.mirrors[0].data_servers[0].deviceid;
        let device = a.getdeviceinfo(device).await?;
        found.push(device.netaddrs[0].to_socket_addr().context("an address")?);
    }
    Ok(found)
}

/// Two data servers, of which the second runs on the client's machine.
async fn beside_a_client(local_first: bool) -> Result<(World, SocketAddr)> {
    let world = World::with(2, |spec| {
        spec.local_first = local_first;
        spec.stripe_count = 1;
        // Elsewhere, and where every client of this test comes from.
        spec.data_servers[0].client_host = Some("192.0.2.1".into());
        spec.data_servers[1].client_host = Some("127.0.0.1".into());
    })
    .await?;
    let spec = &world.spec().data_servers[1];
    let own = SocketAddr::new(spec.host.parse()?, spec.port);
    Ok((world, own))
}

#[tokio::test]
async fn local_first_puts_new_files_on_the_writers_own_machine() -> Result<()> {
    let (world, own) = beside_a_client(true).await?;
    let places = places(&world).await?;
    assert!(places.iter().all(|place| *place == own), "{places:?}");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_says_which_of_its_data_servers_is_on_the_clients_own_machine() -> Result<()> {
    let (world, own) = beside_a_client(false).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let mut seen = [false; 2];
    for number in 0..12 {
        let file = a.open_create(&root, &format!("f{number}")).await?;
        for iomode in [Layoutiomode4::Rw, Layoutiomode4::Read] {
            let (_, layout) = a.layoutget(&file.fh, file.opened.stateid, iomode).await?;
            let place = &layout.mirrors[0].data_servers[0];
            let device = a.getdeviceinfo(place.deviceid).await?;
            let is_own = device.netaddrs[0].to_socket_addr() == Some(own);
            assert_eq!(place.efficiency, u32::from(is_own));
            seen[usize::from(is_own)] = true;
        }
    }
    assert_eq!(seen, [true; 2]);
    world.ends_without_leak().await
}

#[tokio::test]
async fn spread_puts_new_files_on_every_data_server_wherever_the_writer_is() -> Result<()> {
    let (world, own) = beside_a_client(false).await?;
    let places = places(&world).await?;
    let local = places.iter().filter(|place| **place == own).count();
    assert!((1..places.len()).contains(&local), "{places:?}");
    world.ends_without_leak().await
}
