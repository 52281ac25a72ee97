//! Whose names these are, decided by names alone; and what is said where nobody's are recognised.

use std::collections::BTreeSet;

use super::layout::Layout;
use crate::error::{Error, SHOWN, first_names};
use crate::names::EVALUATED;

/// The layout of these names, of which [`super::wrappers`] are gone.
pub(super) fn layout_of(names: &BTreeSet<String>) -> Option<Layout> {
    let any = |prefix: &str| {
        let from = names.range(prefix.to_string()..).next();
        from.is_some_and(|name| name.starts_with(prefix))
    };
    let has = |name: &str| names.contains(name);
    let ours = ["query.", "global_head.", "dense_head."];
    let layout = if ours.into_iter().any(any) || evaluated(names).is_some() {
        Layout::Densecl
    } else if any("encoder_q.0.") {
        Layout::Authors
    } else if any("encoder_q.") {
        Layout::Moco
    } else if has("base_encoder.conv1.weight") {
        Layout::MocoV3
    } else if has("_feature_blocks.conv1.weight")
        || has("trunk._feature_blocks.conv1.weight")
        || has("trunk.base_model._feature_blocks.conv1.weight")
    {
        Layout::Vissl
    } else if has("backbone.0.weight") {
        Layout::Lightly
    } else if has("backbone.conv1.weight") {
        beside_a_backbone(&any, &has)
    } else if has("encoder.conv1.weight") && any("classifier.") {
        Layout::SoloLearn
    } else if has("stem.conv1.weight") {
        Layout::Detectron2
    } else if has("conv1/kernel") || has("conv1_conv/kernel") {
        Layout::Keras
    } else if has("conv1.weight") && (any("projection_head.") || any("prototypes.")) {
        Layout::Swav
    } else if has("conv1.weight") && any("fc.") {
        Layout::Torchvision
    } else if has("conv1.weight") {
        Layout::Backbone
    } else {
        return None;
    };
    Some(layout)
}

/// In a training state of ours without a query encoder, the prefix of the network that is evaluated.
pub(super) fn evaluated(names: &BTreeSet<String>) -> Option<&'static str> {
    let holds = |prefix: &&str| names.contains(&format!("{prefix}conv1.weight"));
    EVALUATED.into_iter().find(holds)
}

/// Many programs call the network `backbone`; they differ in what they call the rest.
fn beside_a_backbone(any: &dyn Fn(&str) -> bool, has: &dyn Fn(&str) -> bool) -> Layout {
    if any("online_classifier.") || any("projection_head") || any("prediction_head") {
        Layout::Lightly
    } else if any("classifier.") || any("momentum_backbone.") {
        Layout::SoloLearn
    } else if any("projector.") && has("bn.running_mean") {
        Layout::BarlowTwins
    } else if any("projector.") {
        Layout::SoloLearn
    } else if any("head.last_layer.") || any("head.mlp.") {
        Layout::Dino
    } else {
        Layout::OpenMmlab
    }
}

/// Why a file with these names cannot be read, and what can be done.
pub(super) fn unrecognised(names: &BTreeSet<&str>) -> Error {
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    let first: Vec<&str> = names.iter().take(5).copied().collect();
    let shown = first_names(&first, SHOWN);
    if has("cls_token") || has("patch_embed") || has("pos_embed") {
        return Error::Mismatch(format!(
            "the file is a vision transformer, and only ResNets are read; its keys: {shown}"
        ));
    }
    // A ResNet that lies deeper than any program here keeps it.
    let below = names
        .iter()
        .find_map(|name| name.strip_suffix(".conv1.weight"))
        .filter(|place| names.contains(format!("{place}.bn1.weight").as_str()));
    let advice = below.map_or(String::new(), |place| {
        format!("; there may be a ResNet below `{place}.`: try --prefix {place}.")
    });
    Error::Mismatch(format!(
        "the file is of no layout known here (torchvision, the authors', MoCo, mmselfsup, mmpretrain, \
         lightly, solo-learn, SwAV, VISSL, Barlow Twins, DINO, detectron2, Keras); its keys: {shown}{advice}"
    ))
}
