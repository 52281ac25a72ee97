//! The data of a run: training images, held-out pairs, and the checksums by which a resume detects other data.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use densecl::augment::crop_resize;
use densecl::synthetic::{SceneConfig, scene_frame, scene_image};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::config::{RunConfig, SCENES};
use crate::data::boxes::Boxes;
use crate::data::decode::{DecodeLimits, Decoder};
use crate::data::{BadFile, Source};
use crate::events::{Observer, TrainEvent};
use crate::files::write_atomically;
use crate::held_out::Pair;
use crate::paths;
use crate::run::folder::RunDir;

/// Number of held-out pairs that are drawn: a single one may be unusually easy or hard.
pub(crate) const EXAMPLES: usize = 2;

/// Identifies the data on which a run was started; saved as `data.json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// Number of files, held-out ones included; of scenes where there are no files.
    files: usize,
    /// [`Source::fingerprint`].
    fingerprint: u32,
    /// [`Source::contents`]; `None` also in runs of versions that did not record it.
    #[serde(default)]
    contents: Option<u32>,
}

/// The training images and their boxes.
#[derive(Clone)]
pub(crate) struct Images {
    pub source: Arc<Source>,
    /// Boxes for methods with instances; empty for others, and where all are random.
    pub boxes: Arc<Boxes>,
}

/// The data of a run.
pub(crate) struct Data {
    /// The training images.
    pub source: Source,
    /// Identifies the data.
    pub listing: Listing,
    /// Number of images held out of training.
    pub held_out: usize,
    /// The held-out pairs.
    pub pairs: Vec<Pair>,
    /// Held-out files that do not decode.
    pub bad_pairs: Vec<BadFile>,
}

/// The training images, the images that are held out, and what identifies both.
///
/// # Errors
/// When the data cannot be read or holds no images.
pub(crate) fn open_source(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Source, Source, Listing)> {
    if config.data.source == SCENES {
        let count = config.data.scene_count;
        observer.event(&TrainEvent::Note(format!("rendering {count} scenes")))?;
        let (scenes, seed) = (&config.scenes, config.train.seed);
        let images = match config.data.cut_objects {
            0 => training_scenes(scenes, seed, count),
            side => training_objects(scenes, seed, count, side),
        };
        let listing = Listing {
            files: images.len(),
            fingerprint: 0,
            contents: None,
        };
        return Ok((Source::Memory(images), Source::Memory(Vec::new()), listing));
    }
    let source = Source::open(Path::new(&config.data.source))?;
    let listing = Listing {
        files: source.count(),
        fingerprint: source.fingerprint(),
        contents: source.contents(),
    };
    let (source, held_out) = hold_out(source, config.eval.pairs);
    Ok((source, held_out, listing))
}

/// Opens the training images and the held-out pairs.
///
/// # Errors
/// As [`open_source`].
pub(crate) fn open(config: &RunConfig, observer: &mut dyn Observer) -> anyhow::Result<Data> {
    let (source, held_out, listing) = open_source(config, observer)?;
    if config.data.source == SCENES {
        return Ok(Data {
            listing,
            held_out: 0,
            source,
            pairs: scenes(config, config.eval.pairs),
            bad_pairs: Vec::new(),
        });
    }
    let mut decoder = Decoder::new(DecodeLimits::default());
    let mut bad_pairs = Vec::new();
    let mut images = Vec::new();
    for image in 0..held_out.count() {
        match held_out.picture(image, &mut decoder) {
            Ok(picture) => images.push(picture.into_owned()),
            Err(reason) => {
                let path = held_out.name(image);
                log::warn!("skipped {}: {reason}", path.display());
                let reason = reason.to_string();
                bad_pairs.push(BadFile { path, reason });
            }
        }
    }
    Ok(Data {
        held_out: held_out.count(),
        pairs: views(config, &images),
        source,
        listing,
        bad_pairs,
    })
}

/// The training images of the embedded generator.
pub(super) fn training_scenes(config: &SceneConfig, seed: u64, count: usize) -> Vec<RgbImage> {
    (0..count)
        .into_par_iter()
        .map(|i| scene_image(seed, i as u64, config))
        .collect()
}

