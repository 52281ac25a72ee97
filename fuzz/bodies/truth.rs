//! Fuzzes the readers of correspondence ground truth per pixel: `.flo`, NPY, and index PNGs, the format of
//! disparities and labels. The first byte chooses the reader.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_eval::correspondence::fields;

use super::scratch;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("truth").join("file"));

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    let Some((&reader, bytes)) = bytes.split_first() else {
        return false;
    };
    // A header may declare a hundred megapixels, which is within the reader's limit but takes a second for
    // each input.
    if reader % 3 == 2 && area(bytes) > 1 << 20 {
        return false;
    }
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    let read = match reader % 3 {
        0 => fields::read_flo(&FILE, [20, 30]),
        1 => fields::read_npy(&FILE, [20, 30]),
        _ => fields::read_disparity(&FILE, &FILE),
    };
    let Ok(field) = read else {
        return false;
    };
    let pixels = field.width as usize * field.height as usize;
    assert_eq!([field.target.len(), field.visible.len()], [pixels; 2]);
    true
}

/// Width times height from a PNG's header chunk; 0 if the input is too short.
fn area(png: &[u8]) -> u64 {
    let side = |at: usize| {
        let bytes = png
            .get(at..at + 4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok());
        bytes.map_or(0, |b| u64::from(u32::from_be_bytes(b)))
    };
    side(16).saturating_mul(side(20))
}
