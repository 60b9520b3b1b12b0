//! FSSTAT, FSINFO and PATHCONF: RFC 1813 §3.3.18 to §3.3.20.

use super::call::Call;
use wire::nfs3::*;
use wire::nfs4::{Attr, Attributes};

const SPACE: [Attr; 6] = [
    Attr::SpaceTotal,
    Attr::SpaceFree,
    Attr::SpaceAvail,
    Attr::FilesTotal,
    Attr::FilesFree,
    Attr::FilesAvail,
];
const ABILITIES: [Attr; 8] = [
    Attr::Maxread,
    Attr::Maxwrite,
    Attr::Maxfilesize,
    Attr::TimeDelta,
    Attr::LinkSupport,
    Attr::SymlinkSupport,
    Attr::Homogeneous,
    Attr::Cansettime,
];
const NAMES: [Attr; 6] = [
    Attr::Maxlink,
    Attr::Maxname,
    Attr::NoTrunc,
    Attr::ChownRestricted,
    Attr::CaseInsensitive,
    Attr::CasePreserving,
];

/// Sizes of requests are best multiples of this.
const BLOCK_BYTES: u32 = 4096;
/// What a listing is best asked for at once.
const LISTING_BYTES: u32 = 64 << 10;

/// Of the handle's file, and of its file system.
async fn told(
    handle: &Fh3,
    of_system: &[Attr],
    call: &mut Call<'_>,
) -> Result<(PostOpAttr, Box<Attributes>), Nfsstat3> {
    let file = call.put(handle).await?;
    let told = call.told(of_system.iter().copied().collect()).await?;
    Ok((call.after(&file).await, told))
}

/// FSSTAT, §3.3.18. Nobody may know how many files a filer can hold: then it is 0.
pub(super) async fn fsstat(args: Fsstat3args, call: &mut Call<'_>) -> Fsstat3res {
    let (obj_attributes, told) = told(&args.fsroot, &SPACE, call).await?;
    Ok(Fsstat3resok {
        obj_attributes,
        tbytes: told.space_total.unwrap_or(0),
        fbytes: told.space_free.unwrap_or(0),
        abytes: told.space_avail.unwrap_or(0),
        tfiles: told.files_total.unwrap_or(0),
        ffiles: told.files_free.unwrap_or(0),
        afiles: told.files_avail.unwrap_or(0),
        invarsec: 0,
    })
}

/// FSINFO, §3.3.19.
pub(super) async fn fsinfo(args: Fsinfo3args, call: &mut Call<'_>) -> Fsinfo3res {
    let (obj_attributes, told) = told(&args.fsroot, &ABILITIES, call).await?;
    let bytes = |most: Option<u64>| u32::try_from(most.unwrap_or(0)).unwrap_or(u32::MAX);
    let (read, write) = (bytes(told.maxread), bytes(told.maxwrite));
    let step = told.time_delta.ok_or(Nfsstat3::Serverfault)?;
    let property = |has: Option<bool>, bit| if has == Some(true) { bit } else { 0 };
    Ok(Fsinfo3resok {
        obj_attributes,
        rtmax: read,
        rtpref: read,
        rtmult: BLOCK_BYTES,
        wtmax: write,
        wtpref: write,
        wtmult: BLOCK_BYTES,
        dtpref: read.min(LISTING_BYTES),
        maxfilesize: told.maxfilesize.unwrap_or(0),
        time_delta: Nfstime3 {
            seconds: u32::try_from(step.seconds).unwrap_or(0),
            nseconds: step.nseconds,
        },
        properties: property(told.link_support, FSF3_LINK)
            | property(told.symlink_support, FSF3_SYMLINK)
            | property(told.homogeneous, FSF3_HOMOGENEOUS)
            | property(told.cansettime, FSF3_CANSETTIME),
    })
}

/// PATHCONF, §3.3.20.
pub(super) async fn pathconf(args: Pathconf3args, call: &mut Call<'_>) -> Pathconf3res {
    let (obj_attributes, told) = told(&args.object, &NAMES, call).await?;
    Ok(Pathconf3resok {
        obj_attributes,
        linkmax: told.maxlink.unwrap_or(1),
        name_max: told.maxname.unwrap_or(0),
        no_trunc: told.no_trunc.unwrap_or(true),
        chown_restricted: told.chown_restricted.unwrap_or(true),
        case_insensitive: told.case_insensitive.unwrap_or(false),
        case_preserving: told.case_preserving.unwrap_or(true),
    })
}
