//! LAYOUTSTATS, RFC 7862 §15.7, RFC 8435 §9.2.
//!
//! State: the layout named. Gate, catalog: none. What is told is kept per data server and, of the files
//! that are used most, per file; `/metrics` shows it.
//! Linux: every `ffl_stats_collect_hint` seconds, for at most a few mirrors at once; its numbers are
//! totals since it got the layout.

use crate::compound::{Compound, File};
use crate::reports::{Statistics, Traffic};
use crate::status::Refusal;
use layout::DeviceId;
use std::time::Duration;
use wire::nfs4::{Deviceid4, IoInfo4, LAYOUT4_FLEX_FILES, Layoutstats4Args, Nfsstat4, flex};

pub(crate) fn layoutstats(args: &Layoutstats4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let file = cx.file()?.clone();
    let client = cx.client()?;
    if args.layoutupdate.layout_type != LAYOUT4_FLEX_FILES {
        return Err(Nfsstat4::UnknownLayouttype.into());
    }
    let stateid = cx.resolve(args.stateid)?;
    let grant = cx.server.state.lock().layout_of(client, stateid)?;
    if grant.inode != file.id {
        return Err(Nfsstat4::BadStateid.into());
    }
    let told: flex::LayoutUpdate = wire::xdr::from_bytes(args.layoutupdate.body.clone())
        .map_err(|_| Refusal::from(Nfsstat4::Badxdr))?;
    count(args.deviceid, (&args.read, &args.write), &told, &file, cx)
}

/// Adds to what is known what one report tells of one data server.
pub(super) fn count(
    deviceid: Deviceid4,
    (read, write): (&IoInfo4, &IoInfo4),
    told: &flex::LayoutUpdate,
    file: &File,
    cx: &Compound<'_>,
) -> Result<(), Refusal> {
    let device = DeviceId(deviceid.0);
    let Some((server, _)) = device.parse() else {
        return Ok(());
    };
    let known = match &file.export.junction {
        Some(junction) => junction.data_server() == Some(server),
        None => cx.server.is_known(server),
    };
    if !known {
        return Ok(());
    }
    let seconds = u64::try_from(told.duration.seconds).unwrap_or(0);
    let said = Statistics {
        client: cx.client()?,
        file: file.id,
        device,
        traffic: Traffic {
            reads: read.count,
            read_bytes: read.bytes,
            writes: write.count,
            written_bytes: write.bytes,
        },
        duration: Duration::from_secs(seconds)
            .saturating_add(Duration::from_nanos(u64::from(told.duration.nseconds))),
    };
    cx.server.reports.statistics(server, said);
    Ok(())
}
