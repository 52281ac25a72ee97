//! `densecl embed`: features of a folder of pictures, in a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use burn::tensor::Device;
use crossbeam_channel::{Receiver, Sender};
use densecl::device::Selected;
use densecl::model::Encoder;
use densecl::weights::{FORMAT_VERSION, WeightsInfo};
use image::RgbImage;
use indicatif::ProgressBar;
use log::Level;
use rayon::prelude::*;
use serde::Serialize;

use crate::cli::embed::Embed;
use crate::console;
use crate::data::decode::{DecodeError, DecodeLimits, decode};
use crate::data::scan::Dataset;
use crate::data::{BadFile, BadFiles, Source};
use crate::embedding::table::{Format, TableWriter};
use crate::embedding::{Origin, Recipe};
use crate::files::{sha256, write_json};
use crate::memory::ensure_fits;
use crate::paths;
use crate::weights;

/// `--json`.
#[derive(Debug, Serialize)]
struct Report {
    /// The files written.
    files: Vec<String>,
    /// Pictures in them.
    rows: usize,
    features: Vec<Described>,
    skipped: Vec<Skipped>,
    seconds: f64,
    images_per_second: f64,
    #[serde(flatten)]
    origin: Origin,
}

#[derive(Debug, Serialize)]
struct Described {
    name: &'static str,
    /// Of one picture.
    shape: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    #[serde(serialize_with = "paths::serialize")]
    path: PathBuf,
    reason: String,
}

impl From<BadFile> for Skipped {
    fn from(BadFile { path, reason }: BadFile) -> Self {
        Self { path, reason }
    }
}

/// Pictures as the network sees them, or why there is none, in the order of the data set.
type Batch = Vec<(usize, Result<RgbImage, DecodeError>)>;

/// Writes the features; `Ok(false)` when `stop` was set before the end, and nothing is written then.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &Embed, selected: &Selected, stop: &AtomicBool) -> anyhow::Result<bool> {
    let device = &selected.device;
    let start = Instant::now();
    let mut recipe = Recipe {
        features: args.feature.clone(),
        pool: args.pool,
        unit_length: args.unit_length,
        size: args.size,
        fit: args.fit.into(),
        stride: args.stride.unwrap_or_default(),
    };
    recipe.validate()?;
    let format = Format::of(&args.out, &recipe)?;
    if !(0.0..=1.0).contains(&args.max_bad_share) {
        bail!(
            "--max-bad-share {}: must be between 0 and 1",
            args.max_bad_share
        );
    }
    let network = Network::open(&args.weights, args.stride, device)?;
    recipe.ensure_in(&network.encoder)?;
    recipe.stride = network.info.model.output_stride;

    let source = Arc::new(Source::Files(Dataset::scan(&args.images)?));
    let at_once = source.len().min(usize::from(args.batch_size));
    let remedy = "choose a smaller --batch-size or --size, or a larger --stride";
    ensure_fits(
        selected,
        &network.info.model,
        at_once,
        [args.size; 2],
        remedy,
    )?;
    let root = root(&args.images)?;
    let origin = Origin {
        format_version: FORMAT_VERSION,
        weights_sha256: network.sha256.clone(),
        weights: paths::text(&args.weights),
        model: network.info.model.clone(),
        recipe,
        images: paths::text(&root.absolute),
    };
    let mut job = Job {
        network: &network,
        recipe: &origin.recipe,
        device,
        table: TableWriter::create(&args.out, format, origin.clone())?,
        bad_files: BadFiles::new(
            Arc::clone(&source),
            args.max_bad_share,
            "--max-bad-share",
            Level::Warn,
        ),
        source: &source,
        root: &root.given,
        shapes: Vec::new(),
        bar: console::picture_bar(source.len()),
    };
    let (batches, ready) = crossbeam_channel::bounded(1);
    let whole = thread::scope(|scope| {
        let batch_size = usize::from(args.batch_size);
        let (source, recipe) = (&source, &origin.recipe);
        scope.spawn(move || decode_ahead(source, recipe, batch_size, &batches));
        job.consume(ready, stop)
    });
    job.bar.finish_and_clear();
    if !whole? {
        return Ok(false);
    }

    let skipped: Vec<Skipped> = job
        .bad_files
        .list()
        .into_iter()
        .map(Skipped::from)
        .collect();
    let rows = job.table.rows();
    let files = job.table.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    let kinds = origin.recipe.features.iter().zip(job.shapes);
    let features: Vec<Described> = kinds
        .map(|(kind, shape)| Described {
            name: kind.name(),
            shape,
        })
        .collect();
    let shown = features.iter().map(|f| format!("{} {:?}", f.name, f.shape));
    console::note(format_args!(
        "{rows} pictures, {} skipped; of each {}, in {seconds:.1} s: {}",
        skipped.len(),
        shown.collect::<Vec<_>>().join(", "),
        args.out.display(),
    ));
    if let Some(json) = &args.json {
        let images_per_second = rows as f64 / seconds;
        let report = Report {
            files: files.iter().map(paths::text).collect(),
            rows,
            features,
            skipped,
            seconds,
            images_per_second,
            origin,
        };
        write_json(json, &report)?;
    }
    Ok(true)
}

