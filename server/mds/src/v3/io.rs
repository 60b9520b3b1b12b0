//! READ, WRITE and COMMIT: RFC 1813 §3.3.6, §3.3.7, §3.3.21, by a stateid of no open. So opens of others that
//! deny, their delegations and a fence under way count, and locks, of which NFSv3 knows nothing, bind nobody.

use super::call::{Call, ask};
use super::status;
use wire::nfs3::*;
use wire::nfs4::{Commit4Args, Read4Args, StableHow4, Stateid4, Write4Args};

/// READ, §3.3.6. Never with attributes: Linux takes the first reply's length of what comes before the data for
/// that of all others, and can't read a longer one (fact 58).
pub(super) async fn read(args: Read3args, call: &mut Call<'_>) -> Read3res {
    let count = call.make_room(args.count).await as u32;
    call.put(&args.file).await?;
    let args = Read4Args {
        stateid: Stateid4::ANONYMOUS,
        offset: args.offset,
        count,
    };
    let read = ask!(call, Read(args)).map_err(status::of)?;
    Ok(Read3resok {
        file_attributes: None,
        eof: read.eof,
        data: read.data,
    })
}

/// WRITE, §3.3.7. What the file is like then would have to be asked for, each time.
pub(super) async fn write(args: Write3args, call: &mut Call<'_>) -> Write3res {
    call.put(&args.file).await?;
    let args = Write4Args {
        stateid: Stateid4::ANONYMOUS,
        offset: args.offset,
        stable: match args.stable {
            StableHow::Unstable => StableHow4::Unstable,
            StableHow::DataSync => StableHow4::DataSync,
            StableHow::FileSync => StableHow4::FileSync,
        },
        data: args.data,
    };
    let written = ask!(call, Write(args)).map_err(status::of)?;
    Ok(Write3resok {
        file_wcc: WccData::default(),
        count: written.count,
        committed: match written.committed {
            StableHow4::Unstable => StableHow::Unstable,
            StableHow4::DataSync => StableHow::DataSync,
            StableHow4::FileSync => StableHow::FileSync,
        },
        verf: written.writeverf.0,
    })
}

/// COMMIT, §3.3.21.
pub(super) async fn commit(args: Commit3args, call: &mut Call<'_>) -> Commit3res {
    let file = call.put(&args.file).await?;
    let args = Commit4Args {
        offset: args.offset,
        count: args.count,
    };
    let committed = ask!(call, Commit(args)).map_err(status::of)?;
    Ok(Commit3resok {
        file_wcc: WccData {
            before: None,
            after: call.after(&file).await,
        },
        verf: committed.writeverf.0,
    })
}
