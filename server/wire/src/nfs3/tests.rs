mod strategies;

use bytes::Bytes;
use proptest::prelude::*;
use strategies::*;

use super::*;
use crate::testing::{bears, survives};
use crate::xdr::{Decoder, Encoder, Fault, Xdr, from_bytes, padding, to_bytes};

#[test]
fn attributes_have_84_bytes() {
    let attributes = Fattr3 {
        ftype: Ftype3::Reg,
        mode: 0o640,
        nlink: 1,
        uid: 7,
        gid: 8,
        size: 9,
        used: 10,
        rdev: Specdata3::default(),
        fsid: 11,
        fileid: 12,
        atime: Nfstime3 {
            seconds: 13,
            nseconds: 14,
        },
        mtime: Nfstime3 {
            seconds: 15,
            nseconds: 16,
        },
        ctime: Nfstime3 {
            seconds: 17,
            nseconds: 18,
        },
    };
    let words: [u32; 21] = [
        1, 0o640, 1, 7, 8, 0, 9, 0, 10, 0, 0, 0, 11, 0, 12, 13, 14, 15, 16, 17, 18,
    ];
    assert_eq!(to_bytes(&attributes), words.map(u32::to_be_bytes).concat());
}

#[test]
fn a_refusal_carries_what_the_procedure_says_about_failures() {
    let refusal: Rename3res = Err(Nfsstat3::Acces.into());
    assert_eq!(
        to_bytes(&refusal),
        [13, 0, 0, 0, 0].map(u32::to_be_bytes).concat()
    );
    let refusal: Getattr3res = Err(Nfsstat3::Stale.into());
    assert_eq!(to_bytes(&refusal), &70_u32.to_be_bytes()[..]);
}

#[test]
fn an_unknown_status_is_reported_where_it_stands() {
    let error = from_bytes::<Getattr3res>(Bytes::from_static(&[0, 0, 0, 99])).unwrap_err();
    assert_eq!(error.offset, 0);
    assert_eq!(
        error.fault,
        Fault::BadDiscriminant {
            what: "nfsstat3",
            value: 99
        }
    );
}

#[test]
fn a_writes_payload_is_a_slice_of_the_request() {
    let args = Write3args {
        file: Fh3::new("handle").unwrap(),
        offset: 4096,
        stable: StableHow::FileSync,
        data: Bytes::from_static(b"payload"),
    };
    let request = to_bytes(&args);
    let data = from_bytes::<Write3args>(request.clone()).unwrap().data;
    assert_eq!(data.as_ptr(), request[request.len() - 8..].as_ptr());
}

#[test]
fn a_writes_head_ends_where_its_payload_begins() {
    let args = Write3args {
        file: Fh3::new("handle").unwrap(),
        offset: 4096,
        stable: StableHow::Unstable,
        data: Bytes::from_static(b"payload"),
    };
    let request = to_bytes(&args);
    let mut input = Decoder::new(request.clone());
    let head = Write3head::decode(&mut input).unwrap();
    assert_eq!(
        &request[input.offset()..][..head.count as usize],
        b"payload"
    );
    assert_eq!(
        (head.file, head.offset, head.stable),
        (args.file, args.offset, args.stable)
    );
}

#[test]
fn a_count_that_differs_from_the_datas_length_is_refused() {
    let mut out = Encoder::new();
    Fh3::default().encode(&mut out);
    for word in [0, 0, 5, 0, 4, 0] {
        out.u32(word);
    }
    let request = out.finish();
    for error in [
        from_bytes::<Write3args>(request.clone()).unwrap_err(),
        Write3head::decode(&mut Decoder::new(request)).unwrap_err(),
    ] {
        assert_eq!(error.offset, 12);
        assert!(matches!(error.fault, Fault::Invalid(_)));
    }
}

#[test]
fn the_longest_heads_are_as_long_as_they_say() {
    let head = Write3head {
        file: Fh3::new(vec![1; 64]).unwrap(),
        offset: 0,
        count: 0,
        stable: StableHow::Unstable,
    };
    assert_eq!(to_bytes(&head).len(), Write3head::MAX_BYTES);
}

