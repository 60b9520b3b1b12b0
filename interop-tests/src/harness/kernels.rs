//! Which Linux kernels there are to boot: the list that `cargo xtask provision` wrote into its cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
    pub program: PathBuf,
    /// Holds `modules/<release>`.
    pub modules: PathBuf,
}

impl Kernel {
    /// Since 6.18 a mirror may have several data servers (stripes).
    pub fn takes_stripes(&self) -> bool {
        version(&self.release) >= (6, 18)
    }
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// All kernels of the cache, the oldest first.
pub fn all(cache: &Path) -> Result<Vec<Kernel>> {
    let list = cache.join("kernels.json");
    let text = fs::read_to_string(&list).with_context(|| {
        format!(
            "no list of kernels at {}: run `cargo xtask provision`",
            list.display()
        )
    })?;
    parse(&text).with_context(|| format!("reading {}", list.display()))
}

fn parse(text: &str) -> Result<Vec<Kernel>> {
    let list: Value = serde_json::from_str(text)?;
    let mut kernels = Vec::new();
    for entry in list.as_array().context("not a list")? {
        let field = |name: &str| {
            entry[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("an entry has no `{name}`"))
        };
        kernels.push(Kernel {
            release: field("release")?,
            program: field("program")?.into(),
            modules: field("modules")?.into(),
        });
    }
    if kernels.is_empty() {
        bail!("the list is empty");
    }
    kernels.sort_by_key(|kernel| version(&kernel.release));
    Ok(kernels)
}

/// `all`, `old`, `new`, or the beginning of a release ("6.1" is 6.1.176, never 6.18).
pub fn choose(kernels: &[Kernel], wanted: &str) -> Result<Vec<Kernel>> {
    let chosen: Vec<Kernel> = match wanted {
        "all" => kernels.to_vec(),
        "old" => kernels.first().cloned().into_iter().collect(),
        "new" => kernels.last().cloned().into_iter().collect(),
        release => kernels
            .iter()
            .filter(|kernel| {
                kernel.release == release || kernel.release.starts_with(&format!("{release}."))
            })
            .cloned()
            .collect(),
    };
    if chosen.is_empty() {
        let names: Vec<&str> = kernels.iter().map(|k| k.release.as_str()).collect();
        bail!(
            "no kernel {wanted} here; there are: {}, or old, new, all",
            names.join(", ")
        );
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[
        {"release": "7.2.7", "program": "/c/linux", "modules": "/c/uml"},
        {"release": "6.1.176", "program": "/usr/bin/linux.uml", "modules": "/usr/lib/uml"}
    ]"#;

    #[test]
    fn the_oldest_kernel_comes_first() {
        let kernels = parse(LIST).unwrap();
        assert_eq!(kernels[0].release, "6.1.176");
        assert!(!kernels[0].takes_stripes());
        assert!(kernels[1].takes_stripes());
    }

    #[test]
    fn a_kernel_is_chosen_by_the_beginning_of_its_release() {
        let kernels = parse(LIST).unwrap();
        assert_eq!(choose(&kernels, "6.1").unwrap()[0].release, "6.1.176");
        assert_eq!(choose(&kernels, "new").unwrap()[0].release, "7.2.7");
        assert_eq!(choose(&kernels, "all").unwrap().len(), 2);
        let fault = choose(&kernels, "6.18").unwrap_err().to_string();
        assert!(fault.contains("6.1.176, 7.2.7"), "{fault}");
    }
}
