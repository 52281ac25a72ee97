use image::ImageFormat;
use safetensors::SafeTensors;

use super::*;
use crate::data::decode::{DecodeLimits, decode_bytes};

/// The folder of test JPEGs, described in its README.
fn goldens() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/golden/jpeg/jpeg.safetensors"
    );
    std::fs::read(path).expect("the goldens")
}

/// Name and bytes of each JPEG, and Pillow's pixels of it.
fn files<'a>(goldens: &'a SafeTensors) -> Vec<(String, &'a [u8], &'a [u8])> {
    let mut found: Vec<_> = goldens
        .tensors()
        .into_iter()
        .filter_map(|(name, jpeg)| {
            let group = name.split('/').take(3).collect::<Vec<_>>().join("/");
            let pixels = goldens.tensor(&group).expect("the pixels of a group");
            (group != name).then(|| (name, jpeg.data(), pixels.data()))
        })
        .collect();
    found.sort_unstable();
    found
}

fn decoded(jpeg: &[u8]) -> Result<RgbImage, DecodeError> {
    decode_bytes(
        ImageFormat::Jpeg,
        jpeg,
        &DecodeLimits::default(),
        Vec::new(),
    )
}

/// The measured maximum is 3. The codecs round the inverse transform and the colour conversion differently, and
/// enlarge chroma by the same filters.
const TOLERANCE: u8 = 4;

#[test]
fn every_way_to_store_a_jpeg_gives_the_pixels_of_pillow() {
    let bytes = goldens();
    let goldens = SafeTensors::deserialize(&bytes).expect("safetensors");
    let files = files(&goldens);
    assert_eq!(files.len(), 297);
    let mut refused = Vec::new();
    for (name, jpeg, pixels) in files {
        match decoded(jpeg) {
            Ok(image) => {
                let ours = image.into_raw();
                assert_eq!(ours.len(), pixels.len(), "{name}");
                let pairs = ours.iter().zip(pixels);
                let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().expect("pixels");
                assert!(worst <= TOLERANCE, "{name}: {worst} levels");
            }
            Err(DecodeError::Unsupported(_)) => refused.push(name),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    // Both codecs decode larger images of this kind wrongly, without an error.
    refused.sort_unstable();
    let [a, b] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert!(a.starts_with("ycc/between/17x13/each/"), "{a}");
    assert!(b.starts_with("ycc/between/17x13/each_last_first/"), "{b}");
}

#[test]
fn jpegs_of_cameras_take_the_usual_route() {
    let bytes = goldens();
    let goldens = SafeTensors::deserialize(&bytes).expect("safetensors");
    for (name, jpeg, _) in files(&goldens) {
        let parts: Vec<_> = name.split('/').collect();
        let usual = ["grey", "ycc", "cmyk", "ycck"].contains(&parts[0])
            && ["1x1", "444", "422", "420", "440", "411"].contains(&parts[1])
            && (parts[3] == "one" || parts[3].starts_with("progressive"));
        let route = Markers::read(jpeg).route();
        if usual {
            assert_eq!(route, Route::Usual, "{name}");
        }
        if parts[3] == "each" {
            assert_ne!(route, Route::Usual, "{name}");
        }
    }
}

#[test]
fn the_second_decoder_has_the_limits_of_the_first() {
    let bytes = goldens();
    let goldens = SafeTensors::deserialize(&bytes).expect("safetensors");
    let files = files(&goldens);
    let each = files
        .iter()
        .find(|(name, ..)| name.starts_with("ycc/420/23x35/each/"));
    let (_, jpeg, _) = each.expect("a JPEG with a scan for each component");
    let limits = |max_pixels| DecodeLimits {
        max_pixels,
        ..DecodeLimits::default()
    };
    let with = |max_pixels| decode_bytes(ImageFormat::Jpeg, jpeg, &limits(max_pixels), Vec::new());
    assert!(with(23 * 35).is_ok());
    let error = with(23 * 35 - 1).expect_err("too large");
    assert!(
        matches!(
            error,
            DecodeError::TooManyPixels {
                size: Some((23, 35)),
                ..
            }
        ),
        "{error}"
    );
    for end in 0..jpeg.len() {
        assert_eq!(
            decoded(&jpeg[..end]),
            Err(DecodeError::Truncated),
            "cut at {end}"
        );
    }
    // The file is cut before its third scan and closed by an end marker: an image is incomplete without a scan of each
    // component.
    let scans = jpeg
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| *pair == [0xFF, 0xDA]);
    let third = scans.map(|(at, _)| at).nth(2).expect("three scans");
    let cut = [&jpeg[..third], &[0xFF, 0xD9]].concat();
    let error = decoded(&cut).expect_err("a scan is missing");
    assert!(matches!(error, DecodeError::Corrupt(_)), "{error}");
    for at in 0..jpeg.len() {
        let mut damaged = jpeg.to_vec();
        damaged[at] ^= 0x55;
        if let Err(error) = crate::panics::catch(|| {
            decode_bytes(ImageFormat::Jpeg, &damaged, &limits(1_000_000), Vec::new())
        })
        .unwrap_or_else(|panic| Err(DecodeError::Corrupt(panic)))
        {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
