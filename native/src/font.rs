//! The typeface of every figure: in the program, so that they look the same on every machine.

use anyhow::{Result, anyhow};
use plotters::style::{FontStyle, register_font};

/// The name under which plotters knows it after [`register`].
pub(crate) const FONT: &str = "densecl";

/// Makes [`FONT`] known to plotters; may be called again.
///
/// # Errors
/// When plotters cannot read it.
pub(crate) fn register() -> Result<()> {
    register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| anyhow!("the embedded font cannot be used"))
}
