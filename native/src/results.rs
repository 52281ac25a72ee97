//! Writes the file of `--json`, and checks the names of results.

use std::path::Path;

use anyhow::bail;
use densecl_train::files::write_atomically;
use serde::Serialize;

use crate::console;

/// Writes a report as JSON to the path of `--json`; `-` means standard output.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    if path == Path::new("-") {
        console::print(&format!("{text}\n"))
    } else {
        write_atomically(path, text.as_bytes())
    }
}

/// Checks that the path of `--json` can be written to, before the command does its work.
///
/// # Errors
/// When `json` is a folder, or its folder does not exist.
pub(crate) fn ensure_json(json: &Path) -> anyhow::Result<()> {
    if json.is_dir() {
        bail!("--json {}: is a folder, give a file in it", json.display());
    }
    let folder = json.parent().filter(|folder| *folder != Path::new(""));
    match folder {
        Some(folder) if !folder.is_dir() => bail!(
            "--json {}: there is no folder {}",
            json.display(),
            folder.display()
        ),
        _ => Ok(()),
    }
}

/// Refuses a name for a picture with another extension than `.png`.
///
/// # Errors
/// When `path` does not end in `.png`.
pub(crate) fn ensure_png(path: &Path) -> anyhow::Result<()> {
    let extension = path.extension().unwrap_or_default();
    if !extension.eq_ignore_ascii_case("png") {
        bail!(
            "{}: the picture is a PNG, give a name that ends in .png",
            path.display()
        );
    }
    Ok(())
}
