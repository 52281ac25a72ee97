//! The arguments of `densecl eval propagation`.

use clap::{Args, ValueHint};

use super::{Common, Look};
use densecl_eval::propagation::PropagationSettings;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl eval propagation --weights w.safetensors --weights random --data DAVIS
  densecl eval propagation --weights w.safetensors --data DAVIS --size 854 --feature stage3
  densecl eval propagation --weights random:resnet18 --data scenes --seeds 3

DATA is `scenes`, or a folder with one of
  JPEGImages/480p/VIDEO/*.jpg Annotations/480p/VIDEO/*.png ImageSets/2017/val.txt  (or 2016)  DAVIS
  JPEGImages/VIDEO/*.jpg Annotations/VIDEO/*.png                                 YouTube-VOS
  VIDEO/00000.jpg VIDEO/00000.png …                          each mask beside its frame
A mask is a grey or palette PNG: the number of the object per pixel, 0 for background.")]
pub(crate) struct Propagation {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    /// Videos with masks, or `scenes`
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: String,
    /// Preceding frames that vote, beside the first
    #[arg(long, value_name = "FRAMES", default_value_t = PropagationSettings::default().context as u64, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub(crate) context: u64,
    /// Number of cells that vote for each cell
    #[arg(long, default_value_t = PropagationSettings::default().k as u64, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) k: u64,
    /// Largest distance of a voting cell, in rows and in columns
    #[arg(long, value_name = "CELLS", default_value_t = PropagationSettings::default().radius as u64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) radius: u64,
    /// Temperature of the votes
    #[arg(long, default_value_t = PropagationSettings::default().temperature, allow_negative_numbers = true)]
    pub(crate) temperature: f32,
    /// At most this many videos, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}
