//! Data objects and what is remembered about them, through transactions.

use crate::world::*;
use bytes::Bytes;
use catalog::{
    Catalog, ClientRecord, DataServerRecord, DeadObject, Error, InodeId, Order, OrderKind,
    PoolEntry, RemoveWhat, WriteIntent, transact,
};
use layout::{DataServerId, Extent, ExtentState, Mirror, ObjectId, ObjectRef, Owner};

fn object(server: u32, number: u128) -> ObjectRef {
    ObjectRef {
        server: DataServerId(server),
        object: ObjectId(number),
        handle: Bytes::from(vec![number as u8; 32]),
        owner: Owner {
            uid: 100_000,
            gid: 100_001,
        },
        generation: 1,
    }
}

fn extent(objects: Vec<ObjectRef>) -> Extent {
    Extent {
        offset: 0,
        length: u64::MAX,
        stripe_unit: 0,
        mirrors: vec![Mirror {
            stripes: objects,
            stale: false,
        }],
        state: ExtentState::Bound,
    }
}

async fn create_from_pool(
    catalog: &Catalog,
    name: &str,
    object: &ObjectRef,
) -> Result<InodeId, Error> {
    let done = transact!(catalog, at(1), |tx| -> Result<_, Error> {
        tx.pool_take(object).await?;
        let mut new = file();
        new.extents = vec![extent(vec![object.clone()])];
        tx.create(ROOT, name.as_bytes(), new).await
    })?;
    Ok(done.value.id)
}

#[test]
fn an_object_goes_from_announcement_to_pool_to_file_to_delete_queue() {
    run(async {
        let catalog = in_memory().await;
        let made = object(1, 42);
        catalog
            .pool_reserve(at(1), &[(made.server, made.object)])
            .await
            .unwrap();
        let reserved = PoolEntry::Reserved {
            server: made.server,
            object: made.object,
        };
        assert_eq!(catalog.pool_list().await.unwrap(), [reserved]);
        assert_eq!(
            create_from_pool(&catalog, "early", &made).await,
            Err(Error::NotFound)
        );
        catalog
            .pool_fill(at(1), std::slice::from_ref(&made))
            .await
            .unwrap();
        assert_eq!(
            catalog.pool_list().await.unwrap(),
            [PoolEntry::Pooled(made.clone())]
        );
        let id = create_from_pool(&catalog, "a", &made).await.unwrap();
        assert_eq!(
            create_from_pool(&catalog, "b", &made).await,
            Err(Error::NotFound)
        );
        assert_eq!(
            catalog.extents_on(DataServerId(1), None, 10).await.unwrap(),
            [id]
        );
        assert_sound(&catalog).await;
        calls(&catalog)
            .remove(ROOT, "a", RemoveWhat::Any)
            .await
            .unwrap();
        assert!(catalog.reap(at(1), id).await.unwrap());
        let dead = DeadObject::from(&made);
        assert_eq!(catalog.delete_queue(None, 10).await.unwrap(), [dead]);
        assert_eq!(catalog.counts().await.unwrap().dead_objects, 1);
        assert_eq!(
            catalog.extents_on(DataServerId(1), None, 10).await.unwrap(),
            []
        );
        assert_sound(&catalog).await;
        catalog.delete_done(at(1), &[dead]).await.unwrap();
        assert_eq!(catalog.delete_queue(None, 10).await.unwrap(), []);
        assert_eq!(catalog.counts().await.unwrap().dead_objects, 0);
        assert_sound(&catalog).await;
    });
}

#[test]
fn of_two_creates_that_want_one_pooled_object_one_gets_it() {
    run(async {
        let catalog = in_memory().await;
        let made = object(1, 42);
        catalog
            .pool_fill(at(1), std::slice::from_ref(&made))
            .await
            .unwrap();
        let (one, two) = futures_util::future::join(
            create_from_pool(&catalog, "a", &made),
            create_from_pool(&catalog, "b", &made),
        )
        .await;
        assert!(one.is_ok() != two.is_ok());
        assert_sound(&catalog).await;
    });
}

