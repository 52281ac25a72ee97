//! Pictures as the data loader decodes them, codecs and limits. The loader catches a codec's panics; here
//! they are findings, because libFuzzer ends the process at a panic, before it can be caught.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_train::data::decode::{DecodeLimits, decode};

use super::scratch;

/// Small, so that an input near the limit takes milliseconds.
const MAX_PIXELS: u64 = 1 << 18;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("image").join("file"));

/// png 0.18.1 panics on a palette whose length is no multiple of 3; the loader's test
/// `a_panic_of_the_codec_is_a_corrupt_file` holds it. Met within minutes, it would hide what comes after.
fn known(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| {
        &window[4..] == b"PLTE" && {
            let length = u32::from_be_bytes([window[0], window[1], window[2], window[3]]);
            !length.is_multiple_of(3)
        }
    })
}

/// What the target does with an input.
pub(crate) fn run(bytes: &[u8]) {
    if known(bytes) {
        return;
    }
    let limits = DecodeLimits {
        max_pixels: MAX_PIXELS,
        ..DecodeLimits::default()
    };
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    if let Ok(picture) = decode(&FILE, &limits) {
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert!((1..=MAX_PIXELS).contains(&pixels));
    }
}
