//! fio with checksums: what was written is what is read, direct and buffered, large and small blocks,
//! by two clients on files of their own and on one file.

use anyhow::{Result, ensure};

use super::Verdict;
use crate::harness::client::Client;
use crate::harness::clock::say;
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh};

/// One fio job with `verify=crc32c`.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub name: &'static str,
    pub block_kib: u32,
    pub direct: bool,
    pub size_mib: u32,
    /// Where in the file it begins.
    pub offset_mib: u32,
    pub seed: u32,
}

pub const FOUR_WAYS: [Work; 4] = [
    work("large-direct", 1024, true, 96),
    work("large-buffered", 1024, false, 96),
    work("small-direct", 4, true, 12),
    work("small-buffered", 4, false, 24),
];

const fn work(name: &'static str, block_kib: u32, direct: bool, size_mib: u32) -> Work {
    Work {
        name,
        block_kib,
        direct,
        size_mib,
        offset_mib: 0,
        seed: 5,
    }
}

impl Work {
    /// Writes, then reads back and checks.
    pub fn write(&self, file: &str) -> String {
        self.command(file, "--do_verify=1 --end_fsync=1")
    }

    /// Only reads and checks what an equal job wrote, here or on another client.
    pub fn verify(&self, file: &str) -> String {
        self.command(file, "--verify_only=1")
    }

    fn command(&self, file: &str, more: &str) -> String {
        let pattern = if self.block_kib >= 64 {
            "write"
        } else {
            "randwrite"
        };
        let engine = if self.direct {
            "--ioengine=libaio --iodepth=8 --direct=1"
        } else {
            "--ioengine=psync --direct=0"
        };
        // create_on_open: otherwise fio looks at the size before it opens, where a cached one may be
        // shorter than the job, then unlinks the file and makes it anew.
        format!(
            "cd /run/home && fio --minimal --thread --create_on_open=1 --name={name} --filename={file} --rw={pattern} --bs={block}k \
             --size={size}m --offset={offset}m {engine} --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
             --randseed={seed} --fallocate=none --invalidate=1 {more} 2>&1",
            name = self.name,
            block = self.block_kib,
            size = self.size_mib,
            offset = self.offset_mib,
            seed = self.seed,
        )
    }
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let (mut a, mut b) = lab.two_mounted()?;
    write_four_ways(&mut a)?;
    verify_four_ways(&mut b)?;
    own_files(&mut a, &mut b)?;
    one_file(&mut a, &mut b)?;
    Ok(Verdict::Held(vec![
        "1 MiB and 4 KiB, direct and buffered, each read back by both clients".to_owned(),
        "two clients on files of their own, and four processes of each on one file".to_owned(),
    ]))
}

/// Each of the four ways; fio itself reads back what it wrote.
pub fn write_four_ways(client: &mut dyn Client) -> Result<()> {
    for work in FOUR_WAYS {
        client.sh(&work.write(&format!("{MOUNT}/{}", work.name)), MINUTE * 4)?;
        say(format!("fio {}: written and verified", work.name));
    }
    Ok(())
}

/// Reads and checks after a fresh mount what [`write_four_ways`] wrote, on whichever client.
pub fn verify_four_ways(client: &mut dyn Client) -> Result<()> {
    mount_afresh(client, "vers=4.2")?;
    for work in FOUR_WAYS {
        client.sh(&work.verify(&format!("{MOUNT}/{}", work.name)), MINUTE * 4)?;
    }
    say(format!(
        "fio: all four read and verified by Linux {}",
        client.release()
    ));
    Ok(())
}

fn own_files(a: &mut Guest, b: &mut Guest) -> Result<()> {
    let work = Work {
        name: "many",
        ..work("many", 256, false, 16)
    };
    let script = |guest: &Guest| {
        (0..4)
            .map(|index| work.write(&format!("{MOUNT}/many-{}-{index}", guest.name())))
            .collect::<Vec<_>>()
            .join(" && ")
    };
    let jobs = (a.spawn(&script(a))?, b.spawn(&script(b))?);
    both(a, b, &jobs)?;
    say("fio: two clients on files of their own");
    let names = a.sh(&format!("ls {MOUNT} | grep -c many-"), MINUTE)?;
    ensure!(names.trim() == "8", "{names} files instead of 8");
    Ok(())
}

/// Four processes of each client write parts of their own of one file, all at the same time, then check those of
/// the other client.
fn one_file(a: &mut Guest, b: &mut Guest) -> Result<()> {
    const PROCESSES: u32 = 4;
    const PART_MIB: u32 = 8;
    for direct in [true, false] {
        let file = format!("{MOUNT}/one-{direct}");
        let part = |number: u32| Work {
            offset_mib: number * PART_MIB,
            seed: 5 + number,
            ..work("part", 256, direct, PART_MIB)
        };
        let side_by_side = |first: u32, script: fn(&Work, &str) -> String| {
            let numbers = first..first + PROCESSES;
            let start = numbers.clone().map(|number| {
                let script = script(&part(number), &file);
                format!("({script}) & p{number}=$!; ")
            });
            let wait = numbers.map(|number| format!("wait $p{number} && "));
            format!("{}true", start.chain(wait).collect::<String>())
        };
        a.sh(&format!(": >{file}"), MINUTE)?;
        for (script, [of_a, of_b]) in [
            (Work::write as fn(&Work, &str) -> String, [0, PROCESSES]),
            (Work::verify, [PROCESSES, 0]),
        ] {
            let jobs = (
                a.spawn(&side_by_side(of_a, script))?,
                b.spawn(&side_by_side(of_b, script))?,
            );
            both(a, b, &jobs)?;
        }
        let size = a.sh(&format!("stat -c %s {file}"), MINUTE)?;
        ensure!(
            size.trim() == "67108864",
            "{file} is {size} bytes long, 64 MiB were written"
        );
        say(format!(
            "fio: four processes of each of two clients on one file, {}",
            if direct { "direct" } else { "buffered" }
        ));
    }
    Ok(())
}

pub fn both(a: &mut Guest, b: &mut Guest, jobs: &(Job, Job)) -> Result<()> {
    a.must(&jobs.0, MINUTE * 5)?;
    b.must(&jobs.1, MINUTE * 5)?;
    Ok(())
}