#[test]
fn an_announced_object_that_was_never_confirmed_can_be_abandoned() {
    run(async {
        let catalog = in_memory().await;
        let lost = DeadObject {
            server: DataServerId(3),
            object: ObjectId(9),
        };
        catalog
            .pool_reserve(at(1), &[(lost.server, lost.object)])
            .await
            .unwrap();
        catalog.pool_abandon(at(1), &[lost]).await.unwrap();
        assert_eq!(catalog.pool_list().await.unwrap(), []);
        assert_eq!(catalog.delete_queue(None, 10).await.unwrap(), [lost]);
        assert_eq!(catalog.counts().await.unwrap().dead_objects, 1);
        assert_sound(&catalog).await;
    });
}

#[test]
fn the_reverse_index_follows_extents_from_server_to_server() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let mut new = file();
        new.extents = vec![extent(vec![object(1, 1), object(2, 2)])];
        let id = calls.make(ROOT, "a", new).await;
        let mut inode = catalog.read().inode(id).await.unwrap();
        inode.extents = vec![extent(vec![object(2, 2), object(3, 3)])];
        calls.put(&inode).await.unwrap();
        for (server, expected) in [(1, vec![]), (2, vec![id]), (3, vec![id])] {
            assert_eq!(
                catalog
                    .extents_on(DataServerId(server), None, 10)
                    .await
                    .unwrap(),
                expected
            );
        }
        assert_eq!(
            catalog
                .extents_on(DataServerId(2), Some(id), 10)
                .await
                .unwrap(),
            []
        );
        assert_sound(&catalog).await;
    });
}

#[test]
fn an_object_in_two_places_is_a_fault() {
    run(async {
        let catalog = in_memory().await;
        let mut new = file();
        new.extents = vec![extent(vec![object(1, 1)])];
        calls(&catalog).make(ROOT, "a", new).await;
        catalog.pool_fill(at(1), &[object(1, 1)]).await.unwrap();
        assert_eq!(catalog.check().await.unwrap().len(), 1);
    });
}

#[test]
fn intents_orders_clients_and_servers_survive_a_restart() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let intent;
        let orders;
        let client = ClientRecord {
            id: 5,
            owner: "co".into(),
            verifier: [1; 8],
            principal: "sys".into(),
            reclaim_complete: true,
        };
        let server = DataServerRecord {
            id: DataServerId(1),
            name: "nvme1".into(),
            device_generation: 2,
            address: "10.0.0.1:2049".into(),
            export: "/nvme".into(),
            root_handle: Bytes::from_static(&[1, 2, 3]),
        };
        {
            let catalog = in_folder(folder.path()).await;
            let id = calls(&catalog).make(ROOT, "a", file()).await;
            intent = WriteIntent {
                inode: id,
                size_epoch: 3,
                clients: vec![5, 6],
            };
            let given = transact!(catalog, at(1), |tx| -> Result<_, Error> {
                tx.intent_put(&intent);
                let kinds = [
                    OrderKind::Truncate {
                        size: 1 << 40,
                        size_epoch: 4,
                    },
                    OrderKind::Fence {
                        objects: vec![object(1, 1)],
                    },
                ];
                Ok(kinds.map(|kind| {
                    let order = Order { inode: id, kind };
                    (tx.order_put(&order), order)
                }))
            });
            orders = given.unwrap().value;
            catalog.put_client(at(1), &client).await.unwrap();
            catalog.put_data_server(at(1), &server).await.unwrap();
            catalog
                .meta_put(at(1), b"scope", "here".into())
                .await
                .unwrap();
        }
        let catalog = in_folder(folder.path()).await;
        assert_eq!(
            catalog.intents().await.unwrap(),
            std::slice::from_ref(&intent)
        );
        assert_eq!(catalog.orders().await.unwrap(), orders);
        assert_eq!(catalog.clients().await.unwrap(), [client]);
        assert_eq!(catalog.data_servers().await.unwrap(), [server]);
        assert_eq!(
            catalog.meta_get(b"scope").await.unwrap(),
            Some("here".into())
        );
        assert_sound(&catalog).await;
        catalog.intent_clear(at(1), &[intent.inode]).await.unwrap();
        for (id, _) in &orders {
            catalog.order_done(at(1), *id).await.unwrap();
        }
        catalog.remove_client(at(1), 5).await.unwrap();
        assert!(catalog.intents().await.unwrap().is_empty());
        assert!(catalog.orders().await.unwrap().is_empty());
        assert!(catalog.clients().await.unwrap().is_empty());
    });
}
