//! Writes a folder of pictures as one pack.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::bail;
use densecl::augment::resize;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::Serialize;

use super::decode::{DecodeLimits, Decoder};
use super::pack::{EXTENSION, Pack, PackWriter};
use super::scan::Dataset;
use crate::files::{folder_of, read_at_most};
use crate::paths;
use crate::watch::Watch;

/// Permitted values of `--max-side`, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 32..=65_535;
/// Quality of re-encoded pictures: visually almost lossless, at a fifth of the size of a lossless format.
const JPEG_QUALITY: u8 = 95;

/// A summary of what was packed.
#[derive(Debug, Default, Serialize)]
pub struct Packed {
    /// Pictures in the pack.
    pub pictures: usize,
    /// Pictures that were larger than `--max-side`.
    pub resized: usize,
    /// Bytes of the files that were packed.
    pub source_bytes: u64,
    /// Bytes of the pack.
    pub pack_bytes: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Files that could not be read; each has an empty entry in the pack.
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    path: String,
    reason: String,
}

/// The content of one entry of the pack.
struct Member {
    bytes: Vec<u8>,
    source_bytes: u64,
    resized: bool,
}

/// Writes the pictures of `data`, a folder or a list, to `out`; larger ones are scaled down until their longer side
/// has `max_side` pixels. `None` when `stop` was set before the end; nothing is written then.
///
/// # Errors
/// One line for the user.
pub fn pack_pictures(
    data: &Path,
    out: &Path,
    max_side: Option<u32>,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Packed>> {
    let start = Instant::now();
    check(data, out, max_side)?;
    let dataset = Dataset::scan(data)?;
    dataset.left_out().say(data);
    let root = if data.is_dir() { data } else { folder_of(data) };
    let mut writer = PackWriter::create(out)?;
    let mut report = Packed::default();
    let gauge = watch.begin("pictures", dataset.paths().len() as u64);
    // In small chunks, because their bytes are held in memory until they are written in order.
    for paths in dataset.paths().chunks(4 * rayon::current_num_threads()) {
        let packed: Vec<_> = paths.par_iter().map(|path| pack(path, max_side)).collect();
        for (path, packed) in paths.iter().zip(packed) {
            let name = path.strip_prefix(root).unwrap_or(path);
            let name = paths::text(name);
            // Separators become `/`, so that the pack is the same on every system. On Unix a backslash is part of a
            // name.
            let name = if cfg!(windows) {
                name.replace('\\', "/")
            } else {
                name
            };
            let packed = packed.unwrap_or_else(|reason| report.miss(path, &reason));
            report.pictures += 1;
            report.resized += usize::from(packed.resized);
            report.source_bytes += packed.source_bytes;
            writer.add(&name, &packed.bytes)?;
            gauge.advance(1);
        }
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
    }
    report.pack_bytes = writer.finish()?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(Some(report))
}

/// Refuses wrong arguments before any picture is read.
fn check(data: &Path, out: &Path, max_side: Option<u32>) -> anyhow::Result<()> {
    let shown = out.display();
    if out.extension().is_none_or(|found| found != EXTENSION) {
        bail!("{shown}: give the pack a name that ends in .{EXTENSION}");
    }
    if out.is_dir() {
        bail!("{shown} is a folder: give a file in it");
    }
    if Pack::is_one(data) {
        bail!(
            "{} is a pack already: give a folder of images or a text file with a path per line",
            data.display()
        );
    }
    if let Some(side) = max_side.filter(|side| !SIDES.contains(side)) {
        bail!(
            "--max-side {side}: must be between {} and {} pixels",
            SIDES.start(),
            SIDES.end()
        );
    }
    Ok(())
}

/// The content of the entry, scaled down where needed; `Err` with the reason when the file cannot be read.
fn pack(path: &Path, max_side: Option<u32>) -> Result<Member, String> {
    let limits = DecodeLimits::default();
    if !path.is_file() {
        return Err("it is not there, or not a regular file".to_string());
    }
    // Longer files are refused here, because training does not decode them.
    let bytes = read_at_most(path, limits.max_file_bytes).map_err(|error| error.to_string())?;
    let source_bytes = bytes.len() as u64;
    let smaller = max_side.and_then(|side| smaller(&bytes, side, limits));
    Ok(Member {
        source_bytes,
        resized: smaller.is_some(),
        bytes: smaller.unwrap_or(bytes),
    })
}

/// The picture scaled to a longer side of `side` pixels, as JPEG. `None` when it is not larger, or does not decode;
/// training reports the latter.
fn smaller(bytes: &[u8], side: u32, limits: DecodeLimits) -> Option<Vec<u8>> {
    let image = Decoder::new(limits).decode_from(|_, memory| {
        memory.extend_from_slice(bytes);
        Ok(())
    });
    let image = image.ok()?;
    let (width, height) = image.dimensions();
    let longer = width.max(height);
    if longer <= side {
        return None;
    }
    let scaled = |pixels: u32| {
        let exact = f64::from(pixels) * f64::from(side) / f64::from(longer);
        (exact.round() as u32).max(1)
    };
    Some(jpeg(&resize(&image, scaled(width), scaled(height))))
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoded = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(image);
    encoded.expect("sides are below 65,536, and memory can be written to");
    bytes
}

impl Packed {
    /// Records an unreadable file and gives it an empty entry. Training then replaces it as it would replace the
    /// file, and all other pictures keep their positions in the batches.
    fn miss(&mut self, path: &Path, reason: &str) -> Member {
        log::warn!("{}: {reason}; its place is left empty", paths::line(path));
        self.unreadable.push(Unreadable {
            path: paths::text(path),
            reason: reason.to_string(),
        });
        Member {
            bytes: Vec::new(),
            source_bytes: 0,
            resized: false,
        }
    }
}
