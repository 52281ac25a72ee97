//! The arguments of `densecl boxes`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use densecl::augment::InstanceConfig;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  densecl boxes ~/photos --out boxes.jsonl
  densecl pretrain --data ~/photos --set method.name=univip --set data.boxes=boxes.jsonl

Selective search, on all cores. It is slow, so it can be stopped: with the same --out it goes on where
it was, and what it has about pictures that have not changed stays. A line of the file is
{\"image\":\"a.jpg\",\"width\":640,\"height\":480,\"boxes\":[[left,top,width,height]]}.")]
pub(crate) struct Boxes {
    /// A folder of images (walked recursively), a text file with a path per line, or a pack
    #[arg(value_name = "DIR|LIST|PACK", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// The file to write or to go on with
    #[arg(long, value_name = "FILE", default_value = "boxes.jsonl", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// The shortest side of a box, in pixels of its picture
    #[arg(long, value_name = "N", default_value_t = InstanceConfig::default().min_side)]
    pub(crate) min_side: u32,
    /// The longest side of a box divided by its shortest
    #[arg(long, value_name = "R", default_value_t = InstanceConfig::default().max_ratio)]
    pub(crate) max_ratio: f64,
    /// The greatest overlap of two boxes: intersection over union, 0 to 1
    #[arg(long, value_name = "S", default_value_t = InstanceConfig::default().max_iou)]
    pub(crate) max_iou: f64,
    /// Also write a summary to this file; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
