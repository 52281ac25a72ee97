//! ResNet backbones with torchvision's numerics and names, at output stride 32, 16 or 8.

use burn::tensor::Tensor;

use super::{
    block::{Block, ConvNorm, EXPANSION, block_shapes},
    layers::Init,
    norm::Phase,
    visit::{TensorVisitor, Tensors},
};
use crate::{
    config::ModelConfig,
    ops::{FeatureMap, Then},
};

/// The backbone f without its classifier.
#[derive(Debug, Clone)]
pub struct ResNet {
    stem: ConvNorm,
    layers: [Vec<Block>; 4],
    channels: usize,
}

/// The feature maps after each of the four stages, at strides 4, 8, 16 and 32 (or at the output
/// stride, where that is less).
#[derive(Debug, Clone)]
pub struct Stages(pub [Tensor<4>; 4]);

impl ResNet {
    /// A freshly initialised backbone on `init.device`.
    pub fn new(init: &Init, config: &ModelConfig) -> Self {
        let (_, bottleneck) = config.backbone.blocks();
        let width = config.width;
        let shapes = block_shapes(config);
        let last = shapes[3].last().expect("every stage has a block");
        let channels = last.planes * if bottleneck { EXPANSION } else { 1 };
        let mut stage = 0;
        let layers = shapes.map(|shapes| {
            stage += 1;
            let blocks = shapes.into_iter().enumerate().map(|(index, shape)| {
                let name = format!("layer{stage}.{index}");
                if bottleneck {
                    Block::bottleneck(init, &name, shape)
                } else {
                    Block::basic(init, &name, shape)
                }
            });
            blocks.collect()
        });
        Self {
            stem: ConvNorm::new(init, "conv1", [3, width], 7, 2, 1),
            layers,
            channels,
        }
    }

    /// Channels of the last feature map.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Images [B, 3, H, W], normalised, to the last feature map [B, C, H/s, W/s], s = output stride.
    pub fn forward(&mut self, images: Tensor<4>, phase: Phase) -> Tensor<4> {
        let Stages([_, _, _, last]) = self.stages(images, phase);
        last
    }

    /// The feature maps of all four stages.
    pub fn stages(&mut self, images: Tensor<4>, phase: Phase) -> Stages {
        let x = FeatureMap::new(images);
        let mut x = self.stem.forward(x, phase, Then::Relu).max_pool();
        Stages(self.layers.each_mut().map(|blocks| {
            for block in blocks {
                x = block.forward(x.clone(), phase);
            }
            x.clone().into_tensor()
        }))
    }
}

impl Tensors for ResNet {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.stem.conv.visit(&format!("{prefix}conv1."), visitor);
        self.stem.norm.visit(&format!("{prefix}bn1."), visitor);
        for (stage, blocks) in self.layers.iter_mut().enumerate() {
            for (index, block) in blocks.iter_mut().enumerate() {
                block.visit(&format!("{prefix}layer{}.{index}.", stage + 1), visitor);
            }
        }
    }
}
