//! A folder of pictures as one file.

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

/// Pixels to which `--max-side` may limit a side.
const SIDES: std::ops::RangeInclusive<u32> = 32..=65_535;
/// Of what is encoded anew: hardly to be told from the source, at a fifth of its bytes without loss.
const JPEG_QUALITY: u8 = 95;

/// What was packed.
#[derive(Debug, Default, Serialize)]
pub struct Packed {
    /// Pictures in the pack.
    pub pictures: usize,
    /// Those that were larger than `--max-side`.
    pub resized: usize,
    /// Bytes of the files that were packed.
    pub source_bytes: u64,
    /// Bytes of the pack.
    pub pack_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Files with an empty place in the pack.
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    path: String,
    reason: String,
}

/// A file on its way into the pack.
struct Member {
    bytes: Vec<u8>,
    source_bytes: u64,
    resized: bool,
}

/// Writes the pictures of `data`, a folder or a list, to `out`; larger ones are made smaller until no side is longer than
/// `max_side`. `None` when `stop` was set before the end, and nothing is written then.
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
    // Few at a time: their bytes are held until they are written, in order.
    for paths in dataset.paths().chunks(4 * rayon::current_num_threads()) {
        let packed: Vec<_> = paths.par_iter().map(|path| pack(path, max_side)).collect();
        for (path, packed) in paths.iter().zip(packed) {
            let name = path.strip_prefix(root).unwrap_or(path);
            let name = paths::text(name);
            // The same pack on every system; on Unix a backslash is part of a name.
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

/// What can be refused is, before a picture is read.
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

/// The file as it is, or smaller; `Err` with the reason when it cannot be read.
fn pack(path: &Path, max_side: Option<u32>) -> Result<Member, String> {
    let limits = DecodeLimits::default();
    if !path.is_file() {
        return Err("it is not there, or not a regular file".to_string());
    }
    // Longer ones would not be decoded either.
    let bytes = read_at_most(path, limits.max_file_bytes).map_err(|error| error.to_string())?;
    let source_bytes = bytes.len() as u64;
    let smaller = max_side.and_then(|side| smaller(&bytes, side, limits));
    Ok(Member {
        source_bytes,
        resized: smaller.is_some(),
        bytes: smaller.unwrap_or(bytes),
    })
}

/// The picture with its longer side at `side` pixels, as JPEG; `None` when it is not larger, or does
/// not decode, which training will tell.
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
    /// An unreadable file keeps its place, empty: training replaces it as it would replace the file,
    /// and every other picture stays where it was in every batch.
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
