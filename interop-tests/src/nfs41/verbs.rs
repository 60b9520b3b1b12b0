//! What scripts say most often, one COMPOUND each. A file is named by its filehandle, and an open file by an
//! [`OpenFile`]; nothing is remembered behind the script's back.

use bytes::Bytes;
use wire::nfs4::*;
use wire::xdr;

use super::client::Client;
use super::failure::Failure;

/// A file as OPEN gave it.
#[derive(Debug, Clone)]
pub struct OpenFile {
    pub fh: Fh4,
    pub stateid: Stateid4,
    pub opened: Open4Ok,
}

/// An open-owner of `client`; 4.1 servers ignore its clientid.
pub fn owner_of_opens(client: &Client, name: &str) -> StateOwner4 {
    StateOwner4 {
        clientid: client.clientid,
        owner: Bytes::copy_from_slice(name.as_bytes()),
    }
}

pub fn name(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

pub fn putfh(fh: &Fh4) -> ArgOp {
    ArgOp::Putfh(Putfh4Args { object: fh.clone() })
}

pub fn getattr(attrs: &[Attr]) -> ArgOp {
    ArgOp::Getattr(Getattr4Args {
        attr_request: attrs.iter().copied().collect(),
    })
}

/// Names and filehandles.
impl Client {
    pub async fn root(&self) -> Result<Fh4, Failure> {
        Ok(self
            .ok([ArgOp::Putrootfh, ArgOp::Getfh])
            .await?
            .getfh()?
            .object)
    }

    pub async fn lookup(&self, directory: &Fh4, entry: &str) -> Result<Fh4, Failure> {
        let lookup = ArgOp::Lookup(Lookup4Args {
            objname: name(entry),
        });
        Ok(self
            .ok([putfh(directory), lookup, ArgOp::Getfh])
            .await?
            .getfh()?
            .object)
    }

    /// From the root down: `"/a/b"`.
    pub async fn walk(&self, path: &str) -> Result<Fh4, Failure> {
        let names = path.split('/').filter(|part| !part.is_empty());
        let lookups = names.map(|part| {
            ArgOp::Lookup(Lookup4Args {
                objname: name(part),
            })
        });
        let ops: Vec<ArgOp> = std::iter::once(ArgOp::Putrootfh)
            .chain(lookups)
            .chain([ArgOp::Getfh])
            .collect();
        Ok(self.ok(ops).await?.getfh()?.object)
    }

    pub async fn create(
        &self,
        directory: &Fh4,
        entry: &str,
        objtype: Createtype4,
    ) -> Result<Fh4, Failure> {
        let attributes = Attributes {
            mode: Some(0o755),
            ..Attributes::default()
        };
        let args = Create4Args {
            objtype,
            objname: name(entry),
            createattrs: attributes.into(),
        };
        Ok(self
            .ok([putfh(directory), ArgOp::Create(args), ArgOp::Getfh])
            .await?
            .getfh()?
            .object)
    }

    pub async fn mkdir(&self, directory: &Fh4, entry: &str) -> Result<Fh4, Failure> {
        self.create(directory, entry, Createtype4::Dir).await
    }

    pub async fn symlink(
        &self,
        directory: &Fh4,
        entry: &str,
        target: &str,
    ) -> Result<Fh4, Failure> {
        self.create(directory, entry, Createtype4::Lnk(name(target)))
            .await
    }

    pub async fn readlink(&self, link: &Fh4) -> Result<Bytes, Failure> {
        Ok(self
            .ok([putfh(link), ArgOp::Readlink])
            .await?
            .readlink()?
            .link)
    }

    pub async fn link(
        &self,
        file: &Fh4,
        directory: &Fh4,
        entry: &str,
    ) -> Result<ChangeInfo4, Failure> {
        let link = ArgOp::Link(Link4Args {
            newname: name(entry),
        });
        Ok(self
            .ok([putfh(file), ArgOp::Savefh, putfh(directory), link])
            .await?
            .link()?
            .cinfo)
    }

    pub async fn remove(&self, directory: &Fh4, entry: &str) -> Result<ChangeInfo4, Failure> {
        let remove = ArgOp::Remove(Remove4Args {
            target: name(entry),
        });
        Ok(self.ok([putfh(directory), remove]).await?.remove()?.cinfo)
    }

    pub async fn rename(
        &self,
        (from, old): (&Fh4, &str),
        (to, new): (&Fh4, &str),
    ) -> Result<Rename4Ok, Failure> {
        let rename = ArgOp::Rename(Rename4Args {
            oldname: name(old),
            newname: name(new),
        });
        self.ok([putfh(from), ArgOp::Savefh, putfh(to), rename])
            .await?
            .rename()
    }

    /// Every entry, however many READDIRs it takes.
    pub async fn readdir(&self, directory: &Fh4, attrs: &[Attr]) -> Result<Vec<Entry4>, Failure> {
        let mut entries: Vec<Entry4> = Vec::new();
        let mut cookieverf = Verifier4::default();
        loop {
            let args = Readdir4Args {
                cookie: entries.last().map_or(0, |entry| entry.cookie),
                cookieverf,
                dircount: 8192,
                maxcount: 32_768,
                attr_request: attrs.iter().copied().collect(),
            };
            let listing = self
                .ok([putfh(directory), ArgOp::Readdir(args)])
                .await?
                .readdir()?;
            let progress = !listing.entries.is_empty();
            entries.extend(listing.entries);
            if listing.eof {
                return Ok(entries);
            }
            if !progress {
                return Err(Failure::Unasked(
                    "READDIR gave neither an entry nor the end".into(),
                ));
            }
            cookieverf = listing.cookieverf;
        }
    }

    pub async fn getattr(&self, fh: &Fh4, attrs: &[Attr]) -> Result<Attributes, Failure> {
        Ok(*self
            .ok([putfh(fh), getattr(attrs)])
            .await?
            .getattr()?
            .obj_attributes)
    }

    pub async fn size_of(&self, fh: &Fh4) -> Result<u64, Failure> {
        let attributes = self.getattr(fh, &[Attr::Size]).await?;
        attributes
            .size
            .ok_or_else(|| Failure::Unasked("GETATTR left the size out".into()))
    }

    pub async fn change_of(&self, fh: &Fh4) -> Result<u64, Failure> {
        let attributes = self.getattr(fh, &[Attr::Change]).await?;
        attributes
            .change
            .ok_or_else(|| Failure::Unasked("GETATTR left the change out".into()))
    }

    pub async fn setattr(
        &self,
        fh: &Fh4,
        stateid: Stateid4,
        attributes: Attributes,
    ) -> Result<Bitmap4, Failure> {
        let args = Setattr4Args {
            stateid,
            obj_attributes: attributes.into(),
        };
        Ok(self
            .ok([putfh(fh), ArgOp::Setattr(args)])
            .await?
            .setattr()?
            .attrsset)
    }

    pub async fn truncate(&self, fh: &Fh4, stateid: Stateid4, size: u64) -> Result<(), Failure> {
        let attributes = Attributes {
            size: Some(size),
            ..Attributes::default()
        };
        self.setattr(fh, stateid, attributes).await.map(|_| ())
    }

    /// The rights that are granted.
    pub async fn access(&self, fh: &Fh4, access: u32) -> Result<u32, Failure> {
        Ok(self
            .ok([putfh(fh), ArgOp::Access(Access4Args { access })])
            .await?
            .access()?
            .access)
    }
}

/// Opens and locks.
impl Client {
    /// OPEN of `entry` by name, for reading and writing, without a delegation: a start for other arguments.
    pub fn open_args(&self, entry: &str, openhow: Openflag4) -> Open4Args {
        Open4Args {
            seqid: 0,
            share_access: OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
            share_deny: OPEN4_SHARE_DENY_NONE,
            owner: owner_of_opens(self, "script"),
            openhow,
            claim: OpenClaim4::Null(name(entry)),
        }
    }

    /// OPEN as given, with `at` as the current filehandle.
    pub async fn open_with(&self, at: &Fh4, args: Open4Args) -> Result<OpenFile, Failure> {
        let mut reply = self
            .ok([putfh(at), ArgOp::Open(args), ArgOp::Getfh])
            .await?;
        let opened = reply.open()?;
        Ok(OpenFile {
            fh: reply.getfh()?.object,
            stateid: opened.stateid,
            opened,
        })
    }

    pub async fn open(&self, directory: &Fh4, entry: &str) -> Result<OpenFile, Failure> {
        self.open_with(directory, self.open_args(entry, Openflag4::NoCreate))
            .await
    }

    pub async fn open_to_read(&self, directory: &Fh4, entry: &str) -> Result<OpenFile, Failure> {
        let mut args = self.open_args(entry, Openflag4::NoCreate);
        args.share_access = OPEN4_SHARE_ACCESS_READ | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
        self.open_with(directory, args).await
    }

    pub async fn open_create(&self, directory: &Fh4, entry: &str) -> Result<OpenFile, Failure> {
        let attributes = Attributes {
            mode: Some(0o644),
            ..Attributes::default()
        };
        let how = Createhow4::Unchecked(attributes.into());
        self.open_with(directory, self.open_args(entry, Openflag4::Create(how)))
            .await
    }

    pub async fn close(&self, file: &OpenFile) -> Result<(), Failure> {
        let close = Close4Args {
            seqid: 0,
            open_stateid: file.stateid,
        };
        self.ok([putfh(&file.fh), ArgOp::Close(close)])
            .await
            .map(|_| ())
    }

    /// LOCK by a new lock-owner.
    pub async fn lock(
        &self,
        file: &OpenFile,
        owner: &str,
        locktype: LockType4,
        (offset, length): (u64, u64),
    ) -> Result<Stateid4, Failure> {
        let open_owner = OpenToLockOwner4 {
            open_seqid: 0,
            open_stateid: file.stateid,
            lock_seqid: 0,
            lock_owner: owner_of_opens(self, owner),
        };
        let locker = Locker4::New(open_owner);
        let args = Lock4Args {
            locktype,
            reclaim: false,
            offset,
            length,
            locker,
        };
        Ok(self
            .ok([putfh(&file.fh), ArgOp::Lock(args)])
            .await?
            .lock()?
            .lock_stateid)
    }

    pub async fn unlock(
        &self,
        file: &OpenFile,
        lock_stateid: Stateid4,
        (offset, length): (u64, u64),
    ) -> Result<Stateid4, Failure> {
        let args = Locku4Args {
            locktype: LockType4::WriteLt,
            seqid: 0,
            lock_stateid,
            offset,
            length,
        };
        Ok(self
            .ok([putfh(&file.fh), ArgOp::Locku(args)])
            .await?
            .locku()?
            .lock_stateid)
    }

    pub async fn free_stateid(&self, stateid: Stateid4) -> Result<(), Failure> {
        self.ok([ArgOp::FreeStateid(FreeStateid4Args { stateid })])
            .await
            .map(|_| ())
    }

    pub async fn test_stateids(&self, stateids: &[Stateid4]) -> Result<Vec<Nfsstat4>, Failure> {
        let args = TestStateid4Args {
            stateids: stateids.to_vec(),
        };
        Ok(self
            .ok([ArgOp::TestStateid(args)])
            .await?
            .test_stateid()?
            .status_codes)
    }
}

/// Data through the metadata server, and layouts.
impl Client {
    pub async fn read(
        &self,
        fh: &Fh4,
        stateid: Stateid4,
        offset: u64,
        count: u32,
    ) -> Result<Read4Ok, Failure> {
        self.ok([
            putfh(fh),
            ArgOp::Read(Read4Args {
                stateid,
                offset,
                count,
            }),
        ])
        .await?
        .read()
    }

    /// FILE_SYNC.
    pub async fn write(
        &self,
        fh: &Fh4,
        stateid: Stateid4,
        offset: u64,
        data: impl Into<Bytes>,
    ) -> Result<Write4Ok, Failure> {
        let args = Write4Args {
            stateid,
            offset,
            stable: StableHow4::FileSync,
            data: data.into(),
        };
        self.ok([putfh(fh), ArgOp::Write(args)]).await?.write()
    }

    pub async fn commit(&self, fh: &Fh4, offset: u64, count: u32) -> Result<Verifier4, Failure> {
        Ok(self
            .ok([putfh(fh), ArgOp::Commit(Commit4Args { offset, count })])
            .await?
            .commit()?
            .writeverf)
    }

    /// LAYOUTGET of the whole file, of flexible files.
    pub async fn layoutget(
        &self,
        fh: &Fh4,
        stateid: Stateid4,
        iomode: Layoutiomode4,
    ) -> Result<(Layoutget4Ok, flex::Layout), Failure> {
        let args = Layoutget4Args {
            signal_layout_avail: false,
            layout_type: LAYOUT4_FLEX_FILES,
            iomode,
            offset: 0,
            length: LENGTH_TO_EOF,
            minlength: 0,
            stateid,
            maxcount: 65_536,
        };
        let granted = self
            .ok([putfh(fh), ArgOp::Layoutget(args)])
            .await?
            .layoutget()?;
        let Some(first) = granted.layout.first() else {
            return Err(Failure::Unasked("LAYOUTGET gave no layout".into()));
        };
        let layout = xdr::from_bytes(first.content.body.clone())?;
        Ok((granted, layout))
    }

    pub async fn layoutcommit(
        &self,
        fh: &Fh4,
        stateid: Stateid4,
        last_write_offset: Option<u64>,
    ) -> Result<Option<u64>, Failure> {
        let args = Layoutcommit4Args {
            offset: 0,
            length: LENGTH_TO_EOF,
            reclaim: false,
            stateid,
            last_write_offset,
            time_modify: None,
            layoutupdate: Layoutupdate4 {
                layout_type: LAYOUT4_FLEX_FILES,
                body: Bytes::new(),
            },
        };
        Ok(self
            .ok([putfh(fh), ArgOp::Layoutcommit(args)])
            .await?
            .layoutcommit()?
            .newsize)
    }

    /// LAYOUTRETURN of the whole file, with nothing to report.
    pub async fn layoutreturn(
        &self,
        fh: &Fh4,
        stateid: Stateid4,
        iomode: Layoutiomode4,
    ) -> Result<Option<Stateid4>, Failure> {
        let nothing = flex::LayoutReturn {
            ioerr_report: Vec::new(),
            iostats_report: Vec::new(),
        };
        let body = xdr::to_bytes(&nothing);
        let layout = LayoutreturnFile4 {
            offset: 0,
            length: LENGTH_TO_EOF,
            stateid,
            body,
        };
        let layoutreturn = Layoutreturn4::File(layout);
        let args = Layoutreturn4Args {
            reclaim: false,
            layout_type: LAYOUT4_FLEX_FILES,
            iomode,
            layoutreturn,
        };
        Ok(self
            .ok([putfh(fh), ArgOp::Layoutreturn(args)])
            .await?
            .layoutreturn()?
            .stateid)
    }

    pub async fn getdeviceinfo(&self, device_id: Deviceid4) -> Result<flex::DeviceAddr, Failure> {
        let args = Getdeviceinfo4Args {
            device_id,
            layout_type: LAYOUT4_FLEX_FILES,
            maxcount: 65_536,
            notify_types: Bitmap4::EMPTY,
        };
        let device = self
            .ok([ArgOp::Getdeviceinfo(args)])
            .await?
            .getdeviceinfo()?;
        Ok(xdr::from_bytes(device.device_addr.addr_body)?)
    }
}

/// Ends.
impl Client {
    /// DESTROY_SESSION over a connection of the session, as an operation of its own.
    pub async fn destroy_session(&self) -> Result<(), Failure> {
        let args = DestroySession4Args {
            sessionid: self.sessionid(),
        };
        self.setup
            .alone(&self.connection(), ArgOp::DestroySession(args))
            .await
            .map(|_| ())
    }

    pub async fn destroy_clientid(&self) -> Result<(), Failure> {
        let args = DestroyClientid4Args {
            clientid: self.clientid,
        };
        self.setup
            .alone(&self.connection(), ArgOp::DestroyClientid(args))
            .await
            .map(|_| ())
    }
}
