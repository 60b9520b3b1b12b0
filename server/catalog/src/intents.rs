//! Durable notes of what must be ended after a crash: write intents, orders, and the clients that may
//! reclaim; with them the data servers' registry and small values by name.

use crate::catalog::Catalog;
use crate::codec::Record;
use crate::error::Error;
use crate::inode::{InodeId, Timestamp};
use crate::keys;
use crate::records::{ClientRecord, DataServerRecord, Order, OrderId, WriteIntent};
use crate::store::KeyRange;
use crate::tx::Tx;
use crate::view::{Guard, Reader, misplaced};
use bytes::Bytes;
use layout::DataServerId;

impl Tx {
    /// Durable before the layout that it stands for leaves.
    pub fn intent_put(&mut self, intent: &WriteIntent) {
        self.set_record(keys::writing(intent.inode), intent);
    }

    pub fn intent_clear(&mut self, inode: InodeId) {
        self.delete(keys::writing(inode));
    }

    /// Gives an order; it is listed until [`Tx::order_done`].
    pub fn order_put(&mut self, order: &Order) -> OrderId {
        // Change attributes rise for ever and are never given twice: so do orders.
        let id = OrderId(self.next_change());
        self.set_record(keys::order(id), order);
        id
    }

    pub fn order_done(&mut self, id: OrderId) {
        self.delete(keys::order(id));
    }

    pub fn put_client(&mut self, client: &ClientRecord) {
        self.set_record(keys::client(client.id), client);
    }

    pub fn remove_client(&mut self, id: u64) {
        self.delete(keys::client(id));
    }

    /// Adds or changes a data server. A number that was given stays given: never remove one.
    pub fn put_data_server(&mut self, server: &DataServerRecord) {
        self.set_record(keys::data_server(server.id), server);
    }

    pub fn meta_put(&mut self, name: &[u8], value: Bytes) {
        self.set(keys::meta(name), value);
    }

    pub fn meta_remove(&mut self, name: &[u8]) {
        self.delete(keys::meta(name));
    }
}

impl Reader {
    async fn list<R: Record>(&self, range: KeyRange) -> Result<Vec<R>, Error> {
        let rows = self.all(range).await?;
        rows.iter()
            .map(|(_, value)| Ok(R::decode(value)?))
            .collect()
    }

    pub async fn intent_get(&self, inode: InodeId) -> Result<Option<WriteIntent>, Error> {
        self.record(&keys::writing(inode), Guard::Conflict).await
    }

    pub async fn intents(&self) -> Result<Vec<WriteIntent>, Error> {
        self.list(keys::all_writing()).await
    }

    /// In the order in which they were given.
    pub async fn orders(&self) -> Result<Vec<(OrderId, Order)>, Error> {
        let rows = self.all(keys::orders()).await?;
        rows.iter()
            .map(|(key, value)| {
                let id = keys::order_id(key).ok_or_else(|| misplaced("an order"))?;
                Ok((id, Order::decode(value)?))
            })
            .collect()
    }

    pub async fn clients(&self) -> Result<Vec<ClientRecord>, Error> {
        self.list(keys::clients()).await
    }

    pub async fn data_servers(&self) -> Result<Vec<DataServerRecord>, Error> {
        self.list(keys::data_servers()).await
    }

    pub async fn data_server(&self, id: DataServerId) -> Result<Option<DataServerRecord>, Error> {
        self.record(&keys::data_server(id), Guard::Conflict).await
    }

    pub async fn meta_get(&self, name: &[u8]) -> Result<Option<Bytes>, Error> {
        self.get(&keys::meta(name), Guard::Conflict).await
    }
}

/// The same, each in a transaction of its own.
impl Catalog {
    pub async fn intents(&self) -> Result<Vec<WriteIntent>, Error> {
        self.read().intents().await
    }

    pub async fn intent_clear(&self, now: Timestamp, inodes: &[InodeId]) -> Result<(), Error> {
        self.write(now, |tx| {
            for inode in inodes {
                tx.intent_clear(*inode);
            }
        })
        .await
    }

    pub async fn orders(&self) -> Result<Vec<(OrderId, Order)>, Error> {
        self.read().orders().await
    }

    pub async fn order_done(&self, now: Timestamp, id: OrderId) -> Result<(), Error> {
        self.write(now, |tx| tx.order_done(id)).await
    }

    pub async fn clients(&self) -> Result<Vec<ClientRecord>, Error> {
        self.read().clients().await
    }

    pub async fn put_client(&self, now: Timestamp, client: &ClientRecord) -> Result<(), Error> {
        self.write(now, |tx| tx.put_client(client)).await
    }

    pub async fn remove_client(&self, now: Timestamp, id: u64) -> Result<(), Error> {
        self.write(now, |tx| tx.remove_client(id)).await
    }

    pub async fn data_servers(&self) -> Result<Vec<DataServerRecord>, Error> {
        self.read().data_servers().await
    }

    pub async fn put_data_server(
        &self,
        now: Timestamp,
        server: &DataServerRecord,
    ) -> Result<(), Error> {
        self.write(now, |tx| tx.put_data_server(server)).await
    }

    pub async fn meta_get(&self, name: &[u8]) -> Result<Option<Bytes>, Error> {
        self.read().meta_get(name).await
    }

    pub async fn meta_put(&self, now: Timestamp, name: &[u8], value: Bytes) -> Result<(), Error> {
        self.write(now, |tx| tx.meta_put(name, value.clone())).await
    }
}
