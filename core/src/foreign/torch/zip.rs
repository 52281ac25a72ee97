//! Reading uncompressed zip archives, the only ones that torch writes: entries are slices of the file.
//!
//! Without decompression, memory stays at the size of the file, there is no decompressor that a malicious file
//! could exploit, and zip bombs have no effect. The fields are those of PKWARE's APPNOTE 6.3.9, sections 4.3.7
//! to 4.3.16.

use std::collections::{BTreeMap, HashMap};

use super::{
    cursor::Cursor,
    damaged,
    pickle::read_pickle,
    value::{Graph, clip},
};
use crate::error::{Error, Result};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;
/// The id of the extra field with 64-bit sizes.
const EXTRA_64: u16 = 1;

/// Whether the first bytes are those of a zip archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(&LOCAL.to_le_bytes())
}

/// The pickle of an archive that torch.save wrote, and its storages.
///
/// # Errors
/// [`Error::Format`] for another archive, a damaged one, and a TorchScript program.
pub(super) fn read(bytes: &[u8]) -> Result<(Graph<'_>, HashMap<&str, &[u8]>)> {
    let entries = entries(bytes)?;
    let mut pickles = entries.keys().filter_map(|name| {
        let folder = name.strip_suffix("data.pkl")?;
        // The archive has one top-level folder, named after the file. A deeper `data.pkl` belongs to something
        // else.
        (folder.ends_with('/') && folder.matches('/').count() == 1).then_some(folder)
    });
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return Err(Error::Format(
            "a zip archive, but not one that torch.save wrote (no data.pkl)".to_string(),
        ));
    };
    if entries.contains_key(format!("{folder}constants.pkl").as_str()) {
        return Err(Error::Format(
            "a TorchScript program, not a checkpoint; save its state_dict() instead".to_string(),
        ));
    }
    if let Some((name, _)) = entries.iter().find(|(_, slice)| slice.is_none()) {
        return Err(Error::Format(format!(
            "{} in it is compressed or encrypted, which torch never does; was it packed again by \
             another program?",
            clip(name)
        )));
    }
    let entry = |name: &str| {
        let slice = entries.get(format!("{folder}{name}").as_str());
        slice.copied().flatten()
    };
    if entry("byteorder").is_some_and(|order| order != b"little") {
        return Err(Error::Format(
            "written on a big-endian machine; load and save it again with torch".to_string(),
        ));
    }
    let pickle = entry("data.pkl").unwrap_or_default();
    let graph = read_pickle(&mut Cursor::new(pickle, 0))?;
    let data = format!("{folder}data/");
    let storages = entries
        .iter()
        .filter_map(|(name, slice)| Some((name.strip_prefix(&data)?, (*slice)?)))
        .collect();
    Ok((graph, storages))
}

/// The bytes of each entry by its name, after checking their checksum; `None` for entries that are compressed
/// or encrypted.
///
/// # Errors
/// `Error::Format` when the archive is damaged or truncated, or two entries have the same name.
fn entries(bytes: &[u8]) -> Result<BTreeMap<&str, Option<&[u8]>>> {
    let Directory { offset, count } = directory(bytes)?;
    let mut cursor = Cursor::new(bytes, offset);
    let mut entries = BTreeMap::new();
    let mut left = bytes.len();
    for _ in 0..count {
        let (name, data) = entry(bytes, &mut cursor)?;
        // In a valid archive entries do not overlap, so their sizes add up to at most that of the file. The check
        // bounds the work for malicious files.
        left = left
            .checked_sub(data.slice.len())
            .ok_or_else(|| damaged("the entries of the zip archive overlap"))?;
        if data.stored && crc32fast::hash(data.slice) != data.checksum {
            return Err(damaged(format!(
                "the checksum of {} in the zip archive is wrong",
                clip(name)
            )));
        }
        let slice = data.stored.then_some(data.slice);
        if entries.insert(name, slice).is_some() {
            return Err(damaged(format!(
                "{} is twice in the zip archive",
                clip(name)
            )));
        }
    }
    Ok(entries)
}

struct Directory {
    offset: usize,
    count: u64,
}

/// Finds the central directory by means of the end record.
fn directory(bytes: &[u8]) -> Result<Directory> {
    let missing = || damaged("the zip archive has no directory at its end; it may be truncated");
    let earliest = bytes
        .len()
        .saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let latest = bytes.len().checked_sub(END_LENGTH).ok_or_else(missing)?;
    // A comment may follow the end record. The record is valid if the comment ends exactly at the end of the file.
    let end = (earliest..=latest).rev().find(|&at| {
        let comment = u16::from_le_bytes([bytes[at + 20], bytes[at + 21]]);
        bytes[at..].starts_with(&END.to_le_bytes()) && at + usize::from(comment) == latest
    });
    let end = end.ok_or_else(missing)?;
    let mut cursor = Cursor::new(bytes, end + 4);
    let disks = cursor.u32()?;
    let _on_this_disk = cursor.u16()?;
    let count = cursor.u16()?;
    let _size = cursor.u32()?;
    let offset = cursor.u32()?;
    if let Some(directory) = directory_64(bytes, end)? {
        return Ok(directory);
    }
    if disks != 0 {
        return Err(damaged("a zip archive in several parts"));
    }
    Ok(Directory {
        offset: place(u64::from(offset))?,
        count: u64::from(count),
    })
}

