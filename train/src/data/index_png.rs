//! PNGs whose samples are numbers, not colours: class indices, masks, disparities.
//!
//! The image crate would replace palette indices by colours and scale samples of few bits to eight; this reader
//! returns the samples as stored.

use std::fmt::Display;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::bail;
use image::GrayImage;
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::decode::DecodeLimits;

/// Reads a grey or palette PNG of up to 8 bits. A pixel of the result is the sample as stored.
///
/// # Errors
/// One line that names the file, if it is no PNG, is in colour, has 16 bits, is damaged or is too large.
pub fn read_index_png(path: &Path) -> anyhow::Result<GrayImage> {
    let shown = path.display();
    let damaged = |error: &dyn Display| anyhow::anyhow!("{shown}: not a whole PNG: {error}");
    let limits = DecodeLimits::default();
    let file = File::open(path).map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    let memory = Limits {
        bytes: limits.max_pixels as usize + (64 << 20),
    };
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), memory);
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| damaged(&e))?;
    let info = reader.info();
    let (width, height, depth) = (info.width, info.height, info.bit_depth);
    let kind = match info.color_type {
        ColorType::Indexed | ColorType::Grayscale => None,
        ColorType::Rgb => Some("an RGB picture"),
        ColorType::Rgba => Some("an RGBA picture"),
        ColorType::GrayscaleAlpha => Some("grey with alpha"),
    };
    if let Some(kind) = kind {
        bail!("{shown} is {kind}: expected an index per pixel, as a grey or palette PNG");
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        bail!(
            "{shown}: {width} x {height} pixels are over the limit of {} megapixels",
            limits.max_pixels / 1_000_000
        );
    }
    let bits = match depth {
        BitDepth::One => 1,
        BitDepth::Two => 2,
        BitDepth::Four => 4,
        BitDepth::Eight => 8,
        BitDepth::Sixteen => bail!("{shown} has 16 bits per pixel: expected at most 8"),
    };
    let size = reader.output_buffer_size();
    let mut packed = vec![0; size.unwrap_or(0)];
    let frame = reader.next_frame(&mut packed).map_err(|e| damaged(&e))?;
    let row = |bytes: &[u8]| -> Vec<u8> {
        let per_byte = 8 / bits;
        let sample = |x: usize| {
            let shift = 8 - bits * (x % per_byte + 1);
            (bytes[x / per_byte] >> shift) & (0xFF >> (8 - bits)) as u8
        };
        (0..width as usize).map(sample).collect()
    };
    let samples: Vec<u8> = packed[..frame.buffer_size()]
        .chunks_exact(frame.line_size)
        .flat_map(row)
        .collect();
    match GrayImage::from_raw(width, height, samples) {
        Some(image) => Ok(image),
        None => bail!("{shown}: not a whole PNG: fewer rows than its header says"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(path: &Path, color: ColorType, depth: BitDepth, size: [u32; 2], data: &[u8]) {
        let file = File::create(path).expect("a file");
        let mut encoder = png::Encoder::new(file, size[0], size[1]);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette((0..=255).flat_map(|i| [255 - i, i, 7]).collect::<Vec<u8>>());
        }
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(data).expect("pixels");
    }

    #[test]
    fn indices_are_read_as_stored_at_any_depth() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.png");
        for color in [ColorType::Indexed, ColorType::Grayscale] {
            write(
                &path,
                color,
                BitDepth::Eight,
                [3, 2],
                &[0, 21, 255, 4, 5, 6],
            );
            let image = read_index_png(&path).expect("indices");
            assert_eq!(image.dimensions(), (3, 2));
            assert_eq!(image.as_raw(), &[0, 21, 255, 4, 5, 6]);
        }
        write(
            &path,
            ColorType::Grayscale,
            BitDepth::Four,
            [3, 1],
            &[0x1F, 0x30],
        );
        assert_eq!(
            read_index_png(&path).expect("indices").as_raw(),
            &[1, 15, 3]
        );
        write(
            &path,
            ColorType::Grayscale,
            BitDepth::One,
            [9, 1],
            &[0b1010_0001, 0x80],
        );
        assert_eq!(
            read_index_png(&path).expect("indices").as_raw(),
            &[1, 0, 1, 0, 0, 0, 0, 1, 1]
        );
    }

    #[test]
    fn what_is_no_index_is_refused_with_the_file_and_the_reason() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("label.png");
        let message = || {
            let error = read_index_png(&path).expect_err("refused").to_string();
            assert!(
                error.contains("label.png") && !error.contains('\n'),
                "{error}"
            );
            error
        };
        assert!(message().contains("No such file"));
        write(&path, ColorType::Rgb, BitDepth::Eight, [1, 1], &[1, 2, 3]);
        assert!(message().contains("an RGB picture"));
        write(
            &path,
            ColorType::Grayscale,
            BitDepth::Sixteen,
            [1, 1],
            &[1, 2],
        );
        assert!(message().contains("16 bits"));
        write(
            &path,
            ColorType::Grayscale,
            BitDepth::Eight,
            [64, 64],
            &[7; 4096],
        );
        let whole = fs::read(&path).expect("bytes");
        for cut in (0..whole.len() - 12).step_by(5) {
            fs::write(&path, &whole[..cut]).expect("written");
            assert!(message().contains("not a whole PNG"));
        }
        // A header with dimensions above the limit is refused without allocating memory.
        let mut huge = whole.clone();
        huge[16..24].copy_from_slice(&[0x7F, 0, 0, 0, 0x7F, 0, 0, 0]);
        let crc = crc32(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.to_be_bytes());
        fs::write(&path, &huge).expect("written");
        message();
    }

    fn crc32(bytes: &[u8]) -> u32 {
        bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
        }) ^ !0
    }
}
