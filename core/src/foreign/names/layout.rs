//! The names that different programs give to the tensors of a ResNet and of a contrastive method.

use std::{collections::BTreeSet, fmt};

use super::detectron2::from_detectron2;
use super::keras::from_keras;
use super::other_methods::{
    BARLOW_TWINS, DINO, LIGHTLY, MOCO_V3, SOLO_LEARN, SWAV, VISSL, other_methods,
};
use super::recognition::{evaluated, layout_of, unrecognised};
use crate::error::Result;
use crate::names::{KEY, QUERY, QUEUE_POSITIONS, QUEUES};

/// The naming scheme of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Our own names: `conv1.weight`, `global_head.*`; in checkpoints `query.*`, `key.*`, `velocity.*`,
    /// `queue.*`, and with BYOL `online.*`, `target.*`, `velocity.*`.
    Densecl,
    /// torchvision's names without a classifier, as in the backbones that the authors released.
    Backbone,
    /// torchvision's names with a classifier `fc.*`.
    Torchvision,
    /// The training state of the authors' code: `encoder_q.0.*`, `encoder_q.1.mlp.*`, `mlp2.*`, `queue2`.
    Authors,
    /// The official MoCo code: `module.encoder_q.*`, with the head as `fc.*`.
    Moco,
    /// mmselfsup and mmpretrain: `backbone.*`, optionally `neck.*` and `encoder_k.*`.
    OpenMmlab,
    /// lightly: the backbone as an `nn.Sequential`, `backbone.0.weight` to `backbone.7.*`, or with a ResNet's own
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
    /// Backbones of detectron2: `stem.*`, `res2.*` to `res5.*`.
    Detectron2,
    /// Keras' ResNets: `conv1/kernel`, `res2a_branch2a/kernel` or `conv2_block1_1_conv/kernel`.
    Keras,
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
            Self::Keras => "a ResNet of Keras",
        })
    }
}

/// Why a known tensor is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The number of batches that a batch normalisation has seen; used only for cumulative averages, which we
    /// do not have.
    Counter,
    /// The classifier; our backbones have none.
    Classifier,
    /// The head of MoCo v1: a single linear layer, where our global head has two.
    LinearHead,
    /// A copy of the tensor with this name in the file.
    CopyOf(String),
    /// A constant or a counter of the program that wrote the file.
    Constant,
    /// The key encoder, a queue or SGD's velocity, when only the query encoder is imported.
    TrainingState,
    /// The heads, second encoder or memory bank of another method, from which training cannot continue.
    OtherMethod,
    /// The bias of a convolution, which the mean of the batch normalisation behind it contains.
    InTheMean,
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
            Self::InTheMean => {
                f.write_str("a bias, subtracted from the mean of the batch normalisation behind it")
            }
            Self::OutsidePrefix(prefix) => write!(f, "its name does not begin with {prefix}"),
            Self::Ignored(pattern) => write!(f, "ignored, as {pattern}"),
        }
    }
}

/// How a tensor of a file is used.
#[derive(Debug)]
pub(super) enum Fate {
    /// Used, under this name of ours.
    Use(String),
    Drop(Reason),
    Unknown,
}

/// The layout of a file, and its details that differ between files of this layout.
#[derive(Debug)]
pub(super) struct Scheme {
    pub(super) layout: Layout,
    /// Whether the file has both a query and a key encoder.
    pub(super) both: bool,
    /// In a training state of ours without a query encoder, the prefix of the network that is evaluated.
    evaluated: Option<&'static str>,
}

impl Scheme {
    /// Recognises the layout of these names, from which [`super::wrappers`] have been removed; an error lists the
    /// names in `file`.
    pub(super) fn of(names: &BTreeSet<String>, file: &BTreeSet<&str>) -> Result<Self> {
        let layout = layout_of(names).ok_or_else(|| unrecognised(file))?;
        let key = match layout {
            Layout::Authors | Layout::Moco | Layout::OpenMmlab => "encoder_k.",
            _ => KEY,
        };
        Ok(Self {
            layout,
            both: names.iter().any(|name| name.starts_with(key)),
            evaluated: evaluated(names),
        })
    }

