//! What COPY fetches from another server, as a client of that server's own (RFC 7862 §4.6): read there with
//! the client's copy-notify stateid, and stored here as WRITEs would be, a piece at a time. Holes that it tells
//! are made here as DEALLOCATE would.
//!
//! A client could send this server anywhere: it goes where `[server_copy]` says and nowhere else. What the
//! other side answers is believed as far as it can be written down, and it is waited for within bounds.

use super::{Copy4Args, Job, Source, Stretch};
use crate::compound::Compound;
use crate::ops::copied_range::CopiedRange;
use crate::ops::copy_notify::address;
use crate::ops::io::{Writer, writable};
use crate::partner::{Partner, PartnerData, PartnerFault, PartnerFile};
use crate::state::{GateMode, Stateid};
use crate::status::Refusal;
use backend::Stability;
use bytes::{Bytes, BytesMut};
use catalog::InodeId;
use futures_util::stream::{self, StreamExt};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wire::nfs4::Nfsstat4;
use wire::rpc::{AuthSys, Credential, Gids, MachineName};

/// Fetched by one READ at most; [`PIECES_AT_ONCE`] times as much is what a copy holds in memory.
const PIECE_BYTES: u32 = 1 << 20;
const PIECES_AT_ONCE: usize = 8;
/// Less than this in a READ is not worth the asking.
const PIECE_BYTES_LEAST: u32 = 4096;
/// Times that a stretch is fetched anew because a data server of ours restarted in it.
const ROUNDS: u32 = 4;
/// Alternations of data and holes between two commits.
const TURNS_MAX: usize = 256;
/// Addresses of one source that are tried.
const ADDRESSES_MAX: usize = 4;

/// A copy that has not begun: what was asked for, and may be.
pub(super) struct There {
    pub writer: Writer,
    target: InodeId,
    /// As asked: how long the source is only it knows.
    range: (u64, u64, u64),
    servers: Vec<SocketAddr>,
    file: PartnerFile,
    off: CancellationToken,
    opened: OnceCell<Arc<dyn Partner>>,
    _permit: OwnedSemaphorePermit,
}

/// What came of a stretch, and is not committed yet.
#[derive(Default)]
struct Brought {
    bytes: u64,
    ended: bool,
    /// Under which verifiers.
    written: Vec<[u8; 8]>,
}

/// A source that was found.
pub(super) struct Opened {
    partner: Arc<dyn Partner>,
    off: CancellationToken,
    patience: Duration,
}

impl There {
    pub async fn of(args: &Copy4Args, cx: &Compound<'_>) -> Result<Self, Refusal> {
        let fh = cx.saved_foreign()?;
        let asked = (args.src_offset, args.dst_offset, args.count);
        let target = writable(args.dst_stateid, args.dst_offset, args.count, cx).await?;
        if Stateid::from(args.src_stateid).special().is_some() {
            // In our own name, which may read more there than the client does.
            return Err(Nfsstat4::BadStateid.into());
        }
        let settings = cx.settings();
        let rules = &settings.server_copy;
        let servers: Vec<_> = args
            .source_server
            .iter()
            .filter_map(address)
            .filter(|server| rules.is_source(server.ip()))
            .take(ADDRESSES_MAX)
            .collect();
        let [server, ..] = servers[..] else {
            let reason = "the source of a copy isn't among [server_copy] sources";
            return Err(Refusal::client(Nfsstat4::OffloadDenied, reason));
        };
        let permit = Arc::clone(&cx.server.copies_between_servers).try_acquire_owned();
        let permit =
            permit.map_err(|_| Refusal::client(Nfsstat4::OffloadDenied, "copies are under way"))?;
        // As the client's user, as far as he is believed here.
        let user = cx.credential(&target);
        let caller = Credential::Sys(AuthSys {
            stamp: 0,
            machine: MachineName::default(),
            uid: user.uid,
            gid: user.gid,
            gids: Gids::first(user.groups),
        });
        Ok(Self {
            writer: Writer::of(&target, cx)?,
            target: target.id,
            range: asked,
            servers,
            file: PartnerFile {
                server,
                fh,
                stateid: args.src_stateid,
                offset: args.src_offset,
                caller,
                patience: rules.patience,
            },
            off: CancellationToken::new(),
            opened: OnceCell::new(),
            _permit: permit,
        })
    }

