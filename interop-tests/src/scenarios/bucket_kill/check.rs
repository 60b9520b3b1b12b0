//! What must be true once everything is calm: each acknowledged byte is in the mount and in the bucket, no object
//! is of two versions, and nothing is kept that belongs to nobody, by looking from both sides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use backend_s3::Records;

use super::blows::CACHE_BYTES;
use super::{BUCKET, CONTESTED, FILES};
use crate::harness::clock;
use crate::harness::guest::Guest;
use crate::harness::headrace::Split;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh};
use crate::harness::seaweed::S3Client;
use crate::load;
use crate::load::bucket::{Put, key_of, version};

/// What the metadata server keeps of the bucket.
const STATE: &str = "mds/backends/lake";
/// Keys that were there before, as the harness put them.
const BEFORE: &str = "first";

pub fn everything(
    lab: &Lab,
    split: &mut Split,
    client: &mut Guest,
    s3: &S3Client,
    foreign: &[Put],
) -> Result<String> {
    let manifest = client.shared().join("manifest");
    mount_afresh(client, "vers=4.2")?;
    client.sh(
        &format!("/run/shared/interop verify {MOUNT}/lake/load /run/shared/manifest"),
        MINUTE * 3,
    )?;
    let whole = load::each_file(&manifest, |path, bytes| {
        let there = s3.get(BUCKET, &format!("load/{path}"))?;
        ensure!(there == bytes, "{path}: the bucket holds other bytes");
        Ok(())
    })?;
    names(client, s3, &manifest)?;
    let told = read_text(&client.shared().join(CONTESTED))?;
    let by_mount: Option<Vec<Put>> = told.lines().map(Put::parse).collect();
    let by_mount = by_mount.context("the contested files' writer told something else")?;
    contested(client, s3, foreign, &by_mount)?;
    let lost = lost(lab, &by_mount)?;
    no_upload(s3, BUCKET)?;
    split.mds.stop(Duration::from_secs(30))?;
    split.data_servers[0].stop(Duration::from_secs(30))?;
    records(lab, s3)?;
    let chunks = chunks(lab, s3, BUCKET)?.len();
    Ok(format!(
        "{whole} files whole in the mount and the bucket; of {} versions written here beside {} of another writer {lost} lost, each kept; {chunks} chunks cached, each of a version that is served",
        by_mount.len(),
        foreign.len()
    ))
}

pub fn no_upload(s3: &S3Client, bucket: &str) -> Result<()> {
    clock::wait_for("the end of every upload", MINUTE, || {
        Ok(s3.uploads(bucket)?.is_empty().then_some(()))
    })
    .with_context(|| format!("left in the bucket: {:?}", s3.uploads(bucket)))
}

/// The mount and the bucket have the same names, and those that were acknowledged.
fn names(client: &mut Guest, s3: &S3Client, manifest: &Path) -> Result<()> {
    let mut acknowledged = BTreeSet::from([BEFORE.to_owned()]);
    acknowledged.extend((0..FILES).map(|file| format!("{CONTESTED}/{file}")));
    load::each_file(manifest, |path, _| {
        acknowledged.insert(format!("load/{path}"));
        Ok(())
    })?;
    let shown = client.sh(&format!("cd {MOUNT}/lake && find . -type f"), MINUTE)?;
    let shown: BTreeSet<String> = shown
        .lines()
        .map(|path| path.trim_start_matches("./").to_owned())
        .collect();
    let keys = s3.keys(BUCKET)?.into_keys();
    let keys: BTreeSet<String> = keys.filter(|key| !key.ends_with('/')).collect();
    for (who, there) in [("the mount", &shown), ("the bucket", &keys)] {
        let surplus: Vec<_> = there.difference(&acknowledged).take(10).collect();
        let missing: Vec<_> = acknowledged.difference(there).take(10).collect();
        ensure!(
            surplus.is_empty() && missing.is_empty(),
            "{who} has {surplus:?}, which should not be, and has not {missing:?}"
        );
    }
    Ok(())
}

/// Each holds one version whole, and none that an acknowledged one followed.
fn contested(client: &mut Guest, s3: &S3Client, foreign: &[Put], by_mount: &[Put]) -> Result<()> {
    for file in 0..FILES {
        let bytes = s3.get(BUCKET, &format!("{CONTESTED}/{file}"))?;
        let through = client.shared().join("contested-file");
        client.sh(
            &format!("cp {MOUNT}/lake/{CONTESTED}/{file} /run/shared/contested-file"),
            MINUTE,
        )?;
        ensure!(
            read(&through)? == bytes,
            "the contested file {file} is another in the mount than in the bucket"
        );
        let key = key_of(&bytes).with_context(|| {
            format!(
                "the contested file {file} is no version, {} bytes",
                bytes.len()
            )
        })?;
        let all = || {
            foreign
                .iter()
                .chain(by_mount)
                .filter(|put| put.file == file)
        };
        let there = all()
            .find(|put| put.key == key)
            .with_context(|| format!("nobody wrote what the contested file {file} holds"))?;
        ensure!(
            there.acknowledged,
            "the contested file {file} holds what its writer was told had failed"
        );
        let later = all().find(|put| put.acknowledged && put.began > there.ended);
        ensure!(
            later.is_none(),
            "the contested file {file} holds {there:?}, and {later:?} was acknowledged"
        );
    }
    Ok(())
}

