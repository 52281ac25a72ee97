use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests_data")
        .join(name)
}

fn decoded(name: &str) -> RgbImage {
    decode(&fixture(name), &DecodeLimits::default()).expect(name)
}

fn failure_of(bytes: &[u8], limits: &DecodeLimits) -> DecodeError {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("picture.jpg");
    std::fs::write(&path, bytes).expect("a file");
    decode(&path, limits).expect_err("no picture")
}

fn failure(bytes: &[u8]) -> DecodeError {
    failure_of(bytes, &DecodeLimits::default())
}

/// The largest difference of a sample from the result of PIL's `convert("RGB")`.
fn difference(name: &str) -> u8 {
    let (ours, pil) = (decoded(name), decoded(&format!("{name}.rgb.png")));
    assert_eq!(ours.dimensions(), pil.dimensions(), "{name}");
    let pairs = ours.as_raw().iter().zip(pil.as_raw());
    pairs.map(|(a, b)| a.abs_diff(*b)).max().expect("pixels")
}

#[test]
fn every_kind_of_lossless_picture_is_exactly_as_in_pil() {
    let names = "grey.png rgba.png grey_alpha.png palette.png palette_transparent.png \
                 bilevel.png grey16.png rgb16.png lossless.webp alpha.webp";
    for name in names.split_whitespace() {
        assert_eq!(difference(name), 0, "{name}");
    }
}

/// The lossy formats do not specify the rounding of the inverse transform or the filter that enlarges chroma; the
/// tolerances are the measured differences between the two codecs.
#[test]
fn every_kind_of_lossy_picture_is_as_in_pil_but_for_rounding() {
    for (name, tolerance) in [
        ("grey.jpg", 1),
        ("cmyk.jpg", 1),
        ("ycck.jpg", 1),
        ("rgb.jpg", 3),
        ("progressive.jpg", 3),
        ("exif_rotated.jpg", 3),
        ("lossy.webp", 0),
    ] {
        let found = difference(name);
        assert!(found <= tolerance, "{name}: {found} levels");
    }
}

#[test]
fn orientation_is_not_applied() {
    assert_eq!(decoded("exif_rotated.jpg").dimensions(), (24, 16));
}

#[test]
fn content_decides_and_not_the_extension() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("really_webp.jpg");
    std::fs::copy(fixture("lossless.webp"), &path).expect("a copy");
    let image = decode(&path, &DecodeLimits::default()).expect("a picture");
    assert_eq!(image, decoded("lossless.webp"));
}

#[test]
fn files_without_a_picture_say_why() {
    assert_eq!(failure(b""), DecodeError::Empty);
    assert_eq!(failure(b"<html>404</html>"), DecodeError::NotAnImage);
    assert_eq!(failure(b"GIF89a..........."), DecodeError::NotAnImage);
    assert_eq!(
        failure(b"\xff\xd8\xff\xe0 nonsense"),
        DecodeError::Truncated
    );
    assert!(matches!(
        failure(b"\xff\xd8\xff\xd9"),
        DecodeError::Corrupt(_)
    ));

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let limits = DecodeLimits::default();
    let folder = decode(here, &limits).expect_err("a folder");
    assert_eq!(
        folder.to_string(),
        "cannot be read: it is not a regular file"
    );
    let missing = decode(&here.join("nope.jpg"), &limits).expect_err("missing");
    assert!(
        missing.to_string().starts_with("cannot be read: "),
        "{missing}"
    );
}

/// Every prefix of a file is an error, never a panic or a partly grey image. The last 12 bytes of a PNG are its
/// empty end chunk, without which the image is still complete.
#[test]
fn truncated_files_are_refused_wherever_they_end() {
    for (name, dispensable) in [
        ("rgb.jpg", 0),
        ("progressive.jpg", 0),
        ("exif_rotated.jpg", 0),
        ("rgb16.png", 12),
        ("lossy.webp", 0),
    ] {
        let bytes = std::fs::read(fixture(name)).expect(name);
        let format = image::guess_format(&bytes).expect(name);
        for end in 0..bytes.len() - dispensable {
            let found = decode_bytes(format, &bytes[..end], &DecodeLimits::default(), Vec::new());
            assert_eq!(found, Err(DecodeError::Truncated), "{name} cut at {end}");
        }
        assert_eq!(
            failure(&bytes[..bytes.len() / 2]),
            DecodeError::Truncated,
            "{name}"
        );
    }
}

