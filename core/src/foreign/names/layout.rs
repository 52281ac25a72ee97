//! The names that programs give to the tensors of a ResNet and of a contrastive method.

use std::{collections::BTreeSet, fmt};

use super::detectron2::from_detectron2;
use super::other_methods::{
    BARLOW_TWINS, DINO, LIGHTLY, MOCO_V3, SOLO_LEARN, SWAV, VISSL, other_methods,
};
use super::recognition::{layout_of, unrecognised};
use crate::error::Result;
use crate::names::{KEY, QUERY, QUEUE_POSITIONS, QUEUES};

/// Whose names a checkpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Our own: `conv1.weight`, `global_head.*`, or `query.*`, `key.*`, `velocity.*`, `queue.*`.
    Densecl,
    /// A ResNet's names without a classifier, as the authors release their backbones.
    Backbone,
    /// torchvision's: the same with a classifier `fc.*`.
    Torchvision,
    /// The authors' training state: `encoder_q.0.*`, `encoder_q.1.mlp.*`, `mlp2.*`, `queue2`.
    Authors,
    /// Official MoCo: `module.encoder_q.*` with the head as `fc.*`.
    Moco,
    /// mmselfsup and mmpretrain: `backbone.*`, perhaps `neck.*`, `encoder_k.*`.
    OpenMmlab,
    /// lightly: the backbone as a sequence, `backbone.0.weight` to `backbone.7.*`, or with a ResNet's own
    /// names beside `projection_head.*` or `online_classifier.*`, as its benchmarks save it.
    Lightly,
    /// solo-learn: `backbone.*` (`encoder.*` in its first versions) beside `classifier.*`, `projector.*`.
    SoloLearn,
    /// SwAV and DeepCluster v2: bare ResNet keys beside `projection_head.*` and `prototypes.*`.
    Swav,
    /// MoCo v3: `base_encoder.*`, `momentum_encoder.*`, `predictor.*`.
    MocoV3,
    /// VISSL: `_feature_blocks.*`, in its checkpoints below `trunk.` beside `heads.*`.
    Vissl,
    /// Barlow Twins: `backbone.*` beside `projector.*` and `bn.*`.
    BarlowTwins,
    /// DINO's training states: `backbone.*` beside `head.mlp.*` and `head.last_layer.*`.
    Dino,
    /// detectron2's backbones: `stem.*`, `res2.*` to `res5.*`.
    Detectron2,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Densecl => "densecl's own file",
            Self::Backbone => "a backbone without a classifier (the authors' release)",
            Self::Torchvision => "a ResNet of torchvision",
            Self::Authors => "a training state of the authors' DenseCL",
            Self::Moco => "a checkpoint of MoCo",
            Self::OpenMmlab => "a checkpoint of mmselfsup or mmpretrain",
            Self::Lightly => "a checkpoint of lightly",
            Self::SoloLearn => "a checkpoint of solo-learn",
            Self::Swav => "a checkpoint of SwAV or DeepCluster v2",
            Self::MocoV3 => "a checkpoint of MoCo v3",
            Self::Vissl => "a checkpoint of VISSL",
            Self::BarlowTwins => "a checkpoint of Barlow Twins",
            Self::Dino => "a checkpoint of DINO",
            Self::Detectron2 => "a backbone of detectron2",
        })
    }
}

/// Why a known tensor is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Batches seen by a batch normalisation: only a cumulative average needs it.
    Counter,
    /// The classifier: backbones here have none.
    Classifier,
    /// MoCo v1's head: one linear layer, where the global head has two.
    LinearHead,
    /// The same tensor as another of the file.
    CopyOf(String),
    /// A constant of the program that wrote the file.
    Constant,
    /// The momentum encoder, a queue or SGD's velocity, where the query encoder alone is wanted.
    TrainingState,
    /// The heads, second encoder or memory bank of another method, from which training here cannot go on.
    OtherMethod,
    /// The key does not begin with the prefix that was asked for.
    OutsidePrefix(String),
    /// The key fits a pattern of names that were to be left out.
    Ignored(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter => f.write_str("a counter of batches, needed for nothing"),
            Self::Classifier => f.write_str("the classifier; a backbone has none"),
            Self::LinearHead => {
                f.write_str("MoCo v1's linear head; the global head has two layers")
            }
            Self::CopyOf(original) => write!(f, "a copy of {original}"),
            Self::Constant => f.write_str("a constant of the program that wrote it"),
            Self::TrainingState => f.write_str("part of a training state, not of weights"),
            Self::OtherMethod => f.write_str("part of another method than DenseCL"),
            Self::OutsidePrefix(prefix) => write!(f, "its name does not begin with {prefix}"),
            Self::Ignored(pattern) => write!(f, "ignored, as {pattern}"),
        }
    }
}

/// What becomes of one tensor.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is used under this name of ours.
    Use(String),
    Drop(Reason),
    Unknown,
}

/// A layout, and what there is in a file of it.
#[derive(Debug)]
pub(super) struct Scheme {
    pub(super) layout: Layout,
    /// Whether there are a query and a key encoder.
    pub(super) both: bool,
}

impl Scheme {
    /// The layout of these names, of which [`super::wrappers`] are gone; an error speaks of the names in `file`.
    pub(super) fn of(names: &BTreeSet<String>, file: &BTreeSet<&str>) -> Result<Self> {
        let layout = layout_of(names).ok_or_else(|| unrecognised(file))?;
        let key = match layout {
            Layout::Authors | Layout::Moco | Layout::OpenMmlab => "encoder_k.",
            _ => KEY,
        };
        Ok(Self {
            layout,
            both: names.iter().any(|name| name.starts_with(key)),
        })
    }

