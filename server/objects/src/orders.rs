//! Changes of a file's objects that must end, crash or not: each is a durable order first, is carried
//! out by calls that may be repeated, and is cleared with its result in one transaction.
//!
//! Never here: who asks for a change, and recalls before it.

use crate::{Error, Objects};
use catalog::{DataStamp, Inode, InodeId, Order, OrderId, OrderKind, Tx};
use layout::{Extent, ObjectRef};
use std::sync::Arc;
use std::time::Duration;

use crate::member::Health;
use crate::turns::Turn;

/// Between attempts at orders whose data server is away.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// A truncate whose objects are cut and whose size is not committed yet. Dropped unfinished, the
/// order stays, and is carried out in the background: [`Objects::pending`] says so.
#[must_use]
pub struct Truncating {
    guard: Guard,
    order: Option<OrderId>,
    size: u64,
    size_epoch: u64,
    stamp: DataStamp,
}

impl Truncating {
    pub fn size(&self) -> u64 {
        self.size
    }

    /// For the inode, together with the size.
    pub fn size_epoch(&self) -> u64 {
        self.size_epoch
    }

    /// The state of the objects after the cut, for the inode too.
    pub fn stamp(&self) -> DataStamp {
        self.stamp
    }

    /// What the transaction that stores size and epoch must do besides.
    pub fn order(&self) -> TruncateOrder {
        TruncateOrder(self.order)
    }

    /// The transaction is committed.
    pub fn done(mut self) {
        self.guard.done = true;
    }
}

/// The durable order of a [`Truncating`].
#[derive(Debug, Clone, Copy)]
pub struct TruncateOrder(Option<OrderId>);

impl TruncateOrder {
    /// In the transaction that stores size and epoch.
    pub fn finish(self, tx: &mut Tx) {
        if let Some(order) = self.0 {
            tx.order_done(order);
        }
    }
}

/// Leaves an inode pending unless its order was finished.
struct Guard {
    objects: Arc<Objects>,
    inode: InodeId,
    done: bool,
    turn: Option<Turn>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            self.objects.pending.lock().insert(self.inode);
            self.objects.orders_left.notify_one();
        }
        drop(self.turn.take());
    }
}

impl Objects {
    /// Whether an order of this file is not carried out: its size and data must not be told, and no
    /// layout given, until it is.
    pub fn pending(&self, inode: InodeId) -> bool {
        self.pending.lock().contains(&inode)
    }

    async fn begin(&self, inode: InodeId) -> Result<Guard, Error> {
        let objects = self.weak().upgrade().ok_or(Error::Pending)?;
        let turn = self.turns.enter(inode).await;
        if self.pending(inode) {
            self.carry_out(inode).await?;
        }
        Ok(Guard {
            objects,
            inode,
            done: true,
            turn: Some(turn),
        })
    }

    /// Cuts or extends the objects of a file whose writers the caller keeps out. The caller commits
    /// size and epoch; see [`Truncating`].
    pub async fn truncate(&self, inode: &Inode, size: u64) -> Result<Truncating, Error> {
        let was_pending = self.pending(inode.id);
        let mut guard = self.begin(inode.id).await?;
        if was_pending {
            // An earlier truncate was committed just now: the caller's inode is of the past.
            return Err(Error::Pending);
        }
        let size_epoch = inode.size_epoch + 1;
        if !inode.extents.iter().any(Extent::is_bound) {
            return Ok(Truncating {
                guard,
                order: None,
                size,
                size_epoch,
                stamp: DataStamp::default(),
            });
        }
        guard.done = false;
        let order = Order {
            inode: inode.id,
            kind: OrderKind::Truncate { size, size_epoch },
        };
        let order = self.give(order).await?;
        let stamp = self.cut(&inode.extents, size).await?;
        Ok(Truncating {
            guard,
            order: Some(order),
            size,
            size_epoch,
            stamp,
        })
    }

