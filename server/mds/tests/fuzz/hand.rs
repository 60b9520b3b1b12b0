//! Choices out of a string of bytes: operations that mean something, and bytes that mean nothing.
//! Never here: sending them.

use bytes::Bytes;
use std::net::SocketAddr;
use wire::Encoder;
use wire::nfs4::*;

/// Deals from the bytes until they are used up, and zeros from then on.
pub struct Hand<'a>(&'a [u8]);

/// What the server gave so far and a client may give back.
#[derive(Default)]
pub struct Known {
    pub clientid: Clientid4,
    pub handles: Vec<Fh4>,
    pub stateids: Vec<Stateid4>,
    pub devices: Vec<Deviceid4>,
}

const NAMES: [&[u8]; 9] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b".",
    b"..",
    b"",
    b"a/b",
    &[0xff; 300],
];
const NUMBERS: [u64; 10] = [
    0,
    1,
    4095,
    4096,
    65_536,
    1 << 20,
    1 << 32,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

impl<'a> Hand<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn one_in(&mut self, many: u8) -> bool {
        self.byte() % many == many - 1
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::from(self.byte());
        (!from.is_empty()).then(|| from[at % from.len()].clone())
    }

    pub fn bytes(&mut self, most: u8) -> Vec<u8> {
        let length = usize::from(self.byte() % most).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0x80 => u64::from(small),
            large => NUMBERS[usize::from(large) % NUMBERS.len()],
        }
    }

    fn name(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&NAMES[..4]).unwrap_or_default()).clone()
    }

    fn any_name(&mut self) -> Bytes {
        if self.one_in(8) {
            Bytes::from_static(self.pick(&NAMES).unwrap_or_default())
        } else {
            self.name()
        }
    }

    fn stateid(&mut self, known: &Known) -> Stateid4 {
        let stateid = self.pick(&known.stateids).unwrap_or(Stateid4::ANONYMOUS);
        match self.byte() {
            0..0xd0 => stateid,
            0xd0..0xe0 => Stateid4::ANONYMOUS,
            0xe0..0xf0 => Stateid4::CURRENT,
            _ => Stateid4 {
                seqid: stateid.seqid.wrapping_add(1),
                ..stateid
            },
        }
    }

    fn owner(&mut self, known: &Known) -> StateOwner4 {
        StateOwner4 {
            clientid: known.clientid,
            owner: self.name(),
        }
    }

    fn attributes(&mut self) -> Attributes {
        Attributes {
            mode: Some(u32::from(self.byte()) * 2),
            size: self.one_in(4).then(|| self.number()),
            owner: self.one_in(8).then(|| self.any_name()),
            ..Attributes::default()
        }
    }

    fn open(&mut self, known: &Known) -> Open4Args {
        let how = match self.byte() % 4 {
            0 => Openflag4::NoCreate,
            1 => Openflag4::Create(Createhow4::Guarded(self.attributes().into())),
            2 => Openflag4::Create(Createhow4::Exclusive41(Creatverfattr {
                verf: Verifier4([self.byte(); 8]),
                attrs: self.attributes().into(),
            })),
            _ => Openflag4::Create(Createhow4::Unchecked(self.attributes().into())),
        };
        Open4Args {
            seqid: 0,
            share_access: u32::from(self.byte() % 4) | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
            share_deny: u32::from(self.byte() % 8).saturating_sub(4),
            owner: self.owner(known),
            openhow: how,
            claim: if self.one_in(8) {
                OpenClaim4::Fh
            } else {
                OpenClaim4::Null(self.any_name())
            },
        }
    }

    fn lock(&mut self, known: &Known) -> Lock4Args {
        let locktype = self
            .pick(&[LockType4::WriteLt, LockType4::ReadLt])
            .unwrap_or(LockType4::ReadLt);
        let locker = if self.one_in(2) {
            Locker4::New(OpenToLockOwner4 {
                open_seqid: 0,
                open_stateid: self.stateid(known),
                lock_seqid: 0,
                lock_owner: self.owner(known),
            })
        } else {
            Locker4::Existing(ExistLockOwner4 {
                lock_stateid: self.stateid(known),
                lock_seqid: 0,
            })
        };
        Lock4Args {
            locktype,
            reclaim: self.one_in(16),
            offset: self.number(),
            length: self.number(),
            locker,
        }
    }

    fn iomode(&mut self) -> Layoutiomode4 {
        self.pick(&[
            Layoutiomode4::Rw,
            Layoutiomode4::Read,
            Layoutiomode4::Rw,
            Layoutiomode4::Any,
        ])
        .unwrap_or(Layoutiomode4::Any)
    }

    fn device_error(&mut self, known: &Known) -> DeviceError4 {
        DeviceError4 {
            deviceid: self.pick(&known.devices).unwrap_or_default(),
            status: Nfsstat4::Nxio,
            opnum: u32::from(self.byte()),
        }
    }

    /// Of another server, that may be gone to or not.
    fn location(&mut self) -> Netloc4 {
        let host = self.pick(&[[127, 0, 0, 1], [192, 0, 2, 1]]);
        let address = SocketAddr::from((host.unwrap_or_default(), 2049));
        Netloc4::Netaddr(Netaddr4::tcp(address))
    }

    /// An operation as a client would send it, the right one or not.
    pub fn operation(&mut self, known: &Known) -> ArgOp {
        match self.byte() % 39 {
            0 => ArgOp::Putrootfh,
            1..=3 => ArgOp::Putfh(Putfh4Args {
                object: self.pick(&known.handles).unwrap_or_default(),
            }),
            4 => ArgOp::Getfh,
            5 => ArgOp::Savefh,
            6 => ArgOp::Restorefh,
            7 => ArgOp::Lookup(Lookup4Args {
                objname: self.any_name(),
            }),
            8 => ArgOp::Lookupp,
            9..=11 => ArgOp::Open(self.open(known)),
            12 => ArgOp::Close(Close4Args {
                seqid: 0,
                open_stateid: self.stateid(known),
            }),
            13 => ArgOp::Create(Create4Args {
                objtype: if self.one_in(4) {
                    Createtype4::Lnk(self.any_name())
                } else {
                    Createtype4::Dir
                },
                objname: self.any_name(),
                createattrs: self.attributes().into(),
            }),
            14 => ArgOp::Remove(Remove4Args {
                target: self.any_name(),
            }),
            15 => ArgOp::Rename(Rename4Args {
                oldname: self.any_name(),
                newname: self.any_name(),
            }),
            16 => ArgOp::Link(Link4Args {
                newname: self.any_name(),
            }),
            17 => ArgOp::Readlink,
            18 => ArgOp::Readdir(Readdir4Args {
                cookie: self.number(),
                cookieverf: Verifier4::default(),
                dircount: self.number() as u32,
                maxcount: self.number() as u32,
                attr_request: [Attr::Type, Attr::Size, Attr::Fileid].into_iter().collect(),
            }),
            19 => ArgOp::Getattr(Getattr4Args {
                attr_request: [Attr::Size, Attr::Change, Attr::Mode].into_iter().collect(),
            }),
            20 => ArgOp::Setattr(Setattr4Args {
                stateid: self.stateid(known),
                obj_attributes: self.attributes().into(),
            }),
            21 => ArgOp::Access(Access4Args {
                access: u32::from(self.byte()),
            }),
            22 => ArgOp::Lock(self.lock(known)),
            23 => ArgOp::Locku(Locku4Args {
                locktype: LockType4::WriteLt,
                seqid: 0,
                lock_stateid: self.stateid(known),
                offset: self.number(),
                length: self.number(),
            }),
            24 => ArgOp::Read(Read4Args {
                stateid: self.stateid(known),
                offset: self.number(),
                count: self.number() as u32,
            }),
            25 | 26 => ArgOp::Write(Write4Args {
                stateid: self.stateid(known),
                offset: self.number(),
                stable: StableHow4::FileSync,
                data: self.bytes(64).into(),
            }),
            27 => ArgOp::Commit(Commit4Args {
                offset: self.number(),
                count: self.number() as u32,
            }),
            28 | 29 => ArgOp::Layoutget(Layoutget4Args {
                signal_layout_avail: false,
                layout_type: LAYOUT4_FLEX_FILES,
                iomode: self.iomode(),
                offset: self.number(),
                length: self.number(),
                minlength: self.number(),
                stateid: self.stateid(known),
                maxcount: self.number() as u32,
            }),
            30 => ArgOp::Layoutcommit(Layoutcommit4Args {
                offset: 0,
                length: u64::MAX,
                reclaim: false,
                stateid: self.stateid(known),
                last_write_offset: self.one_in(2).then(|| self.number()),
                time_modify: None,
                layoutupdate: Layoutupdate4 {
                    layout_type: LAYOUT4_FLEX_FILES,
                    body: self.bytes(16).into(),
                },
            }),
            31 => ArgOp::Layoutreturn(Layoutreturn4Args {
                reclaim: false,
                layout_type: LAYOUT4_FLEX_FILES,
                iomode: self.iomode(),
                layoutreturn: Layoutreturn4::File(LayoutreturnFile4 {
                    offset: 0,
                    length: u64::MAX,
                    stateid: self.stateid(known),
                    body: self.bytes(32).into(),
                }),
            }),
            32 => ArgOp::Layouterror(Layouterror4Args {
                offset: 0,
                length: u64::MAX,
                stateid: self.stateid(known),
                errors: vec![self.device_error(known)],
            }),
            33 => ArgOp::Getdeviceinfo(Getdeviceinfo4Args {
                device_id: self.pick(&known.devices).unwrap_or_default(),
                layout_type: LAYOUT4_FLEX_FILES,
                maxcount: self.number() as u32,
                notify_types: Bitmap4::EMPTY,
            }),
            34 => ArgOp::TestStateid(TestStateid4Args {
                stateids: vec![self.stateid(known), self.stateid(known)],
            }),
            35 => ArgOp::CopyNotify(CopyNotify4Args {
                src_stateid: self.stateid(known),
                destination_server: self.location(),
            }),
            36 => ArgOp::Copy(Copy4Args {
                src_stateid: self.stateid(known),
                dst_stateid: self.stateid(known),
                src_offset: self.number(),
                dst_offset: self.number(),
                count: self.number(),
                consecutive: true,
                synchronous: self.one_in(2),
                source_server: if self.one_in(2) {
                    vec![self.location()]
                } else {
                    Vec::new()
                },
            }),
            37 => ArgOp::OffloadCancel(OffloadCancel4Args {
                stateid: self.stateid(known),
            }),
            _ => ArgOp::FreeStateid(FreeStateid4Args {
                stateid: self.stateid(known),
            }),
        }
    }

    /// An operation as bytes: as it should be, damaged, or a number and words behind it.
    pub fn encoded_operation(&mut self, known: &Known) -> Vec<u8> {
        if self.one_in(8) {
            let mut words = vec![0, 0, 0, self.byte() % 80];
            for byte in self.bytes(48) {
                words.extend(match byte {
                    0..0xc0 => u32::from(byte % 5).to_be_bytes(),
                    _ => (u32::from(byte) << 24 | 0x00a1_b2c3).to_be_bytes(),
                });
            }
            return words;
        }
        let mut out = Encoder::new();
        self.operation(known).encode(&mut out);
        let mut bytes = out.finish().to_vec();
        if self.one_in(6) && !bytes.is_empty() {
            let at = usize::from(self.byte()) % bytes.len();
            bytes[at] ^= self.byte();
        }
        bytes
    }
}
