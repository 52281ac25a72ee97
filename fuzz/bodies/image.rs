//! Fuzzes the data loader's picture decoder with its codecs and limits. The loader catches panics of a codec;
//! here they are findings, because libFuzzer ends the process before a panic can be caught.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_train::data::decode::{DecodeLimits, decode};

use super::scratch;

/// A small limit, so that decoding a picture near it takes milliseconds.
const MAX_PIXELS: u64 = 1 << 18;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("image").join("file"));

/// Whether `bytes` contain a known bug: png 0.18.1 panics on a palette whose length is not a multiple of 3.
/// The loader's test `a_panic_of_the_codec_is_a_corrupt_file` covers it. The fuzzer finds it within minutes
/// and would stop there each time, so such inputs are skipped.
fn known(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| {
        &window[4..] == b"PLTE" && {
            let length = u32::from_be_bytes([window[0], window[1], window[2], window[3]]);
            !length.is_multiple_of(3)
        }
    })
}

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    if known(bytes) {
        return false;
    }
    let limits = DecodeLimits {
        max_pixels: MAX_PIXELS,
        ..DecodeLimits::default()
    };
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    let Ok(picture) = decode(&FILE, &limits) else {
        return false;
    };
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    assert!((1..=MAX_PIXELS).contains(&pixels));
    true
}
