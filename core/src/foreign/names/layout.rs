//! The names that different programs give to the tensors of a ResNet and of a contrastive method.

use std::{collections::BTreeSet, fmt};

use super::detectron2::from_detectron2;
use crate::error::{Error, Result, SHOWN, first_names};
use crate::names::{KEY, QUERY, QUEUE_POSITIONS, QUEUES, VELOCITY};

/// The naming scheme of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Our own names: `conv1.weight`, `global_head.*`; in checkpoints `query.*`, `key.*`, `velocity.*`, `queue.*`,
    /// and with BYOL `online.*`, `target.*`, `velocity.*`.
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
    /// lightly: the backbone as an `nn.Sequential`, `backbone.0.weight` to `backbone.7.*`.
    Lightly,
    /// Backbones of detectron2: `stem.*`, `res2.*` to `res5.*`.
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
            Self::Detectron2 => "a backbone of detectron2",
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
    /// lightly's heads, momentum encoder or memory bank. lightly's DenseCL differs (its dense queue contains
    /// matched cells), so training cannot continue from them.
    OtherMethod,
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
            Self::OtherMethod => f.write_str("lightly's method is another one"),
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
    /// A prefix that all names in the file have.
    prefix: &'static str,
}

impl Scheme {
    /// Recognises the layout of these names, from which `prefix` has been removed.
    pub(super) fn of(names: &BTreeSet<String>, prefix: &'static str) -> Result<Self> {
        let any = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
        let ours = ["query.", ONLINE, "global_head.", "dense_head."];
        let layout = if ours.into_iter().any(any) {
            Layout::Densecl
        } else if any("encoder_q.0.") {
            Layout::Authors
        } else if any("encoder_q.") {
            Layout::Moco
        } else if names.contains("backbone.0.weight") {
            Layout::Lightly
        } else if names.contains("backbone.conv1.weight") {
            Layout::OpenMmlab
        } else if names.contains("stem.conv1.weight") {
            Layout::Detectron2
        } else if names.contains("conv1.weight") && any("fc.") {
            Layout::Torchvision
        } else if names.contains("conv1.weight") {
            Layout::Backbone
        } else {
            return Err(unrecognised(names));
        };
        let key = match layout {
            Layout::Authors | Layout::Moco | Layout::OpenMmlab => "encoder_k.",
            _ => KEY,
        };
        Ok(Self {
            layout,
            both: any(key),
            prefix,
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

    /// How the tensor `name`, from which the prefix has been removed, is used.
    pub(super) fn fate(&self, name: &str, shape: &[usize]) -> Fate {
        if name.ends_with(".num_batches_tracked") && shape.is_empty() {
            return Fate::Drop(Reason::Counter);
        }
        let query = self.query();
        match self.layout {
            Layout::Densecl => own(name, self.both),
            Layout::Torchvision | Layout::Backbone => backbone(query, name),
            Layout::Authors => {
                if let Some(rest) = name.strip_prefix("encoder_q.") {
                    sequence(query, rest)
                } else if let Some(rest) = name.strip_prefix("encoder_k.") {
                    sequence(KEY, rest)
                } else if let Some(rest) = name.strip_prefix("backbone.") {
                    // The authors' class stores its backbone under a second name too.
                    Fate::Drop(Reason::CopyOf(format!("{}encoder_q.0.{rest}", self.prefix)))
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
            Layout::Lightly => lightly(query, name),
            Layout::Detectron2 => match from_detectron2(name) {
                Some(name) => Fate::Use(format!("{query}{name}")),
                None => Fate::Unknown,
            },
        }
    }
}

/// What stands before the names of BYOL's online network in a checkpoint.
const ONLINE: &str = "online.";
/// The parts of the online networks of BYOL and UniVIP that only their training needs.
const HEADS: [&str; 3] = ["projector.", "predictor.", "instances."];

/// Our own names: those of weights and of DenseCL's states as they are. Of BYOL's and UniVIP's states the online backbone, which has no
/// key encoder beside it; the rest has no use outside its training.
fn own(name: &str, both: bool) -> Fate {
    let of_byol = ["target.", VELOCITY]
        .iter()
        .any(|part| name.starts_with(part))
        && !both;
    match name.strip_prefix(ONLINE) {
        Some(rest) if HEADS.iter().any(|head| rest.starts_with(head)) => {
            Fate::Drop(Reason::TrainingState)
        }
        Some(rest) => Fate::Use(rest.to_string()),
        None if of_byol => Fate::Drop(Reason::TrainingState),
        None => Fate::Use(name.to_string()),
    }
}

/// torchvision's names of a ResNet.
fn backbone(encoder: &str, name: &str) -> Fate {
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

/// The children of a ResNet, except pooling and classifier, in an `nn.Sequential`; 2 and 3 are ReLU and max
/// pooling.
fn lightly(encoder: &str, name: &str) -> Fate {
    let dropped = [
        "projection_head",
        "prediction_head",
        "backbone_momentum.",
        "criterion",
    ];
    if dropped.iter().any(|prefix| name.starts_with(prefix)) {
        return Fate::Drop(Reason::OtherMethod);
    }
    let children = [
        ("0.", "conv1."),
        ("1.", "bn1."),
        ("4.", "layer1."),
        ("5.", "layer2."),
        ("6.", "layer3."),
        ("7.", "layer4."),
    ];
    let Some(name) = name.strip_prefix("backbone.") else {
        return Fate::Unknown;
    };
    let child = children
        .iter()
        .find_map(|(theirs, ours)| Some((name.strip_prefix(theirs)?, ours)));
    child.map_or(Fate::Unknown, |(rest, ours)| {
        Fate::Use(format!("{encoder}{ours}{rest}"))
    })
}

fn unrecognised(names: &BTreeSet<String>) -> Error {
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    let first: Vec<&String> = names.iter().take(5).collect();
    let what = if has("cls_token") || has("patch_embed") || has("pos_embed") {
        "a vision transformer, and only ResNets are read"
    } else {
        "of no layout known here (torchvision, the authors', MoCo, mmselfsup, mmpretrain, lightly, detectron2)"
    };
    Error::Mismatch(format!(
        "the file is {what}; its keys: {}",
        first_names(&first, SHOWN)
    ))
}
