//! The tensors of a network: their names and shapes, and which of them are trained.

use super::{Convolution, Network};

/// Whether a tensor is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Trained by SGD in the query encoder; the key encoder has its moving average.
    Parameter,
    /// A running statistic of batch normalisation; each encoder has its own.
    Buffer,
}

/// The tensors of a batch normalisation, `[C]` each: γ, β and the running statistics.
pub const NORM_TENSORS: [(&str, Kind); 4] = [
    ("weight", Kind::Parameter),
    ("bias", Kind::Parameter),
    ("running_mean", Kind::Buffer),
    ("running_var", Kind::Buffer),
];

/// Whether a tensor of this name is a running statistic of batch normalisation.
pub fn is_statistic(name: &str) -> bool {
    let leaf = name.rsplit('.').next();
    let mut buffers = NORM_TENSORS
        .iter()
        .filter(|(_, kind)| *kind == Kind::Buffer);
    buffers.any(|(buffer, _)| leaf == Some(buffer))
}

/// Name, shape and kind of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// Its torchvision name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is trained.
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

    /// Number of values.
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
    /// All tensors of the backbone.
    pub fn tensors(&self) -> impl Iterator<Item = TensorShape> {
        self.convolutions().flat_map(Convolution::tensors)
    }
}
