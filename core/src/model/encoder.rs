//! An encoder: the backbone and both heads. The query and the key encoder are two of these.

use burn::tensor::{Device, Tensor};

use super::{
    head::{DenseHead, GlobalHead},
    layers::Init,
    norm::Phase,
    resnet::ResNet,
    visit::{TensorVisitor, Tensors},
};
use crate::{config::ModelConfig, matching::l2_normalize};

/// Backbone f and the two projection heads.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// f.
    pub backbone: ResNet,
    /// One vector per image.
    pub global_head: GlobalHead,
    /// One vector per cell.
    pub dense_head: DenseHead,
}

/// What an encoder says about a batch; every vector has unit length. N = cells of the dense grid.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// Global vectors [B, dim].
    pub global: Tensor<2>,
    /// Dense vectors, one per cell [B, dim, N].
    pub dense: Tensor<3>,
    /// The mean of an image's dense vectors before normalisation [B, dim]: the dense queue's key.
    pub dense_pooled: Tensor<2>,
    /// The backbone's features on the same grid [B, C, N], by which cells are matched.
    pub backbone: Tensor<3>,
}

impl Encoder {
    /// A freshly initialised encoder on `device`, without a gradient graph: a pure function of
    /// `(config, seed)`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let device = device.clone().inner();
        let init = Init {
            seed,
            device: &device,
        };
        let backbone = ResNet::new(&init, config);
        let channels = backbone.channels();
        Self {
            backbone,
            global_head: GlobalHead::new(&init, channels, config.dim),
            dense_head: DenseHead::new(&init, channels, config.dim, config.num_grid),
        }
    }

    /// Images [B, 3, H, W], normalised, to embeddings.
    pub fn forward(&mut self, images: Tensor<4>, phase: Phase) -> Embeddings {
        let features = self.backbone.forward(images, phase);
        let global = self.global_head.forward(features.clone());
        let cells = |map: Tensor<4>| {
            let [b, c, h, w] = map.dims();
            map.reshape([b, c, h * w])
        };
        let dense = cells(self.dense_head.forward(features.clone()));
        let [b, dim, _] = dense.dims();
        Embeddings {
            global: l2_normalize(global, 1),
            dense_pooled: l2_normalize(dense.clone().mean_dim(2).reshape([b, dim]), 1),
            dense: l2_normalize(dense, 1),
            backbone: l2_normalize(cells(self.dense_head.pool(features)), 1),
        }
    }
}

impl Tensors for Encoder {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.backbone.visit(prefix, visitor);
        self.global_head
            .visit(&format!("{prefix}global_head."), visitor);
        self.dense_head
            .visit(&format!("{prefix}dense_head."), visitor);
    }
}
