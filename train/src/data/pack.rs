//! A pack: many pictures in one file, which network disks and spinning disks read faster than many files.
//!
//! ```text
//! "DENSECLP"  u32 version  u32 CRC-32C of the index  u64 start of the index  u64 its length
//! the pictures' files one after the other, each as it was or encoded anew
//! the index, for each picture:  u32 length  u32 CRC-32C  u16 length of the name  name in UTF-8
//! ```
//!
//! Numbers are little-endian. The pictures follow each other without gaps from the end of the header to the index,
//! and the index ends the file. So the offset of a picture is the sum of the lengths before it, and a truncated or
//! extended file is detected on opening. The checksum of a picture is verified when it is read.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use image::RgbImage;

use super::decode::{DecodeError, Decoder};
use crate::files::{AtomicFile, writing};
use crate::spread::spread;

/// The extension of a pack.
pub(crate) const EXTENSION: &str = "pack";

const MAGIC: [u8; 8] = *b"DENSECLP";
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 32;
/// Bytes of an index entry without its name.
const ENTRY_BYTES: usize = 10;
/// Largest permitted index; that of ImageNet's 1.28 million pictures takes about 45 MB.
const MAX_INDEX_BYTES: u64 = 512 << 20;
/// Longest permitted name in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// An open pack, or a part of its pictures.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: Arc<File>,
    entries: Vec<Entry>,
    fingerprint: u32,
}

/// Name, offset, length and checksum of a picture's file.
#[derive(Debug)]
struct Entry {
    name: Box<str>,
    start: u64,
    length: u32,
    checksum: u32,
}

impl Pack {
    /// Whether the file is a pack by its extension or its first bytes.
    pub fn is_one(path: &Path) -> bool {
        let mut start = [0; MAGIC.len()];
        path.is_file()
            && (path.extension().is_some_and(|found| found == EXTENSION)
                || File::open(path)
                    .is_ok_and(|mut file| file.read_exact(&mut start).is_ok() && start == MAGIC))
    }

    /// Opens a pack and reads its index.
    ///
    /// # Errors
    /// When the file cannot be read, is no pack, or is damaged; one line with its path.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let open = || -> anyhow::Result<Self> {
            let file = File::open(path)?;
            let (fingerprint, start, index) = read_index(&file)?;
            let entries = parse(&index)?;
            let end = entries
                .last()
                .map(|entry| entry.start + u64::from(entry.length));
            match end {
                None => bail!("it holds no pictures"),
                Some(end) if end != start => {
                    bail!("damaged: the lengths of its pictures do not add up")
                }
                Some(_) => {}
            }
            Ok(Self {
                path: path.to_path_buf(),
                file: Arc::new(file),
                entries,
                fingerprint,
            })
        };
        open().with_context(|| {
            format!(
                "{} cannot be read as a pack; make it again with `densecl pack`",
                path.display()
            )
        })
    }

    /// The number of pictures.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The checksum of the index. It depends on the names, lengths and checksums of all pictures in the file.
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    /// The name of a picture: its path as if the pack were a folder.
    pub fn name(&self, picture: usize) -> PathBuf {
        self.path.join(&*self.entries[picture].name)
    }

    /// Decodes a picture.
    ///
    /// # Errors
    /// When it cannot be read, its checksum does not match, or it does not decode.
    pub fn picture(&self, picture: usize, decoder: &mut Decoder) -> Result<RgbImage, DecodeError> {
        let entry = &self.entries[picture];
        decoder.decode_from(|limits, bytes| {
            if u64::from(entry.length) > limits.max_file_bytes {
                return Err(DecodeError::TooManyBytes {
                    max_file_bytes: limits.max_file_bytes,
                });
            }
            bytes.resize(entry.length as usize, 0);
            read_at(&self.file, bytes, entry.start)
                .map_err(|error| DecodeError::Unreadable(error.to_string()))?;
            if crc32c::crc32c(bytes) == entry.checksum {
                Ok(())
            } else {
                let reason = "its bytes are not those that were packed";
                Err(DecodeError::Corrupt(reason.to_string()))
            }
        })
    }

    /// Holds out `count` pictures, evenly spread; returns the others and those held out.
    pub(crate) fn hold_out(self, count: usize) -> (Self, Self) {
        let (rest, held_out) = spread(self.entries, count);
        let of = |entries| Self {
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            entries,
            fingerprint: self.fingerprint,
        };
        (of(rest), of(held_out))
    }
}

