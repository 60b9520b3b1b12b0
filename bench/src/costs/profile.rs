//! Where processes spend their processors' time, as perf samples it: by areas, and the functions with most of it.

use crate::rounds::Figure;
use anyhow::{Result, bail};
use std::collections::HashMap;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;

/// Samples a second. No divisor of what timers have.
const FREQUENCY: &str = "997";
/// Functions that are named.
const NAMED: usize = 10;
/// Less isn't told.
const LEAST_PERCENT: f64 = 0.5;
const NAME_MAX_CHARS: usize = 80;

/// Shares of the time of `pids` within `time`.
pub async fn within(pids: &[u32], time: Duration) -> Result<Vec<Figure>> {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let folder = tempfile::tempdir()?;
    let samples = folder.path().join("samples");
    let mut record = Command::new("perf");
    record
        .args(["record", "-q", "-F", FREQUENCY, "-p", &pids.join(",")])
        .arg("-o")
        .arg(&samples)
        .args(["sleep", &time.as_secs_f64().to_string()]);
    done(&mut record).await?;
    let mut report = Command::new("perf");
    report
        .args(["report", "--stdio", "-q", "--no-children", "-t", "|", "-i"])
        .arg(&samples)
        .args(["--sort", "dso,symbol", "-F", "overhead,dso,symbol"]);
    let told = done(&mut report).await?;
    let figures = of_report(&String::from_utf8_lossy(&told.stdout));
    if figures.is_empty() {
        bail!("perf has no samples");
    }
    Ok(figures)
}

async fn done(command: &mut Command) -> Result<Output> {
    let output = super::ended(command).await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("perf ended with {}: {}", output.status, said.trim());
    }
    Ok(output)
}

fn of_report(report: &str) -> Vec<Figure> {
    let mut areas: HashMap<&str, f64> = HashMap::new();
    let mut functions: HashMap<String, f64> = HashMap::new();
    for line in report.lines() {
        let mut fields = line.splitn(3, '|');
        let percent = fields
            .next()
            .and_then(|field| field.trim().strip_suffix('%'))
            .and_then(|number| number.parse::<f64>().ok());
        let (Some(percent), Some(object), Some(rest)) = (percent, fields.next(), fields.next())
        else {
            continue;
        };
        // Behind the symbol perf may have columns of its own.
        let symbol = rest.rsplit_once('|').map_or(rest, |(symbol, _)| symbol);
        let symbol = symbol.trim();
        let is_kernel = symbol.starts_with("[k]") || object.trim().starts_with("[kernel");
        let symbol = symbol
            .trim_start_matches("[k]")
            .trim_start_matches("[.]")
            .trim();
        let area = if is_kernel {
            in_kernel(symbol)
        } else {
            in_program(symbol)
        };
        *areas.entry(area).or_default() += percent;
        let whose = if is_kernel { "kernel" } else { object.trim() };
        let short: String = symbol.chars().take(NAME_MAX_CHARS).collect();
        // A name in a table's cell.
        let name = format!("{short} ({whose})").replace('|', "/");
        *functions.entry(name).or_default() += percent;
    }
    let areas = areas
        .into_iter()
        .map(|(name, share)| (name.to_owned(), share));
    let mut figures = most(areas, usize::MAX, "time in");
    figures.extend(most(functions.into_iter(), NAMED, "time in the function"));
    figures
}

fn most(shares: impl Iterator<Item = (String, f64)>, limit: usize, what: &str) -> Vec<Figure> {
    let mut shares: Vec<_> = shares
        .filter(|(_, share)| *share >= LEAST_PERCENT)
        .collect();
    shares.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    shares.truncate(limit);
    let figure = |(name, share)| Figure::new(format!("{what} {name}"), Figure::SHARE, share);
    shares.into_iter().map(figure).collect()
}

/// By how its functions are named.
fn in_kernel(symbol: &str) -> &'static str {
    const AREAS: &[(&str, &[&str])] = &[
        (
            "the kernel: copying",
            &[
                "copy",
                "rep_movs",
                "rep_stos",
                "memcpy",
                "memset",
                "clear_page",
            ],
        ),
        (
            "the kernel: network",
            &[
                "tcp",
                "ip_",
                "ip6",
                "skb",
                "sock",
                "net",
                "inet",
                "loopback",
                "nf_",
                "dev_",
                "eth",
                "napi",
                "backlog",
                "csum",
                "__ip",
                "ipv4",
                "release_sock",
                "fib_",
            ],
        ),
        (
            "the kernel: io_uring",
            &["io_", "__io_", "__do_sys_io_uring"],
        ),
        (
            "the kernel: files and their pages",
            &[
                "ext4",
                "jbd2",
                "folio",
                "filemap",
                "page",
                "xas_",
                "xa_",
                "vfs_",
                "bio_",
                "blk",
                "generic_",
                "block_",
                "readahead",
                "writeback",
                "iowrite",
                "inode",
                "iov_iter",
                "lru",
                "xfs",
                "iomap",
                "fault",
                "dirty",
                "virtblk",
                "virtqueue",
                "virtio",
                "submit_bio",
                "crypto",
                "crc32",
            ],
        ),
        (
            "the kernel: waking, waiting and switching",
            &[
                "sched",
                "switch",
                "wake",
                "futex",
                "epoll",
                "ep_",
                "poll",
                "task",
                "spin",
                "mutex",
                "rwsem",
                "down_",
                "up_",
                "eventfd",
                "wait",
                "idle",
                "rq",
                "enqueue",
                "dequeue",
                "timer",
                "tick",
                "softirq",
                "irq",
                "rcu",
                "pick_next",
                "update_curr",
                "select_",
                "try_to_",
                "osq_",
                "timekeeping",
                "ktime",
                "clock",
            ],
        ),
        (
            "the kernel: system calls",
            &[
                "syscall", "entry_", "do_sys", "fget", "fput", "fdget", "sys_", "ret_from",
            ],
        ),
        (
            "the kernel: memory",
            &[
                "kmem", "kmalloc", "kfree", "slab", "alloc", "free", "memcg", "charge",
            ],
        ),
    ];
    let lower = symbol.to_ascii_lowercase();
    let found = AREAS.iter().find(|(_, parts)| {
        parts.iter().any(|part| {
            // A short beginning of a name is no part of any other.
            if part.ends_with('_') {
                lower.trim_start_matches('_').starts_with(part)
            } else {
                lower.contains(part)
            }
        })
    });
    found.map_or("the kernel: other", |(area, _)| area)
}

