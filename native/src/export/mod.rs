//! Weights in the formats of other programs.

mod web;

use std::fs;
use std::path::Path;

use anyhow::Context;
use densecl::weights::{Archive, WeightsInfo};

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The bundle of the browser demo.
    Web,
}

/// Writes the weights in `path` to `out`; returns the bytes written.
///
/// # Errors
/// One line for the user.
pub(crate) fn export(path: &Path, format: Format, out: &Path) -> anyhow::Result<usize> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (archive, info): (Archive, WeightsInfo) = Archive::from_bytes(&bytes)
        .with_context(|| format!("{} cannot be used", path.display()))?;
    drop(bytes);
    match format {
        Format::Web => web::write(out, &archive, &info),
    }
}
