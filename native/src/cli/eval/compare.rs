//! The arguments of `densecl eval compare`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Device, Look, Part};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl eval compare --weights random,moco=runs/moco/weights.safetensors,dense=dense.safetensors \\
      --seg seg/msrc21 --corr corr/homography --seeds 3 --out comparison
  densecl eval compare --weights random:resnet18,w.safetensors --det voc --classify flowers \\
      --fine-tune --out comparison
  densecl eval compare --weights 'moco=runs/moco_{seed}/weights.safetensors' --seg seg/msrc21 \\
      --weights 'dense=runs/dense_{seed}/weights.safetensors' --seeds 3 --out comparison

Writes compare.txt, compare.md, compare.json and compare.png (bars) into the folder. What is measured
is kept there in cells.json: started again, it goes on where it stopped.")]
pub(crate) struct Compare {
    /// Backbones, separated by commas or given often: files, `photos`, `random:resnet18`, or a bare `random`
    /// with the architecture of the first file. `{seed}` in a path stands for the seed
    #[arg(
        long,
        value_name = "[NAME=]FILE",
        required = true,
        value_delimiter = ','
    )]
    pub(crate) weights: Vec<String>,
    #[command(flatten)]
    pub(crate) part: Part,
    /// Pictures with a class per pixel, for linear-seg and knn-seg; may be given often
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) seg: Vec<PathBuf>,
    /// Pairs with truth, for correspondence; may be given often
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) corr: Vec<String>,
    /// Videos with masks, for propagation; may be given often
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) video: Vec<String>,
    /// Pictures with boxes, for detect; may be given often
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) det: Vec<PathBuf>,
    /// Pictures with objects and their masks, for instances; may be given often
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) instances: Vec<PathBuf>,
    /// Pictures by class, for knn and linear; may be given often
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) classify: Vec<PathBuf>,
    /// Segmentation and detection also with the backbone fine-tuned
    #[arg(long)]
    pub(crate) fine_tune: bool,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Number of seeds; a single one is used where nothing depends on it
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: u64,
    #[command(flatten)]
    pub(crate) look: Look,
    /// Training steps of segmentation and detection [default: each one's own]
    #[arg(long)]
    pub(crate) steps: Option<u64>,
    /// At most this many pictures of each part, or pairs, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) device: Device,
    /// A folder for the results
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
}
