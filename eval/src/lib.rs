//! What weights are worth: evaluations, and features of pictures in files.
//!
//! An [`Evaluation`] knows its data and its protocol; [`evaluate`] runs it for any number of backbones and seeds and gives
//! a [`Report`], which is a table, JSON and a picture. [`compare`](compare::compare) runs several in one
//! table, which is kept while it grows.
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
//! | module | what is in it |
//! |---|---|
//! | [`backbone`] | which weights to judge, and a frozen network made of them |
//! | [`stream`] | feature maps of many pictures, decoded ahead, in batches |
//! | [`figures`] | a figure, its seeds, its confidence interval |
//! | [`report`] | the figures of all backbones as a table, JSON and a picture |
//! | [`compare`] | a table of several evaluations of several backbones |
//! | [`correspondence`] | pairs with truth: PCK, end-point error, mutual precision |
//! | [`segmentation`] | linear, nearest-neighbour and fine-tuned segmentation |
//! | [`classify`] | whole pictures, by nearest neighbours or a linear layer |
//! | [`detect`], [`objects`] | a small detector on features, average precision; data sets of boxes |
//! | [`matching`] | where a network finds the same thing in two pictures |
//! | [`embedding`] | features of many pictures in a file; search in it |
//!
//! `embedding` is here and not beside the data of `densecl-train`, because it does what an evaluation does: it reads
//! features of a frozen network.

pub mod backbone;
pub mod classify;
pub mod compare;
pub mod correspondence;
pub mod detect;
pub mod embedding;
pub mod figures;
pub mod matching;
pub mod objects;
pub mod report;
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

/// ImageNet's mean colour, which is 0 once normalised: what lies beyond a picture.
pub(crate) const PADDING: Rgb<u8> = Rgb([124, 116, 104]);

/// The default of the evaluations that learn or vote by features instead of matching by them.
pub(crate) const TRANSFERRED: Feature = Feature::Stage4;

/// At which features of a network an evaluation looks, and how large its pictures are then.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Look {
    /// Which feature map.
    pub feature: Feature,
    /// Pixels per cell of the backbone's last stage, 8, 16 or 32; `None` = as trained.
    pub stride: Option<usize>,
    /// Pixels of a picture's longer side as the network sees it.
    pub size: u32,
}

impl Look {
    /// Where evaluations of cells look unless asked otherwise.
    pub const AT_CELLS: Self = Self {
        feature: TRANSFERRED,
        stride: Some(16),
        size: 320,
    };
    /// Where the evaluation of correspondence does.
    pub const FOR_MATCHES: Self = Self {
        feature: Feature::MATCHING,
        ..Self::AT_CELLS
    };
    /// Where evaluations of whole pictures do.
    pub const AT_PICTURES: Self = Self {
        feature: TRANSFERRED,
        stride: None,
        size: 224,
    };
}

/// One measurement of one backbone with one seed.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The figures, the most important one first; the same names for every backbone and seed.
    pub figures: Vec<Figure>,
    /// What it looks like, where there is something to see.
    pub picture: Option<RgbImage>,
    /// More than a table can hold, such as figures per class: goes into the JSON as it is.
    pub details: serde_json::Value,
}

/// A way of judging a backbone.
pub trait Evaluation {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Every setting that decides its figures, for the record.
    fn protocol(&self) -> serde_json::Value;

    /// The features that it wants of the network.
    fn look(&self) -> Look;

    /// Whether its figures depend on the seed for the same weights. Where not, one seed is enough.
    fn is_random(&self) -> bool;

    /// Measures with each of `seeds`, in their order; what does not depend on the seed (such as frozen
    /// features) is done once.
    ///
    /// # Errors
    /// For data that cannot be used, and when the device fails.
    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>>;
}

/// At most `limit` of `items`, evenly spread over their order.
pub(crate) fn spread<T>(items: Vec<T>, limit: Option<usize>) -> Vec<T> {
    match limit {
        Some(limit) => densecl_train::data::spread(items, limit).1,
        None => items,
    }
}

/// Refuses an output stride that a backbone cannot have.
///
/// # Errors
/// For another than 8, 16 and 32.
pub fn ensure_stride(stride: Option<usize>) -> anyhow::Result<()> {
    match stride.map(|stride| (stride, ModelConfig::check_output_stride(stride))) {
        Some((stride, Err(expected))) => bail!("--stride {stride}: {expected}"),
        _ => Ok(()),
    }
}

/// Whom to judge, and how often.
#[derive(Debug, Clone)]
pub struct Contest {
    /// The weights.
    pub weights: Vec<NamedWeights>,
    /// At least one.
    pub seeds: Vec<u64>,
    /// Where the networks live.
    pub device: Device,
    /// Who is shown how far the evaluations are.
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

/// Those of `seeds` that make a difference: all where each seed is another network or the
/// evaluation is random, else the first.
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

/// One backbone measured, and what it is.
pub(crate) struct MeasuredBackbone {
    /// For each seed, in their order.
    pub(crate) measured: Vec<Measured>,
    /// The network as it was judged.
    pub(crate) model: ModelConfig,
    /// Where it comes from; `None` for an untrained one.
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
    // Each seed may be another network.
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
