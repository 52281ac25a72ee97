//! The device that was asked for.

use densecl::device::{DeviceChoice, Selected, select};

use crate::cli;
use crate::console;

/// Opens the device asked for and says which it is, and why.
///
/// # Errors
/// For a device that there is not.
pub(crate) fn open(args: &cli::Device) -> anyhow::Result<Selected> {
    let choice: DeviceChoice = args.device.as_deref().unwrap_or("auto").parse()?;
    let selected = pollster::block_on(select(choice))?;
    console::note(format_args!("device: {}", selected.reason));
    Ok(selected)
}
