//! DenseCL's projection heads: the global head for the whole image, the dense head for each cell. Neither has
//! batch normalisation.

use burn::tensor::{Tensor, activation::relu, module::adaptive_avg_pool2d};

use super::{
    layers::{Conv2d, Init, Linear},
    visit::{TensorVisitor, Tensors},
};
use crate::ops::FeatureMap;

/// The global head: global average pooling, linear layer C→C, ReLU, linear layer C→dim.
#[derive(Debug, Clone)]
pub struct GlobalHead {
    fc1: Linear,
    fc2: Linear,
}

impl GlobalHead {
    /// A head for feature maps of `channels` channels, with outputs of `dim`.
    pub fn new(init: &Init, channels: usize, dim: usize) -> Self {
        Self {
            fc1: Linear::new(init, "global_head.fc1", [channels, channels]),
            fc2: Linear::new(init, "global_head.fc2", [channels, dim]),
        }
    }

    /// [B, C, S, S] → [B, dim], not of unit length.
    pub fn forward(&self, features: Tensor<4>) -> Tensor<2> {
        self.fc2.forward(relu(self.fc1.forward(pool(features))))
    }
}

impl Tensors for GlobalHead {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.fc1.visit(&format!("{prefix}fc1."), visitor);
        self.fc2.visit(&format!("{prefix}fc2."), visitor);
    }
}

/// The dense head: optional average pooling to a grid, 1×1 convolution C→C, ReLU, 1×1 convolution C→dim.
#[derive(Debug, Clone)]
pub struct DenseHead {
    conv1: Conv2d,
    conv2: Conv2d,
    num_grid: usize,
}

impl DenseHead {
    /// A head for feature maps of `channels` channels, with outputs of `dim` on a grid of `num_grid` ×
    /// `num_grid` cells; 0 keeps the grid of the feature map.
    pub fn new(init: &Init, channels: usize, dim: usize, num_grid: usize) -> Self {
        Self {
            conv1: Conv2d::pointwise(init, "dense_head.conv1", [channels, channels]),
            conv2: Conv2d::pointwise(init, "dense_head.conv2", [channels, dim]),
            num_grid,
        }
    }

    /// The feature map averaged to the grid of this head, [B, C, S, S] → [B, C, G, G]. Cells are matched by its
    /// features.
    pub fn pool(&self, features: Tensor<4>) -> Tensor<4> {
        if self.num_grid == 0 {
            features
        } else {
            adaptive_avg_pool2d(features, [self.num_grid; 2])
        }
    }

    /// [B, C, S, S] → [B, dim, G, G], not of unit length; G = `num_grid`, or S if that is 0.
    pub fn forward(&self, features: Tensor<4>) -> Tensor<4> {
        self.project(self.pool(features))
    }

    /// [`Self::forward`] for features from [`Self::pool`]: [B, C, G, G] → [B, dim, G, G].
    pub(super) fn project(&self, pooled: Tensor<4>) -> Tensor<4> {
        let hidden = self.conv1.map(FeatureMap::new(pooled));
        self.conv2.map(hidden.relu()).into_tensor()
    }
}

impl Tensors for DenseHead {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.conv1.visit(&format!("{prefix}conv1."), visitor);
        self.conv2.visit(&format!("{prefix}conv2."), visitor);
    }
}

/// The mean of a feature map over its cells: [B, C, S, S] → [B, C].
pub(crate) fn pool(features: Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = features.dims();
    features.reshape([b, c, h * w]).mean_dim(2).reshape([b, c])
}
