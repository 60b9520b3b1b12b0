//! What can be checked of the documents without reading them: every link to a file of this repository leads there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::interop::Counts;
use crate::workspace::Workspace;

pub fn check(workspace: &Workspace) -> Result<Counts> {
    let mut faults = Vec::new();
    let documents = documents(&workspace.root)?;
    for document in &documents {
        let text = fs::read_to_string(document)
            .with_context(|| format!("reading {}", document.display()))?;
        for (line, link) in links(&text) {
            let folder = document.parent().unwrap_or(Path::new("."));
            if !folder.join(&link).exists() {
                faults.push(format!("{}:{line}: no file {link}", document.display()));
            }
        }
    }
    if faults.is_empty() {
        return Ok(Counts {
            passed: documents.len() as u64,
            ..Counts::default()
        });
    }
    bail!("links that lead nowhere:\n{}", faults.join("\n"))
}

fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join("docs")] {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Links to files, with their lines: `](docs/x.md#part)` gives `docs/x.md`.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let Some(link) = rest.split(')').next() else {
                continue;
            };
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !link.contains("://") && !link.starts_with("mailto:") {
                found.push((index + 1, file.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_those_to_elsewhere_left_alone() {
        let text = "[a](docs/A.md#x) and [b](https://example.org)\n[c](#here) [d](README.md)";
        assert_eq!(
            links(text),
            [(1, "docs/A.md".to_owned()), (2, "README.md".to_owned())]
        );
    }
}
