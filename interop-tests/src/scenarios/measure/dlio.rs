//! DLIO itself (the package `dlio-benchmark`), which MLPerf Storage runs: how many accelerators of its unet3d a mount
//! keeps busy by its own judgement, and how fast its checkpoints are written. It comes from outside: see [`ENVIRONMENT`].

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{servers, tell};
use crate::harness::clock::say;
use crate::harness::ganesha::Ganesha;
use crate::harness::guest::Guest;
use crate::harness::lab::{CLIENT_MODULES, Lab, MINUTE, MOUNT, mount_from, unmount};
use crate::harness::net::MDS;
use crate::scenarios::Verdict;

/// Folder of a Python environment whose `bin/python` has the package; `mpirun` is there or on the machine's own path.
/// Guests see it as the host does, so it can't be below /tmp or /run.
const ENVIRONMENT: &str = "HEADRACE_MEASURE_DLIO";

/// For PyTorch in a process for each accelerator and four for its readers.
const MEMORY_MIB: u32 = 3072;

/// A sample, and what an accelerator wants of them in a second, is so many times smaller than in its unet3d.
const SCALE: u32 = 80;
const SAMPLE_BYTES: u32 = 146_600_628 / SCALE;
const SPREAD_BYTES: u32 = 68_341_808 / SCALE;
const RESIZED_BYTES: u32 = 2_097_152 / SCALE;
/// A checkpoint is scaled less, so that there is something to measure.
const CHECKPOINT_SCALE: u32 = 4;
const MODEL_BYTES: u32 = 499_153_191 / CHECKPOINT_SCALE;
const LAYER_BYTES: [u32; 2] = [17_371 / CHECKPOINT_SCALE, 24_740_228 / CHECKPOINT_SCALE];
const CHECKPOINTS: u32 = 3;

const BATCH: u32 = 7;
/// Of each accelerator in an epoch, of which DLIO leaves the first out.
const STEPS: u32 = 24;
/// What counts is the last: in the first, readers still load their programs.
const EPOCHS: u32 = 2;
const MOST: u32 = 6;
/// In per cent. Who is busy for less of the time isn't kept.
const BUSY: f64 = 90.0;

pub fn headrace(lab: &mut Lab) -> Result<Verdict> {
    let _split = servers(lab, 1)?;
    measure(lab, &format!("{MDS}:/"), true)
}

pub fn ganesha(lab: &mut Lab) -> Result<Verdict> {
    let folder = lab.state.join("peer");
    let _peer = Ganesha::start(&lab.state, MDS, &folder)?;
    measure(lab, &format!("{MDS}:/peer"), false)
}

fn measure(lab: &mut Lab, source: &str, delegates_folders: bool) -> Result<Verdict> {
    let environment = std::env::var_os(ENVIRONMENT)
        .with_context(|| format!("{ENVIRONMENT} has to name an environment with dlio-benchmark"))?;
    let environment = PathBuf::from(environment);
    let python = environment.join("bin/python");
    ensure!(python.exists(), "{} is not there", python.display());
    let kernel = lab.kernel.clone();
    let mut client = lab.boot("a", &kernel, CLIENT_MODULES, MEMORY_MIB)?;
    if !delegates_folders {
        // Otherwise this client asks each folder for a delegation, and finds none readable that refuses (fact 28).
        let parameter = "/sys/module/nfsv4/parameters/directory_delegations";
        client.sh(
            &format!("if [ -e {parameter} ]; then echo N >{parameter}; fi"),
            MINUTE,
        )?;
    }
    let mut dlio = Dlio {
        client,
        environment: environment.display().to_string(),
        source: source.to_owned(),
    };
    dlio.mount()?;
    dlio.run(
        1,
        &format!(
            "{} ++workload.workflow.generate_data=True ++workload.workflow.train=False",
            samples_of(MOST)
        ),
    )?;
    let mut facts = Vec::new();
    let mut kept = 0;
    for accelerators in 1..=MOST {
        let busy = dlio.busy(accelerators)?;
        let fact = format!("{accelerators}: {busy:.1} % busy");
        say(&fact);
        facts.push(fact);
        if busy < BUSY {
            break;
        }
        kept = accelerators;
    }
    let checkpoint = dlio.checkpoint()?;
    let fact = format!("checkpoint: {:.1} MiB/s", checkpoint.mib_per_second());
    say(&fact);
    facts.push(fact);
    tell(&json!([
        { "job": "accelerators that DLIO finds busy for 90 % of the time", "clients": 1, "count": kept },
        {
            "job": "DLIO's checkpoint", "clients": 1,
            "bytes": checkpoint.bytes, "per_second": 1.0 / checkpoint.seconds,
        },
    ]))?;
    Ok(Verdict::Held(facts))
}

/// So many that each accelerator has its steps in one epoch.
fn samples_of(accelerators: u32) -> String {
    let samples = accelerators * BATCH * STEPS;
    format!("++workload.dataset.num_files_train={samples}")
}

/// The package in a guest that has the mount.
struct Dlio {
    client: Guest,
    environment: String,
    source: String,
}

const RESULTS: &str = "/run/home/results";

impl Dlio {
    fn mount(&mut self) -> Result<()> {
        mount_from(&mut self.client, &self.source, "vers=4.2")
    }

