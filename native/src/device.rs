//! Opens the selected device.

use densecl::device::{DeviceChoice, Selected, select};

use crate::cli;
use crate::console;

/// Opens the device given by `--device`, and prints which one it is and why it was chosen.
///
/// # Errors
/// When the device does not exist.
pub(crate) fn open(args: &cli::Device) -> anyhow::Result<Selected> {
    let choice: DeviceChoice = args.device.as_deref().unwrap_or("auto").parse()?;
    let selected = pollster::block_on(select(choice))?;
    console::note(format_args!("device: {}", selected.reason));
    Ok(selected)
}
