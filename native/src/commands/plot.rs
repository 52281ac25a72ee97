//! `densecl plot RUN`: the pictures of a run, drawn again from what it left.

use densecl::device::{DeviceChoice, select};
use densecl_train::run::plot;

use crate::cli;
use crate::console;
use crate::results::ensure_png;

/// Draws, and prints what was drawn.
///
/// # Errors
/// When it is no run, or has not logged a step yet.
pub(crate) fn run(args: &cli::Plot) -> anyhow::Result<()> {
    if let Some(out) = &args.out {
        ensure_png(out)?;
    }
    // One pair of pictures: not worth waking a GPU.
    let selected = pollster::block_on(select(DeviceChoice::Cpu))?;
    for path in plot(&args.run, args.out.as_deref(), &selected.device)? {
        console::print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}