    /// Goes to the first of the source's addresses where somebody is.
    pub async fn open(&self) -> Result<Job, Refusal> {
        let mut fault = PartnerFault::Away("no address of it".into());
        for server in &self.servers {
            let file = PartnerFile {
                server: *server,
                ..self.file.clone()
            };
            let found = tokio::select! {
                found = self.writer.server.partners.open(file) => found,
                () = self.off.cancelled() => return Err(called_off().into()),
            };
            match found {
                Ok(partner) => {
                    let partner = self.opened.get_or_init(async || partner).await;
                    return self.job(partner);
                }
                Err(away @ PartnerFault::Away(_)) => fault = away,
                Err(other) => return Err(other.into()),
            }
        }
        Err(fault.into())
    }

    fn job(&self, partner: &Arc<dyn Partner>) -> Result<Job, Refusal> {
        if partner.read_bytes() < PIECE_BYTES_LEAST {
            let bytes = partner.read_bytes();
            return Err(PartnerFault::Unfit(format!("a READ gives {bytes} bytes")).into());
        }
        Ok(Job {
            source: Source::There(Arc::new(Opened {
                partner: Arc::clone(partner),
                off: self.off.clone(),
                patience: self.file.patience,
            })),
            target: self.target,
            range: CopiedRange::of(self.range, partner.size(), false)?,
            writer: self.writer.clone(),
        })
    }

    /// Nothing more is waited for.
    pub fn give_up(&self) {
        self.off.cancel();
    }

    pub async fn close(&self) {
        self.give_up();
        if let Some(partner) = self.opened.get() {
            partner.close().await;
        }
    }
}

fn called_off() -> PartnerFault {
    PartnerFault::Away("the copy was called off".into())
}

impl Opened {
    /// A piece, whole unless the file ends in it.
    async fn fetch(&self, offset: u64, length: u32) -> Result<Bytes, PartnerFault> {
        let whole = async {
            let mut data = BytesMut::new();
            while data.len() < length as usize {
                let left = length - data.len() as u32;
                let at = offset + data.len() as u64;
                let PartnerData { data: got, at_end } = self.partner.read(at, left).await?;
                if got.len() > left as usize || (got.is_empty() && !at_end) {
                    let said = format!("{} bytes for {left} that were asked for", got.len());
                    return Err(PartnerFault::Nonsense(said));
                }
                if data.is_empty() && (at_end || got.len() == length as usize) {
                    return Ok(got);
                }
                data.extend_from_slice(&got);
                if at_end {
                    break;
                }
            }
            Ok(data.freeze())
        };
        tokio::select! {
            whole = timeout(self.patience, whole) => {
                whole.unwrap_or_else(|_| Err(PartnerFault::Away("it is too slow".into())))
            }
            () = self.off.cancelled() => Err(called_off()),
        }
    }

    /// The next data of a range. What isn't told soon may have none but is read: one of the source's data
    /// servers may be away that has nothing of what comes next.
    async fn data(&self, within: Range<u64>) -> Result<Range<u64>, PartnerFault> {
        let asked = self.partner.data(within.clone());
        tokio::select! {
            answer = timeout(self.patience / 4, asked) => answer.unwrap_or(Ok(within)),
            () = self.off.cancelled() => Err(called_off()),
        }
    }