/// A network and the fingerprint of its file.
pub(super) struct Network {
    pub(super) encoder: Encoder,
    pub(super) info: WeightsInfo,
    /// In hexadecimal.
    pub(super) sha256: String,
}

impl Network {
    /// # Errors
    /// When the file cannot be read or used, or there is no such stride.
    pub(super) fn open(
        path: &Path,
        stride: Option<usize>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        super::check_stride(stride)?;
        // Read once: read again, it could be another file by now than the one in use.
        let bytes = weights::bytes(path)?;
        let (encoder, info) = weights::open_bytes(path, &bytes, stride, device)?;
        Ok(Self {
            encoder,
            info,
            sha256: sha256(&bytes),
        })
    }
}

/// The folder that names are relative to.
struct Root {
    /// As it begins the paths of the data set.
    given: PathBuf,
    absolute: PathBuf,
}

fn root(images: &Path) -> anyhow::Result<Root> {
    let folder = if images.is_dir() {
        images
    } else {
        images.parent().unwrap_or(Path::new(""))
    };
    let absolute = if folder == Path::new("") {
        std::env::current_dir()
    } else {
        folder.canonicalize()
    };
    Ok(Root {
        given: folder.to_path_buf(),
        absolute: absolute.with_context(|| format!("reading {}", folder.display()))?,
    })
}
/// Decodes the pictures batch after batch, each on all cores, while the network is at the one before;
/// ends when nobody takes them any more.
fn decode_ahead(source: &Source, recipe: &Recipe, batch_size: usize, batches: &Sender<Batch>) {
    let limits = DecodeLimits::default();
    for first in (0..source.len()).step_by(batch_size) {
        let images = first..(first + batch_size).min(source.len());
        let prepared = images.into_par_iter().map(|image| {
            let decoded = decode(&source.name(image), &limits);
            (image, decoded.map(|pixels| recipe.prepare(&pixels)))
        });
        if batches.send(prepared.collect()).is_err() {
            return;
        }
    }
}

/// The part that is not done ahead.
struct Job<'a> {
    network: &'a Network,
    recipe: &'a Recipe,
    device: &'a Device,
    table: TableWriter,
    bad_files: BadFiles,
    source: &'a Source,
    root: &'a Path,
    /// Of one picture, per feature.
    shapes: Vec<Vec<usize>>,
    bar: ProgressBar,
}

impl Job<'_> {
    /// Takes all batches to the disk; false when `stop` was set before the last.
    fn consume(&mut self, batches: Receiver<Batch>, stop: &AtomicBool) -> anyhow::Result<bool> {
        for batch in batches {
            if stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            let count = batch.len() as u64;
            self.write(batch)?;
            self.bar.inc(count);
        }
        // Asked again, or the last batch could not be interrupted.
        Ok(!stop.load(Ordering::SeqCst))
    }

    fn write(&mut self, batch: Batch) -> anyhow::Result<()> {
        let mut names = Vec::with_capacity(batch.len());
        let mut pictures = Vec::with_capacity(batch.len());
        for (image, decoded) in batch {
            match decoded {
                Ok(picture) => {
                    self.bad_files.record(image, Vec::new())?;
                    let path = self.source.name(image);
                    let name = path.strip_prefix(self.root).unwrap_or(&path);
                    names.push(paths::text(name));
                    pictures.push(picture);
                }
                Err(reason) => self.bad_files.skip(vec![(image, reason)])?,
            }
        }
        if pictures.is_empty() {
            return Ok(());
        }
        let encoder = &self.network.encoder;
        let features = self.recipe.compute(encoder, &pictures, self.device)?;
        let shapes: Vec<&[usize]> = features.iter().map(|f| f.shape.as_slice()).collect();
        for (row, name) in names.iter().enumerate() {
            let slices: Vec<&[f32]> = features
                .iter()
                .map(|feature| {
                    let length = feature.values.len() / names.len();
                    &feature.values[row * length..][..length]
                })
                .collect();
            self.table.row(name, &shapes, &slices)?;
        }
        self.shapes = features.into_iter().map(|f| f.shape).collect();
        Ok(())
    }
}
