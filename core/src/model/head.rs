//! DenseCL's projection heads: one for the image, one for each cell. Neither has batch normalisation.

use burn::tensor::{Tensor, activation::relu, module::adaptive_avg_pool2d};

use super::{
    layers::{Conv2d, Init, Linear},
    projector::pool,
    visit::{TensorVisitor, Tensors},
};
use crate::ops::FeatureMap;

/// Global average pooling, Linear C→C, ReLU, Linear C→dim.
#[derive(Debug, Clone)]
pub struct GlobalHead {
    fc1: Linear,
    fc2: Linear,
}

impl GlobalHead {
    /// For feature maps of `channels`.
    pub fn new(init: &Init, channels: usize, dim: usize) -> Self {
        Self {
            fc1: Linear::new(init, "global_head.fc1", [channels, channels]),
            fc2: Linear::new(init, "global_head.fc2", [channels, dim]),
        }
    }

    /// [B, C, S, S] → [B, dim], not normalised.
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

/// Optional pooling to a grid, 1×1 convolution C→C, ReLU, 1×1 convolution C→dim.
#[derive(Debug, Clone)]
pub struct DenseHead {
    conv1: Conv2d,
    conv2: Conv2d,
    num_grid: usize,
}

impl DenseHead {
    /// For feature maps of `channels`; `num_grid` 0 keeps their grid.
    pub fn new(init: &Init, channels: usize, dim: usize, num_grid: usize) -> Self {
        Self {
            conv1: Conv2d::pointwise(init, "dense_head.conv1", [channels, channels]),
            conv2: Conv2d::pointwise(init, "dense_head.conv2", [channels, dim]),
            num_grid,
        }
    }

    /// The feature map on the grid of the dense head: what cells are matched by.
    pub fn pool(&self, features: Tensor<4>) -> Tensor<4> {
        if self.num_grid == 0 {
            features
        } else {
            adaptive_avg_pool2d(features, [self.num_grid; 2])
        }
    }

    /// [B, C, S, S] → [B, dim, G, G], not normalised; G = `num_grid`, or S without pooling.
    pub fn forward(&self, features: Tensor<4>) -> Tensor<4> {
        self.project(self.pool(features))
    }

    /// [`Self::forward`] of features that are on the head's grid already: [B, C, G, G] → [B, dim, G, G].
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
