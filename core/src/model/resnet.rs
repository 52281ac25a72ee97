//! ResNet backbones with torchvision's numerics and names, built from a [`Network`].

use burn::tensor::Tensor;

use super::{
    block::{Block, ConvNorm},
    layers::Init,
    visit::{TensorVisitor, Tensors},
};
use crate::{
    network::{ModelConfig, Network, STEM_NAMES, block_name},
    ops::{Activation, FeatureMap},
};

/// The backbone f without its classifier.
#[derive(Debug, Clone)]
pub struct ResNet {
    stem: ConvNorm,
    /// Whether a max pooling follows the stem.
    pooled: bool,
    layers: [Vec<Block>; 4],
    channels: usize,
}

/// The feature maps [B, C, H/s, W/s] after each of the four stages. The strides s are 4, 8, 16 and 32, but at
/// most the output stride of the network; with the stem for small pictures 1, 2, 4 and 8.
#[derive(Debug, Clone)]
pub struct Stages(pub [Tensor<4>; 4]);

impl ResNet {
    /// A backbone with initial weights from `init`.
    pub fn new(init: &Init, config: &ModelConfig) -> Self {
        let network = Network::new(config);
        let block = |block| Block::new(init, block);
        let stages = network.stages.each_ref();
        Self {
            stem: ConvNorm::new(init, &network.stem),
            pooled: network.pool.is_some(),
            layers: stages.map(|stage| stage.blocks.iter().map(block).collect()),
            channels: network.channels(),
        }
    }

    /// Channels of the last feature map.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The last feature map [B, C, H/s, W/s] of normalised images [B, 3, H, W]; s is the output stride. Batch
    /// normalisation uses the running statistics.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let Stages([_, _, _, last]) = self.stages(images);
        last
    }

    /// The feature maps of all four stages. Batch normalisation uses the running statistics.
    pub fn stages(&self, images: Tensor<4>) -> Stages {
        let x = FeatureMap::new(images);
        let mut x = self.pool(self.stem.forward(x, Activation::Relu));
        Stages(self.layers.each_ref().map(|blocks| {
            for block in blocks {
                x = block.forward(x.clone());
            }
            x.clone().into_tensor()
        }))
    }

    fn pool(&self, x: FeatureMap) -> FeatureMap {
        if self.pooled { x.max_pool() } else { x }
    }

    /// As [`Self::forward`], but batch normalisation uses the statistics of the batch, separately in each of
    /// `groups` groups, and updates the running statistics.
    pub fn forward_train(&mut self, images: Tensor<4>, groups: usize) -> Tensor<4> {
        let Stages([_, _, _, last]) = self.stages_train(images, groups);
        last
    }

    /// As [`Self::stages`], but batch normalisation uses the statistics of the batch, separately in each of
    /// `groups` groups, and updates the running statistics.
    pub fn stages_train(&mut self, images: Tensor<4>, groups: usize) -> Stages {
        let x = FeatureMap::new(images);
        let x = self.stem.forward_train(x, groups, Activation::Relu);
        let mut x = self.pool(x);
        Stages(self.layers.each_mut().map(|blocks| {
            for block in blocks {
                x = block.forward_train(x.clone(), groups);
            }
            x.clone().into_tensor()
        }))
    }
}

impl Tensors for ResNet {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.stem.visit(prefix, STEM_NAMES, visitor);
        for (stage, blocks) in self.layers.iter_mut().enumerate() {
            for (index, block) in blocks.iter_mut().enumerate() {
                block.visit(&format!("{prefix}{}.", block_name(stage, index)), visitor);
            }
        }
    }
}
