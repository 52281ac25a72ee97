//! Settings in a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::resolve;

/// Upper limit of a settings file; real ones have a few kilobytes, so that a larger file was given by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// As [`resolve`], from the text of a file.
///
/// # Errors
/// As [`resolve`], and when the file cannot be read.
pub fn resolve_file<T: Default + Serialize + DeserializeOwned>(
    path: &Path,
    sets: &[String],
) -> anyhow::Result<T> {
    let text = read_file(path)?;
    resolve(&[(&path.display().to_string(), &text)], sets)
}

pub(super) fn read_file(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| anyhow!("cannot read the settings in {shown}: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!(
            "{shown} is longer than {} MiB: it is not a file of settings",
            MAX_FILE_BYTES >> 20
        );
    }
    String::from_utf8(bytes).map_err(|_| anyhow!("{shown} is not UTF-8 text, as TOML must be"))
}
