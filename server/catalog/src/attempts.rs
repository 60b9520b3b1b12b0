//! A transaction written in place, by [`transact!`](crate::transact): attempts until one commits.
//! Never a closure: a future that borrows its surroundings in an async closure can't be spawned.

use crate::catalog::{ATTEMPTS, Catalog};
use crate::store::Outcome;
use crate::{Done, Error, Timestamp, Tx};

/// The attempts at one transaction. Bounded: then [`Error::Conflict`].
pub struct Attempts<'a> {
    catalog: &'a Catalog,
    now: Timestamp,
    left: u32,
}

impl Catalog {
    /// Starts a transaction at the time `now`; see [`transact!`](crate::transact).
    pub fn attempts(&self, now: Timestamp) -> Attempts<'_> {
        Attempts {
            catalog: self,
            now,
            left: ATTEMPTS,
        }
    }
}

impl Attempts<'_> {
    /// A fresh snapshot to work on.
    pub fn begin(&mut self) -> Result<Tx, Error> {
        if self.left == 0 {
            return Err(Error::Conflict { attempts: ATTEMPTS });
        }
        self.left -= 1;
        Ok(Tx::new(self.catalog.core.clone(), self.now))
    }

    /// Commits what a body did, durably unless [`Tx::needs_no_sync`]; `None` asks for another attempt. A
    /// body's error ends the transaction without a trace; so does writing nothing.
    pub async fn end<T, E: From<Error>>(
        &mut self,
        tx: Tx,
        outcome: Result<T, E>,
    ) -> Result<Option<Done<T>>, E> {
        let value = match outcome {
            Ok(value) => value,
            Err(_) if tx.is_too_old() => return Ok(None),
            Err(error) => return Err(error),
        };
        let (transaction, touched) = tx.finish();
        if transaction.is_read_only() {
            return Ok(Some(Done {
                value,
                version: 0,
                directories: Vec::new(),
            }));
        }
        match self.catalog.core.commit(transaction).await? {
            Outcome::Committed(committed) => {
                let directories = touched.changes(&committed)?;
                Ok(Some(Done {
                    value,
                    version: committed.version,
                    directories,
                }))
            }
            Outcome::Conflict => Ok(None),
            Outcome::Unknown(why) => Err(Error::Unknown(why).into()),
        }
    }
}

/// Runs a block as one transaction, again while it conflicts with others:
/// `transact!(catalog, now, |tx| -> Result<T, E> { … })` gives `Result<Done<T>, E>`.
///
/// The block may run several times and borrows what it uses; `?` and `return` end the attempt.
#[macro_export]
macro_rules! transact {
    ($catalog:expr, $now:expr, |$tx:ident| -> $result:ty $body:block) => {{
        let mut attempts = $catalog.attempts($now);
        loop {
            let mut transaction = match attempts.begin() {
                Ok(transaction) => transaction,
                Err(error) => break Err(error.into()),
            };
            let outcome: $result = async {
                let $tx = &mut transaction;
                $body
            }
            .await;
            match attempts.end(transaction, outcome).await {
                Ok(Some(done)) => break Ok(done),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        }
    }};
}
