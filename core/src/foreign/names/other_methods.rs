//! Checkpoints of other self-supervised methods: of each the backbone is read, and what belongs to the method
//! alone is dropped by name.
//!
//! The names are those of the programs' own code. `tests/golden/programs/generate_programs.py` says for each
//! program in which file and at which commit they stand.

use super::layout::{Fate, Reason, backbone};

/// What a program calls its parts.
pub(super) struct Program {
    /// What stands before the names of the backbone, the longest first.
    backbone: &'static [&'static str],
    /// How the names of all else begin: heads, second encoders, queues, constants of a loss.
    rest: &'static [&'static str],
    /// How the names of classifiers begin that were trained beside the method.
    classifiers: &'static [&'static str],
    /// Whether the backbone may be `nn.Sequential(*resnet.children())` without its end.
    sequence: bool,
}

/// In lightly's benchmarks of MoCo v2 and DINO `backbone` is the slowly following network: it is the one that
/// their own evaluation judges.
pub(super) const LIGHTLY: Program = Program {
    backbone: &["backbone."],
    rest: &[
        "projection_head",
        "prediction_head",
        "backbone_momentum.",
        "query_",
        "student_",
        "teacher_",
        "prototypes.",
        "queues.",
        "criterion",
    ],
    classifiers: &["online_classifier."],
    sequence: true,
};

/// One name for all its methods: SwAV has prototypes, NNCLR and MoCo v2+ queues, DINO a head and its loss's centre.
pub(super) const SOLO_LEARN: Program = Program {
    backbone: &["backbone.", "encoder."],
    rest: &[
        "projector.",
        "predictor.",
        "momentum_",
        "prototypes",
        "queue",
        "head.",
        "dino_loss_func.",
        "local_memory_",
        "knn.",
    ],
    classifiers: &["classifier.", "momentum_classifier."],
    sequence: false,
};

pub(super) const SWAV: Program = Program {
    backbone: &[""],
    rest: &["projection_head.", "prototypes."],
    classifiers: &["fc."],
    sequence: false,
};

pub(super) const MOCO_V3: Program = Program {
    backbone: &["base_encoder."],
    // In place of the classifier stands the head.
    rest: &["base_encoder.fc.", "momentum_encoder.", "predictor."],
    classifiers: &[],
    sequence: false,
};

pub(super) const VISSL: Program = Program {
    backbone: &[
        "trunk.base_model._feature_blocks.",
        "trunk._feature_blocks.",
        "_feature_blocks.",
    ],
    rest: &["heads."],
    classifiers: &[],
    sequence: false,
};

pub(super) const BARLOW_TWINS: Program = Program {
    backbone: &["backbone."],
    rest: &["projector.", "bn."],
    classifiers: &[],
    sequence: false,
};

pub(super) const DINO: Program = Program {
    backbone: &["backbone."],
    rest: &["head."],
    classifiers: &[],
    sequence: false,
};

/// What becomes of the tensor `name` of `program`; `encoder` stands before our names.
pub(super) fn other_methods(encoder: &str, name: &str, program: &Program) -> Fate {
    let is = |parts: &[&str]| parts.iter().any(|part| name.starts_with(part));
    if is(program.classifiers) {
        return Fate::Drop(Reason::Classifier);
    }
    if is(program.rest) {
        return Fate::Drop(Reason::OtherMethod);
    }
    let mut places = program.backbone.iter();
    match places.find_map(|place| name.strip_prefix(place)) {
        None => Fate::Unknown,
        Some(rest) if program.sequence && rest.starts_with(|c: char| c.is_ascii_digit()) => {
            child_of_sequence(encoder, rest)
        }
        Some(rest) => backbone(encoder, rest),
    }
}

/// The children of a ResNet, except pooling and classifier, in an `nn.Sequential`; 2 and 3 are ReLU and max
/// pooling.
fn child_of_sequence(encoder: &str, name: &str) -> Fate {
    let children = [
        ("0.", "conv1."),
        ("1.", "bn1."),
        ("4.", "layer1."),
        ("5.", "layer2."),
        ("6.", "layer3."),
        ("7.", "layer4."),
    ];
    let child = children
        .iter()
        .find_map(|(theirs, ours)| Some((name.strip_prefix(theirs)?, ours)));
    child.map_or(Fate::Unknown, |(rest, ours)| {
        Fate::Use(format!("{encoder}{ours}{rest}"))
    })
}
