//! Changes of a file's objects that must end, crash or not: each is a durable order first, is carried
//! out by calls that may be repeated, and is cleared with its result in one transaction.
//!
//! Never here: who asks for a change, and recalls before it.

use crate::member::Health;
use crate::observe::{Answer, stamp_after};
use crate::turns::Turn;
use crate::{Error, Objects};
use catalog::{DataStamp, Inode, InodeId, Order, OrderId, OrderKind, Tx};
use layout::{Extent, ObjectRef};
use std::sync::Arc;
use std::time::Duration;

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
            self.objects
                .pending
                .lock()
                .insert(self.inode, Error::Pending);
            self.objects.orders_left.notify_one();
        }
        drop(self.turn.take());
    }
}

impl Objects {
    /// Whether an order of this file is not carried out: its size and data must not be told, and no
    /// layout given, until it is.
    pub fn pending(&self, inode: InodeId) -> bool {
        self.pending.lock().contains_key(&inode)
    }

    /// Refuses while an order of this file is not carried out: with what keeps it, where no waiting changes that.
    pub fn at_rest(&self, inode: InodeId) -> Result<(), Error> {
        match self.pending.lock().get(&inode) {
            None => Ok(()),
            Some(error) if error.is_final() => Err(error.clone()),
            Some(_) => Err(Error::Pending),
        }
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
        let stamp = match self.cut(&inode.extents, size).await {
            Ok(stamp) => stamp,
            Err(error) => {
                if error.is_final() {
                    self.undo_truncate(order, inode.id).await?;
                    guard.done = true;
                }
                return Err(error);
            }
        };
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
                backend::FenceGrade::Replace => match self.replace(inode.id, object).await {
                    // Nobody reads again what is still written into it.
                    Err(error) if error.is_gone() => {}
                    replaced => replaced?,
                },
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

    /// Nobody waits any more for the data servers of this file: a truncate that they never heard of, or
    /// did and never said so, is not made up for when they are back.
    pub async fn give_up(&self, inode: InodeId) -> Result<(), Error> {
        let _turn = self.turns.enter(inode).await;
        for (id, order) in self.orders_of(inode).await? {
            if let OrderKind::Truncate { .. } = order.kind {
                self.restore_instead(id, inode).await?;
            }
        }
        Ok(())
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
        self.pending.lock().extend(
            orders
                .iter()
                .map(|(_, order)| (order.inode, Error::Pending)),
        );
        Ok(())
    }

    /// One round over everything that is pending; says whether nothing is left.
    pub(crate) async fn carry_out_all(&self) -> bool {
        let pending: Vec<InodeId> = self.pending.lock().keys().copied().collect();
        for inode in pending {
            let _turn = self.turns.enter(inode).await;
            if let Err(error) = self.carry_out(inode).await {
                tracing::debug!(?inode, "a change of a file's objects waits: {error}");
                if let Some(why) = self.pending.lock().get_mut(&inode) {
                    *why = error;
                }
            }
        }
        self.pending.lock().is_empty()
    }

    /// All orders of one file, oldest first. The caller has the turn.
    async fn carry_out(&self, inode: InodeId) -> Result<(), Error> {
        for (id, order) in self.orders_of(inode).await? {
            match order.kind {
                OrderKind::Truncate { size, size_epoch } => {
                    self.carry_out_truncate(id, inode, size, size_epoch).await?;
                }
                OrderKind::Fence { objects } => self.carry_out_fence(id, inode, &objects).await?,
                OrderKind::Restore => self.carry_out_restore(id, inode).await?,
            }
        }
        self.pending.lock().remove(&inode);
        Ok(())
    }

    async fn orders_of(&self, inode: InodeId) -> Result<Vec<(OrderId, Order)>, Error> {
        let mut orders = self.catalog.orders().await?;
        orders.retain(|(_, order)| order.inode == inode);
        Ok(orders)
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
            match self.cut(&known.extents, size).await {
                Ok(stamp) => stamp,
                Err(error) if error.is_final() => {
                    tracing::error!(?inode, "a file can't be given the size {size}: {error}");
                    return self.undo_truncate(id, inode).await;
                }
                Err(error) => return Err(error),
            }
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

    /// Ends a truncate that can't be. The caller has the turn, and leaves the file pending on an error.
    async fn undo_truncate(&self, id: OrderId, inode: InodeId) -> Result<(), Error> {
        let restore = self.restore_instead(id, inode).await?;
        self.carry_out_restore(restore, inode).await
    }

    async fn restore_instead(&self, id: OrderId, inode: InodeId) -> Result<OrderId, Error> {
        let kind = OrderKind::Restore;
        let given = catalog::transact!(self.catalog, self.now(), |tx| -> Result<OrderId, Error> {
            tx.order_done(id);
            Ok(tx.order_put(&Order {
                inode,
                kind: kind.clone(),
            }))
        })?;
        Ok(given.value)
    }

    /// Invariant 8, whichever objects were cut. What is lost stays lost.
    async fn carry_out_restore(&self, id: OrderId, inode: InodeId) -> Result<(), Error> {
        let Some(known) = self.inode_of(id, inode).await? else {
            return Ok(());
        };
        let answers = self.pad_each(&known.extents, known.size).await?;
        let is_lost = |answer: &Answer| answer.as_ref().is_err_and(Error::is_gone);
        let stamp = if answers.iter().any(is_lost) {
            let left = answers.into_iter().filter(|answer| !is_lost(answer));
            left.collect::<Result<Vec<_>, _>>()?;
            None
        } else {
            Some(stamp_after(answers, |_| true)?)
        };
        catalog::transact!(self.catalog, self.now(), |tx| -> Result<(), Error> {
            let mut current = tx.inode(inode).await?;
            current.mtime = tx.now();
            current.ctime = tx.now();
            current.data_stamp = stamp.unwrap_or(current.data_stamp);
            current.change = tx.next_change();
            tx.put(&current).await?;
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
