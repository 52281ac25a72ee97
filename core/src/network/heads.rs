//! Names and shapes of the tensors of both projection heads.

use super::{ModelConfig, Network, TensorShape};

/// Prefix of the names of the global head's tensors.
pub const GLOBAL_HEAD: &str = "global_head.";
/// Prefix of the names of the dense head's tensors.
pub const DENSE_HEAD: &str = "dense_head.";

/// Whether a tensor of this name belongs to a head.
pub fn is_head(name: &str) -> bool {
    name.starts_with(GLOBAL_HEAD) || name.starts_with(DENSE_HEAD)
}

/// The tensors of a head of this model; `head` is [`GLOBAL_HEAD`] or [`DENSE_HEAD`]. Both have two layers, C→C
/// and C→dim: linear layers in the global head, 1×1 convolutions in the dense head.
///
/// # Panics
/// For any other `head`.
pub fn head_tensors(model: &ModelConfig, head: &str) -> Vec<TensorShape> {
    let (layers, kernel): (_, &[usize]) = match head {
        GLOBAL_HEAD => (["fc1", "fc2"], &[]),
        DENSE_HEAD => (["conv1", "conv2"], &[1, 1]),
        other => panic!("there is no head {other}"),
    };
    let channels = Network::new(model).channels();
    let sides = [channels, model.dim];
    let layer = |(name, output): (&str, usize)| {
        let weight = [&[output, channels], kernel].concat();
        [
            TensorShape::parameter(format!("{head}{name}.weight"), weight),
            TensorShape::parameter(format!("{head}{name}.bias"), vec![output]),
        ]
    };
    layers.into_iter().zip(sides).flat_map(layer).collect()
}