/// Pictures of `side` × `side` pixels of single objects of the training scenes.
fn training_objects(config: &SceneConfig, seed: u64, count: usize, side: u32) -> Vec<RgbImage> {
    let of_scene = |i: usize| {
        let frame = scene_frame(seed, i as u64, 0.0, config);
        let squares = frame.object_squares().into_iter();
        squares
            .map(|(square, _)| crop_resize(&frame.image, square, side))
            .collect::<Vec<_>>()
    };
    (0..count).into_par_iter().flat_map_iter(of_scene).collect()
}

/// The first `count` held-out scenes, each from two viewpoints.
fn scenes(config: &RunConfig, count: usize) -> Vec<Pair> {
    let pair = |number| Pair::of_scene(&config.scenes, config.train.seed, number);
    (0..count).into_par_iter().map(pair).collect()
}

/// One pair of augmented views for each image.
fn views(config: &RunConfig, images: &[RgbImage]) -> Vec<Pair> {
    let numbered = images.par_iter().enumerate();
    let pair = |(number, image)| Pair::of_views(image, &config.views, config.train.seed, number);
    numbered.map(pair).collect()
}

/// Holds out `wanted` images, but at most a twentieth of the data.
fn hold_out(source: Source, wanted: usize) -> (Source, Source) {
    let most = source.count() / 20;
    source.hold_out(wanted.min(most))
}

/// The first held-out pairs, the same as from [`open`]: [`EXAMPLES`] of them, or fewer where there are fewer.
///
/// # Errors
/// When the data cannot be read any more.
pub(crate) fn example_pairs(config: &RunConfig) -> anyhow::Result<Vec<Pair>> {
    if config.data.source == SCENES {
        return Ok(scenes(config, config.eval.pairs.min(EXAMPLES)));
    }
    let (_, held_out) = hold_out(
        Source::open(Path::new(&config.data.source))?,
        config.eval.pairs,
    );
    let mut decoder = Decoder::new(DecodeLimits::default());
    let pictures = (0..held_out.count()).filter_map(|image| {
        let picture = held_out.picture(image, &mut decoder);
        picture.ok().map(Cow::into_owned)
    });
    let pictures: Vec<RgbImage> = pictures.take(EXAMPLES).collect();
    Ok(views(config, &pictures))
}

impl Listing {
    /// Writes the listing to the run's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(self, run: &RunDir) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self)?;
        write_atomically(&run.data(), text.as_bytes())
    }

    /// How the data differs from that of rank 0, in words; `None` if it is the same.
    pub(crate) fn difference(&self, first: &Self) -> Option<String> {
        if self.files != first.files {
            return Some(format!("{} files instead of {}", self.files, first.files));
        }
        if self.fingerprint != first.fingerprint {
            return Some("files of other names".to_string());
        }
        (self.contents != first.contents).then(|| "files of other contents".to_string())
    }

    /// Refuses to resume a run on other data than it was started on, because the order of the files determines every
    /// batch.
    ///
    /// # Errors
    /// When the data differs, or the recorded checksums cannot be read.
    pub(crate) fn ensure_same(self, run: &RunDir) -> anyhow::Result<()> {
        let path = run.data();
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let began: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        if began.files != self.files {
            bail!(
                "the data has changed: {} files when the run began, {} now; to continue exactly it \
                 must be the same",
                began.files,
                self.files
            );
        }
        if began.fingerprint != self.fingerprint {
            bail!(
                "the data has changed: as many files as when the run began, but other names; to \
                 continue exactly they must be the same"
            );
        }
        if began.contents.is_some() && began.contents != self.contents {
            bail!(
                "the data has changed: the file names are those of when the run began, but not what the \
                 files hold; to continue exactly it must be the same"
            );
        }
        Ok(())
    }
}

/// Writes the files that did not decode to the list in the run's folder, merged with those of earlier parts of the
/// run; returns their number.
///
/// # Errors
/// When the list cannot be read or written.
pub(crate) fn list_bad_files(run: &RunDir, files: &[BadFile]) -> anyhow::Result<usize> {
    let path = run.bad_files();
    let mut lines: BTreeSet<String> = match fs::read_to_string(&path) {
        Ok(text) => text.lines().map(str::to_string).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let describe = |bad: &BadFile| format!("{}: {}", paths::line(&bad.path), bad.reason);
    lines.extend(files.iter().map(describe));
    if !lines.is_empty() {
        let text: String = lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect();
        write_atomically(&path, text.as_bytes())?;
    }
    Ok(lines.len())
}