/// The directory according to the 64-bit end record, if there is one; torch always writes it.
fn directory_64(bytes: &[u8], end: usize) -> Result<Option<Directory>> {
    let Some(locator) = end.checked_sub(LOCATOR_LENGTH) else {
        return Ok(None);
    };
    let mut cursor = Cursor::new(bytes, locator);
    if cursor.u32()? != LOCATOR_64 {
        return Ok(None);
    }
    let _disk = cursor.u32()?;
    let mut cursor = Cursor::new(bytes, place(cursor.u64()?)?);
    if cursor.u32()? != END_64 {
        return Err(damaged(
            "the zip archive's 64-bit directory is not where it is said to be",
        ));
    }
    // Skip the size of the record, versions, disks and entries on this disk.
    cursor.take(8 + 2 + 2 + 4 + 4 + 8)?;
    let count = cursor.u64()?;
    let _size = cursor.u64()?;
    let offset = place(cursor.u64()?)?;
    Ok(Some(Directory { offset, count }))
}

struct Data<'a> {
    slice: &'a [u8],
    /// CRC-32 of the uncompressed content.
    checksum: u32,
    /// Whether the entry is neither compressed nor encrypted.
    stored: bool,
}

/// Reads the directory's record at `cursor`, and returns the name and content of its entry.
fn entry<'a>(bytes: &'a [u8], cursor: &mut Cursor<'a>) -> Result<(&'a str, Data<'a>)> {
    if cursor.u32()? != CENTRAL {
        return Err(damaged("the directory of the zip archive is broken"));
    }
    let _versions = cursor.u32()?;
    let flags = cursor.u16()?;
    let method = cursor.u16()?;
    let _time = cursor.u32()?;
    let checksum = cursor.u32()?;
    let compressed = cursor.u32()?;
    let size = cursor.u32()?;
    let [name_length, extra_length, comment_length] = [cursor.u16()?, cursor.u16()?, cursor.u16()?];
    // Skip disk, internal and external attributes.
    cursor.take(2 + 2 + 4)?;
    let offset = cursor.u32()?;
    let name = cursor.take(usize::from(name_length))?;
    let extra = cursor.take(usize::from(extra_length))?;
    cursor.take(usize::from(comment_length))?;

    let name =
        std::str::from_utf8(name).map_err(|_| damaged("a name in the zip archive is not UTF-8"))?;
    let stored = method == 0 && flags & 1 == 0;
    let [size, compressed, offset] = widen(extra, [size, compressed, offset])?;
    if stored && size != compressed {
        return Err(damaged(format!(
            "{} in the zip archive has two different sizes",
            clip(name)
        )));
    }

    let mut local = Cursor::new(bytes, place(offset)?);
    if local.u32()? != LOCAL {
        return Err(damaged(format!(
            "{} is not where the zip archive's directory says",
            clip(name)
        )));
    }
    local.take(22)?;
    let [name_length, extra_length] = [local.u16()?, local.u16()?];
    local.take(usize::from(name_length) + usize::from(extra_length))?;
    let slice = local.take_u64(compressed)?;
    let data = Data {
        slice,
        checksum,
        stored,
    };
    Ok((name, data))
}

/// Widens the fields to 64 bits. A field of `u32::MAX` stands for a value in the 64-bit extra field.
fn widen(extra: &[u8], fields: [u32; 3]) -> Result<[u64; 3]> {
    let mut wide = Cursor::new(extra, 0);
    let mut at = Cursor::new(extra, 0);
    while extra.len() - at.at() >= 4 {
        let (id, length) = (at.u16()?, at.u16()?);
        let content = at.take(usize::from(length))?;
        if id == EXTRA_64 {
            wide = Cursor::new(content, 0);
            break;
        }
    }
    let [a, b, c] = fields.map(|field| match field {
        u32::MAX => wide.u64(),
        small => Ok(u64::from(small)),
    });
    Ok([a?, b?, c?])
}

/// An offset in the file as `usize`; an error if it does not fit, on 32-bit machines.
fn place(offset: u64) -> Result<usize> {
    usize::try_from(offset).map_err(|_| damaged("an offset beyond what this machine can address"))
}