/// What the metadata server remembers of the bucket is there, and nothing is under way.
fn records(lab: &Lab, s3: &S3Client) -> Result<()> {
    let Records {
        files,
        folders,
        astray,
        under_way,
        spooled,
        ..
    } = Records::of(&lab.state.join(STATE))?;
    let keys = s3.keys(BUCKET)?;
    let is_gone = |key: &&String| !keys.contains_key(*key);
    let files: Vec<_> = files.iter().filter(is_gone).collect();
    let is_empty = |folder: &&String| !keys.keys().any(|key| key.starts_with(*folder));
    let folders: Vec<_> = folders.iter().filter(is_empty).collect();
    ensure!(
        files.is_empty() && folders.is_empty() && astray + under_way + spooled == 0,
        "remembered of what is gone: {files:?} {folders:?}, {astray} ids in folders that are gone, \
         {under_way} uploads and renames under way, {spooled} files under change"
    );
    Ok(())
}

/// What is cached is of versions that are served, holds their bytes, and takes no more than it may. Of each chunk the
/// key, and whether that version is still there.
pub fn chunks(lab: &Lab, s3: &S3Client, bucket: &str) -> Result<Vec<(String, bool)>> {
    let folder = lab.state.join("ds0/cache");
    let mut there = Vec::new();
    let mut taken = 0;
    for part in fs::read_dir(folder.join("chunks"))? {
        for entry in fs::read_dir(part?.path())? {
            let entry = entry?;
            taken += entry.metadata()?.len();
            there.push(entry.path());
        }
    }
    ensure!(
        taken <= CACHE_BYTES,
        "{taken} bytes are cached, of {CACHE_BYTES} that may be"
    );
    // Its start would remove what belongs to nobody: so the files were counted before.
    let runtime = tokio::runtime::Runtime::new()?;
    let options = chunks::Options::new(&folder, CACHE_BYTES);
    let chunk_bytes = u64::from(options.chunk_bytes);
    let store = chunks::Store::open(options, HashMap::new(), runtime.handle().clone())?;
    let mut chunks = Vec::new();
    for path in &there {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_name = name.split_once('-').and_then(|(object, index)| {
            let object = u128::from_str_radix(object, 16).ok()?;
            let index = u64::from_str_radix(index, 16).ok()?;
            Some((chunks::ObjectId(object.to_be_bytes()), index))
        });
        let (object, index) = of_name.with_context(|| format!("{name} is no chunk"))?;
        let held = store
            .object(object)
            .with_context(|| format!("the chunk {name} is of no version that is served"))?;
        // Of a version that is there no more nobody reads, and chunks go when others come.
        let version = &held.offer.version;
        let found = s3.get_version(bucket, &version.key, &version.etag)?;
        chunks.push((version.key.clone(), found.is_some()));
        if let Some(bytes) = found {
            let start = (index * chunk_bytes) as usize;
            let length = held.chunk_length(index) as usize;
            ensure!(
                read(path)?.get(..length) == bytes.get(start..start + length),
                "the chunk {name} of {} holds other bytes",
                version.key
            );
        }
    }
    Ok(chunks)
}

/// What lost lies in the state folder, where the log says, and nothing else does. How many.
fn lost(lab: &Lab, by_mount: &[Put]) -> Result<usize> {
    let mut kept = BTreeMap::new();
    let log = read_text(&lab.state.join("mds.log"))?;
    let folder = lab.state.join(STATE).join("lost");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
        Err(_) => Vec::new(),
    };
    for entry in entries {
        let what = read_text(&entry.path().join("what.txt"))?;
        let content = read(&entry.path().join("content"))?;
        let is_contested = what.contains(&format!("key: {CONTESTED}/"));
        if is_contested && content.is_empty() {
            // It lost while it was being emptied.
            continue;
        }
        let Some(key) = key_of(&content).filter(|_| is_contested) else {
            bail!("{} lies among what lost: {what}", entry.path().display());
        };
        ensure!(
            log.contains(&entry.path().display().to_string()),
            "the log doesn't name {}",
            entry.path().display()
        );
        kept.insert(key, content);
    }
    let lost: Vec<&Put> = by_mount.iter().filter(|put| !put.acknowledged).collect();
    for put in &lost {
        ensure!(
            kept.get(&put.key) == Some(&version(put.key)),
            "what lost is kept nowhere: {put:?}"
        );
    }
    Ok(lost.len())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn read_text(path: &Path) -> Result<String> {
    Ok(String::from_utf8(read(path)?)?)
}
