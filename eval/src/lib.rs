//! Evaluations of pre-trained weights, and features of many pictures in files.
//!
//! An [`Evaluation`] holds its data and protocol. [`evaluate`] runs it for any number of backbones and seeds and
//! returns a [`Report`], which can be shown as a table, JSON or a picture.
//! [`compare`](compare::compare) runs several evaluations for one table and can be continued later.
//!
//! ```no_run
//! # fn example(device: burn::tensor::Device) -> anyhow::Result<()> {
//! use std::sync::Arc;
//!
//! use densecl_eval::backbone::NamedWeights;
//! use densecl_eval::correspondence::Correspondence;
//! use densecl_eval::{Contest, Look, evaluate};
//! use densecl_train::watch::Unwatched;
//!
//! let given = ["photos", "random:resnet18"].map(String::from);
//! let contest = Contest {
//!     weights: NamedWeights::parse(&given, &device)?,
//!     seeds: vec![0],
//!     device,
//!     watch: Arc::new(Unwatched),
//! };
//! let task = Correspondence::new("scenes", Look::FOR_MATCHES, Some(20))?;
//! print!("{}", evaluate(&task, &contest)?.table());
//! # Ok(())
//! # }
//! ```
//!
//! `examples/evaluate_a_backbone.rs` is a whole program, for segmentation.
//!
//! | module | what is in it |
//! |---|---|
//! | [`backbone`] | the weights to evaluate, and the frozen networks made from them |
//! | [`stream`] | feature maps of many pictures, decoded ahead, in batches |
//! | [`figures`] | figures, their summary over seeds, confidence intervals |
//! | [`report`] | the figures of all backbones as a table, JSON and a picture |
//! | [`compare`] | a table of several evaluations of several backbones |
//! | [`correspondence`] | pairs with known correspondence: PCK, end-point error, mutual precision |
//! | [`segmentation`] | linear, nearest-neighbour and fine-tuned segmentation |
//! | [`propagation`] | masks carried through videos: J and F as in DAVIS |
//! | [`classify`] | whole pictures, by nearest neighbours or a linear layer |
//! | [`robust`] | the same after attacks on the pixels |
//! | [`detect`], [`objects`] | a small detector on features, average precision; data sets of boxes |
//! | [`matching`] | matches between two pictures |
//! | [`embedding`] | features of many pictures in a file; search in it |
//!
//! `embedding` is in this crate and not in `densecl-train`, because like an evaluation it reads features of a frozen
//! network.

pub mod backbone;
pub mod classify;
pub mod compare;
pub mod correspondence;
pub mod detect;
pub mod embedding;
pub mod figures;
pub mod matching;
pub mod objects;
pub mod propagation;
pub mod report;
pub mod robust;
mod scenes;
pub mod segmentation;
mod split;
pub mod stream;

use std::sync::Arc;

use anyhow::{Context, bail};
use burn::tensor::Device;
use densecl::config::ModelConfig;
use densecl::features::Feature;
use image::{Rgb, RgbImage};
use serde::Serialize;

use backbone::{Backbone, NamedWeights, Training};
use densecl_train::notes::note;
use densecl_train::watch::Watch;
use figures::{Figure, Summary};
use report::{Judged, Report};

/// Colour of the padding around a picture: ImageNet's mean, which is 0 after normalisation.
pub(crate) const PADDING: Rgb<u8> = Rgb([124, 116, 104]);

/// The default feature of evaluations that train or vote on features; matching has another default.
pub(crate) const TRANSFERRED: Feature = Feature::Stage4;

/// The feature that an evaluation uses, and the size of its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Look {
    /// The feature map.
    pub feature: Feature,
    /// Pixels per cell of the backbone's last stage, 8, 16 or 32; `None` = as trained.
    pub stride: Option<usize>,
    /// Longer side in pixels of the network's input.
    pub size: u32,
}

impl Look {
    /// Default of evaluations that use single cells.
    pub const AT_CELLS: Self = Self {
        feature: TRANSFERRED,
        stride: Some(16),
        size: 320,
    };
    /// Default of the evaluation of correspondence.
    pub const FOR_MATCHES: Self = Self {
        feature: Feature::MATCHING,
        ..Self::AT_CELLS
    };
    /// Default of the evaluation of videos.
    pub const FOR_VIDEOS: Self = Self {
        stride: Some(8),
        ..Self::FOR_MATCHES
    };
    /// Default of evaluations of whole pictures.
    pub const AT_PICTURES: Self = Self {
        feature: TRANSFERRED,
        stride: None,
        size: 224,
    };
}

/// The result of one backbone with one seed.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The figures, the most important one first; the names are the same for every backbone and seed.
    pub figures: Vec<Figure>,
    /// A picture of the results, where there is one.
    pub picture: Option<RgbImage>,
    /// Further results, such as figures per class; written to the JSON only.
    pub details: serde_json::Value,
}

