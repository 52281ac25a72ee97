use std::path::Path;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::super::decode::DecodeLimits;
use super::*;

const NAMES: [&str; 4] = ["a.png", "below/ü.png", "no picture.jpg", "z.png"];

fn png(number: u8) -> Vec<u8> {
    let image = RgbImage::from_fn(6, 5, |x, y| Rgb([number, (40 * x) as u8, (50 * y) as u8]));
    let mut bytes = io::Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("encoded");
    bytes.into_inner()
}

/// A pack of three pictures and a file that is no image, and its bytes.
fn small() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("small.pack");
    let mut writer = PackWriter::create(&path).expect("a writer");
    for (number, name) in (0..).zip(NAMES) {
        let bytes = if name.starts_with("no") {
            b"text".to_vec()
        } else {
            png(number)
        };
        writer.add(name, &bytes).expect("added");
    }
    let length = writer.finish().expect("finished");
    let bytes = std::fs::read(&path).expect("a file");
    assert_eq!(bytes.len() as u64, length);
    (folder, path, bytes)
}

fn decoder() -> Decoder {
    Decoder::new(DecodeLimits::default())
}

fn refusal(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).expect("a file");
    let error = Pack::open(path).expect_err("refused");
    let text = format!("{error:#}");
    assert!(
        text.contains("small.pack cannot be read as a pack") && !text.contains('\n'),
        "{text}"
    );
    text
}

#[test]
fn what_was_packed_comes_back_in_order() {
    let (_folder, path, _) = small();
    assert!(Pack::is_one(&path));
    let pack = Pack::open(&path).expect("a pack");
    assert_eq!(pack.count(), 4);
    let mut decoder = decoder();
    for (number, name) in NAMES.into_iter().enumerate() {
        assert_eq!(pack.name(number), path.join(name));
        match pack.picture(number, &mut decoder) {
            Ok(image) => {
                assert_eq!(image.get_pixel(0, 0).0, [number as u8, 0, 0]);
                decoder.reuse(image);
            }
            Err(error) => assert_eq!((number, error), (2, DecodeError::NotAnImage)),
        }
    }
    let (rest, held_out) = pack.hold_out(2);
    assert_eq!(held_out.name(0), path.join(NAMES[1]));
    assert_eq!(held_out.name(1), path.join(NAMES[3]));
    assert_eq!((rest.count(), held_out.count()), (2, 2));
    assert!(rest.picture(0, &mut decoder).is_ok());
}

#[test]
fn a_file_that_is_cut_or_lengthened_is_refused() {
    let (_folder, path, whole) = small();
    for length in 0..whole.len() {
        refusal(&path, &whole[..length]);
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(refusal(&path, &longer).contains("its header contradicts"));
}

/// Changes each byte in turn: in header or index the pack is refused, elsewhere the picture that contains it.
#[test]
fn every_damaged_byte_is_found() {
    let (_folder, path, whole) = small();
    let index = u64::from_le_bytes(whole[16..24].try_into().expect("8 bytes")) as usize;
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x21;
        if (HEADER_BYTES as usize..index).contains(&place) {
            std::fs::write(&path, &damaged).expect("a file");
            let pack = Pack::open(&path).expect("the index is whole");
            let mut decoder = decoder();
            let errors = (0..4).filter_map(|i| pack.picture(i, &mut decoder).err());
            let corrupt = errors.filter(|error| matches!(error, DecodeError::Corrupt(_)));
            assert_eq!(corrupt.count(), 1, "byte {place}");
        } else {
            refusal(&path, &damaged);
        }
    }
}

/// Malformed indexes with correct checksums, as an attacker would write them.
#[test]
fn lies_in_the_index_are_refused() {
    let (_folder, path, _) = small();
    let made = |index: &[u8], start: u64| {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(crc32c::crc32c(index).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend((index.len() as u64).to_le_bytes());
        bytes.extend(index);
        bytes
    };
    let entry = |length: u32, name: &[u8]| {
        let mut entry = Vec::from(length.to_le_bytes());
        entry.extend([0; 4]);
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend(name);
        entry
    };
    let cases: [(Vec<u8>, &str); 6] = [
        (made(&entry(u32::MAX, b"a"), 32), "do not add up"),
        (made(&entry(0, b""), 32), "entry 0 of its index"),
        (made(&entry(0, b"a\0b"), 32), "entry 0 of its index"),
        (made(&entry(0, b"\xff"), 32), "entry 0 of its index"),
        (made(&entry(0, b"a"), 31), "its header contradicts"),
        (made(&[], 32), "holds no pictures"),
    ];
    for (bytes, expected) in cases {
        let text = refusal(&path, &bytes);
        assert!(text.contains(expected), "{text}");
    }
    let mut newer = made(&entry(0, b"a"), 32);
    newer[8] = 2;
    assert!(refusal(&path, &newer).contains("format version 2"));
    let mut cut = entry(0, b"a");
    cut.extend(&entry(0, b"abc")[..11]);
    assert!(refusal(&path, &made(&cut, 32)).contains("entry 1 of its index"));
}

#[test]
fn names_that_are_too_long_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("x.pack");
    let mut writer = PackWriter::create(&path).expect("a writer");
    let longest = "n".repeat(MAX_NAME_BYTES);
    writer.add(&longest, b"1").expect("added");
    assert!(writer.add(&format!("{longest}n"), b"2").is_err());
    drop(writer);
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("listed").count(),
        0,
        "nothing is left of a pack that was not finished"
    );
}
