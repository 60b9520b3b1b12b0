//! The demo: what a newcomer sees Headrace do, ending in a table.

use anyhow::{Result, bail};

use crate::Places;
use crate::harness::kernels::Kernel;
use crate::scenarios::Verdict;

/// The name by which the runner knows it.
pub const NAME: &str = "demo";

pub fn run(_native: bool, _places: &Places, _kernels: &[Kernel]) -> Result<Verdict> {
    bail!("not yet")
}
