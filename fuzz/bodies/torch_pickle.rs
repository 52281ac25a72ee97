//! Fuzzes the pickle inside a torch zip archive. A mutation of a whole archive breaks its checksum, so the
//! reader refuses it before the pickle; here a valid archive is built around the fuzzed pickle.

use densecl::foreign::torch::state_dict;

/// The content of each tensor storage.
const STORAGE: [u8; 64] = [0x3f; 64];

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(pickle: &[u8]) -> bool {
    let archive = zip(&[
        ("a/data.pkl", pickle),
        ("a/data/0", &STORAGE),
        ("a/data/1", &STORAGE),
        ("a/data/2", &STORAGE),
    ]);
    let Ok(found) = state_dict(&archive) else {
        return false;
    };
    let numbers: usize = found.tensors.iter().map(|(_, t)| t.values.len()).sum();
    assert!(numbers <= archive.len(), "more numbers than bytes");
    true
}

/// Builds a zip archive of uncompressed entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let offset = archive.len() as u32;
        let mut common = Vec::new();
        // Version, flags, method, time, date.
        common.extend([0; 10]);
        common.extend(crc32(data).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        // Length of the extra field.
        common.extend([0; 2]);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(*data);

        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(&common);
        // Length of the comment, disk number, attributes.
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let offset = archive.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count);
    archive.extend(count);
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(offset.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
