//! What a layout says, and what becomes of it: RFC 8881 §18.40 to §18.44, RFC 8435.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{CallbackAnswer, Client, Failure, OpenFile, StatusOf, putfh};
use std::time::Duration;
use wire::nfs4::*;
use wire::xdr;

use crate::direct::Refused;
use crate::world::{MIB, World, at_last, kernel, watchful};

pub fn layoutget(stateid: Stateid4, iomode: Layoutiomode4) -> Layoutget4Args {
    Layoutget4Args {
        signal_layout_avail: false,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode,
        offset: 0,
        length: u64::MAX,
        minlength: 0,
        stateid,
        maxcount: 4096,
    }
}

pub async fn asked(
    client: &Client,
    file: &OpenFile,
    args: Layoutget4Args,
) -> Result<Layoutget4Ok, Failure> {
    client
        .ok([putfh(&file.fh), ArgOp::Layoutget(args)])
        .await?
        .layoutget()
}

fn number(text: &Bytes) -> u32 {
    std::str::from_utf8(text)
        .expect("ASCII")
        .parse()
        .expect("fact 2: a decimal number")
}

#[tokio::test]
async fn a_layout_covers_the_whole_file_and_fits_what_linux_asks_for() -> Result<()> {
    // Facts 1 and 6: maxcount 4096 is all that Linux ever offers, and small ranges are a storm.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let args = Layoutget4Args {
        offset: 5 * MIB,
        length: 4096,
        ..layoutget(file.stateid, Layoutiomode4::Rw)
    };
    let granted = asked(&a, &file, args).await?;
    let [layout] = &granted.layout[..] else {
        panic!("one segment: {granted:?}")
    };
    assert_eq!(
        (layout.offset, layout.length, layout.iomode),
        (0, u64::MAX, Layoutiomode4::Rw)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_names_one_handle_numeric_ids_and_no_stripe_unit_for_an_unknown_kernel()
-> Result<()> {
    // Facts 2, 3 and 9.
    let world = World::start().await?;
    for (name, setup) in [
        ("none", kernel("none", "FreeBSD 15.0")),
        ("old", kernel("old", "Linux 6.17.9-generic #1")),
    ] {
        let a = setup.mount(world.address).await?;
        let file = a.open_create(&a.root().await?, name).await?;
        let held = world.to_write(&a, &file).await?;
        let [mirror] = &held.layout.mirrors[..] else {
            panic!("one mirror: {:?}", held.layout)
        };
        let [stripe] = &mirror.data_servers[..] else {
            panic!("one stripe: {mirror:?}")
        };
        assert_eq!((held.layout.stripe_unit, stripe.fh_vers.len()), (0, 1));
        assert!(
            number(&stripe.user) >= 2_000_000 && number(&stripe.group) >= 2_000_000,
            "{stripe:?}"
        );
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_kernel_that_proved_itself_gets_stripes_over_all_data_servers() -> Result<()> {
    // Facts 9 and 11.
    let world = World::with(3, |_| {}).await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let stripes = &held.layout.mirrors[0].data_servers;
    assert!(
        held.layout.stripe_unit.is_power_of_two() && stripes.len().is_power_of_two(),
        "{:?}",
        held.layout
    );
    assert!(stripes.len() > 1);
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_5_a_file_has_one_mirror_and_no_stripe_of_it_ranks_above_another() -> Result<()> {
    // And fact 16: a WRITE needs all mirrors, so that one that isn't there can't be missed.
    let world = World::with(4, |_| {}).await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    for iomode in [Layoutiomode4::Read, Layoutiomode4::Rw] {
        let held = world.layout(&a, &file, iomode).await?;
        assert_eq!(held.layout.mirrors.len(), 1);
        let stripes = &held.layout.mirrors[0].data_servers;
        assert_eq!(stripes.len(), 4);
        let first = stripes[0].efficiency;
        assert!(stripes.iter().all(|stripe| stripe.efficiency == first));
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_16_without_its_only_mirror_a_file_is_neither_read_nor_written_and_never_wrong()
-> Result<()> {
    let mut world = World::with(1, watchful).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    world.to_write(&a, &file).await?.write(0, "whole").await?;
    a.layoutcommit(&file.fh, world.to_write(&a, &file).await?.stateid, Some(4))
        .await?;
    world.stop_data_server(0).await?;
    let read = a.read(&file.fh, file.stateid, 0, 100).await;
    assert_eq!(read.map(|_| ()).status(), Nfsstat4::Delay);
    let written = a.write(&file.fh, file.stateid, 0, "other").await;
    assert_eq!(written.map(|_| ()).status(), Nfsstat4::Delay);
    world.start_data_server(0)?;
    let read = at_last("a read", &[Nfsstat4::Delay], async || {
        a.read(&file.fh, file.stateid, 0, 100).await
    })
    .await?;
    assert_eq!(&read.data[..], b"whole");
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_8_layouts_bind_to_the_open_stateid_though_there_is_a_lock() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.lock(&file, "a", LockType4::WriteLt, (0, 10)).await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "under a lock").await?;
    a.layoutcommit(&file.fh, held.stateid, Some(11)).await?;
    assert_eq!(a.size_of(&file.fh).await?, 12);
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_8_where_there_is_no_data_server_a_layout_is_unavailable_and_not_to_be_waited_for()
-> Result<()> {
    let world = World::with(0, |spec| spec.stripe_count = 1).await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    for iomode in [Layoutiomode4::Read, Layoutiomode4::Rw] {
        let refused = a.layoutget(&file.fh, file.stateid, iomode).await;
        assert_eq!(refused.map(|_| ()).status(), Nfsstat4::Layoutunavailable);
    }
    let written = a.write(&file.fh, file.stateid, 0, "x").await;
    assert_eq!(written.status(), Nfsstat4::Nospc);
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_10_each_byte_lies_at_its_own_offset_of_its_stripes_object() -> Result<()> {
    let world = World::with(4, |_| {}).await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let unit = u64::from(world.spec().stripe_unit);
    let data: Vec<u8> = (0..6 * unit).map(|at| (at / unit) as u8 + 1).collect();
    // Through the metadata server, so that its mapping is the one that is looked at.
    for (at, piece) in data.chunks(128 << 10).enumerate() {
        let offset = at as u64 * (128 << 10);
        a.write(&file.fh, file.stateid, offset, piece.to_vec())
            .await?;
    }
    let held = world.to_read(&a, &file).await?;
    for index in 0..6 {
        let (stripe, offset) = (index as usize % 4, index * unit);
        let read = held.read_object(stripe, offset, unit).await?;
        assert_eq!(read.len() as u64, unit);
        assert!(read.iter().all(|byte| *byte == index as u8 + 1), "{index}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_striped_file_is_read_and_written_by_an_old_kernel_through_the_server() -> Result<()> {
    // Fact 10.
    // Fact 9: to offer it stripes would be an EIO.
    let world = World::start().await?;
    let (new, old) = (world.new_kernel("new").await?, world.client("old").await?);
    let root = new.root().await?;
    let file = new.open_create(&root, "f").await?;
    world
        .to_write(&new, &file)
        .await?
        .write(0, vec![7; 300_000])
        .await?;
    new.layoutcommit(
        &file.fh,
        world.to_write(&new, &file).await?.stateid,
        Some(299_999),
    )
    .await?;
    let same = old.open(&root, "f").await?;
    assert_eq!(
        world.to_read(&old, &same).await.map(|_| ()).status(),
        Nfsstat4::Layoutunavailable
    );
    let read = old.read(&same.fh, same.stateid, 100_000, 100_000).await?;
    assert!(read.data.len() == 100_000 && read.data.iter().all(|byte| *byte == 7));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_reader_has_an_id_that_never_owns_and_cannot_write() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let (read, write) = (
        world.to_read(&a, &file).await?,
        world.to_write(&a, &file).await?,
    );
    let (reader, writer) = (
        &read.layout.mirrors[0].data_servers[0],
        &write.layout.mirrors[0].data_servers[0],
    );
    assert_ne!(reader.user, writer.user);
    assert_eq!(reader.group, writer.group);
    assert_eq!(
        read.write(0, "no").await.refused(),
        Some(wire::nfs3::Nfsstat3::Acces)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_device_speaks_loosely_coupled_nfsv3_alone_with_the_sizes_of_fsinfo() -> Result<()> {
    // Facts 3, 4 and 12.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    let stripe = &held.layout.mirrors[0].data_servers[0];
    let device = a.getdeviceinfo(stripe.deviceid).await?;
    let server = world.data_server_of(&a, stripe).await?;
    let told = server
        .fsinfo(&wire::nfs3::Fh3::new(stripe.fh_vers[0].clone()).expect("a handle"))
        .await?;
    let [version] = &device.versions[..] else {
        panic!("one version: {device:?}")
    };
    assert_eq!(
        (
            version.version,
            version.minorversion,
            version.tightly_coupled
        ),
        (3, 0, false)
    );
    assert_eq!((version.rsize, version.wsize), (told.rtmax, told.wtmax));
    world.ends_without_leak().await
}

#[tokio::test]
async fn getdeviceinfo_keeps_to_maxcount_and_knows_no_made_up_device() -> Result<()> {
    // Fact 7.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let device_id = world.to_write(&a, &file).await?.layout.mirrors[0].data_servers[0].deviceid;
    let ask = async |device_id, maxcount| {
        let args = Getdeviceinfo4Args {
            device_id,
            layout_type: LAYOUT4_FLEX_FILES,
            maxcount,
            notify_types: Bitmap4::EMPTY,
        };
        a.compound([ArgOp::Getdeviceinfo(args)]).await
    };
    assert!(
        ask(device_id, 0)
            .await?
            .getdeviceinfo()?
            .device_addr
            .addr_body
            .is_empty()
    );
    let small = ask(device_id, 16).await?;
    let Some(ResOp::Getdeviceinfo(Err(Getdeviceinfo4Error::Toosmall { mincount }))) =
        small.results.last()
    else {
        panic!("TOOSMALL: {small:?}")
    };
    assert!(
        !ask(device_id, *mincount)
            .await?
            .getdeviceinfo()?
            .device_addr
            .addr_body
            .is_empty()
    );
    assert_eq!(
        ask(device_id, *mincount - 1).await?.status,
        Nfsstat4::Toosmall
    );
    assert_eq!(
        ask(Deviceid4([0xee; 16]), 4096).await?.status,
        Nfsstat4::Noent
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_that_makes_no_sense_is_refused_by_name() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let rw = layoutget(file.stateid, Layoutiomode4::Rw);
    let other_type = Layoutget4Args {
        layout_type: 1,
        ..rw.clone()
    };
    assert_eq!(
        asked(&a, &file, other_type).await.status(),
        Nfsstat4::UnknownLayouttype
    );
    assert_eq!(
        asked(&a, &file, layoutget(file.stateid, Layoutiomode4::Any))
            .await
            .status(),
        Nfsstat4::Badiomode
    );
    let tiny = Layoutget4Args {
        maxcount: 40,
        ..rw.clone()
    };
    assert_eq!(asked(&a, &file, tiny).await.status(), Nfsstat4::Toosmall);
    let wrapped = Layoutget4Args {
        offset: 1 << 63,
        length: 1 << 63,
        ..rw.clone()
    };
    assert_eq!(asked(&a, &file, wrapped).await.status(), Nfsstat4::Inval);
    let anonymous = Layoutget4Args {
        stateid: Stateid4::ANONYMOUS,
        ..rw
    };
    assert_eq!(
        asked(&a, &file, anonymous).await.status(),
        Nfsstat4::BadStateid
    );
    let b = world.client("b").await?;
    let reader = b.open_to_read(&root, "f").await?;
    let writes = world.to_write(&b, &reader).await.map(|_| ());
    assert_eq!(writes.status(), Nfsstat4::Openmode);
    world.ends_without_leak().await
}

#[tokio::test]
async fn layoutget_inside_the_compound_that_creates_uses_the_current_stateid() -> Result<()> {
    // Linux 6.1 sends OPEN and LAYOUTGET in one COMPOUND.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let how = Createhow4::Unchecked(
        Attributes {
            mode: Some(0o600),
            ..Attributes::default()
        }
        .into(),
    );
    let open = a.open_args("f", Openflag4::Create(how));
    let args = Layoutget4Args {
        signal_layout_avail: false,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode: Layoutiomode4::Rw,
        offset: 0,
        length: u64::MAX,
        minlength: 0,
        stateid: Stateid4::CURRENT,
        maxcount: 4096,
    };
    let mut reply = a
        .ok([putfh(&root), ArgOp::Open(open), ArgOp::Layoutget(args)])
        .await?;
    let body = reply.layoutget()?.layout[0].content.body.clone();
    let layout: flex::Layout = xdr::from_bytes(body)?;
    assert_eq!(layout.mirrors.len(), 1);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_to_write_needs_no_second_roundtrip_after_one_to_read() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let first = world.to_read(&a, &file).await?.stateid;
    let args = Layoutget4Args {
        stateid: first,
        ..layoutget(file.stateid, Layoutiomode4::Rw)
    };
    let second = asked(&a, &file, args).await?.stateid;
    assert_eq!((first.other, first.seqid + 1), (second.other, second.seqid));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_of_one_client_is_no_others() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let same = b.open(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    assert_eq!(
        b.layoutcommit(&same.fh, held.stateid, Some(0))
            .await
            .status(),
        Nfsstat4::Badlayout
    );
    assert_eq!(
        b.layoutreturn(&same.fh, held.stateid, Layoutiomode4::Any)
            .await
            .status(),
        Nfsstat4::BadStateid
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_at_its_limit_is_asked_for_half_of_what_it_holds() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.layouts_per_client = 6).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    // The first ask is not heard: it is asked again.
    a.callbacks
        .answer_next(CallbackAnswer::Status(Nfsstat4::Delay));
    let mut held = Vec::new();
    for number in 0..6 {
        let file = a.open_create(&root, &format!("f{number}")).await?;
        held.push((world.to_read(&a, &file).await?.stateid, file));
    }
    let one_more = a.open_create(&root, "more").await?;
    for _ in 0..5 {
        let refused = world.to_read(&a, &one_more).await.map(|_| ());
        assert_eq!(refused.status(), Nfsstat4::Layouttrylater);
    }
    for _ in 0..2 {
        let CbArgOp::RecallAny(ask) = a.callbacks.next().await? else {
            panic!("a request for layouts")
        };
        assert_eq!(ask.objects_to_keep, 3);
    }
    for (stateid, file) in &held[..3] {
        a.layoutreturn(&file.fh, *stateid, Layoutiomode4::Any)
            .await?;
    }
    world.to_read(&a, &one_more).await?;
    assert!(a.callbacks.is_quiet().await, "one ask at a time");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_at_a_limit_however_small_gets_another_layout() -> Result<()> {
    for most in 1..=3 {
        let world = World::with(1, |spec| {
            spec.limits.layouts_per_client = most;
            spec.limits.recall = Duration::from_millis(300);
        })
        .await?;
        let (a, stubborn) = (world.client("a").await?, world.client("stubborn").await?);
        let root = a.root().await?;
        for (client, gives) in [(&a, true), (&stubborn, false)] {
            let mut held = Vec::new();
            for number in 0..most {
                let file = client.open_create(&root, &format!("f{number}")).await?;
                held.push((world.to_read(client, &file).await?.stateid, file));
            }
            let more = client.open_create(&root, "more").await?;
            let full = world.to_read(client, &more).await.map(|_| ());
            assert_eq!(full.status(), Nfsstat4::Layouttrylater, "{most}");
            let CbArgOp::RecallAny(ask) = client.callbacks.next().await? else {
                panic!("a request for layouts")
            };
            let keep = ask.objects_to_keep as usize;
            assert!(keep < most, "{keep} of {most}");
            for (stateid, file) in held[keep..].iter().filter(|_| gives) {
                client
                    .layoutreturn(&file.fh, *stateid, Layoutiomode4::Any)
                    .await?;
            }
            let again = [Nfsstat4::Layouttrylater, Nfsstat4::Delay];
            at_last("another layout", &again, async || {
                world.to_read(client, &more).await.map(|_| ())
            })
            .await?;
        }
        world.ends_without_leak().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_holds_most_makes_room_for_others_and_they_hear_of_it() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.layouts = 4;
        spec.limits.recall = Duration::from_millis(300);
    })
    .await?;
    let (hog, b) = (world.client("hog").await?, world.client("b").await?);
    let root = hog.root().await?;
    for number in 0..4 {
        let file = hog.open_create(&root, &format!("f{number}")).await?;
        world.to_write(&hog, &file).await?;
    }
    let file = b.open_create(&root, "mine").await?;
    let signal = Layoutget4Args {
        signal_layout_avail: true,
        ..layoutget(file.stateid, Layoutiomode4::Rw)
    };
    let refused = asked(&b, &file, signal).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::Layouttrylater);
    let CbArgOp::RecallAny(ask) = hog.callbacks.next().await? else {
        panic!("a request for layouts")
    };
    assert_eq!(ask.objects_to_keep, 2);
    // It gives nothing back: everything is recalled in one, and then taken.
    let CbArgOp::Layoutrecall(recall) = hog.callbacks.next().await? else {
        panic!("a recall")
    };
    assert_eq!(recall.recall, Layoutrecall4::All);
    let CbArgOp::RecallableObjAvail(_) = b.callbacks.next().await? else {
        panic!("word that there are layouts again")
    };
    world.to_write_at_last(&b, &file).await?;
    world.ends_without_leak().await
}