    /// What stands before our names of the query encoder.
    pub(super) fn query(&self) -> &'static str {
        if self.both { QUERY } else { "" }
    }

    /// The axis of a queue along which its keys lie: others keep them in columns.
    pub(super) fn queue_axis(&self) -> usize {
        usize::from(self.layout != Layout::Densecl)
    }

    /// What becomes of the tensor `name`, of which the wrappers are gone.
    pub(super) fn fate(&self, name: &str, shape: &[usize]) -> Fate {
        // Some programs keep the number as a vector of length 1.
        if name.ends_with(".num_batches_tracked") && matches!(shape, [] | [1]) {
            return Fate::Drop(Reason::Counter);
        }
        let query = self.query();
        match self.layout {
            Layout::Densecl => Fate::Use(name.to_string()),
            Layout::Torchvision | Layout::Backbone => backbone(query, name),
            Layout::Authors => {
                if let Some(rest) = name.strip_prefix("encoder_q.") {
                    sequence(query, rest)
                } else if let Some(rest) = name.strip_prefix("encoder_k.") {
                    sequence(KEY, rest)
                } else if let Some(rest) = name.strip_prefix("backbone.") {
                    // The authors' class has a second name for its backbone.
                    Fate::Drop(Reason::CopyOf(format!("encoder_q.0.{rest}")))
                } else {
                    queue(name)
                }
            }
            Layout::Moco => {
                if let Some(rest) = name.strip_prefix("encoder_q.") {
                    moco(query, rest)
                } else if let Some(rest) = name.strip_prefix("encoder_k.") {
                    moco(KEY, rest)
                } else {
                    queue(name)
                }
            }
            Layout::OpenMmlab => {
                if let Some(rest) = name.strip_prefix("backbone.") {
                    backbone(query, rest)
                } else if let Some(rest) = name.strip_prefix("neck.") {
                    head(query, rest)
                } else if name.starts_with("head.") {
                    Fate::Drop(Reason::Classifier)
                } else if name.starts_with("data_preprocessor.") || name == "encoder_k.steps" {
                    Fate::Drop(Reason::Constant)
                } else if let Some(rest) = name.strip_prefix("encoder_k.") {
                    sequence(KEY, rest.strip_prefix("module.").unwrap_or(rest))
                } else {
                    queue(name)
                }
            }
            Layout::Lightly => other_methods(query, name, &LIGHTLY),
            Layout::SoloLearn => other_methods(query, name, &SOLO_LEARN),
            Layout::Swav => other_methods(query, name, &SWAV),
            Layout::MocoV3 => other_methods(query, name, &MOCO_V3),
            Layout::Vissl => other_methods(query, name, &VISSL),
            Layout::BarlowTwins => other_methods(query, name, &BARLOW_TWINS),
            Layout::Dino => other_methods(query, name, &DINO),
            // Its own script names the classifier of torchvision's file so.
            Layout::Detectron2 if name.starts_with("stem.fc.") => Fate::Drop(Reason::Classifier),
            Layout::Detectron2 => match from_detectron2(name) {
                Some(name) => Fate::Use(format!("{query}{name}")),
                None => Fate::Unknown,
            },
        }
    }
}

/// A ResNet's own names.
pub(super) fn backbone(encoder: &str, name: &str) -> Fate {
    if name.starts_with("fc.") {
        Fate::Drop(Reason::Classifier)
    } else {
        Fate::Use(format!("{encoder}{name}"))
    }
}

/// The neck of DenseCL and MoCo v2 in OpenSelfSup and its successors: layers with a ReLU between.
fn head(encoder: &str, name: &str) -> Fate {
    let layers = [
        ("mlp.0.", "global_head.fc1."),
        ("mlp.2.", "global_head.fc2."),
        ("mlp2.0.", "dense_head.conv1."),
        ("mlp2.2.", "dense_head.conv2."),
    ];
    let layer = layers
        .iter()
        .find_map(|(theirs, ours)| Some((name.strip_prefix(theirs)?, ours)));
    layer.map_or(Fate::Unknown, |(rest, ours)| {
        Fate::Use(format!("{encoder}{ours}{rest}"))
    })
}

/// An encoder as a sequence of backbone and neck.
fn sequence(encoder: &str, name: &str) -> Fate {
    if let Some(rest) = name.strip_prefix("0.") {
        backbone(encoder, rest)
    } else if let Some(rest) = name.strip_prefix("1.") {
        head(encoder, rest)
    } else {
        Fate::Unknown
    }
}

/// A torchvision ResNet whose classifier was replaced by the head.
fn moco(encoder: &str, name: &str) -> Fate {
    match name.strip_prefix("fc.") {
        None => backbone(encoder, name),
        Some("weight" | "bias") => Fate::Drop(Reason::LinearHead),
        Some(rest) => head(encoder, &format!("mlp.{rest}")),
    }
}

/// MoCo's buffers, which DenseCL has twice.
fn queue(name: &str) -> Fate {
    let name = match name {
        "queue" => QUEUES[0],
        "queue2" => QUEUES[1],
        "queue_ptr" => QUEUE_POSITIONS[0],
        "queue2_ptr" => QUEUE_POSITIONS[1],
        _ => return Fate::Unknown,
    };
    Fate::Use(name.to_string())
}
