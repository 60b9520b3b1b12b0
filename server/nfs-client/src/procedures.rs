//! NFSv3's procedures as methods of [`Client`]. Each says by its [`Resend`] whether the call may be
//! made twice. Never here: how calls travel.

use bytes::Bytes;
use wire::nfs3::*;

use crate::client::Client;
use crate::error::{Called, Error};
use crate::options::Resend::{Idempotent, Never};

impl Client {
    pub async fn null(&self) -> Result<(), Error> {
        let procedure = Procedure::Null;
        let result = self.call(procedure, &(), Idempotent).await;
        result.map_err(|source| Error::Call {
            server: self.server(),
            procedure: Called::Nfs(procedure),
            source,
        })
    }

    pub async fn getattr(&self, object: &Fh3) -> Result<Fattr3, Error> {
        let args = Getattr3args {
            object: object.clone(),
        };
        self.ask::<_, _, ()>(Procedure::Getattr, &args, Idempotent)
            .await
    }

    /// With a guard, a SETATTR that ran already refuses itself, so that it is not sent again.
    pub async fn setattr(
        &self,
        object: &Fh3,
        new_attributes: Sattr3,
        guard: Option<Nfstime3>,
    ) -> Result<WccData, Error> {
        let resend = if guard.is_some() { Never } else { Idempotent };
        let args = Setattr3args {
            object: object.clone(),
            new_attributes,
            guard,
        };
        self.ask::<_, _, WccData>(Procedure::Setattr, &args, resend)
            .await
    }

    pub async fn lookup(&self, dir: &Fh3, name: &Filename3) -> Result<Lookup3resok, Error> {
        let args = Lookup3args {
            what: at(dir, name),
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Lookup, &args, Idempotent)
            .await
    }

    pub async fn access(&self, object: &Fh3, access: u32) -> Result<Access3resok, Error> {
        let args = Access3args {
            object: object.clone(),
            access,
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Access, &args, Idempotent)
            .await
    }

    pub async fn readlink(&self, symlink: &Fh3) -> Result<Readlink3resok, Error> {
        let args = Readlink3args {
            symlink: symlink.clone(),
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Readlink, &args, Idempotent)
            .await
    }

    /// May give less than `count`; only `eof` says that the file ends.
    pub async fn read(&self, file: &Fh3, offset: u64, count: u32) -> Result<Read3resok, Error> {
        let args = Read3args {
            file: file.clone(),
            offset,
            count,
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Read, &args, Idempotent)
            .await
    }

    /// May write less than `data`: `count` says how much. The data is sent from where it is.
    pub async fn write(
        &self,
        file: &Fh3,
        offset: u64,
        stable: StableHow,
        data: Bytes,
    ) -> Result<Write3resok, Error> {
        let args = Write3args {
            file: file.clone(),
            offset,
            stable,
            data,
        };
        self.ask::<_, _, WccData>(Procedure::Write, &args, Idempotent)
            .await
    }

    /// A GUARDED create that ran already finds its own file, so that it is not sent again.
    pub async fn create(
        &self,
        dir: &Fh3,
        name: &Filename3,
        how: Createhow3,
    ) -> Result<Create3resok, Error> {
        let resend = match how {
            Createhow3::Guarded(_) => Never,
            Createhow3::Unchecked(_) | Createhow3::Exclusive(_) => Idempotent,
        };
        let args = Create3args {
            target: at(dir, name),
            how,
        };
        self.ask::<_, _, WccData>(Procedure::Create, &args, resend)
            .await
    }

    pub async fn mkdir(
        &self,
        dir: &Fh3,
        name: &Filename3,
        attributes: Sattr3,
    ) -> Result<Create3resok, Error> {
        let args = Mkdir3args {
            target: at(dir, name),
            attributes,
        };
        self.ask::<_, _, WccData>(Procedure::Mkdir, &args, Never)
            .await
    }

    pub async fn symlink(
        &self,
        dir: &Fh3,
        name: &Filename3,
        attributes: Sattr3,
        data: Nfspath3,
    ) -> Result<Create3resok, Error> {
        let args = Symlink3args {
            target: at(dir, name),
            attributes,
            data,
        };
        self.ask::<_, _, WccData>(Procedure::Symlink, &args, Never)
            .await
    }

