//! Atomic file writes: after a crash a path holds the old file or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use image::{ImageFormat, RgbImage};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// Writes `bytes` to a temporary file beside `path`, flushes it to the disk, and renames it to `path`.
///
/// # Errors
/// When a step of this fails; an earlier file at `path` is then unchanged.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).with_context(|| writing(path))?;
    file.commit()
}

/// Prefix and suffix of the name of a temporary file.
const UNFINISHED: [&str; 2] = [".densecl-", ".partial"];

/// Removes from `folder` the temporary files of processes that were killed while writing. No other process may be
/// writing to the folder.
pub(crate) fn remove_unfinished(folder: &Path) {
    let [begin, end] = UNFINISHED;
    // Errors are ignored: a file that stays only takes disk space.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(begin) && name.ends_with(end) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A temporary file that gets its final name on [`commit`](Self::commit). Dropped before that, it is removed.
pub struct AtomicFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates an empty temporary file beside `path`.
    ///
    /// # Errors
    /// When the folder of `path` cannot be written to.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED[0]).suffix(UNFINISHED[1]);
        // The tempfile crate makes files that only their owner can read; results get the user's usual permissions.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder
            .tempfile_in(folder_of(path))
            .with_context(|| writing(path))?;
        Ok(Self {
            temporary,
            path: path.to_path_buf(),
        })
    }

    /// Flushes the file to the disk and renames it to its path, replacing an earlier file there.
    ///
    /// # Errors
    /// When this fails; an earlier file at the path is then unchanged.
    pub fn commit(self) -> anyhow::Result<()> {
        let Self { temporary, path } = self;
        temporary
            .as_file()
            .sync_all()
            .and_then(|()| temporary.persist(&path).map_err(|e| e.error))
            .with_context(|| writing(&path))?;
        // A rename is durable only after the folder is synced. Some file systems cannot sync folders; this is
        // ignored.
        #[cfg(unix)]
        if let Ok(folder) = fs::File::open(folder_of(&path)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

// Implemented on the inner `File`, because errors of `NamedTempFile` name the temporary file.
impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.temporary.as_file_mut().seek(to)
    }
}

/// The folder in which `path` is or will be.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The context of an error while writing `path`.
pub fn writing(path: &Path) -> String {
    format!("writing {}", path.display())
}

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a whole file that may be at most `limit` bytes long.
///
/// # Errors
/// When it cannot be read or is longer; one line with its path.
pub fn read_at_most(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
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
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    let text = to_utf8(read_at_most(path, 64 << 20)?);
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    text.with_context(|| {
        format!(
            "{} is not a text file in UTF-8, or in UTF-16 with a byte order mark",
            path.display()
        )
    })
}

/// The bytes of a text without a byte order mark: UTF-16 that begins with one becomes UTF-8, and all else stays as
/// it is. Editors on Windows save both. None where the UTF-16 is damaged.
pub fn to_utf8(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let unit: fn([u8; 2]) -> u16 = match bytes.as_slice() {
        [0xEF, 0xBB, 0xBF, ..] => return Some(bytes[3..].to_vec()),
        [0xFF, 0xFE, ..] => u16::from_le_bytes,
        [0xFE, 0xFF, ..] => u16::from_be_bytes,
        _ => return Some(bytes),
    };
    let (pairs, rest) = bytes[2..].as_chunks::<2>();
    let units = pairs.iter().map(|&pair| unit(pair));
    let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
    text.filter(|_| rest.is_empty()).map(String::into_bytes)
}

/// Writes a picture as PNG, atomically.
///
/// # Errors
/// When it cannot be written.
pub fn write_png(path: &Path, picture: &RgbImage) -> anyhow::Result<()> {
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
    fn texts_are_read_in_utf8_and_in_utf16_with_a_byte_order_mark() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("list.txt");
        let little: Vec<u8> = "\u{feff}é\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let big: Vec<u8> = "\u{feff}é\r\n"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        for bytes in [
            "é\r\n".as_bytes(),
            "\u{feff}é\r\n".as_bytes(),
            &little,
            &big,
        ] {
            fs::write(&path, bytes).expect("written");
            assert_eq!(read_text(&path).expect("text"), "é\r\n");
        }
        for bytes in [&b"\xFF\xFEa"[..], b"\xFF\xFE\x00\xD8", b"\xE9"] {
            fs::write(&path, bytes).expect("written");
            let error = read_text(&path).expect_err("no text").to_string();
            assert!(error.contains("list.txt is not a text file"), "{error}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("file");
        write_atomically(&path, b"old").expect("written");
        // A file cannot be renamed onto a folder.
        let taken = dir.path().join("folder");
        fs::create_dir(&taken).expect("made");
        assert!(write_atomically(&taken, b"new").is_err());
        assert_eq!(fs::read(&path).expect("still there"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2);
    }
}
