//! The encoder: backbone and projection heads. The query and the key encoder have this type.

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

/// The backbone f and its projection heads.
///
/// Training needs both heads. An encoder from a file of another program may lack one or both; such a head is
/// `None`, and visitors do not receive its tensors.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The backbone f.
    pub backbone: ResNet,
    /// The global head: one vector per image.
    pub global_head: Option<GlobalHead>,
    /// The dense head: one vector per cell.
    pub dense_head: Option<DenseHead>,
}

/// Which heads an encoder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Whether it has the global head.
    pub global: bool,
    /// Whether it has the dense head.
    pub dense: bool,
}

/// The outputs of an encoder for a batch of B images. All vectors have unit length. N is the number of cells of
/// the dense head's grid.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// Global vectors [B, dim].
    pub global: Tensor<2>,
    /// Dense vectors, one per cell [B, dim, N].
    pub dense: Tensor<3>,
    /// The normalised mean over the cells of the dense head's output [B, dim]: the key for the dense queue.
    pub dense_pooled: Tensor<2>,
    /// The backbone's features on the same grid [B, C, N]; cells are matched by them.
    pub backbone: Tensor<3>,
}

impl Encoder {
    /// An encoder with random initial weights on `device`, outside any gradient graph. The weights are a
    /// function of `(config, seed)`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Self {
        let device = device.clone().inner();
        let both = Heads {
            global: true,
            dense: true,
        };
        Self::build(config, both, &Init::new(seed, &device))
    }

    /// An encoder with these heads on `device`, whose weights are to be read from a file: convolutions and
    /// linear layers are 0.
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

    /// The embeddings of normalised images [B, 3, H, W]. Batch normalisation uses the statistics of the batch,
    /// separately in each of `groups` groups, and updates the running statistics. Backbone and dense head
    /// compute in the precision of the images; the embeddings are f32.
    ///
    /// # Panics
    /// When the encoder lacks a head, or `groups` does not divide B.
    pub fn forward_train(&mut self, images: Tensor<4>, groups: usize) -> Embeddings {
        let features = self.backbone.forward_train(images, groups);
        let heads = (self.global_head.as_ref(), self.dense_head.as_ref());
        let (Some(global_head), Some(dense_head)) = heads else {
            panic!("an encoder without both heads has no embeddings")
        };
        // In f32, because sums over cells, norms and similarities may exceed the range of f16.
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
