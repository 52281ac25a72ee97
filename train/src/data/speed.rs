//! Measures how fast views are made from files, and how the time divides over the stages (docs/performance.md).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use densecl::augment::{self, ViewConfig, ViewMaker};
use densecl::method::ViewSpec;
use log::Level;
use serde::Serialize;

use super::decode::{DecodeLimits, Decoder};
use super::loader::{Loader, LoaderConfig};
use super::source::Source;
use crate::batch::Batches;

/// Images per batch: small, so that the first batch is ready soon.
const BATCH_SIZE: usize = 16;
/// Largest number of images whose stages are timed.
const MOST_IMAGES: usize = 1000;

/// The measured speed.
#[derive(Debug, Serialize)]
pub struct LoaderSpeed {
    /// Throughput of the loader, as in a training run.
    pub images_per_second: f64,
    /// Threads of the loader.
    pub threads: usize,
    /// Side of a view in pixels.
    pub size: u32,
    images: u64,
    seconds: f64,
    /// Milliseconds per image (two views) on one thread, by stage.
    pub stages_ms: Stages,
    /// The share of each stage in the sum of all stages, in [0, 1].
    shares: Stages,
}

/// One value per stage of making a sample.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Stages {
    /// Reading and decoding the file.
    pub decode: f64,
    /// Both crops, resized to the size of a view.
    pub crop_resize: f64,
    /// Brightness, contrast, saturation, hue and grey.
    pub colour: f64,
    /// Gaussian blur.
    pub blur: f64,
    /// All other work.
    pub rest: f64,
}

/// Measures the loader on `data`, a folder, a list or a pack, for `seconds`, and its stages for half as long. `size`
/// is the side of a view in pixels; 0 threads means as many as cores.
///
/// # Errors
/// One line for the user.
pub fn loader_speed(
    data: &Path,
    size: u32,
    threads: usize,
    seconds: f64,
) -> anyhow::Result<LoaderSpeed> {
    if !(seconds > 0.0 && seconds <= 3600.0) {
        bail!("--seconds {seconds}: must be above 0 and at most 3600");
    }
    let views = ViewConfig {
        size,
        ..ViewConfig::default()
    };
    views.validate().map_err(|e| anyhow::anyhow!("--{e}"))?;
    let stages = stages(data, &views, seconds / 2.0)?;
    let (images, seconds, threads) = throughput(data, threads, seconds, &views)?;
    let sum = stages.decode + stages.crop_resize + stages.colour + stages.blur + stages.rest;
    Ok(LoaderSpeed {
        images_per_second: images as f64 / seconds,
        threads,
        size,
        images,
        seconds,
        stages_ms: stages,
        shares: stages.map(|ms| ms / sum),
    })
}

/// Images and seconds of the loader from the first batch on, and its number of threads.
fn throughput(
    data: &Path,
    threads: usize,
    seconds: f64,
    views: &ViewConfig,
) -> anyhow::Result<(u64, f64, usize)> {
    let source = Arc::new(Source::open(data)?);
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let batch_size = BATCH_SIZE.min(source.count());
    let config = LoaderConfig {
        batch_size,
        places: 0..batch_size,
        seed: 0,
        threads,
        prefetch: 4,
        views: views.clone(),
        wanted: ["first", "second"].map(ViewSpec::usual).to_vec(),
        boxes: Arc::default(),
        total_steps: 0,
        max_bad_share: 0.5,
        bad_file_level: Level::Debug,
    };
    let mut loader = Loader::start(source, config, 0)?;
    let first = loader.next()?;
    let start = Instant::now();
    let limit = Duration::from_secs_f64(seconds);
    let mut images = 0;
    while start.elapsed() < limit {
        images += loader.next()?.images.len() as u64;
    }
    drop(first);
    Ok((images, start.elapsed().as_secs_f64(), threads))
}

/// Milliseconds per image of each stage on this thread, measured on the functions that the loader calls.
fn stages(data: &Path, views: &ViewConfig, seconds: f64) -> anyhow::Result<Stages> {
    let source = Source::open(data)?;
    let mut decoder = Decoder::new(DecodeLimits::default());
    let mut maker = ViewMaker::default();
    let mut out = Vec::new();
    let mut spent = Stages::default();
    let mut made = 0u32;
    let limit = Duration::from_secs_f64(seconds);
    let start = Instant::now();
    for index in 0..MOST_IMAGES {
        if start.elapsed() > limit {
            break;
        }
        let mut clock = Lap::start();
        let Ok(pixels) = source.picture(index % source.count(), &mut decoder) else {
            continue;
        };
        clock.add(&mut spent.decode);
        let (width, height) = pixels.dimensions();
        out.clear();
        for params in augment::draw_two(width, height, views, 0, index as u64) {
            clock.add(&mut spent.rest);
            maker.crop_resize(&pixels, params.crop, views.size);
            clock.add(&mut spent.crop_resize);
            maker.recolor(&params.color, params.grayscale);
            clock.add(&mut spent.colour);
            maker.blur(params.blur_sigma);
            clock.add(&mut spent.blur);
            out.extend_from_slice(maker.flip(params.flip).as_bytes());
        }
        decoder.reuse(pixels.into_owned());
        clock.add(&mut spent.rest);
        made += 1;
    }
    if made == 0 {
        bail!("{}: no picture decodes", data.display());
    }
    Ok(spent.map(|seconds| seconds * 1e3 / f64::from(made)))
}

/// Measures the time since its last query.
struct Lap(Instant);

impl Lap {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn add(&mut self, seconds: &mut f64) {
        let now = Instant::now();
        *seconds += (now - self.0).as_secs_f64();
        self.0 = now;
    }
}

impl Stages {
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            decode: f(self.decode),
            crop_resize: f(self.crop_resize),
            colour: f(self.colour),
            blur: f(self.blur),
            rest: f(self.rest),
        }
    }
}
