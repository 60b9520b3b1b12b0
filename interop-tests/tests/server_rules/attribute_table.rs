//! Every attribute that a minor version has, and what becomes of it: RFC 8881 §5.8 to §5.15, RFC 7862 §12.2,
//! RFC 8275 §5, RFC 8276 §8.2, RFC 9754. Why one is absent is in docs/SEMANTICS.md.

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, ClientSetup, getattr, putfh};
use wire::nfs4::*;

use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    Read,
    ReadAndSet,
    /// GETATTR of it is INVAL.
    Set,
    Absent,
}
use Served::{Absent, Read, ReadAndSet, Set};

/// In the order of their numbers: the name, since which minor version, and how it is served.
const ATTRIBUTES: &[(&str, u32, Served)] = &[
    // RFC 8881 §5.8, §5.9: REQUIRED, and what NFSv4.0 had.
    ("supported_attrs", 1, Read),
    ("type", 1, Read),
    ("fh_expire_type", 1, Read),
    ("change", 1, Read),
    ("size", 1, ReadAndSet),
    ("link_support", 1, Read),
    ("symlink_support", 1, Read),
    ("named_attr", 1, Read),
    ("fsid", 1, Read),
    ("unique_handles", 1, Read),
    ("lease_time", 1, Read),
    ("rdattr_error", 1, Read),
    ("acl", 1, ReadAndSet),
    ("aclsupport", 1, Read),
    ("archive", 1, Absent),
    ("cansettime", 1, Read),
    ("case_insensitive", 1, Read),
    ("case_preserving", 1, Read),
    ("chown_restricted", 1, Read),
    ("filehandle", 1, Read),
    ("fileid", 1, Read),
    ("files_avail", 1, Read),
    ("files_free", 1, Read),
    ("files_total", 1, Read),
    ("fs_locations", 1, Read),
    ("hidden", 1, Absent),
    ("homogeneous", 1, Read),
    ("maxfilesize", 1, Read),
    ("maxlink", 1, Read),
    ("maxname", 1, Read),
    ("maxread", 1, Read),
    ("maxwrite", 1, Read),
    ("mimetype", 1, Absent),
    ("mode", 1, ReadAndSet),
    ("no_trunc", 1, Read),
    ("numlinks", 1, Read),
    ("owner", 1, ReadAndSet),
    ("owner_group", 1, ReadAndSet),
    ("quota_avail_hard", 1, Absent),
    ("quota_avail_soft", 1, Absent),
    ("quota_used", 1, Absent),
    ("rawdev", 1, Read),
    ("space_avail", 1, Read),
    ("space_free", 1, Read),
    ("space_total", 1, Read),
    ("space_used", 1, Read),
    ("system", 1, Absent),
    ("time_access", 1, Read),
    ("time_access_set", 1, Set),
    ("time_backup", 1, Absent),
    ("time_create", 1, Read),
    ("time_delta", 1, Read),
    ("time_metadata", 1, Read),
    ("time_modify", 1, Read),
    ("time_modify_set", 1, Set),
    ("mounted_on_fileid", 1, Read),
    // Since NFSv4.1.
    ("dir_notif_delay", 1, Absent),
    ("dirent_notif_delay", 1, Absent),
    ("dacl", 1, ReadAndSet),
    ("sacl", 1, Absent),
    ("change_policy", 1, Absent),
    ("fs_status", 1, Absent),
    ("fs_layout_types", 1, Read),
    ("layout_hint", 1, Absent),
    ("layout_types", 1, Read),
    ("layout_blksize", 1, Read),
    ("layout_alignment", 1, Absent),
    ("fs_locations_info", 1, Absent),
    ("mdsthreshold", 1, Absent),
    ("retention_get", 1, Absent),
    ("retention_set", 1, Absent),
    ("retentevt_get", 1, Absent),
    ("retentevt_set", 1, Absent),
    ("retention_hold", 1, Absent),
    ("mode_set_masked", 1, Set),
    ("suppattr_exclcreat", 1, Read),
    ("fs_charset_cap", 1, Read),
    // RFC 7862 §12.2. Labels are there where they are switched on.
    ("clone_blksize", 2, Absent),
    ("space_freed", 2, Absent),
    ("change_attr_type", 2, Read),
    ("sec_label", 2, Absent),
    // RFC 8275, RFC 8276.
    ("mode_umask", 2, Set),
    ("xattr_support", 2, Read),
    // RFC 9754.
    ("offline", 2, Absent),
    ("time_deleg_access", 2, Set),
    ("time_deleg_modify", 2, Set),
    ("open_arguments", 2, Read),
];

/// The rows with their numbers.
fn rows() -> impl Iterator<Item = (Attr, &'static str, u32, Served)> {
    let rows = ATTRIBUTES.iter().enumerate();
    rows.filter_map(|(number, (name, minor, served))| {
        Some((Attr::from_u32(number as u32)?, *name, *minor, *served))
    })
}

#[test]
fn the_table_has_every_attribute_under_its_number() {
    assert_eq!(rows().count(), ATTRIBUTES.len());
    assert_eq!(Attr::ALL.len(), ATTRIBUTES.len());
    for (attribute, name, _, _) in rows() {
        let called = match attribute {
            Attr::Type => "type",
            other => other.name(),
        };
        assert_eq!(called, name);
    }
}

async fn is_served_as_the_table_says(client: &Client, minor: u32) -> Result<()> {
    let root = client.root().await?;
    let fh = client.open_create(&root, &format!("f{minor}")).await?.fh;
    let supported = client.getattr(&fh, &[Attr::SupportedAttrs]).await?;
    let supported = supported.supported_attrs.context("it is told")?;
    for (attribute, name, since, served) in rows() {
        let served = if since > minor { Absent } else { served };
        assert_eq!(supported.contains(attribute), served != Absent, "{name}");
        let mut reply = client.compound([putfh(&fh), getattr(&[attribute])]).await?;
        if served == Set {
            assert_eq!(reply.status, Nfsstat4::Inval, "{name}");
            continue;
        }
        let shown = reply.getattr()?.obj_attributes.mask();
        let is_there = matches!(served, Read | ReadAndSet);
        assert_eq!(shown.contains(attribute), is_there, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn each_attribute_is_there_or_absent_as_the_table_says() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    is_served_as_the_table_says(&client, 2).await?;
    let mut older = ClientSetup::named("b");
    older.minorversion = 1;
    let older = older.mount(world.address).await?;
    is_served_as_the_table_says(&older, 1).await?;
    Ok(())
}