    /// Brings a beginning of `rest`, durably: `most` bytes and the holes between them.
    pub async fn stretch(
        &self,
        target: InodeId,
        rest: CopiedRange,
        most: u64,
        writer: &Writer,
    ) -> Result<Stretch, Refusal> {
        for _ in 0..ROUNDS {
            let brought = self.bring(target, rest, most, writer).await?;
            let verifier = commit(target, writer).await?;
            if brought.written.iter().all(|said| *said == verifier) {
                return Ok(Stretch {
                    bytes: brought.bytes,
                    verifier,
                    ended: brought.ended,
                });
            }
        }
        let reason = "a data server keeps restarting during a copy";
        Err(Refusal::passing(Nfsstat4::Delay, reason))
    }

    async fn bring(
        &self,
        target: InodeId,
        rest: CopiedRange,
        most: u64,
        writer: &Writer,
    ) -> Result<Brought, Refusal> {
        let end = rest.source_offset + rest.length;
        let mut brought = Brought::default();
        let mut moved = 0;
        // Nobody waits for the many turns of a slow source.
        let until = Instant::now() + self.patience;
        for _ in 0..TURNS_MAX {
            let left = rest.after(brought.bytes, u64::MAX);
            if left.length == 0 || moved >= most || (brought.bytes > 0 && Instant::now() > until) {
                break;
            }
            let within = left.source_offset..end;
            let data = self.data(within).await?;
            let hole = data.start - left.source_offset;
            if hole > 0 {
                hollow(target, left.after(0, hole), writer).await?;
                brought.bytes += hole;
            }
            if data.is_empty() {
                brought.ended = data.start < end;
                break;
            }
            let piece = left.after(hole, (data.end - data.start).min(most - moved));
            let count = self.bring_data(target, piece, writer, &mut brought).await?;
            moved += count;
            if count < piece.length {
                brought.ended = true;
                break;
            }
        }
        brought.written.dedup();
        Ok(brought)
    }

    /// Fetches ahead, and writes in order: where the source ends early, nothing lies behind its end.
    async fn bring_data(
        &self,
        target: InodeId,
        piece: CopiedRange,
        writer: &Writer,
        brought: &mut Brought,
    ) -> Result<u64, Refusal> {
        let step = u64::from(self.partner.read_bytes().min(PIECE_BYTES));
        let pieces = (0..piece.length).step_by(step as usize);
        let mut arriving = stream::iter(pieces.map(|at| piece.after(at, step)))
            .map(|piece| self.fetch(piece.source_offset, piece.length as u32))
            .buffered(PIECES_AT_ONCE);
        let mut copied = 0;
        while let Some(data) = arriving.next().await {
            let data = data?;
            let (count, whole) = (data.len() as u64, step.min(piece.length - copied));
            if count > 0 {
                let at = piece.target_offset + copied;
                let said = writer.store(target, at, data, Stability::Unstable).await?;
                brought.written.push(said.verifier);
                copied += u64::from(said.count);
            }
            if count < whole {
                break;
            }
        }
        brought.bytes += copied;
        Ok(copied)
    }
}

/// Makes a hole, to the end of which the file goes at least.
async fn hollow(target: InodeId, hole: CopiedRange, writer: &Writer) -> Result<(), Refusal> {
    let server = &writer.server;
    let _inside = server.enter(target, GateMode::Shared).await?;
    let inode = writer.bound(target).await?;
    let (objects, extents) = (&server.objects, &inode.extents);
    objects
        .deallocate(extents, hole.target_offset, hole.length)
        .await?;
    objects.pad(extents, hole.target_end()).await?;
    writer.wrote(&inode).await
}

/// As COMMIT does.
async fn commit(target: InodeId, writer: &Writer) -> Result<[u8; 8], Refusal> {
    let server = &writer.server;
    let _inside = server.enter(target, GateMode::Shared).await?;
    let inode = server.catalog.inode(target).await?;
    let verifier = server.objects.commit(&inode.extents).await?;
    server.refresh(target).await?;
    Ok(verifier)
}
