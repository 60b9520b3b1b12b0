//! Messages of NFSv4.1 word by word, written down from the XDR of RFC 5662 and RFC 8435 and not by our encoder.

use bytes::Bytes;
use wire::nfs4::*;
use wire::{Decoder, Encoder, xdr};

/// Words in hexadecimal; what follows a `#` explains.
fn words(text: &str) -> Bytes {
    let digits: String = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn assert_request(text: &str, minorversion: u32, ops: Vec<ArgOp>) {
    let expected = Compound4Args::new(minorversion, ops);
    let mut out = Encoder::new();
    expected.encode(&mut out);
    assert_eq!(out.finish(), words(text));
    let mut input = Decoder::new(words(text));
    let came = Compound4Args::decode_bounded(&mut input, 16).expect("a whole request");
    assert_eq!(came, expected);
    assert_eq!(came.finish(&input), Ok(()));
}

fn assert_reply(text: &str, results: Vec<ResOp>) {
    let expected = Compound4Res {
        status: Nfsstat4::Ok,
        tag: Bytes::new(),
        results,
    };
    assert_eq!(xdr::to_bytes(&expected), words(text));
    assert_eq!(xdr::from_bytes(words(text)), Ok(expected));
}

#[test]
fn exchange_id_as_linux_sends_it() {
    let text = "
        00000000                                # tag
        00000001                                # minor version
        00000001                                # one operation
        0000002a                                # EXCHANGE_ID
        1718d5a0 0c35bd6e                       # co_verifier
        00000014 4c696e75 78204e46 5376342e 31206761 742d3031 # co_ownerid
        00000103                                # SUPP_MOVED_REFER, SUPP_MOVED_MIGR, BIND_PRINC_STATEID
        00000000                                # SP4_NONE
        00000001                                # one implementation
        0000000a 6b65726e 656c2e6f 72670000     # nii_domain
        00000005 4c696e75 78000000              # nii_name
        00000000 00000000 00000000              # nii_date";
    let args = ExchangeId4Args {
        clientowner: ClientOwner4 {
            verifier: Verifier4([0x17, 0x18, 0xd5, 0xa0, 0x0c, 0x35, 0xbd, 0x6e]),
            ownerid: Bytes::from_static(b"Linux NFSv4.1 gat-01"),
        },
        flags: EXCHGID4_FLAG_SUPP_MOVED_REFER
            | EXCHGID4_FLAG_SUPP_MOVED_MIGR
            | EXCHGID4_FLAG_BIND_PRINC_STATEID,
        state_protect: StateProtect4A::None,
        client_impl_id: Some(NfsImplId4 {
            domain: Bytes::from_static(b"kernel.org"),
            name: Bytes::from_static(b"Linux"),
            date: Nfstime4::default(),
        }),
    };
    assert_request(text, 1, vec![ArgOp::ExchangeId(args)]);
}

#[test]
fn an_answer_to_exchange_id() {
    let text = "
        00000000 00000000 00000001              # OK, tag, one result
        0000002a 00000000                       # EXCHANGE_ID, OK
        11223344 55667788                       # eir_clientid
        00000001                                # eir_sequenceid
        00020001                                # USE_PNFS_MDS, SUPP_MOVED_REFER
        00000000                                # SP4_NONE
        00000000 00000007 00000004 6d647331     # so_minor_id, so_major_id
        00000005 73636f70 65000000              # eir_server_scope
        00000000                                # no implementation";
    let answer = ExchangeId4Ok {
        clientid: Clientid4(0x1122_3344_5566_7788),
        sequenceid: 1,
        flags: EXCHGID4_FLAG_USE_PNFS_MDS | EXCHGID4_FLAG_SUPP_MOVED_REFER,
        state_protect: StateProtect4R::None,
        server_owner: ServerOwner4 {
            minor_id: 7,
            major_id: Bytes::from_static(b"mds1"),
        },
        server_scope: Bytes::from_static(b"scope"),
        server_impl_id: None,
    };
    assert_reply(text, vec![ResOp::ExchangeId(Ok(answer))]);
}

const SESSION: Sessionid4 = Sessionid4([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

#[test]
fn sequence_in_front_of_an_operation() {
    let text = "
        00000000 00000002 00000003              # tag, minor version, three operations
        00000035                                # SEQUENCE
        00010203 04050607 08090a0b 0c0d0e0f     # sa_sessionid
        0000002a 00000003 0000001f              # sa_sequenceid, sa_slotid, sa_highest_slotid
        00000001                                # sa_cachethis
        00000018                                # PUTROOTFH
        00000009 00000002 00000018 00300000     # GETATTR: change, size, time_metadata, time_modify";
    let sequence = Sequence4Args {
        sessionid: SESSION,
        sequenceid: 42,
        slotid: 3,
        highest_slotid: 31,
        cachethis: true,
    };
    let attr_request = [
        Attr::Change,
        Attr::Size,
        Attr::TimeMetadata,
        Attr::TimeModify,
    ]
    .into_iter()
    .collect();
    let getattr = Getattr4Args { attr_request };
    assert_request(
        text,
        2,
        vec![
            ArgOp::Sequence(sequence),
            ArgOp::Putrootfh,
            ArgOp::Getattr(getattr),
        ],
    );
}

#[test]
fn an_answer_to_sequence() {
    let text = "
        00000000 00000000 00000001              # OK, tag, one result
        00000035 00000000                       # SEQUENCE, OK
        00010203 04050607 08090a0b 0c0d0e0f     # sr_sessionid
        0000002a 00000003 0000001f 0000000f     # sr_sequenceid, sr_slotid, highest, target highest
        00000001                                # CB_PATH_DOWN";
    let answer = Sequence4Ok {
        sessionid: SESSION,
        sequenceid: 42,
        slotid: 3,
        highest_slotid: 31,
        target_highest_slotid: 15,
        status_flags: SEQ4_STATUS_CB_PATH_DOWN,
    };
    assert_reply(text, vec![ResOp::Sequence(Ok(answer))]);
}

#[test]
fn a_lock_in_the_way() {
    let text = "
        0000271a 00000000 00000001              # DENIED, tag, one result
        0000000c 0000271a                       # LOCK, DENIED
        00000000 00000000 ffffffff ffffffff     # offset, length
        00000002                                # WRITE_LT
        00000000 00000005 00000003 6d652100     # clientid, owner";
    let denied = Lock4Denied {
        offset: 0,
        length: LENGTH_TO_EOF,
        locktype: LockType4::WriteLt,
        owner: StateOwner4 {
            clientid: Clientid4(5),
            owner: Bytes::from_static(b"me!"),
        },
    };
    let results = vec![ResOp::Lock(Err(Lock4Error::Denied(denied)))];
    let reply = Compound4Res {
        status: Nfsstat4::Denied,
        tag: Bytes::new(),
        results,
    };
    assert_eq!(xdr::to_bytes(&reply), words(text));
    assert_eq!(xdr::from_bytes(words(text)), Ok(reply));
}

#[test]
fn a_flexible_file_layout_of_one_mirror() {
    let text = "
        00000000 00000000                       # ffl_stripe_unit
        00000001                                # one mirror
        00000001                                # of one data server
        aaaaaaaa aaaaaaaa aaaaaaaa aaaaaaaa     # ffds_deviceid
        00000064                                # ffds_efficiency
        00000000 00000000 00000000 00000000     # ffds_stateid, anonymous
        00000001 00000006 66683a30 31320000     # one filehandle
        00000005 31303030 31000000              # ffds_user
        00000005 32303030 32000000              # ffds_group
        00000002                                # FF_FLAGS_NO_IO_THRU_MDS
        0000003c                                # ffl_stats_collect_hint";
    let data_server = flex::DataServer {
        deviceid: Deviceid4([0xaa; 16]),
        efficiency: 100,
        stateid: Stateid4::ANONYMOUS,
        fh_vers: vec![Bytes::from_static(b"fh:012")],
        user: Bytes::from_static(b"10001"),
        group: Bytes::from_static(b"20002"),
    };
    let layout = flex::Layout {
        stripe_unit: 0,
        mirrors: vec![flex::Mirror {
            data_servers: vec![data_server],
        }],
        flags: flex::FF_FLAGS_NO_IO_THRU_MDS,
        stats_collect_hint: 60,
    };
    assert_eq!(xdr::to_bytes(&layout), words(text));
    assert_eq!(layout.encoded_len(), words(text).len());
    assert_eq!(xdr::from_bytes(words(text)), Ok(layout));
}

#[test]
fn a_flexible_file_device_at_an_address() {
    let text = "
        00000001                                # one address
        00000003 74637000                       # netid
        0000000c 31302e30 2e302e37 2e382e31     # 10.0.0.7:2049
        00000001                                # one version
        00000003 00000000                       # NFSv3
        00100000 00100000 00000000              # ffdv_rsize, ffdv_wsize, loosely coupled";
    let version = flex::DeviceVersion {
        version: 3,
        minorversion: 0,
        rsize: 1 << 20,
        wsize: 1 << 20,
        tightly_coupled: false,
    };
    let address = Netaddr4::tcp("10.0.0.7:2049".parse().expect("an address"));
    let device = flex::DeviceAddr {
        netaddrs: vec![address],
        versions: vec![version],
    };
    assert_eq!(xdr::to_bytes(&device), words(text));
    assert_eq!(xdr::from_bytes(words(text)), Ok(device));
}

#[test]
fn a_recall_of_a_layout() {
    let text = "
        00000000 00000001 00000000 00000001     # tag, minor version, callback ident, one operation
        00000005                                # CB_LAYOUTRECALL
        00000004 00000002 00000001              # flexible files, RW, changed
        00000001                                # of a file
        00000004 66696c65                       # lor_fh
        00000000 00000000 ffffffff ffffffff     # lor_offset, lor_length
        00000009 01010101 01010101 01010101     # lor_stateid";
    let layout = LayoutrecallFile4 {
        fh: Bytes::from_static(b"file"),
        offset: 0,
        length: LENGTH_TO_EOF,
        stateid: Stateid4 {
            seqid: 9,
            other: [1; 12],
        },
    };
    let recall = CbLayoutrecall4Args {
        layout_type: LAYOUT4_FLEX_FILES,
        iomode: Layoutiomode4::Rw,
        changed: true,
        recall: Layoutrecall4::File(layout),
    };
    let ops = vec![CbArgOp::Layoutrecall(recall)];
    let request = CbCompound4Args {
        tag: Bytes::new(),
        minorversion: 1,
        callback_ident: 0,
        ops,
    };
    assert_eq!(xdr::to_bytes(&request), words(text));
    assert_eq!(xdr::from_bytes(words(text)), Ok(request));
}