    /// DLIO's utilisation of accelerators, in per cent, over an epoch that reads each sample once. There are many times
    /// more samples than memory where it is meant for: none of the epoch before is in the client's cache.
    fn busy(&mut self, accelerators: u32) -> Result<f64> {
        unmount(&mut self.client)?;
        self.mount()?;
        let forgets = format!(
            "until grep -qs 'Ending epoch {} ' {RESULTS}/dlio.log; do sleep 0.2; done; echo 1 >/proc/sys/vm/drop_caches",
            EPOCHS - 1
        );
        let forgetting = self.client.spawn(&forgets)?;
        self.run(
            accelerators,
            &format!(
                "{} ++workload.train.epochs={EPOCHS}",
                samples_of(accelerators)
            ),
        )?;
        self.client.must(&forgetting, MINUTE)?;
        last_epoch(&self.result("summary.json")?)
    }

    /// The median of some.
    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let folder = format!("{MOUNT}/checkpoints");
        let [small, large] = LAYER_BYTES;
        self.client.sh(&format!("rm -rf {folder}"), MINUTE)?;
        self.run(
            1,
            &format!(
                "{} ++workload.train.epochs=1 ++workload.train.total_training_steps={CHECKPOINTS} ++workload.workflow.checkpoint=True ++workload.checkpoint.checkpoint_folder={folder} ++workload.checkpoint.steps_between_checkpoints=1 ++workload.checkpoint.model_size={MODEL_BYTES} '++workload.checkpoint.layer_parameters=[{small},{large}]'",
                samples_of(1)
            ),
        )?;
        let all: u64 = self
            .client
            .sh(
                &format!(
                    "stat -c %s {folder}/* | busybox awk '{{ sum += $1 }} END {{ print sum }}'"
                ),
                MINUTE,
            )?
            .trim()
            .parse()?;
        let seconds = checkpoint_seconds(&self.result("per_epoch_stats.json")?)?;
        Ok(Checkpoint {
            bytes: all / u64::from(CHECKPOINTS),
            seconds,
        })
    }

    /// Its unet3d, on as many ranks, changed by `settings`.
    fn run(&mut self, ranks: u32, settings: &str) -> Result<()> {
        let environment = &self.environment;
        // Open MPI takes its own from the environment, and other kinds of mpirun don't mind. One thread for each
        // process: there is one processor.
        let script = format!(
            "export PATH={environment}/bin:$PATH OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
             OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none \
             OMPI_MCA_btl_vader_single_copy_mechanism=none \
             OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 DFTRACER_ENABLE=0\n\
             rm -rf {RESULTS} && cd /run/home && mpirun -np {ranks} {environment}/bin/python -m dlio_benchmark.main \
             workload=unet3d_h100 hydra.run.dir=/run/home/hydra ++workload.output.folder={RESULTS} \
             ++workload.dataset.data_folder={MOUNT}/data ++workload.dataset.record_length={SAMPLE_BYTES} \
             ++workload.dataset.record_length_stdev={SPREAD_BYTES} ++workload.dataset.record_length_resize={RESIZED_BYTES} \
             ++workload.workflow.checkpoint=False \
             ++workload.checkpoint.checkpoint_folder=/run/home/checkpoints {settings}\n"
        );
        self.client.sh(&script, MINUTE * 10)?;
        Ok(())
    }

    fn result(&mut self, name: &str) -> Result<Value> {
        let told = self.client.sh(&format!("cat {RESULTS}/{name}"), MINUTE)?;
        serde_json::from_str(&told).with_context(|| format!("what DLIO wrote to {name}"))
    }
}

fn last_epoch(summary: &Value) -> Result<f64> {
    let epochs = summary["metric"]["train_au_percentage"].as_array();
    let last = epochs.filter(|epochs| epochs.len() == EPOCHS as usize);
    last.and_then(|epochs| epochs.last()?.as_f64())
        .with_context(|| format!("no utilisation: {summary}"))
}

struct Checkpoint {
    bytes: u64,
    seconds: f64,
}

impl Checkpoint {
    fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.seconds
    }
}

/// The median of the only epoch's checkpoints, each from its first byte to its close.
fn checkpoint_seconds(epochs: &Value) -> Result<f64> {
    let mut seconds = Vec::new();
    for number in 1..=CHECKPOINTS {
        let one: f64 = epochs["1"][format!("ckpt{number}")]["duration"]
            .as_str()
            .with_context(|| format!("no checkpoint {number}: {epochs}"))?
            .parse()?;
        seconds.push(one);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_epoch_counts_and_one_that_is_not_there_does_not() {
        let mut told = json!({ "metric": { "train_au_percentage": [74.5, 95.5] } });
        assert!((last_epoch(&told).unwrap() - 95.5).abs() < 1e-9);
        told["metric"]["train_au_percentage"] = json!([74.5]);
        assert!(last_epoch(&told).is_err());
    }

    #[test]
    fn the_median_of_the_checkpoints_is_told_and_a_missing_one_is_missed() {
        let mut told = json!({ "1": {
            "ckpt1": { "duration": "0.90" },
            "ckpt2": { "duration": "0.40" },
            "ckpt3": { "duration": "0.50" },
        }});
        assert!((checkpoint_seconds(&told).unwrap() - 0.5).abs() < 1e-9);
        told["1"]["ckpt2"] = Value::Null;
        assert!(checkpoint_seconds(&told).is_err());
    }
}
