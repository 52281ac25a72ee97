//! An encoder: the backbone and both heads. The query and the key encoder are two of these.

use burn::tensor::{Device, FloatDType, Tensor};

use super::{
    head::{DenseHead, GlobalHead},
    layers::Init,
    resnet::ResNet,
    visit::{TensorVisitor, Tensors},
};
use crate::{
    matching::l2_normalize,
    network::{DENSE_HEAD, GLOBAL_HEAD, ModelConfig},
};

/// Backbone f and the two projection heads.
///
/// DenseCL trains both heads, BYOL none: its projector is not part of an encoder. A file of another program may have one
/// or none, too. A head that is not there is `None`, and no tensor of it is visited.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// f.
    pub backbone: ResNet,
    /// One vector per image.
    pub global_head: Option<GlobalHead>,
    /// One vector per cell.
    pub dense_head: Option<DenseHead>,
}

/// Which heads an encoder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The global one.
    pub global: bool,
    /// The dense one.
    pub dense: bool,
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

impl Heads {
    /// No head: the backbone alone.
    pub const NONE: Self = Self {
        global: false,
        dense: false,
    };
}

impl Encoder {
    /// A freshly initialised encoder with both heads on `device`, without a gradient graph: a pure function of
    /// `(config, seed)`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let both = Heads {
            global: true,
            dense: true,
        };
        Self::with_heads(config, both, seed, device)
    }

    /// The same with these heads. The backbone's weights do not depend on them.
    pub fn with_heads(config: &ModelConfig, heads: Heads, seed: u64, device: &Device) -> Self {
        let device = device.clone().inner();
        Self::build(config, heads, &Init::new(seed, &device))
    }

    /// An encoder of zeros with these heads on `device`, to be read from a file.
    pub fn blank(config: &ModelConfig, heads: Heads, device: &Device) -> Self {
        let device = device.clone().inner();
        Self::build(config, heads, &Init::blank(&device))
    }

    fn build(config: &ModelConfig, heads: Heads, init: &Init) -> Self {
        let backbone = ResNet::new(init, config);
        let channels = backbone.channels();
        let (dim, grid) = (config.dim, config.num_grid);
        Self {
            backbone,
            global_head: heads.global.then(|| GlobalHead::new(init, channels, dim)),
            dense_head: heads
                .dense
                .then(|| DenseHead::new(init, channels, dim, grid)),
        }
    }

    /// Images [B, 3, H, W], normalised, to embeddings, with batch normalisation by the batch, in this many
    /// groups; the running statistics follow. Backbone and dense head compute in the precision of the
    /// images; the embeddings are f32.
    ///
    /// # Panics
    /// When a head is not there, or `groups` does not divide B.
    pub fn forward_train(&mut self, images: Tensor<4>, groups: usize) -> Embeddings {
        let features = self.backbone.forward_train(images, groups);
        let heads = (self.global_head.as_ref(), self.dense_head.as_ref());
        let (Some(global_head), Some(dense_head)) = heads else {
            panic!("an encoder without both heads has no embeddings")
        };
        // Sums over cells, norms and similarities are beyond the range of f16.
        let global = global_head.forward(features.clone().cast(FloatDType::F32));
        let cells = |map: Tensor<4>| {
            let [b, c, h, w] = map.dims();
            map.reshape([b, c, h * w])
        };
        let pooled = dense_head.pool(features);
        let dense = cells(dense_head.project(pooled.clone())).cast(FloatDType::F32);
        let [b, dim, _] = dense.dims();
        Embeddings {
            global: l2_normalize(global, 1),
            dense_pooled: l2_normalize(dense.clone().mean_dim(2).reshape([b, dim]), 1),
            dense: l2_normalize(dense, 1),
            backbone: l2_normalize(cells(pooled.cast(FloatDType::F32)), 1),
        }
    }
}

impl Tensors for Encoder {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.backbone.visit(prefix, visitor);
        if let Some(head) = &mut self.global_head {
            head.visit(&format!("{prefix}{GLOBAL_HEAD}"), visitor);
        }
        if let Some(head) = &mut self.dense_head {
            head.visit(&format!("{prefix}{DENSE_HEAD}"), visitor);
        }
    }
}
