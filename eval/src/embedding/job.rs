//! Computes features of the pictures in a folder and writes them to a file.

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
use log::Level;
use rayon::prelude::*;
use serde::Serialize;

use densecl::foreign::names::Selection;

use super::recipe::{Origin, Recipe};
use super::writer::{Format, TableWriter};
use crate::ensure_stride;
use densecl_train::data::decode::{DecodeError, DecodeLimits, decode};
use densecl_train::data::scan::Dataset;
use densecl_train::data::{BadFile, BadFiles, Source};
use densecl_train::files::sha256;
use densecl_train::memory::ensure_fits;
use densecl_train::paths;
use densecl_train::watch::{Gauge, Watch};
use densecl_train::weights;

/// Which features of which pictures to compute, and where to write them.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// A folder of pictures or a list of paths.
    pub images: PathBuf,
    /// A file of weights, or [`weights::PHOTOS`].
    pub weights: PathBuf,
    /// What is read of weights of another program.
    pub selection: Selection,
    /// The file to write; its extension determines the format.
    pub out: PathBuf,
    /// What to compute. Its stride is replaced by that of the network.
    pub recipe: Recipe,
    /// Pixels per cell of the last stage; `None` = as trained.
    pub stride: Option<usize>,
    /// Pictures per forward pass.
    pub batch_size: usize,
    /// Share of files, in [0, 1], that may fail to decode before [`embed`] fails.
    pub max_bad_share: f64,
}

/// A summary of what [`embed`] wrote.
#[derive(Debug, Serialize)]
pub struct Embedded {
    /// The files written.
    files: Vec<String>,
    /// Number of pictures in the files.
    pub rows: usize,
    /// The features of each picture.
    pub features: Vec<Described>,
    /// Files that did not decode.
    pub skipped: Vec<Skipped>,
    /// Duration in seconds.
    pub seconds: f64,
    images_per_second: f64,
    #[serde(flatten)]
    origin: Origin,
}

/// A feature in a file.
#[derive(Debug, Serialize)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Shape of the feature of one picture.
    pub shape: Vec<usize>,
}

/// A file that did not decode.
#[derive(Debug, Serialize)]
pub struct Skipped {
    #[serde(serialize_with = "paths::serialize")]
    path: PathBuf,
    reason: String,
}

impl From<BadFile> for Skipped {
    fn from(BadFile { path, reason }: BadFile) -> Self {
        Self { path, reason }
    }
}

/// Pictures resized for the network, or the reason why one does not decode, with their indices in the data set.
type Batch = Vec<(usize, Result<RgbImage, DecodeError>)>;