    /// The prefix of our names for the query encoder.
    pub(super) fn query(&self) -> &'static str {
        if self.both { QUERY } else { "" }
    }

    /// The axis of a queue whose length is the number of keys: 0 for ours, [K, dim]; 1 for other programs, [dim, K].
    pub(super) fn queue_axis(&self) -> usize {
        usize::from(self.layout != Layout::Densecl)
    }

    /// How the tensor `name`, from which the wrappers have been removed, is used.
    pub(super) fn fate(&self, name: &str, shape: &[usize]) -> Fate {
        // Some programs keep the number as a vector of length 1.
        if name.ends_with(".num_batches_tracked") && matches!(shape, [] | [1]) {
            return Fate::Drop(Reason::Counter);
        }
        let query = self.query();
        match self.layout {
            Layout::Densecl => own(self.evaluated, name),
            Layout::Torchvision | Layout::Backbone => backbone(query, name),
            Layout::Authors => {
                if let Some(rest) = name.strip_prefix("encoder_q.") {
                    sequence(query, rest)
                } else if let Some(rest) = name.strip_prefix("encoder_k.") {
                    sequence(KEY, rest)
                } else if let Some(rest) = name.strip_prefix("backbone.") {
                    // The authors' class stores its backbone under a second name too.
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
            Layout::Keras => keras(query, name),
        }
    }
}

/// Our own names. Those of weights and of DenseCL's training states stay. Of the training state of another
/// method, whose evaluated network has the prefix `evaluated`, its backbone is used; the rest serves only
/// training.
fn own(evaluated: Option<&str>, name: &str) -> Fate {
    let Some(prefix) = evaluated else {
        return Fate::Use(name.to_string());
    };
    let is_backbone = |name: &&str| {
        let parts = ["conv1.", "bn1.", "layer"];
        parts.iter().any(|part| name.starts_with(part))
    };
    match name.strip_prefix(prefix).filter(is_backbone) {
        Some(name) => Fate::Use(name.to_string()),
        None => Fate::Drop(Reason::TrainingState),
    }
}

/// Keras' names of a ResNet. Its classifier is called `fc1000`, `predictions` or `probs`.
fn keras(encoder: &str, name: &str) -> Fate {
    const CLASSIFIERS: [&str; 3] = ["fc", "predictions", "probs"];
    match from_keras(name) {
        Some(_) if name.ends_with("/bias") => Fate::Drop(Reason::InTheMean),
        Some(ours) => Fate::Use(format!("{encoder}{ours}")),
        None if CLASSIFIERS.iter().any(|start| name.starts_with(start)) => {
            Fate::Drop(Reason::Classifier)
        }
        None => Fate::Unknown,
    }
}

/// torchvision's names of a ResNet.
pub(super) fn backbone(encoder: &str, name: &str) -> Fate {
    if name.starts_with("fc.") {
        Fate::Drop(Reason::Classifier)
    } else {
        Fate::Use(format!("{encoder}{name}"))
    }
}

/// The neck of DenseCL and MoCo v2 in OpenSelfSup and its successors. Layers are numbered by their position in an
/// `nn.Sequential`, in which 1 is the ReLU.
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

/// An encoder as an `nn.Sequential` of backbone (0) and neck (1).
fn sequence(encoder: &str, name: &str) -> Fate {
    if let Some(rest) = name.strip_prefix("0.") {
        backbone(encoder, rest)
    } else if let Some(rest) = name.strip_prefix("1.") {
        head(encoder, rest)
    } else {
        Fate::Unknown
    }
}

/// A torchvision ResNet in which the head replaces the classifier `fc`.
fn moco(encoder: &str, name: &str) -> Fate {
    match name.strip_prefix("fc.") {
        None => backbone(encoder, name),
        Some("weight" | "bias") => Fate::Drop(Reason::LinearHead),
        Some(rest) => head(encoder, &format!("mlp.{rest}")),
    }
}

/// The queues and their positions; DenseCL has two of each, MoCo one.
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
