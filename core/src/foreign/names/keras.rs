//! Keras' names of the tensors of a ResNet with bottlenecks: those of its first versions, which are Caffe's, and those
//! of `keras.applications` since.

/// `res2a_branch2b/kernel` or `conv2_block1_2_conv/kernel` → `layer1.0.conv2.weight`; `None` if the name is not that of
/// a tensor of a backbone. The bias of a convolution is called `layer1.0.conv2.bias`, which no backbone of ours has.
pub fn from_keras(name: &str) -> Option<String> {
    let (layer, tensor) = name.rsplit_once('/')?;
    let (place, is_norm) = layer_of(layer)?;
    let leaf = match (tensor, is_norm) {
        ("kernel", false) | ("gamma", true) => "weight",
        ("bias", false) | ("beta", true) => "bias",
        ("moving_mean", true) => "running_mean",
        ("moving_variance", true) => "running_var",
        _ => return None,
    };
    Some(format!("{place}.{leaf}"))
}

/// Our name of a layer, and whether it is a batch normalisation.
fn layer_of(layer: &str) -> Option<(String, bool)> {
    match layer {
        "conv1" | "conv1_conv" => return Some(("conv1".to_string(), false)),
        "bn_conv1" | "conv1_bn" => return Some(("bn1".to_string(), true)),
        _ => {}
    }
    let (stage, block, branch, is_norm) = first_names(layer).or_else(|| later_names(layer))?;
    let stage = stage.checked_sub(2).filter(|stage| *stage < 4)? + 1;
    let part = match (branch, is_norm) {
        (0, false) => "downsample.0".to_string(),
        (0, true) => "downsample.1".to_string(),
        (1..=3, false) => format!("conv{branch}"),
        (1..=3, true) => format!("bn{branch}"),
        _ => return None,
    };
    Some((format!("layer{stage}.{block}.{part}"), is_norm))
}

/// `res3b_branch2c` and `bn3b_branch2c` → stage 3, block 1, convolution 3; `branch1` is the shortcut, 0.
fn first_names(layer: &str) -> Option<(usize, usize, usize, bool)> {
    let (rest, is_norm) = match (layer.strip_prefix("res"), layer.strip_prefix("bn")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return None,
    };
    let (place, branch) = rest.split_once("_branch")?;
    let letter = place.chars().last().filter(char::is_ascii_lowercase)?;
    let stage = place.strip_suffix(letter)?.parse().ok()?;
    let branch = match branch {
        "1" => 0,
        "2a" => 1,
        "2b" => 2,
        "2c" => 3,
        _ => return None,
    };
    Some((stage, usize::from(letter as u8 - b'a'), branch, is_norm))
}

/// `conv3_block2_3_conv` and `conv3_block2_3_bn` → stage 3, block 1, convolution 3; 0 is the shortcut.
fn later_names(layer: &str) -> Option<(usize, usize, usize, bool)> {
    let (stage, rest) = layer.strip_prefix("conv")?.split_once("_block")?;
    let (block, rest) = rest.split_once('_')?;
    let (branch, kind) = rest.split_once('_')?;
    let is_norm = match kind {
        "conv" => false,
        "bn" => true,
        _ => return None,
    };
    let block = block.parse::<usize>().ok()?.checked_sub(1)?;
    Some((stage.parse().ok()?, block, branch.parse().ok()?, is_norm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_names_are_torchvisions() {
        for (first, later, ours) in [
            ("conv1/kernel", "conv1_conv/kernel", "conv1.weight"),
            ("bn_conv1/beta", "conv1_bn/beta", "bn1.bias"),
            (
                "res2a_branch1/kernel",
                "conv2_block1_0_conv/kernel",
                "layer1.0.downsample.0.weight",
            ),
            (
                "bn2a_branch1/gamma",
                "conv2_block1_0_bn/gamma",
                "layer1.0.downsample.1.weight",
            ),
            (
                "res5c_branch2b/bias",
                "conv5_block3_2_conv/bias",
                "layer4.2.conv2.bias",
            ),
            (
                "bn4f_branch2c/moving_variance",
                "conv4_block6_3_bn/moving_variance",
                "layer3.5.bn3.running_var",
            ),
        ] {
            assert_eq!(from_keras(first).as_deref(), Some(ours));
            assert_eq!(from_keras(later).as_deref(), Some(ours));
        }
        for other in [
            "fc1000/kernel",
            "conv1/gamma",
            "res2a_branch2d/kernel",
            "res9a_branch1/kernel",
            "conv2_block0_1_conv/kernel",
            "bn_conv1",
        ] {
            assert_eq!(from_keras(other), None, "{other}");
        }
    }
}