#[test]
fn flipped_bits_never_panic() {
    for name in [
        "rgb.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "palette.png",
        "lossy.webp",
        "alpha.webp",
    ] {
        let bytes = std::fs::read(fixture(name)).expect(name);
        let format = image::guess_format(&bytes).expect(name);
        let limits = DecodeLimits {
            max_pixels: 1_000_000,
            ..DecodeLimits::default()
        };
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = decode_bytes(format, &damaged, &limits, Vec::new());
        }
    }
}

fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let crc = {
        let mut crc = u32::MAX;
        for byte in kind.iter().chain(body) {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    };
    let length = (body.len() as u32).to_be_bytes();
    [&length[..], kind, body, &crc.to_be_bytes()].concat()
}

fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    png_of([8, 2], width, height, &[], data)
}

/// `kind`: bit depth and colour type; `before`: chunks in front of the image data.
fn png_of(kind: [u8; 2], width: u32, height: u32, before: &[u8], data: &[u8]) -> Vec<u8> {
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &kind,
        &[0; 3],
    ]
    .concat();
    let signature = b"\x89PNG\r\n\x1a\n".to_vec();
    [
        signature,
        chunk(b"IHDR", &header),
        before.to_vec(),
        chunk(b"IDAT", data),
        chunk(b"IEND", b""),
    ]
    .concat()
}

#[test]
fn bombs_are_refused_from_their_header() {
    let bomb = failure(&png(
        30_000,
        30_000,
        b"\x78\x9c\x63\x00\x00\x00\x01\x00\x01",
    ));
    let text = "30000 x 30000 pixels are over the limit of 100 megapixels";
    assert_eq!(bomb.to_string(), text);

    // A baseline JPEG stores height, then width, as big-endian u16 after the SOF0 marker.
    let mut jpeg = std::fs::read(fixture("rgb.jpg")).expect("a fixture");
    let frame = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .expect("SOF0");
    for (at, byte) in 30_000u16.to_be_bytes().iter().cycle().take(4).enumerate() {
        jpeg[frame + 5 + at] = *byte;
    }
    assert_eq!(failure(&jpeg).to_string(), text);

    let one = png(1, 1, b"");
    let limits = DecodeLimits {
        max_file_bytes: one.len() as u64 - 1,
        ..DecodeLimits::default()
    };
    assert!(matches!(
        failure_of(&one, &limits),
        DecodeError::TooManyBytes { .. }
    ));
}

#[test]
fn bogus_image_data_is_corrupt() {
    let error = failure(&png(8, 8, b"this is not a zlib stream"));
    assert!(matches!(error, DecodeError::Corrupt(_)), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// Found by the fuzz target `image`: a palette whose length is no multiple of 3 makes png 0.18.1 index
/// past its end.
#[test]
fn a_panic_of_the_codec_is_a_corrupt_file() {
    // One row: filter byte and two 4-bit pixels, uncompressed, then the Adler-32 checksum.
    let data = b"\x78\x01\x01\x02\x00\xfd\xff\x00\x00\x00\x02\x00\x01";
    let indexed = |palette: &[u8]| png_of([4, 3], 2, 1, &chunk(b"PLTE", palette), data);
    let whole = indexed(&[9; 6]);
    let limits = DecodeLimits::default();
    let picture =
        decode_bytes(ImageFormat::Png, &whole, &limits, Vec::new()).expect("a palette of two");
    assert_eq!(picture.into_raw(), [9; 6]);
    for length in [1, 2, 4, 5, 53] {
        let error = failure(&indexed(&vec![9; length]));
        assert!(
            matches!(error, DecodeError::Corrupt(_)),
            "{length}: {error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}
