//! The arguments of `densecl eval TASK`, and their help.

mod compare;
mod detect;
pub(crate) mod presets;
mod propagation;
mod robust;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use densecl::features::Feature;
use densecl::transfer::linear::LinearConfig;

use super::{Device, Part, compared_features};
pub(crate) use compare::Compare;
use densecl_eval::classify;
use densecl_eval::segmentation::{FcnSettings, KnnSettings, LinearSettings};
pub(crate) use detect::{Detect, Detector, Instances};
pub(crate) use propagation::Propagation;
pub(crate) use robust::Robust;

/// Judge backbones: how good are they for dense prediction?
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl eval correspondence --weights random:resnet18 --data scenes
  densecl eval correspondence --weights runs/mine/weights.safetensors --weights random \\
      --data pairs/homography --stride 16 --json corr.json --out corr.png
  densecl eval linear-seg --weights w.safetensors --weights random --data VOC2012 --seeds 3
  densecl eval knn-seg --weights w.safetensors --data VOC2012

Protocols, figures and file layouts: docs/evaluation.md")]
pub(crate) struct Eval {
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// The path of an evaluation's picture: `out`, or else `TASK.png`.
pub(crate) fn picture_of(task: &str, out: Option<&Path>) -> PathBuf {
    out.map_or_else(|| PathBuf::from(format!("{task}.png")), Path::to_path_buf)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Correspondence on pairs of pictures with known truth: PCK and end-point error
    Correspondence(Correspondence),
    /// Segmentation by a linear layer on frozen features, or fine-tuned
    LinearSeg(LinearSeg),
    /// Segmentation without training: classes of the nearest training cells
    KnnSeg(KnnSeg),
    /// Videos: carry the first frame's mask through the others, without training; J and F
    Propagation(Propagation),
    /// Boxes around objects: a small detector on a frozen or fine-tuned backbone, by COCO's AP
    Detect(Detect),
    /// Objects with their masks: the same detector with masks, by COCO's AP of masks
    Instances(Instances),
    /// Whole pictures by their nearest neighbours: no training
    Knn(Knn),
    /// Whole pictures by a linear layer on frozen features
    Linear(Linear),
    /// Whole pictures after attacks on their pixels: a linear layer, and the fine-tuned backbone
    Robust(Robust),
    /// A set of evaluations of several backbones in one table
    Compare(Compare),
}

/// The arguments that all evaluations have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Weights to judge, `photos` (the program's own), or `random:resnet18`: untrained; may be given
    /// often. A bare `random` has the architecture of the first file; `{seed}` in a path stands for
    /// the seed, so that runs with several seeds are one backbone
    #[arg(long, value_name = "[NAME=]FILE", required = true)]
    pub(crate) weights: Vec<String>,
    #[command(flatten)]
    pub(crate) part: Part,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Number of seeds; a single one is used where nothing depends on it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Also write everything measured to this file; - for standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) json: Option<PathBuf>,
    /// The picture to write, a PNG [default: TASK.png]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// The feature that an evaluation uses, and the size of its pictures. Each evaluation has its own defaults.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// The feature map [default: stage4; for correspondence and propagation that of
    /// `densecl match`]
    #[arg(long, value_parser = compared_features())]
    pub(crate) feature: Option<Feature>,
    /// Pixels per cell of the last stage: 32, 16 or 8
    #[arg(long)]
    pub(crate) stride: Option<usize>,
    /// Longer side in pixels of the network's input
    #[arg(long)]
    pub(crate) size: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl eval correspondence --weights w.safetensors --weights random --data scenes
  densecl eval correspondence --weights w.safetensors --data hpatches --stride 8 --feature stage3

DATA is `scenes`, a CSV of key points (ours, PF-PASCAL's, PF-WILLOW's), or a folder (or a folder of such folders) with one of
  1.jpg 2.jpg … H_1_2.txt …          homographies from the first picture
  im2.png im6.png disp2.png disp6.png  Middlebury 2003 disparities
  PairAnnotation/test/*.json JPEGImages/*/*.jpg  SPair-71k
  images/X_a.png images/X_b.png with flow/X.flo or correspondence/X_ab.npy (`densecl synth`)")]
