//! The tensors of a network: names, shapes, and which of them are learned.

use super::{Convolution, Network};

/// Whether a tensor is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Learned by SGD, followed by the momentum encoder.
    Parameter,
    /// Batch-normalisation statistics: each encoder has its own.
    Buffer,
}

/// The tensors of a batch normalisation, one value per channel each: γ, β and the running statistics.
pub const NORM_TENSORS: [(&str, Kind); 4] = [
    ("weight", Kind::Parameter),
    ("bias", Kind::Parameter),
    ("running_mean", Kind::Buffer),
    ("running_var", Kind::Buffer),
];

/// Whether a tensor of this name is a statistic of a batch normalisation.
pub fn is_statistic(name: &str) -> bool {
    let leaf = name.rsplit('.').next();
    let mut buffers = NORM_TENSORS
        .iter()
        .filter(|(_, kind)| *kind == Kind::Buffer);
    buffers.any(|(buffer, _)| leaf == Some(buffer))
}

/// A tensor without its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// torchvision's name.
    pub name: String,
    /// Its sides.
    pub shape: Vec<usize>,
    /// Whether it is learned.
    pub kind: Kind,
}

impl TensorShape {
    pub(super) fn parameter(name: String, shape: Vec<usize>) -> Self {
        Self {
            name,
            shape,
            kind: Kind::Parameter,
        }
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Convolution {
    /// The kernel [out, in, k, k] and the tensors of the batch normalisation, `[out]` each.
    pub fn tensors(&self) -> impl Iterator<Item = TensorShape> {
        let kernel = TensorShape::parameter(
            format!("{}.weight", self.name),
            vec![self.output, self.input, self.size, self.size],
        );
        let norm = NORM_TENSORS.map(|(leaf, kind)| TensorShape {
            name: format!("{}.{leaf}", self.norm),
            shape: vec![self.output],
            kind,
        });
        std::iter::once(kernel).chain(norm)
    }
}

impl Network {
    /// Every tensor of the backbone.
    pub fn tensors(&self) -> impl Iterator<Item = TensorShape> {
        self.convolutions().flat_map(Convolution::tensors)
    }
}
