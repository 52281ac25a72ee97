//! `densecl pack`: a folder of pictures as one file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::bail;
use densecl::augment::resize;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::Serialize;

use crate::console;
use crate::data::decode::{DecodeLimits, Decoder};
use crate::data::pack::{EXTENSION, Pack, PackWriter};
use crate::data::scan::Dataset;
use crate::files::{ensure_json, folder_of, read_at_most, write_json};
use crate::paths;

/// Pixels to which `--max-side` may limit a side.
const SIDES: std::ops::RangeInclusive<u32> = 32..=65_535;
/// Of what is encoded anew: hardly to be told from the source, at a fifth of its bytes without loss.
const JPEG_QUALITY: u8 = 95;

/// What the command line asked for.
#[derive(Debug)]
pub(crate) struct Request {
    /// A folder or a list.
    pub(crate) data: PathBuf,
    /// The pack to write.
    pub(crate) out: PathBuf,
    /// Larger pictures are made smaller, until no side is longer.
    pub(crate) max_side: Option<u32>,
    /// Also write the account here; `-` = standard output.
    pub(crate) json: Option<PathBuf>,
}

/// What was packed.
#[derive(Debug, Default, Serialize)]
struct Report {
    pictures: usize,
    /// Those that were larger than `--max-side`.
    resized: usize,
    /// Bytes of the files that were packed, and of the pack.
    source_bytes: u64,
    pack_bytes: u64,
    seconds: f64,
    /// Files with an empty place in the pack.
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    path: String,
    reason: String,
}

/// A file on its way into the pack.
struct Packed {
    bytes: Vec<u8>,
    source_bytes: u64,
    resized: bool,
}

/// Writes the pack; `Ok(false)` when `stop` was set before the end, and nothing is written then.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(request: &Request, stop: &AtomicBool) -> anyhow::Result<bool> {
    let start = Instant::now();
    check(request)?;
    let dataset = Dataset::scan(&request.data)?;
    let root = if request.data.is_dir() {
        &request.data
    } else {
        folder_of(&request.data)
    };
    let mut writer = PackWriter::create(&request.out)?;
    let mut report = Report::default();
    let bar = console::picture_bar(dataset.paths().len());
    // Few at a time: their bytes are held until they are written, in order.
    for paths in dataset.paths().chunks(4 * rayon::current_num_threads()) {
        let packed: Vec<_> = paths
            .par_iter()
            .map(|path| pack(path, request.max_side))
            .collect();
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
            bar.inc(1);
        }
        if stop.load(Ordering::SeqCst) {
            bar.finish_and_clear();
            return Ok(false);
        }
    }
    bar.finish_and_clear();
    report.pack_bytes = writer.finish()?;
    report.seconds = start.elapsed().as_secs_f64();
    console::note(report.line(&request.out));
    if let Some(json) = &request.json {
        write_json(json, &report)?;
    }
    Ok(true)
}

/// What can be refused is, before a picture is read.
fn check(request: &Request) -> anyhow::Result<()> {
    let out = request.out.display();
    if request
        .out
        .extension()
        .is_none_or(|found| found != EXTENSION)
    {
        bail!("{out}: give the pack a name that ends in .{EXTENSION}");
    }
    if request.out.is_dir() {
        bail!("{out} is a folder: give a file in it");
    }
    if Pack::is_one(&request.data) {
        bail!(
            "{} is a pack already: give a folder of images or a text file with a path per line",
            request.data.display()
        );
    }
    if let Some(side) = request.max_side.filter(|side| !SIDES.contains(side)) {
        bail!(
            "--max-side {side}: must be between {} and {} pixels",
            SIDES.start(),
            SIDES.end()
        );
    }
    request.json.as_deref().map_or(Ok(()), ensure_json)
}

/// The file as it is, or smaller; `Err` with the reason when it cannot be read.
fn pack(path: &Path, max_side: Option<u32>) -> Result<Packed, String> {
    let limits = DecodeLimits::default();
    if !path.is_file() {
        return Err("it is not there, or not a regular file".to_string());
    }
    // Longer ones would not be decoded either.
    let bytes = read_at_most(path, limits.max_file_bytes).map_err(|error| error.to_string())?;
    let source_bytes = bytes.len() as u64;
    let smaller = max_side.and_then(|side| smaller(&bytes, side, limits));
    Ok(Packed {
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

impl Report {
    /// An unreadable file keeps its place, empty: training replaces it as it would replace the file,
    /// and every other picture stays where it was in every batch.
    fn miss(&mut self, path: &Path, reason: &str) -> Packed {
        log::warn!("{}: {reason}; its place is left empty", paths::line(path));
        self.unreadable.push(Unreadable {
            path: paths::text(path),
            reason: reason.to_string(),
        });
        Packed {
            bytes: Vec::new(),
            source_bytes: 0,
            resized: false,
        }
    }

    fn line(&self, out: &Path) -> String {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let resized = match self.resized {
            0 => String::new(),
            count => format!(", {count} of them made smaller"),
        };
        format!(
            "{}: {} pictures{resized}, {:.1} MB of {:.1} MB in {:.1} s",
            out.display(),
            self.pictures,
            megabytes(self.pack_bytes),
            megabytes(self.source_bytes),
            self.seconds
        )
    }
}