    /// Keeps out for ever whoever may write the objects of `inode` as the caller knows it, and commits
    /// their new owners. Readers of its group stay. Answers with the extents as they are now. Where
    /// [`Self::fence_moves`] objects, the caller has seen to it that nobody writes them but who is fenced.
    pub async fn fence(&self, inode: &Inode) -> Result<Vec<Extent>, Error> {
        let mut guard = self.begin(inode.id).await?;
        let current = match self.catalog.read().inode(inode.id).await {
            Ok(current) => current,
            Err(catalog::Error::Stale) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let known: Vec<&ObjectRef> = inode.extents.iter().flat_map(Extent::objects).collect();
        let to_fence: Vec<ObjectRef> = current
            .extents
            .iter()
            .flat_map(Extent::objects)
            .filter(|object| known.contains(object))
            .cloned()
            .collect();
        let mut in_place = Vec::new();
        for object in &to_fence {
            let desk = self.desk(object.server)?;
            match desk.capabilities().fence {
                backend::FenceGrade::Exact | backend::FenceGrade::Windowed => {
                    in_place.push(self.options.owners.fenced(object));
                }
                backend::FenceGrade::Replace => self.replace(inode.id, object).await?,
                // What it can isn't known before it was reached.
                backend::FenceGrade::None if desk.health() == Health::Down => {
                    return Err(desk.away().into());
                }
                backend::FenceGrade::None => {
                    let detail = "the data server can't keep a writer out".to_owned();
                    return Err(backend::Error::new(backend::ErrorKind::Unsupported, detail).into());
                }
            }
        }
        if !in_place.is_empty() {
            guard.done = false;
            let order = Order {
                inode: inode.id,
                kind: OrderKind::Fence {
                    objects: in_place.clone(),
                },
            };
            let order = self.give(order).await?;
            self.carry_out_fence(order, inode.id, &in_place).await?;
            guard.done = true;
        }
        Ok(self.catalog.read().inode(inode.id).await?.extents)
    }

    async fn give(&self, order: Order) -> Result<OrderId, Error> {
        let given = catalog::transact!(self.catalog, self.now(), |tx| -> Result<OrderId, Error> {
            Ok(tx.order_put(&order))
        })?;
        Ok(given.value)
    }

    /// Marks what an earlier start left undone.
    pub(crate) async fn recover_orders(&self) -> Result<(), Error> {
        let orders = self.catalog.orders().await?;
        self.pending
            .lock()
            .extend(orders.iter().map(|(_, order)| order.inode));
        Ok(())
    }

    /// One round over everything that is pending; says whether nothing is left.
    pub(crate) async fn carry_out_all(&self) -> bool {
        let pending: Vec<InodeId> = self.pending.lock().iter().copied().collect();
        for inode in pending {
            let _turn = self.turns.enter(inode).await;
            if let Err(error) = self.carry_out(inode).await {
                tracing::debug!(?inode, "a change of a file's objects waits: {error}");
            }
        }
        self.pending.lock().is_empty()
    }

    /// All orders of one file, oldest first. The caller has the turn.
    async fn carry_out(&self, inode: InodeId) -> Result<(), Error> {
        for (id, order) in self
            .catalog
            .orders()
            .await?
            .into_iter()
            .filter(|(_, order)| order.inode == inode)
        {
            match order.kind {
                OrderKind::Truncate { size, size_epoch } => {
                    self.carry_out_truncate(id, inode, size, size_epoch).await?;
                }
                OrderKind::Fence { objects } => self.carry_out_fence(id, inode, &objects).await?,
            }
        }
        self.pending.lock().remove(&inode);
        Ok(())
    }

    async fn inode_of(&self, id: OrderId, inode: InodeId) -> Result<Option<Inode>, Error> {
        match self.catalog.read().inode(inode).await {
            Ok(inode) => Ok(Some(inode)),
            Err(catalog::Error::Stale) => {
                // Reaped: its objects are in the delete queue.
                self.catalog.order_done(self.now(), id).await?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn carry_out_truncate(
        &self,
        id: OrderId,
        inode: InodeId,
        size: u64,
        size_epoch: u64,
    ) -> Result<(), Error> {
        let Some(known) = self.inode_of(id, inode).await? else {
            return Ok(());
        };
        let stamp = if known.size_epoch < size_epoch {
            self.cut(&known.extents, size).await?
        } else {
            known.data_stamp
        };
        catalog::transact!(self.catalog, self.now(), |tx| -> Result<(), Error> {
            let mut current = tx.inode(inode).await?;
            if current.size_epoch < size_epoch {
                current.size = size;
                current.size_epoch = size_epoch;
                current.mtime = tx.now();
                current.ctime = tx.now();
                current.data_stamp = stamp;
                current.change = tx.next_change();
                tx.put(&current).await?;
            }
            tx.order_done(id);
            Ok(())
        })?;
        Ok(())
    }

    async fn carry_out_fence(
        &self,
        id: OrderId,
        inode: InodeId,
        targets: &[ObjectRef],
    ) -> Result<(), Error> {
        self.change_owners(targets).await?;
        let targets = targets.to_vec();
        catalog::transact!(self.catalog, self.now(), |tx| -> Result<(), Error> {
            match tx.inode(inode).await {
                Ok(mut current) => {
                    for object in current.extents.iter_mut().flat_map(Extent::objects_mut) {
                        let target = targets.iter().find(|target| target.object == object.object);
                        if let Some(target) =
                            target.filter(|target| target.generation > object.generation)
                        {
                            object.owner = target.owner;
                            object.generation = target.generation;
                        }
                    }
                    tx.put(&current).await?;
                }
                Err(catalog::Error::Stale) => {}
                Err(error) => return Err(error.into()),
            }
            tx.order_done(id);
            Ok(())
        })?;
        Ok(())
    }
}