/// An evaluation of backbones.
pub trait Evaluation {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Every setting that determines its figures, for reports.
    fn protocol(&self) -> serde_json::Value;

    /// The feature that it uses.
    fn look(&self) -> Look;

    /// Whether its figures depend on the seed for the same weights. If not, it is run with one seed only.
    fn is_random(&self) -> bool;

    /// Measures with each of `seeds`, in their order. Work that does not depend on the seed, such as computing
    /// frozen features, is done once.
    ///
    /// # Errors
    /// For data that cannot be used, and when the device fails.
    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>>;
}

/// At most `limit` of `items`, spread evenly.
pub(crate) fn spread<T>(items: Vec<T>, limit: Option<usize>) -> Vec<T> {
    match limit {
        Some(limit) => densecl_train::spread::spread(items, limit).1,
        None => items,
    }
}

/// Checks that a backbone can have this output stride.
///
/// # Errors
/// For a stride other than 8, 16 and 32.
pub fn ensure_stride(stride: Option<usize>) -> anyhow::Result<()> {
    match stride.map(|stride| (stride, ModelConfig::check_output_stride(stride))) {
        Some((stride, Err(expected))) => bail!("--stride {stride}: {expected}"),
        _ => Ok(()),
    }
}

/// The backbones and seeds of an evaluation.
#[derive(Debug, Clone)]
pub struct Contest {
    /// The weights to evaluate.
    pub weights: Vec<NamedWeights>,
    /// The seeds, at least one.
    pub seeds: Vec<u64>,
    /// The device that holds the networks.
    pub device: Device,
    /// Receives the progress of the evaluations.
    pub watch: Arc<dyn Watch>,
}

/// Runs one evaluation for every backbone and seed.
///
/// # Errors
/// For weights or data that cannot be used, and when the device fails.
pub fn evaluate(task: &dyn Evaluation, contest: &Contest) -> anyhow::Result<Report> {
    let judged = contest
        .weights
        .iter()
        .map(|weights| judge(task, weights, contest).with_context(|| weights.name.clone()));
    Ok(Report {
        task: task.name(),
        protocol: task.protocol(),
        seeds: contest.seeds.clone(),
        backbones: judged.collect::<anyhow::Result<_>>()?,
    })
}

fn judge(
    task: &dyn Evaluation,
    weights: &NamedWeights,
    contest: &Contest,
) -> anyhow::Result<Judged> {
    let seeds = &contest.seeds;
    note(format_args!("{}: {}", task.name(), weights.name));
    let MeasuredBackbone {
        measured,
        model,
        training,
    } = measure(task, weights, needed(task, weights, seeds), contest)?;
    Ok(Judged {
        name: weights.name.clone(),
        source: weights.source(),
        model,
        training,
        figures: Summary::over_seeds(&measured),
        details: measured.iter().map(|m| m.details.clone()).collect(),
        pictures: measured.into_iter().filter_map(|m| m.picture).collect(),
    })
}

/// The seeds that have to be run: all where the network differs by seed or the evaluation is random, else the first.
pub(crate) fn needed<'a>(
    task: &dyn Evaluation,
    weights: &NamedWeights,
    seeds: &'a [u64],
) -> &'a [u64] {
    if weights.differs_by_seed() || task.is_random() {
        seeds
    } else {
        &seeds[..1]
    }
}

/// The results of one backbone.
pub(crate) struct MeasuredBackbone {
    /// One result per seed, in their order.
    pub(crate) measured: Vec<Measured>,
    /// Architecture and output stride of the network.
    pub(crate) model: ModelConfig,
    /// How it was trained; `None` for an untrained network.
    pub(crate) training: Option<Training>,
}

/// Measures one backbone with each of `seeds`, of which there is at least one.
///
/// # Errors
/// For weights or data that cannot be used, and when the device fails.
pub(crate) fn measure(
    task: &dyn Evaluation,
    weights: &NamedWeights,
    seeds: &[u64],
    contest: &Contest,
) -> anyhow::Result<MeasuredBackbone> {
    // Where the network differs by seed it is loaded for each seed.
    let together = if weights.differs_by_seed() {
        1
    } else {
        seeds.len()
    };
    let mut measured = Vec::new();
    let mut last = None;
    for seeds in seeds.chunks(together.max(1)) {
        let look = task.look();
        let mut backbone = weights.load(look.stride, seeds[0], &contest.device)?;
        backbone.watch = Arc::clone(&contest.watch);
        let has_feature = look.feature.ensure_in(&backbone.encoder);
        has_feature.with_context(|| weights.name.clone())?;
        measured.extend(task.measure(&backbone, seeds)?);
        last = Some((backbone.model, backbone.training));
    }
    let (model, training) = last.context("at least one seed")?;
    Ok(MeasuredBackbone {
        measured,
        model,
        training,
    })
}