/// The checksum, place and bytes of the index.
fn read_index(mut file: &File) -> anyhow::Result<(u32, u64, Vec<u8>)> {
    let length = file.metadata()?.len();
    let mut header = [0; HEADER_BYTES as usize];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => bail!("it is too short for one"),
        read => read?,
    }
    let mut header = Fields(&header);
    ensure!(
        header.take::<8>() == Some(MAGIC),
        "it does not begin as one"
    );
    let version = header.u32().unwrap_or_default();
    ensure!(
        version == VERSION,
        "it has format version {version}, this program reads version {VERSION}"
    );
    let checksum = header.u32().unwrap_or_default();
    let [start, bytes] = [header.u64(), header.u64()].map(Option::unwrap_or_default);
    ensure!(
        start >= HEADER_BYTES && start.checked_add(bytes) == Some(length),
        "damaged: it is {length} bytes long, which its header contradicts"
    );
    ensure!(
        bytes <= MAX_INDEX_BYTES,
        "its index is longer than {} MiB",
        MAX_INDEX_BYTES >> 20
    );
    file.seek(SeekFrom::Start(start))?;
    let mut index = Vec::new();
    file.take(bytes).read_to_end(&mut index)?;
    ensure!(
        index.len() as u64 == bytes && crc32c::crc32c(&index) == checksum,
        "damaged: the checksum of its index does not match"
    );
    Ok((checksum, start, index))
}

fn parse(index: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let mut fields = Fields(index);
    let mut entries = Vec::new();
    let mut start = HEADER_BYTES;
    while !fields.0.is_empty() {
        let entry = fields.entry(start);
        let entry =
            entry.with_context(|| format!("damaged: entry {} of its index", entries.len()))?;
        // Cannot overflow: the index is too short for lengths of 32 bits to sum to 2⁶⁴.
        start += u64::from(entry.length);
        entries.push(entry);
    }
    Ok(entries)
}

/// Bytes that are parsed field by field.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn entry(&mut self, start: u64) -> Option<Entry> {
        let (length, checksum) = (self.u32()?, self.u32()?);
        let name_bytes = usize::from(self.u16()?);
        let (name, rest) = self.0.split_at_checked(name_bytes)?;
        self.0 = rest;
        let name = std::str::from_utf8(name).ok()?;
        (!name.is_empty() && name_bytes <= MAX_NAME_BYTES && !name.contains('\0')).then(|| Entry {
            name: name.into(),
            start,
            length,
            checksum,
        })
    }
}

/// Fills `bytes` from offset `start`. Safe to call from several threads: it does not use the file's cursor.
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, start);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < bytes.len() {
            let place = start + done as u64;
            match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], place)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }
}

/// Writes a pack picture by picture.
pub(crate) struct PackWriter {
    file: AtomicFile,
    path: PathBuf,
    end: u64,
    index: Vec<u8>,
}

impl PackWriter {
    /// Creates an empty pack.
    ///
    /// # Errors
    /// When the folder of `path` cannot be written to.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let mut writer = Self {
            file: AtomicFile::create(path)?,
            path: path.to_path_buf(),
            end: 0,
            index: Vec::new(),
        };
        // Placeholder for the header, which is written when the index is complete.
        writer.write(&[0; HEADER_BYTES as usize])?;
        Ok(writer)
    }

    /// Appends the file of a picture.
    ///
    /// # Errors
    /// When the disk is full, the name too long, or there are too many pictures.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(bytes.len()).with_context(|| format!("{name} is too long"))?;
        let name_bytes = u16::try_from(name.len()).ok();
        let name_bytes = name_bytes.filter(|&bytes| usize::from(bytes) <= MAX_NAME_BYTES);
        let name_bytes = name_bytes
            .with_context(|| format!("a name is longer than {MAX_NAME_BYTES} bytes: {name}"))?;
        ensure!(
            (self.index.len() + ENTRY_BYTES + name.len()) as u64 <= MAX_INDEX_BYTES,
            "too many pictures for one pack: pack the folders below separately"
        );
        self.index.extend(length.to_le_bytes());
        self.index.extend(crc32c::crc32c(bytes).to_le_bytes());
        self.index.extend(name_bytes.to_le_bytes());
        self.index.extend(name.as_bytes());
        self.write(bytes)
    }

    /// Writes index and header, renames the file to its path, and returns its length in bytes.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn finish(mut self) -> anyhow::Result<u64> {
        let start = self.end;
        let index = std::mem::take(&mut self.index);
        self.write(&index)?;
        let mut header = Vec::from(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(crc32c::crc32c(&index).to_le_bytes());
        header.extend(start.to_le_bytes());
        header.extend((index.len() as u64).to_le_bytes());
        let path = self.path;
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .with_context(|| writing(&path))?;
        self.file.commit()?;
        Ok(self.end)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.end += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.with_context(|| writing(&self.path))
    }
}

#[cfg(test)]
mod tests;
