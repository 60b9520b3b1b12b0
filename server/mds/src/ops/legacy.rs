//! What NFSv3 asks otherwise than NFSv4 does (RFC 1813 §3.3.8, §3.3.12, §3.3.13): a file is made without being
//! opened, and a name is taken away if it is one of a folder, or if it isn't.
//!
//! State: delegations are recalled as by OPEN and REMOVE; none is given.

use super::{junction, open, remove};
use crate::compound::{Compound, File};
use crate::state::GraceRefusal;
use crate::status::Refusal;
use bytes::Bytes;
use catalog::RemoveWhat;
use wire::nfs4::{ChangeInfo4, Createhow4, Nfsstat4, Opnum, Remove4Args, Remove4Ok};

/// A file that was made, or that was there.
pub(crate) struct Made {
    pub file: File,
    pub cinfo: ChangeInfo4,
    pub created: bool,
}

/// A regular file in the current folder, which becomes the current one.
pub(crate) async fn make_file(
    name: Bytes,
    how: Createhow4,
    cx: &mut Compound<'_>,
) -> Result<Made, Nfsstat4> {
    let made = try_make(name, how, cx).await;
    let made = made.map_err(|refusal| cx.server.told(Opnum::Open, &refusal))?;
    cx.set_current(made.file.clone());
    Ok(made)
}

async fn try_make(name: Bytes, how: Createhow4, cx: &mut Compound<'_>) -> Result<Made, Refusal> {
    // Whether somebody may take back an open that stands against it isn't known yet.
    if cx.server.state.lock().in_grace() {
        return Err(GraceRefusal::InGrace.into());
    }
    if cx.file()?.export.junction.is_some() {
        junction::make(name, &how, cx).await
    } else {
        open::make::make(name, &how, cx).await
    }
}

/// A name of that kind, out of the current folder.
pub(crate) async fn take_away(
    target: Bytes,
    what: RemoveWhat,
    cx: &mut Compound<'_>,
) -> Result<Remove4Ok, Nfsstat4> {
    let args = Remove4Args { target };
    let removed = if cx
        .file()
        .is_ok_and(|folder| folder.export.junction.is_some())
    {
        junction::take_away(args, what, cx).await
    } else {
        remove::take_away(args, what, cx).await
    };
    removed.map_err(|refusal| cx.server.told(Opnum::Remove, &refusal))
}
