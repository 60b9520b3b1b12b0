//! Clients that are gone, or past their lease and in somebody's way: their durable record goes
//! first, then what they held (RFC 8881 §8.4.2.1, invariant 7).

use crate::server::Server;
use crate::state::{
    Lapsed, LockRefusal, LockRequest, OpenRefusal, OpenRequest, OpenReservation, Stateid, Time,
    Touch,
};
use crate::status::Refusal;
use std::sync::Arc;

impl Server {
    /// Drops clients that lapsed. From here on nobody who was refused for them is.
    pub(crate) async fn put_out(self: &Arc<Self>, lapsed: Vec<Lapsed>) -> Result<(), Refusal> {
        let records: Vec<u64> = lapsed.iter().map(|lapsed| lapsed.client.0).collect();
        for lapsed in &lapsed {
            // Nobody gets what that would spoil until the fences are done.
            self.state.lock().begin_fences_of(lapsed.client);
        }
        // After a restart they must not reclaim what others got since.
        self.forget_records(&records).await?;
        for lapsed in lapsed {
            tracing::info!(
                client = lapsed.client.0,
                "a client's lease ran out: its state is dropped"
            );
            let dropped = self.state.lock().drop_client(lapsed.client);
            if let Some(dropped) = dropped {
                self.clean_up(dropped);
            }
        }
        Ok(())
    }

    /// Claims an open. Clients past their lease don't stand in its way; where a delegation does, that
    /// is the answer.
    pub(crate) async fn reserve_open(
        self: &Arc<Self>,
        request: OpenRequest,
    ) -> Result<Result<OpenReservation, Touch>, Refusal> {
        loop {
            let gone = {
                let mut state = self.state.lock();
                match state.open_reserve(request.clone()) {
                    Err(OpenRefusal::ShareDenied) => state.make_way_for_open(&request),
                    Err(OpenRefusal::MakingRoom) => {
                        self.wake_housekeeping();
                        return Err(OpenRefusal::MakingRoom.into());
                    }
                    Err(OpenRefusal::Delegated(touch)) => return Ok(Err(touch)),
                    answer => return Ok(Ok(answer?)),
                }
            };
            if gone.is_empty() {
                return Err(OpenRefusal::ShareDenied.into());
            }
            self.put_out(gone).await?;
        }
    }

    /// Takes a lock. Clients past their lease don't stand in its way.
    pub(crate) async fn take_lock(
        self: &Arc<Self>,
        now: Time,
        request: LockRequest,
    ) -> Result<Result<Stateid, LockRefusal>, Refusal> {
        loop {
            let (gone, answer) = {
                let mut state = self.state.lock();
                let answer = state.lock(now, request.clone());
                match &answer {
                    Err(LockRefusal::Denied(denied)) => {
                        (state.make_way_for_lock(denied.client), answer)
                    }
                    _ => return Ok(answer),
                }
            };
            if gone.is_empty() {
                return Ok(answer);
            }
            self.put_out(gone).await?;
            self.fence_file(request.inode).await;
        }
    }
}