proptest! {
    #[test]
    fn arguments_about_attributes_survive_the_wire(
        object in fh(), new_attributes in sattr(), guard in prop::option::of(time()), access: u32
    ) {
        survives(&Setattr3args { object: object.clone(), new_attributes, guard })?;
        survives(&Access3args { object: object.clone(), access })?;
        survives(&Getattr3args { object: object.clone() })?;
        survives(&Fsstat3args { fsroot: object.clone() })?;
        survives(&Fsinfo3args { fsroot: object.clone() })?;
        survives(&Pathconf3args { object })?;
    }

    #[test]
    fn results_about_attributes_survive_the_wire(
        getattr in outcome(fattr(), Just(())),
        setattr in outcome(wcc(), wcc()),
        access in outcome(access_ok(), post_op()),
        fsstat in outcome(fsstat_ok(), post_op()),
        fsinfo in outcome(fsinfo_ok(), post_op()),
        pathconf in outcome(pathconf_ok(), post_op()),
    ) {
        survives::<Getattr3res>(&getattr)?;
        survives::<Setattr3res>(&setattr)?;
        survives::<Access3res>(&access)?;
        survives::<Fsstat3res>(&fsstat)?;
        survives::<Fsinfo3res>(&fsinfo)?;
        survives::<Pathconf3res>(&pathconf)?;
    }

    #[test]
    fn reads_and_writes_survive_the_wire(
        file in fh(), offset: u64, count: u32, stable in stable(), data in data(),
        read in outcome(read_ok(), post_op()),
        write in outcome(write_ok(), wcc()),
        commit in outcome(commit_ok(), wcc()),
    ) {
        survives(&Read3args { file: file.clone(), offset, count })?;
        survives(&Write3args { file: file.clone(), offset, stable, data })?;
        survives(&Commit3args { file, offset, count })?;
        survives::<Read3res>(&read)?;
        survives::<Write3res>(&write)?;
        survives::<Commit3res>(&commit)?;
    }

    #[test]
    fn a_read_head_with_its_data_behind_is_the_whole_result(read in read_ok()) {
        let mut out = Encoder::new();
        Read3head {
            file_attributes: read.file_attributes,
            count: read.data.len() as u32,
            eof: read.eof,
        }
        .encode_result(&mut out);
        prop_assert!(out.len() <= Read3head::MAX_BYTES);
        out.raw(&read.data);
        out.raw(padding(read.data.len()));
        prop_assert_eq!(from_bytes::<Read3res>(out.finish()), Ok(Ok(read)));
    }

    #[test]
    fn arguments_about_names_survive_the_wire(
        from in dirop(), to in dirop(), file in fh(), data in path(),
        attributes in sattr(), how in createhow(), what in mknoddata(),
    ) {
        survives(&Lookup3args { what: from.clone() })?;
        survives(&Readlink3args { symlink: file.clone() })?;
        survives(&Create3args { target: from.clone(), how })?;
        survives(&Mkdir3args { target: from.clone(), attributes })?;
        survives(&Symlink3args { target: from.clone(), attributes, data })?;
        survives(&Mknod3args { target: from.clone(), what })?;
        survives(&Remove3args { object: from.clone() })?;
        survives(&Link3args { file, link: to.clone() })?;
        survives(&Rename3args { from, to })?;
    }

    #[test]
    fn results_about_names_survive_the_wire(
        lookup in outcome(lookup_ok(), post_op()),
        readlink in outcome(readlink_ok(), post_op()),
        create in outcome(create_ok(), wcc()),
        remove in outcome(wcc(), wcc()),
        rename in outcome(rename_wcc(), rename_wcc()),
        link in outcome(link_wcc(), link_wcc()),
    ) {
        survives::<Lookup3res>(&lookup)?;
        survives::<Readlink3res>(&readlink)?;
        survives::<Create3res>(&create)?;
        survives::<Remove3res>(&remove)?;
        survives::<Rename3res>(&rename)?;
        survives::<Link3res>(&link)?;
    }

    #[test]
    fn directories_survive_the_wire(
        dir in fh(), cookie: u64, cookieverf: Cookieverf3, count: u32, maxcount: u32,
        readdir in outcome(readdir_ok(), post_op()),
        readdirplus in outcome(readdirplus_ok(), post_op()),
    ) {
        survives(&Readdir3args { dir: dir.clone(), cookie, cookieverf, count })?;
        survives(&Readdirplus3args { dir, cookie, cookieverf, dircount: count, maxcount })?;
        survives::<Readdir3res>(&readdir)?;
        survives::<Readdirplus3res>(&readdirplus)?;
    }

    #[test]
    fn no_bytes_make_arguments_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // As they are, and behind an empty filehandle, so that what follows it is reached.
        for bytes in [bytes.clone(), [vec![0; 4], bytes].concat()] {
            bears::<Setattr3args>(&bytes)?;
            bears::<Lookup3args>(&bytes)?;
            bears::<Access3args>(&bytes)?;
            bears::<Read3args>(&bytes)?;
            bears::<Write3args>(&bytes)?;
            bears::<Write3head>(&bytes)?;
            bears::<Create3args>(&bytes)?;
            bears::<Mkdir3args>(&bytes)?;
            bears::<Symlink3args>(&bytes)?;
            bears::<Mknod3args>(&bytes)?;
            bears::<Rename3args>(&bytes)?;
            bears::<Link3args>(&bytes)?;
            bears::<Readdir3args>(&bytes)?;
            bears::<Readdirplus3args>(&bytes)?;
            bears::<Commit3args>(&bytes)?;
        }
    }

    #[test]
    fn no_bytes_make_results_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // As they are, and behind NFS3_OK.
        for bytes in [bytes.clone(), [vec![0; 4], bytes].concat()] {
            bears::<Getattr3res>(&bytes)?;
            bears::<Setattr3res>(&bytes)?;
            bears::<Lookup3res>(&bytes)?;
            bears::<Access3res>(&bytes)?;
            bears::<Readlink3res>(&bytes)?;
            bears::<Read3res>(&bytes)?;
            bears::<Write3res>(&bytes)?;
            bears::<Create3res>(&bytes)?;
            bears::<Rename3res>(&bytes)?;
            bears::<Link3res>(&bytes)?;
            bears::<Readdir3res>(&bytes)?;
            bears::<Readdirplus3res>(&bytes)?;
            bears::<Fsstat3res>(&bytes)?;
            bears::<Fsinfo3res>(&bytes)?;
            bears::<Pathconf3res>(&bytes)?;
            bears::<Commit3res>(&bytes)?;
        }
    }
}