    pub async fn mknod(
        &self,
        dir: &Fh3,
        name: &Filename3,
        what: Mknoddata3,
    ) -> Result<Create3resok, Error> {
        let args = Mknod3args {
            target: at(dir, name),
            what,
        };
        self.ask::<_, _, WccData>(Procedure::Mknod, &args, Never)
            .await
    }

    pub async fn remove(&self, dir: &Fh3, name: &Filename3) -> Result<WccData, Error> {
        let args = Remove3args {
            object: at(dir, name),
        };
        self.ask::<_, _, WccData>(Procedure::Remove, &args, Never)
            .await
    }

    pub async fn rmdir(&self, dir: &Fh3, name: &Filename3) -> Result<WccData, Error> {
        let args = Rmdir3args {
            object: at(dir, name),
        };
        self.ask::<_, _, WccData>(Procedure::Rmdir, &args, Never)
            .await
    }

    pub async fn rename(
        &self,
        from_dir: &Fh3,
        from: &Filename3,
        to_dir: &Fh3,
        to: &Filename3,
    ) -> Result<RenameWcc, Error> {
        let args = Rename3args {
            from: at(from_dir, from),
            to: at(to_dir, to),
        };
        self.ask::<_, _, RenameWcc>(Procedure::Rename, &args, Never)
            .await
    }

    pub async fn link(&self, file: &Fh3, dir: &Fh3, name: &Filename3) -> Result<LinkWcc, Error> {
        let args = Link3args {
            file: file.clone(),
            link: at(dir, name),
        };
        self.ask::<_, _, LinkWcc>(Procedure::Link, &args, Never)
            .await
    }

    /// From `cookie` 0 with a verifier of zeros, then from the last entry's with the one that came.
    pub async fn readdir(
        &self,
        dir: &Fh3,
        cookie: u64,
        cookieverf: Cookieverf3,
        count: u32,
    ) -> Result<Readdir3resok, Error> {
        let args = Readdir3args {
            dir: dir.clone(),
            cookie,
            cookieverf,
            count,
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Readdir, &args, Idempotent)
            .await
    }

    /// As [`Client::readdir`], with attributes and handles where the server has them at hand.
    pub async fn readdirplus(
        &self,
        dir: &Fh3,
        cookie: u64,
        cookieverf: Cookieverf3,
        dircount: u32,
        maxcount: u32,
    ) -> Result<Readdirplus3resok, Error> {
        let args = Readdirplus3args {
            dir: dir.clone(),
            cookie,
            cookieverf,
            dircount,
            maxcount,
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Readdirplus, &args, Idempotent)
            .await
    }

    pub async fn fsstat(&self, fsroot: &Fh3) -> Result<Fsstat3resok, Error> {
        let args = Fsstat3args {
            fsroot: fsroot.clone(),
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Fsstat, &args, Idempotent)
            .await
    }

    pub async fn fsinfo(&self, fsroot: &Fh3) -> Result<Fsinfo3resok, Error> {
        let args = Fsinfo3args {
            fsroot: fsroot.clone(),
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Fsinfo, &args, Idempotent)
            .await
    }

    pub async fn pathconf(&self, object: &Fh3) -> Result<Pathconf3resok, Error> {
        let args = Pathconf3args {
            object: object.clone(),
        };
        self.ask::<_, _, PostOpAttr>(Procedure::Pathconf, &args, Idempotent)
            .await
    }

    /// Another verifier than the WRITEs' says that the server restarted and may have lost them.
    pub async fn commit(&self, file: &Fh3, offset: u64, count: u32) -> Result<Commit3resok, Error> {
        let args = Commit3args {
            file: file.clone(),
            offset,
            count,
        };
        self.ask::<_, _, WccData>(Procedure::Commit, &args, Idempotent)
            .await
    }
}

fn at(dir: &Fh3, name: &Filename3) -> Diropargs3 {
    Diropargs3 {
        dir: dir.clone(),
        name: name.clone(),
    }
}
