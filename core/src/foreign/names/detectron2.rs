//! detectron2's names of the tensors of a ResNet, in both directions.

/// Prefixes of names: ours and detectron2's. Ours for the stem is empty and would match any name, so it comes last.
const PLACES: [[&str; 2]; 5] = [
    ["layer1.", "res2."],
    ["layer2.", "res3."],
    ["layer3.", "res4."],
    ["layer4.", "res5."],
    ["", "stem."],
];

/// Names of the parts of a block: ours and detectron2's. The stem has the first two parts.
const PARTS: [[&str; 2]; 8] = [
    ["conv1", "conv1"],
    ["bn1", "conv1.norm"],
    ["conv2", "conv2"],
    ["bn2", "conv2.norm"],
    ["conv3", "conv3"],
    ["bn3", "conv3.norm"],
    ["downsample.0", "shortcut"],
    ["downsample.1", "shortcut.norm"],
];

const OURS: usize = 0;
const THEIRS: usize = 1;

/// `layer1.0.bn2.bias` → `res2.0.conv2.norm.bias`; `None` if the name is not that of a tensor of a backbone.
pub fn to_detectron2(name: &str) -> Option<String> {
    translated(name, OURS, THEIRS)
}

/// `res2.0.conv2.norm.bias` → `layer1.0.bn2.bias`; `None` if the name is not that of a tensor of a backbone.
pub fn from_detectron2(name: &str) -> Option<String> {
    translated(name, THEIRS, OURS)
}

fn translated(name: &str, from: usize, to: usize) -> Option<String> {
    let (place, rest) = PLACES
        .iter()
        .find_map(|place| Some((place, name.strip_prefix(place[from])?)))?;
    let in_stage = !place[OURS].is_empty();
    let (block, rest) = if in_stage {
        let (block, rest) = rest.split_once('.')?;
        block.parse::<usize>().ok()?;
        (format!("{block}."), rest)
    } else {
        (String::new(), rest)
    };
    let (part, leaf) = rest.rsplit_once('.')?;
    let part = PARTS.iter().find(|known| known[from] == part)?;
    Some(format!("{}{block}{}.{leaf}", place[to], part[to]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Backbone, ModelConfig, Network};

    #[test]
    fn names_are_detectron2s() {
        for (ours, theirs) in [
            ("conv1.weight", "stem.conv1.weight"),
            ("bn1.running_mean", "stem.conv1.norm.running_mean"),
            ("layer1.0.conv3.weight", "res2.0.conv3.weight"),
            ("layer4.2.bn3.bias", "res5.2.conv3.norm.bias"),
            ("layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
            (
                "layer3.0.downsample.1.running_var",
                "res4.0.shortcut.norm.running_var",
            ),
        ] {
            assert_eq!(to_detectron2(ours).as_deref(), Some(theirs));
            assert_eq!(from_detectron2(theirs).as_deref(), Some(ours));
        }
        assert_eq!(to_detectron2("global_head.fc1.weight"), None);
        assert_eq!(from_detectron2("fpn_lateral2.weight"), None);
    }

    #[test]
    fn every_tensor_of_a_backbone_has_a_name_there_and_back() {
        for backbone in Backbone::ALL {
            let model = ModelConfig {
                backbone,
                ..ModelConfig::default()
            };
            for tensor in Network::new(&model).tensors() {
                let theirs = to_detectron2(&tensor.name).expect("a name");
                assert_eq!(from_detectron2(&theirs), Some(tensor.name));
            }
        }
    }
}
