//! Inferring a network from the shapes of its tensors, and listing the shapes that the tensors of a network
//! must have.

use std::collections::BTreeMap;

use super::layout::Scheme;
use crate::{
    config::{Backbone, ModelConfig},
    error::{Error, Result},
    names::{KEY, QUEUE_POSITIONS, QUEUES, VELOCITY},
    network::{
        DENSE_HEAD, GLOBAL_HEAD, Kind, Network, STEM_NAMES, Stem, TensorShape, block_name,
        chain_names, head_tensors,
    },
};

/// Infers the network from the shapes of its tensors; `shapes` has our names as keys.
///
/// # Errors
/// [`Error::Mismatch`] when its depth or its stem is not supported.
pub(super) fn infer(scheme: &Scheme, shapes: &BTreeMap<&str, &[usize]>) -> Result<ModelConfig> {
    let shape = |name: &str| {
        shapes
            .get(format!("{}{name}", scheme.query()).as_str())
            .copied()
    };
    let kernel = |block: String, index| {
        let [convolution, _] = chain_names(index);
        shape(&format!("{block}.{convolution}.weight"))
    };
    let [stem, _] = STEM_NAMES;
    let stem = shape(&format!("{stem}.weight")).unwrap_or_default();
    let stems = [Stem::ImageNet, Stem::Cifar];
    let found = stems.into_iter().find_map(|kind| {
        let [side, _] = kind.convolution();
        match *stem {
            [width, 3, rows, columns] if [rows, columns] == [side; 2] => Some((kind, width)),
            _ => None,
        }
    });
    let Some((stem, width)) = found else {
        return Err(Error::Mismatch(format!(
            "the first convolution has shape {stem:?}; a ResNet for photographs has [64, 3, 7, 7], one for small \
             pictures [64, 3, 3, 3]"
        )));
    };
    let bottleneck = kernel(block_name(0, 0), 2).is_some();
    let counts = [0, 1, 2, 3].map(|stage| {
        (0..)
            .take_while(|&block| kernel(block_name(stage, block), 0).is_some())
            .count()
    });
    let backbone = Backbone::ALL
        .into_iter()
        .find(|&backbone| backbone.blocks() == (counts, bottleneck))
        .ok_or_else(|| {
            let known: Vec<&str> = Backbone::ALL
                .iter()
                .map(|backbone| backbone.name())
                .collect();
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
        stem,
        output_stride: stem.largest_output_stride(),
        ..ModelConfig::default()
    };
    model.dim = head.or(queued).copied().unwrap_or(model.dim);
    model.validate()?;
    Ok(model)
}

/// The tensors that a file of this scheme must have, by our names, with their shapes in the file. Heads and
/// queues are included only if at least one of their tensors is `found`.
pub(super) fn expected(
    model: &ModelConfig,
    scheme: &Scheme,
    found: &BTreeMap<&str, &[usize]>,
) -> BTreeMap<String, Vec<usize>> {
    let any = |part: &str| found.keys().any(|name| name.contains(part));
    let mut encoder: Vec<TensorShape> = Network::new(model).tensors().collect();
    for head in [GLOBAL_HEAD, DENSE_HEAD] {
        if any(head) {
            encoder.extend(head_tensors(model, head));
        }
    }
    let velocities = any(VELOCITY);
    let mut expected = BTreeMap::new();
    for TensorShape { name, shape, kind } in encoder {
        if velocities && kind == Kind::Parameter {
            expected.insert(format!("{VELOCITY}{name}"), shape.clone());
        }
        if scheme.both {
            expected.insert(format!("{KEY}{name}"), shape.clone());
        }
        expected.insert(format!("{}{name}", scheme.query()), shape);
    }
    for (queue, position) in QUEUES.iter().zip(QUEUE_POSITIONS) {
        let shape = found.get(queue);
        if shape.is_none() && !found.contains_key(position) {
            continue;
        }
        let keys = shape.and_then(|shape| shape.get(scheme.queue_axis()));
        // If the file has the position of a queue but not the queue, its length is unknown. 0 is sufficient,
        // because the queue is then reported as missing and its shape is not compared.
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
