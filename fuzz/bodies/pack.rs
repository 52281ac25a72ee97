//! Packs of pictures. The checksum of the index is mended first: a mutated index would be refused by its checksum
//! before any other check.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_train::data::Pack;
use densecl_train::data::decode::{DecodeLimits, Decoder};

use super::scratch;

/// Where the header holds the checksum of the index, and where the place of the index.
const CHECKSUM: std::ops::Range<usize> = 12..16;
const START: std::ops::Range<usize> = 16..24;
/// A small limit, so that decoding a picture near it takes milliseconds.
const MAX_PIXELS: u64 = 1 << 16;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("pack").join("pictures.pack"));

/// Writes the checksum that the index has into the header.
fn mend(file: &mut [u8]) {
    let Some(start) = file.get(START).and_then(|bytes| bytes.try_into().ok()) else {
        return;
    };
    let start = usize::try_from(u64::from_le_bytes(start)).unwrap_or(usize::MAX);
    if let Some(checksum) = file.get(start..).map(crc32c::crc32c) {
        file[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let mut file = bytes.to_vec();
    mend(&mut file);
    std::fs::write(&*FILE, &file).expect("a temporary file");
    let Ok(pack) = Pack::open(&FILE) else {
        return false;
    };
    assert!(pack.count() <= bytes.len(), "more pictures than bytes");
    let mut decoder = Decoder::new(DecodeLimits {
        max_pixels: MAX_PIXELS,
        ..DecodeLimits::default()
    });
    for picture in 0..pack.count().min(4) {
        assert!(!pack.name(picture).as_os_str().is_empty());
        // Either outcome is right; the target looks for panics.
        let _ = pack.picture(picture, &mut decoder);
    }
    true
}
