//! From shapes to the network, and from the network to the shapes it must have.

use std::collections::BTreeMap;

use super::{POSITIONS, QUEUES, layout::Scheme};
use crate::{
    config::{Backbone, ModelConfig},
    error::{Error, Result},
    model::EXPANSION,
};

const BACKBONES: [Backbone; 5] = [
    Backbone::ResNet10,
    Backbone::ResNet18,
    Backbone::ResNet34,
    Backbone::ResNet50,
    Backbone::ResNet101,
];

/// The network whose tensors these are, under our names.
///
/// # Errors
/// [`Error::Mismatch`] when its depth or stem is none of ours.
pub(super) fn infer(scheme: &Scheme, shapes: &BTreeMap<&str, &[usize]>) -> Result<ModelConfig> {
    let shape = |name: &str| {
        shapes
            .get(format!("{}{name}", scheme.query()).as_str())
            .copied()
    };
    let stem = shape("conv1.weight").unwrap_or_default();
    let &[width, 3, 7, 7] = stem else {
        return Err(Error::Mismatch(format!(
            "the first convolution has shape {stem:?}; a ResNet for photographs has [64, 3, 7, 7]"
        )));
    };
    let bottleneck = shape("layer1.0.conv3.weight").is_some();
    let counts = [1, 2, 3, 4].map(|stage| {
        (0..)
            .take_while(|block| shape(&format!("layer{stage}.{block}.conv1.weight")).is_some())
            .count()
    });
    let backbone = BACKBONES
        .into_iter()
        .find(|&backbone| backbone.blocks() == (counts, bottleneck))
        .ok_or_else(|| {
            let known: Vec<&str> = BACKBONES.iter().map(|backbone| backbone.name()).collect();
            let kind = if bottleneck {
                "bottlenecks"
            } else {
                "basic blocks"
            };
            Error::Mismatch(format!(
                "a ResNet with {counts:?} {kind}, which is none of {}",
                known.join(", ")
            ))
        })?;

    let heads = ["global_head.fc2.weight", "dense_head.conv2.weight"];
    let head = heads.iter().find_map(|name| shape(name)?.first());
    let queue = QUEUES.iter().find_map(|name| shapes.get(name));
    let queued = queue.and_then(|shape| shape.get(1 - scheme.queue_axis()));
    let mut model = ModelConfig {
        backbone,
        width,
        ..ModelConfig::default()
    };
    model.dim = head.or(queued).copied().unwrap_or(model.dim);
    model.validate()?;
    Ok(model)
}

/// Every tensor that a file of this scheme must have, under our names, with its shape in the file.
/// Of the heads and queues only those of which a part is `found`.
pub(super) fn expected(
    model: &ModelConfig,
    scheme: &Scheme,
    found: &BTreeMap<&str, &[usize]>,
) -> BTreeMap<String, Vec<usize>> {
    let any = |part: &str| found.keys().any(|name| name.contains(part));
    let mut encoder = backbone(model);
    if any("global_head.") {
        encoder.extend(head(model, ["global_head.fc1", "global_head.fc2"], &[]));
    }
    if any("dense_head.") {
        encoder.extend(head(
            model,
            ["dense_head.conv1", "dense_head.conv2"],
            &[1, 1],
        ));
    }
    let velocities = any("velocity.");
    let mut expected = BTreeMap::new();
    for (name, shape) in encoder {
        if velocities && !is_statistic(&name) {
            expected.insert(format!("velocity.{name}"), shape.clone());
        }
        if scheme.both {
            expected.insert(format!("key.{name}"), shape.clone());
        }
        expected.insert(format!("{}{name}", scheme.query()), shape);
    }
    for (queue, position) in QUEUES.iter().zip(POSITIONS) {
        let shape = found.get(queue);
        if shape.is_none() && !found.contains_key(position) {
            continue;
        }
        let keys = shape.and_then(|shape| shape.get(scheme.queue_axis()));
        // Without the queue any length does: it is then missing.
        let keys = keys.copied().unwrap_or_default();
        if scheme.queue_axis() == 0 {
            expected.insert((*queue).to_string(), vec![keys, model.dim]);
        } else {
            expected.insert((*queue).to_string(), vec![model.dim, keys]);
            expected.insert(position.to_string(), vec![1]);
        }
    }
    expected
}

fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

type Shapes = Vec<(String, Vec<usize>)>;

fn convolution(name: &str, output: usize, input: usize, kernel: usize) -> (String, Vec<usize>) {
    (
        format!("{name}.weight"),
        vec![output, input, kernel, kernel],
    )
}

fn norm(name: &str, channels: usize) -> impl Iterator<Item = (String, Vec<usize>)> {
    ["weight", "bias", "running_mean", "running_var"]
        .into_iter()
        .map(move |leaf| (format!("{name}.{leaf}"), vec![channels]))
}

fn backbone(model: &ModelConfig) -> Shapes {
    let (counts, bottleneck) = model.backbone.blocks();
    let mut shapes = vec![convolution("conv1", model.width, 3, 7)];
    shapes.extend(norm("bn1", model.width));
    let mut input = model.width;
    for (stage, count) in counts.into_iter().enumerate() {
        let planes = model.width << stage;
        let output = if bottleneck {
            planes * EXPANSION
        } else {
            planes
        };
        for index in 0..count {
            let block = format!("layer{}.{index}", stage + 1);
            let chain: &[(usize, usize, usize)] = if bottleneck {
                &[(planes, input, 1), (planes, planes, 3), (output, planes, 1)]
            } else {
                &[(planes, input, 3), (planes, planes, 3)]
            };
            for (i, &(output, input, kernel)) in chain.iter().enumerate() {
                shapes.push(convolution(
                    &format!("{block}.conv{}", i + 1),
                    output,
                    input,
                    kernel,
                ));
                shapes.extend(norm(&format!("{block}.bn{}", i + 1), output));
            }
            // The first block of every stage but the first halves the resolution.
            if index == 0 && (stage > 0 || input != output) {
                let name = format!("{block}.downsample");
                shapes.push(convolution(&format!("{name}.0"), output, input, 1));
                shapes.extend(norm(&format!("{name}.1"), output));
            }
            input = output;
        }
    }
    shapes
}

/// Two layers C→C→dim, as matrices or with a `kernel`.
fn head(model: &ModelConfig, layers: [&str; 2], kernel: &[usize]) -> Shapes {
    let (_, bottleneck) = model.backbone.blocks();
    let channels = (model.width << 3) * if bottleneck { EXPANSION } else { 1 };
    let sides = [channels, model.dim];
    let layer = |(name, output): (&str, usize)| {
        let weight = [&[output, channels], kernel].concat();
        [
            (format!("{name}.weight"), weight),
            (format!("{name}.bias"), vec![output]),
        ]
    };
    layers.into_iter().zip(sides).flat_map(layer).collect()
}