/// By the crate, where its name is there.
fn in_program(symbol: &str) -> &'static str {
    const AREAS: &[(&str, &[&str])] = &[
        (
            "the allocator",
            &["malloc", "free", "calloc", "realloc", "_int_"],
        ),
        (
            "copying and comparing memory",
            &["memcpy", "memmove", "memset", "memcmp", "bcmp"],
        ),
        (
            "the store",
            &["fjall", "lsm_tree", "skiplist", "byteview", "quick_cache"],
        ),
        ("the catalog", &["catalog::"]),
        ("the data server", &["ds::", "buffers::"]),
        (
            "the metadata server",
            &["mds::", "headrace::", "layout::", "objects::"],
        ),
        ("calls of data servers", &["nfs_client::"]),
        ("the wire", &["wire::"]),
        ("tokio", &["tokio", "mio::", "futures"]),
        (
            "std and collections",
            &[
                "alloc::",
                "core::",
                "std::",
                "hashbrown",
                "bytes::",
                "siphasher",
            ],
        ),
    ];
    let found = AREAS
        .iter()
        .find(|(_, parts)| parts.iter().any(|part| names(symbol, part)));
    found.map_or("other code", |(area, _)| area)
}

/// Whether `part` stands in it, and isn't the end of a longer name.
fn names(symbol: &str, part: &str) -> bool {
    symbol.match_indices(part).any(|(at, _)| {
        let before = symbol[..at].chars().next_back();
        !part.ends_with("::") || !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_by_area_and_by_function() {
        let report = "\
 30.10%  |[kernel.kallsyms]|[k] tcp_sendmsg_locked   |-      -
  5.00%  |[kernel.kallsyms]|[k] _copy_to_iter        |-      -
  4.90%  |[kernel.kallsyms]|[k] ip_finish_output2    |-      -
 12.50%  |headrace         |[.] <a::B as catalog::view::C<T|U>>::get|-      -
  0.01%  |headrace         |[.] main                 |-      -
 nonsense
";
        let figures = of_report(report);
        let told: Vec<_> = figures
            .iter()
            .map(|figure| (figure.what.as_str(), figure.value))
            .collect();
        assert_eq!(
            told,
            [
                ("time in the kernel: network", 35.0),
                ("time in the catalog", 12.5),
                ("time in the kernel: copying", 5.0),
                ("time in the function tcp_sendmsg_locked (kernel)", 30.1),
                (
                    "time in the function <a::B as catalog::view::C<T/U>>::get (headrace)",
                    12.5
                ),
                ("time in the function _copy_to_iter (kernel)", 5.0),
                ("time in the function ip_finish_output2 (kernel)", 4.9),
            ]
        );
    }

    #[test]
    fn a_crate_is_told_from_one_whose_name_ends_so() {
        assert_eq!(in_program("ds::gate::Gate::shared"), "the data server");
        assert_eq!(in_program("<ds::A as std::B>::c"), "the data server");
        assert_eq!(in_program("mds::ops::dispatch"), "the metadata server");
    }

    #[test]
    fn the_kernel_s_functions_are_told_apart_by_what_they_are_for() {
        let files = "the kernel: files and their pages";
        assert_eq!(in_kernel("block_commit_write"), files);
        assert_eq!(in_kernel("ext4_block_write_begin"), files);
        let waking = "the kernel: waking, waiting and switching";
        assert_eq!(in_kernel("__rcu_read_unlock"), waking);
        assert_eq!(in_kernel("finish_task_switch.isra.0"), waking);
        assert_eq!(
            in_kernel("__io_submit_flush_completions"),
            "the kernel: io_uring"
        );
        assert_eq!(
            in_kernel("copy_folio_from_iter_atomic"),
            "the kernel: copying"
        );
    }

    #[test]
    fn nothing_is_told_of_no_samples() {
        assert!(of_report("").is_empty());
        assert!(of_report("Error:\nThe samples data has no samples!\n").is_empty());
    }
}