/// Computes and writes the features; `None` when `stop` was set before the end, and nothing is written then.
///
/// # Errors
/// One line for the user.
pub fn embed(
    request: &EmbedRequest,
    selected: &Selected,
    watch: &dyn Watch,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Embedded>> {
    let device = &selected.device;
    let start = Instant::now();
    let mut recipe = request.recipe.clone();
    recipe.validate()?;
    let format = Format::of(&request.out, &recipe)?;
    if !(0.0..=1.0).contains(&request.max_bad_share) {
        bail!(
            "--max-bad-share {}: must be between 0 and 1",
            request.max_bad_share
        );
    }
    let network = Network::open(&request.weights, &request.selection, request.stride, device)?;
    recipe.ensure_in(&network.encoder)?;
    recipe.stride = network.info.model.output_stride;

    let dataset = Dataset::scan(&request.images)?;
    dataset.left_out().say(&request.images);
    let source = Arc::new(Source::Files(dataset));
    let at_once = source.count().min(request.batch_size);
    let remedy = "choose a smaller --batch-size or --size, or a larger --stride";
    ensure_fits(
        selected,
        &network.info.model,
        at_once,
        [recipe.size; 2],
        remedy,
    )?;
    let root = root(&request.images)?;
    let origin = Origin {
        format_version: FORMAT_VERSION,
        weights_sha256: network.sha256.clone(),
        weights: paths::text(&request.weights),
        model: network.info.model.clone(),
        recipe,
        images: paths::text(&root.absolute),
    };
    let mut job = Job {
        network: &network,
        recipe: &origin.recipe,
        device,
        table: TableWriter::create(&request.out, format, origin.clone())?,
        bad_files: BadFiles::new(
            Arc::clone(&source),
            request.max_bad_share,
            "--max-bad-share",
            Level::Warn,
        ),
        source: &source,
        root: &root.given,
        shapes: Vec::new(),
        gauge: watch.begin("pictures", source.count() as u64),
    };
    let (batches, ready) = crossbeam_channel::bounded(1);
    let whole = thread::scope(|scope| {
        let (source, recipe) = (&source, &origin.recipe);
        scope.spawn(move || decode_ahead(source, recipe, request.batch_size, &batches));
        job.consume(ready, stop)
    });
    drop(job.gauge);
    if !whole? {
        return Ok(None);
    }

    let skipped = job.bad_files.list().into_iter().map(Skipped::from);
    let rows = job.table.rows();
    let files = job.table.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    let kinds = origin.recipe.features.iter().zip(job.shapes);
    let features = kinds.map(|(kind, shape)| Described {
        name: kind.name(),
        shape,
    });
    Ok(Some(Embedded {
        files: files.iter().map(paths::text).collect(),
        rows,
        features: features.collect(),
        skipped: skipped.collect(),
        seconds,
        images_per_second: rows as f64 / seconds,
        origin,
    }))
}

/// A network and the checksum of its file.
pub(super) struct Network {
    /// The network and its heads.
    pub encoder: Encoder,
    /// The metadata of its file.
    pub info: WeightsInfo,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Network {
    /// Opens a weight file at output stride `stride`; `None` = as trained.
    ///
    /// # Errors
    /// When the file cannot be read or used, or the stride is not 8, 16 or 32.
    pub(super) fn open(
        path: &Path,
        selection: &Selection,
        stride: Option<usize>,
        device: &Device,
    ) -> anyhow::Result<Self> {
        ensure_stride(stride)?;
        // The file is read once, so that the checksum belongs to the weights in use even if it is replaced.
        let bytes = weights::bytes(path)?;
        let (encoder, info) = weights::open_bytes(path, &bytes, selection, stride, device)?;
        Ok(Self {
            encoder,
            info,
            sha256: fingerprint(&bytes, selection),
        })
    }
}

/// The SHA-256 of a file; another one where only a part of it is read, which is another network.
fn fingerprint(bytes: &[u8], selection: &Selection) -> String {
    let whole = sha256(bytes);
    if selection.is_all() {
        return whole;
    }
    sha256(format!("{whole} {selection:?}").as_bytes())
}

/// The folder to which names are relative.
struct Root {
    /// The folder as given: the prefix of the data set's paths.
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
/// Decodes one batch on all cores while the network computes the one before; ends when the receiver is dropped.
fn decode_ahead(source: &Source, recipe: &Recipe, batch_size: usize, batches: &Sender<Batch>) {
    let limits = DecodeLimits::default();
    for first in (0..source.count()).step_by(batch_size) {
        let images = first..(first + batch_size).min(source.count());
        let prepared = images.into_par_iter().map(|image| {
            let decoded = decode(&source.name(image), &limits);
            (image, decoded.map(|pixels| recipe.prepare(&pixels)))
        });
        if batches.send(prepared.collect()).is_err() {
            return;
        }
    }
}

/// Computes and writes the features of decoded batches.
struct Job<'a> {
    network: &'a Network,
    recipe: &'a Recipe,
    device: &'a Device,
    table: TableWriter,
    bad_files: BadFiles,
    source: &'a Source,
    root: &'a Path,
    /// Shape of each feature of one picture.
    shapes: Vec<Vec<usize>>,
    gauge: Box<dyn Gauge>,
}

impl Job<'_> {
    /// Writes all batches; false when `stop` was set before the last.
    fn consume(&mut self, batches: Receiver<Batch>, stop: &AtomicBool) -> anyhow::Result<bool> {
        for batch in batches {
            if stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            let count = batch.len() as u64;
            self.write(batch)?;
            self.gauge.advance(count);
        }
        // Checked again, so that a stop during the last batch counts.
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
