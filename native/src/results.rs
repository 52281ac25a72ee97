//! Where the results of a command go: the file of `--json`, and the name of a picture.

use std::path::Path;

use anyhow::bail;
use densecl_train::files::write_atomically;
use serde::Serialize;

use crate::console;

/// The JSON of a command, where its `--json` says; `-` is standard output.
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

/// Refuses a place for the JSON of a command that cannot be written to: better now than when the
/// command has done its work.
///
/// # Errors
/// When `json` is a folder, or in none.
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

/// Refuses a name for a picture that promises another format than PNG.
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