pub(crate) struct Correspondence {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    /// Pairs of pictures with truth, or `scenes`
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: String,
    /// At most this many pairs, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// The data set of a segmentation evaluation.
#[derive(Debug, Args)]
pub(crate) struct Labelled {
    /// Folder of pictures with a class per pixel
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
    /// Split to train on [default: train]
    #[arg(long, value_name = "NAME")]
    pub(crate) train_split: Option<String>,
    /// Split to evaluate on [default: val, or else test]
    #[arg(long, value_name = "NAME")]
    pub(crate) test_split: Option<String>,
    /// At most this many pictures of each split, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  densecl eval linear-seg --weights w.safetensors --weights random --data seg/msrc21 --seeds 3
  densecl eval linear-seg --weights w.safetensors --data VOC2012 --size 512 --stride 8
  densecl eval linear-seg --weights w.safetensors --data seg/msrc21 --fine-tune --steps 600
  densecl eval linear-seg --weights w.safetensors --data VOC2012 --preset voc    the paper's transfer

DIR is one of
  images/X.jpg labels/X.png classes.txt train.txt test.txt  (without lists: the last quarter is judged)
  JPEGImages/ SegmentationClass/ ImageSets/Segmentation/     Pascal VOC
  leftImg8bit/ gtFine/ (..._labelTrainIds.png)               Cityscapes
Labels are grey or palette PNGs: a class per pixel, 255 for none.")]
pub(crate) struct LinearSeg {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    #[command(flatten)]
    pub(crate) data: Labelled,
    /// Options of one of the paper's transfers; those given beside it have precedence
    #[arg(long, value_name = "NAME", value_parser = presets::names("linear-seg"))]
    pub(crate) preset: Option<String>,
    /// Fine-tune the backbone too, under an FCN head
    #[arg(long)]
    pub(crate) fine_tune: bool,
    /// Steps of SGD [default: 1000; 300 with --fine-tune]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Pictures in a step [default: 16; 8 with --fine-tune]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) batch_size: Option<u64>,
    /// Learning rate, with cosine decay to 0 [default: 0.1; 0.01 with --fine-tune]
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Weight decay
    #[arg(long, default_value_t = LinearSettings::default().weight_decay)]
    pub(crate) weight_decay: f64,
    /// Labelled pixels drawn in each picture
    #[arg(long, default_value_t = LinearSettings::default().pixels as u64, value_parser = clap::value_parser!(u64).range(1..=65536), conflicts_with = "fine_tune")]
    pub(crate) pixels: u64,
    /// Side of a crop in pixels
    #[arg(long, default_value_t = FcnSettings::default().crop, requires = "fine_tune")]
    pub(crate) crop: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl eval knn-seg --weights w.safetensors --weights random --data seg/msrc21
  densecl eval knn-seg --weights w.safetensors --data VOC2012 --size 512 --feature stage3 --k 10

The layouts of --data are those of `densecl eval linear-seg --help`.")]
pub(crate) struct KnnSeg {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    #[command(flatten)]
    pub(crate) data: Labelled,
    /// Number of neighbours that vote
    #[arg(long, default_value_t = KnnSettings::default().k as u64, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) k: u64,
    /// Temperature of the votes
    #[arg(long, default_value_t = KnnSettings::default().temperature, allow_negative_numbers = true)]
    pub(crate) temperature: f32,
    /// Largest number of training cells in the memory bank
    #[arg(long, value_name = "CELLS", default_value_t = KnnSettings::default().bank as u64, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) bank: u64,
}

/// The data set of a classification evaluation.
#[derive(Debug, Args)]
pub(crate) struct Classes {
    /// A folder with a folder of pictures per class, or `scenes`: single objects of embedded scenes
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// At most this many pictures for training and as many for validation, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  densecl eval knn --weights runs/mine/weights.safetensors --weights random --data flowers

DATA holds train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg: then a quarter of each class is kept
for validation, always the same. Or it is `scenes`, or scenes:N for the objects of N scenes.")]
pub(crate) struct Knn {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    #[command(flatten)]
    pub(crate) classes: Classes,
    /// Number of neighbours that vote
    #[arg(long, default_value_t = classify::NEIGHBOURS)]
    pub(crate) k: usize,
    /// Temperature τ: a vote has the weight exp(cosine similarity / τ)
    #[arg(long, default_value_t = classify::TEMPERATURE)]
    pub(crate) temperature: f64,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
#[command(after_help = "Example:
  densecl eval linear --weights runs/mine/weights.safetensors --weights random --data flowers --seeds 3

DATA holds train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg: then a quarter of each class is kept
for validation, always the same. Or it is `scenes`, or scenes:N for the objects of N scenes.")]
pub(crate) struct Linear {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    #[command(flatten)]
    pub(crate) classes: Classes,
    /// Options of one of the paper's transfers; those given beside it have precedence
    #[arg(long, value_name = "NAME", value_parser = presets::names("linear"))]
    pub(crate) preset: Option<String>,
    /// Passes over the pictures for training
    #[arg(long, default_value_t = LinearConfig::default().epochs)]
    pub(crate) epochs: u64,
    /// Learning rate
    #[arg(long, default_value_t = LinearConfig::default().lr, allow_negative_numbers = true)]
    pub(crate) lr: f64,
}
