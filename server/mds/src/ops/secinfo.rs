//! SECINFO and SECINFO_NO_NAME, RFC 8881 §18.29, §18.45. Both consume the current filehandle
//! (§2.6.3.1.1.8), so that the client can't go on with a file it has not been cleared for.

use super::lookup;
use crate::compound::Compound;
use crate::status::Refusal;
use catalog::FileKind;
use wire::nfs4::{
    Nfsstat4, Secinfo4Args, Secinfo4Ok, SecinfoFlavor4, SecinfoNoName4Args, SecinfoStyle4,
};
use wire::rpc::{AUTH_NONE, AUTH_SYS};

fn flavors() -> Secinfo4Ok {
    Secinfo4Ok {
        flavors: vec![
            SecinfoFlavor4::Flavor(AUTH_SYS),
            SecinfoFlavor4::Flavor(AUTH_NONE),
        ],
    }
}

pub(crate) async fn secinfo(
    args: Secinfo4Args,
    cx: &mut Compound<'_>,
) -> Result<Secinfo4Ok, Refusal> {
    let directory = cx.file()?.clone();
    if cx.inode().await?.kind != FileKind::Directory {
        return Err(Nfsstat4::Notdir.into());
    }
    lookup::find(&directory, args.name, cx).await?;
    cx.current = None;
    Ok(flavors())
}

pub(crate) async fn secinfo_no_name(
    args: SecinfoNoName4Args,
    cx: &mut Compound<'_>,
) -> Result<Secinfo4Ok, Refusal> {
    cx.file()?;
    if args.style == SecinfoStyle4::Parent {
        lookup::lookupp(cx).await?;
    }
    cx.current = None;
    Ok(flavors())
}
