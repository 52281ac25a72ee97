//! Writes that leave either the old file or the new one.

#[cfg(unix)]
use std::fs;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use image::{ImageFormat, RgbImage};

/// Writes `bytes` beside `path`, makes sure that they are on the disk, and only then takes its place.
///
/// # Errors
/// When that fails; what was at `path` is then still there, whole.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("writing {}", path.display());
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".densecl-").suffix(".partial");
    // Temporary files are private to the user; results are like any other file of theirs.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).with_context(context)?;
    // Not through the wrapper, whose errors name the temporary file.
    file.as_file_mut().write_all(bytes).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path)
        .map_err(|e| e.error)
        .with_context(context)?;
    // The new name is on the disk only when its folder is. Not every file system can say so.
    #[cfg(unix)]
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Reads a whole file that may be at most `limit` bytes long.
///
/// # Errors
/// When it cannot be read or is longer; one line with its path.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{}: longer than {} MiB", path.display(), limit >> 20);
    }
    Ok(bytes)
}

/// Reads a small text file, such as a list.
///
/// # Errors
/// When it cannot be read, is longer than 64 MiB or not UTF-8; one line with its path.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    let bytes = read_at_most(path, 64 << 20)?;
    let text = String::from_utf8(bytes);
    let text = text.with_context(|| format!("{} is not a UTF-8 text file", path.display()))?;
    // Editors on Windows begin UTF-8 files with a byte order mark.
    Ok(text.trim_start_matches('\u{feff}').to_string())
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

/// Writes a picture as PNG, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_png(path: &Path, picture: &RgbImage) -> anyhow::Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .with_context(|| format!("encoding {}", path.display()))?;
    write_atomically(path, bytes.get_ref())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        write_atomically(&path, b"old").expect("written");
        // A folder cannot be replaced by a file.
        let taken = dir.path().join("folder");
        fs::create_dir(&taken).expect("made");
        assert!(write_atomically(&taken, b"new").is_err());
        assert_eq!(fs::read(&path).expect("still there"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
    }
}
