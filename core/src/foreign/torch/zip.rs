//! Reading uncompressed zip archives, the only ones that torch writes: entries are slices of the file.
//!
//! Without decompression, memory stays at the size of the file, there is no decompressor that a malicious file
//! could exploit, and zip bombs have no effect.

use std::collections::{BTreeMap, HashMap};

use rawzip::{CompressionMethod, ZipArchive, ZipVerification};

use super::{
    cursor::Cursor,
    damaged,
    pickle::read_pickle,
    value::{Graph, clip},
};
use crate::error::{Error, Result};

/// The first bytes of an archive's first entry.
const LOCAL: &[u8] = b"PK\x03\x04";

/// Whether the first bytes are those of a zip archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL)
}

/// The pickle of an archive that torch.save wrote, and its storages.
///
/// # Errors
/// [`Error::Format`] for another archive, a damaged one, and a TorchScript program.
pub(super) fn read(bytes: &[u8]) -> Result<(Graph<'_>, HashMap<String, &[u8]>)> {
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
    if entries.contains_key(&format!("{folder}constants.pkl")) {
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
        let slice = entries.get(&format!("{folder}{name}"));
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
        .filter_map(|(name, slice)| Some((name.strip_prefix(&data)?.to_owned(), (*slice)?)))
        .collect();
    Ok((graph, storages))
}

/// The bytes of each entry by its name, after checking their checksum; `None` for entries that are compressed
/// or encrypted.
///
/// # Errors
/// `Error::Format` when the archive is damaged or truncated, or two entries have the same name.
fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Option<&[u8]>>> {
    let broken = |error| {
        damaged(format!(
            "the directory of the zip archive is broken: {error}"
        ))
    };
    let archive = ZipArchive::from_slice(bytes)
        .map_err(|_| damaged("the zip archive has no directory at its end; it may be truncated"))?;
    let mut entries = BTreeMap::new();
    let mut left = bytes.len();
    for record in archive.entries() {
        let record = record.map_err(broken)?;
        let name = str::from_utf8(record.file_path().as_ref())
            .map_err(|_| damaged("a name in the zip archive is not UTF-8"))?
            .to_owned();
        let entry = archive
            .get_entry(record.wayfinder())
            .map_err(|error| damaged(format!("{} in the zip archive: {error}", clip(&name))))?;
        let (start, end) = entry.compressed_data_range();
        let data = &bytes[start as usize..end as usize];
        // In a valid archive entries do not overlap, so their sizes add up to at most that of the file. The check
        // bounds the work for malicious files.
        left = left
            .checked_sub(data.len())
            .ok_or_else(|| damaged("the entries of the zip archive overlap"))?;
        let stored = record.compression_method() == CompressionMethod::STORE
            && !record.flags().is_encrypted();
        let found = ZipVerification {
            crc: crc32fast::hash(data),
            uncompressed_size: data.len() as u64,
        };
        if stored && entry.claim_verifier().valid(found).is_err() {
            return Err(damaged(format!(
                "the size or the checksum of {} in the zip archive is wrong",
                clip(&name)
            )));
        }
        if entries
            .insert(name.clone(), stored.then_some(data))
            .is_some()
        {
            return Err(damaged(format!(
                "{} is twice in the zip archive",
                clip(&name)
            )));
        }
    }
    Ok(entries)
}
