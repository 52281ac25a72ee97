//! PBM, PGM and PPM, as text and as bytes. The files are made here: their format is a few words and the samples.

use super::*;

fn picture(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("1.ppm");
    std::fs::write(&path, bytes).expect("a file");
    let found = decode(&path, &DecodeLimits::default());
    if let Ok(picture) = &found {
        assert_eq!(dimensions(&path), Ok(picture.dimensions()));
    }
    found
}

fn pixels(bytes: &[u8]) -> Vec<u8> {
    picture(bytes).expect("a picture").into_raw()
}

#[test]
fn every_kind_is_read_as_what_it_means() {
    let colour = [255, 0, 0, 1, 2, 3];
    assert_eq!(pixels(b"P3 2 1 255\n255 0 0\n1 2 3\n"), colour);
    assert_eq!(
        pixels(b"P6\n# HPatches\n2 1\n255\n\xFF\0\0\x01\x02\x03"),
        colour
    );
    let grey = [0, 0, 0, 200, 200, 200];
    assert_eq!(pixels(b"P2\n2 1\n255\n0 200"), grey);
    assert_eq!(pixels(b"P5 2 1 255 \0\xC8"), grey);
    // In a bitmap 1 is black.
    let bits = [0, 0, 0, 255, 255, 255, 255, 255, 255];
    assert_eq!(pixels(b"P1\n3 1\n1 0 0"), bits);
    assert_eq!(pixels(b"P4 3 1\n\x80"), bits);
}

#[test]
fn samples_are_brought_to_a_byte() {
    assert_eq!(pixels(b"P2 2 1 15 15 5"), [255, 255, 255, 85, 85, 85]);
    // Of 16 bits the high byte is kept, as of every other format.
    assert_eq!(pixels(b"P5 1 1 65535 \xAB\xCD"), [0xAB; 3]);
    assert_eq!(
        pixels(b"P6 1 1 65535 \xAB\xCD\x01\x02\xFF\x00"),
        [0xAB, 1, 0xFF]
    );
}

#[test]
fn what_is_wrong_says_why() {
    for bytes in [&b"P6 2 2 255 \0\0"[..], b"P6 2", b"P4 9 9 \0"] {
        let error = picture(bytes).expect_err("cut short");
        assert_eq!(error, DecodeError::Truncated, "{bytes:?}");
    }
    for bytes in [
        &b"P2 2 2 255 1 2 3"[..],
        b"P3 1 1 255 1 2 x",
        b"P5 1 1 0 \0",
        b"P5 1 1 70000 \0\0",
        b"P6 0 5 255 ",
        b"P1 1 1 7",
    ] {
        let error = picture(bytes).expect_err("wrong");
        assert!(
            matches!(error, DecodeError::Corrupt(_)),
            "{bytes:?}: {error}"
        );
    }
    for bytes in [&b"P1a text"[..], b"P6", b"P7\nWIDTH 1\n", b"P8 1 1", b"P"] {
        assert_eq!(picture(bytes), Err(DecodeError::NotAnImage), "{bytes:?}");
    }
}

#[test]
fn a_header_that_asks_for_too_much_is_refused_before_memory_is() {
    for bytes in [
        &b"P6 20000 20000 255 "[..],
        b"P4 4000000000 4000000000 ",
        b"P1 100001 1000 0",
    ] {
        let error = picture(bytes).expect_err("too large");
        let refused = matches!(
            error,
            DecodeError::TooManyPixels { .. } | DecodeError::Unsupported(_)
        );
        assert!(refused, "{bytes:?}: {error}");
    }
}
