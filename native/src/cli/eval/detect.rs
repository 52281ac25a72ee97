//! The arguments of `densecl eval detect` and `densecl eval instances`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Common, Look, presets};
use densecl_eval::detect;

#[derive(Debug, Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  densecl eval detect --weights runs/mine/weights.safetensors --weights random --data voc
  densecl eval detect --weights w.safetensors --data voc --fine-tune --steps 2000 --seeds 3

DATA is one of
  images/**.jpg labels/**.txt classes.txt            YOLO: lines `class cx cy width height`, relative;
                                                     also with data.yaml, and in train/images, valid/images
  JPEGImages/*.jpg Annotations/*.xml                 VOC; lists of names in ImageSets/Main
  annotations/instances_{train,val}….json, pictures  COCO
  {train,valid}/_annotations.coco.json, pictures     COCO, as Roboflow exports it
Folders or lists called train and val (or else test) say what a picture is for; where there are none, a
quarter of the pictures is kept for validation, always the same.")]
pub(crate) struct Detect {
    #[command(flatten)]
    pub(crate) detector: Detector,
    /// Options of one of the paper's transfers; those given beside it have precedence
    #[arg(long, value_name = "NAME", value_parser = presets::names("detect"))]
    pub(crate) preset: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  densecl eval instances --weights runs/mine/weights.safetensors --weights random --data coco
  densecl eval instances --weights w.safetensors --data VOC2012 --fine-tune --steps 2000 --seeds 3

DATA is one of
  annotations/instances_{train,val}….json, pictures  COCO: polygons and RLE
  JPEGImages/ SegmentationObject/ SegmentationClass/  VOC; lists of names in ImageSets/Segmentation
  PNGImages/X.png PedMasks/X_mask.png                 PennFudan
  images/ labels/ instances/ classes.txt              `densecl synth`
Of PennFudan a quarter of the pictures is kept for validation, always the same; of synth the last quarter.")]
pub(crate) struct Instances {
    #[command(flatten)]
    pub(crate) detector: Detector,
    /// Options of one of the paper's transfers; those given beside it have precedence
    #[arg(long, value_name = "NAME", value_parser = presets::names("instances"))]
    pub(crate) preset: Option<String>,
}

/// The data, and the training of the detector.
#[derive(Debug, Args)]
pub(crate) struct Detector {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) look: Look,
    /// A folder of pictures with objects
    #[arg(long, value_name = "DATA", value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
    /// Train the backbone too, not only the detector on it
    #[arg(long)]
    pub(crate) fine_tune: bool,
    /// Training steps
    #[arg(long, default_value_t = detect::Settings::default().steps)]
    pub(crate) steps: u64,
    /// Pictures per step
    #[arg(long, default_value_t = detect::Settings::default().batch)]
    pub(crate) batch_size: usize,
    /// Learning rate
    #[arg(long, default_value_t = detect::Settings::default().lr, allow_negative_numbers = true)]
    pub(crate) lr: f64,
    /// At most this many pictures for training and as many for validation, spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}
