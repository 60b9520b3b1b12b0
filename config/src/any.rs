//! A file of which it isn't known beforehand which daemon it is for.
//! Never here: the contents of either.

use crate::document::Document;
use crate::ds::{DataServerProcess, DsConfig};
use crate::fault::Faults;
use crate::mds::MdsConfig;
use std::path::Path;

/// The configuration of one of the daemons, told apart by the section `[ds]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyConfig {
    Mds(Box<MdsConfig>),
    Ds(Box<DsConfig>),
}

impl AnyConfig {
    /// Reads and validates a file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        crate::document::load(path, Self::parse)
    }

    /// Reads and validates a text; `file` is its name in the faults.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        Document::read(file, text, |document, notes| {
            if document.has(DataServerProcess::SCHEMA) {
                DsConfig::from_document(document, notes).map(|ds| Self::Ds(Box::new(ds)))
            } else {
                MdsConfig::from_document(document, notes).map(|mds| Self::Mds(Box::new(mds)))
            }
        })
    }
}
