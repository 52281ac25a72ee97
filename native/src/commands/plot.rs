//! `densecl plot RUN`: draws the pictures of an existing run again.

use densecl::device::{DeviceChoice, select};
use densecl_train::run::plot;

use crate::cli;
use crate::console;
use crate::results::ensure_png;

/// Draws the pictures, and prints their paths.
///
/// # Errors
/// When the folder holds no run, or the run has no logged step yet.
pub(crate) fn run(args: &cli::Plot) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        ensure_png(out)?;
    }
    // On the CPU, because starting a GPU takes longer than a few forward passes.
    let selected = pollster::block_on(select(DeviceChoice::Cpu))?;
    for path in plot(&args.run, args.out.as_deref(), &selected.device)? {
        console::print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}
