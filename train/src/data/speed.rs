//! How fast views are made of files, and what the time goes into (docs/performance.md).

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use densecl::augment::{self, ViewConfig, ViewMaker};
use log::Level;
use serde::Serialize;

use super::decode::{DecodeLimits, Decoder};
use super::loader::{Loader, LoaderConfig};
use super::source::Source;
use crate::batch::Batches;

/// Images per batch: few, so that the first batch comes soon.
const BATCH_SIZE: usize = 16;
/// Images of which the stages are timed one by one.
const MOST_IMAGES: usize = 1000;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct LoaderSpeed {
    /// Of the loader as a run uses it.
    pub images_per_second: f64,
    /// Of the loader.
    pub threads: usize,
    /// Side of a view in pixels.
    pub size: u32,
    images: u64,
    seconds: f64,
    /// Milliseconds per image (two views) of one thread, stage by stage.
    pub stages_ms: Stages,
    /// The same as shares of their sum.
    shares: Stages,
}

/// A figure per stage of one sample.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Stages {
    /// From the bytes of a file to pixels.
    pub decode: f64,
    /// Both crops at the size of a view.
    pub crop_resize: f64,
    /// Brightness, contrast, saturation, hue and grey.
    pub colour: f64,
    /// Gaussian blur.
    pub blur: f64,
    /// Everything else.
    pub rest: f64,
}

/// Measures the loader on `data`, a folder, a list or a pack, for so many seconds, and its stages for half as long.
/// `size` is the side of a view in pixels; 0 threads are as many as cores.
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

/// Images, seconds and threads of the loader as a run uses it, from the first batch on.
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
    let config = LoaderConfig {
        batch_size: BATCH_SIZE.min(source.count()),
        seed: 0,
        threads,
        prefetch: 4,
        views: views.clone(),
        sizes: vec![None; 2],
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

/// Milliseconds per image of each stage, on this thread, by the functions that the loader calls.
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

/// The time since it was last asked.
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
