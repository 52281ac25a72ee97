//! ResNet backbones with torchvision's numerics and names, at output stride 32, 16 or 8.

use burn::tensor::{Tensor, activation::relu, module::max_pool2d, ops::MaxPoolOptions};

use super::{
    block::{Block, BlockShape, EXPANSION},
    layers::{Conv2d, Init},
    norm::{BatchNorm, Phase},
    visit::{TensorVisitor, Tensors},
};
use crate::config::{Backbone, ModelConfig};

/// The backbone f without its classifier.
#[derive(Debug, Clone)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layers: [Vec<Block>; 4],
    channels: usize,
}

/// The feature maps after each of the four stages, at strides 4, 8, 16 and 32 (or at the output
/// stride, where that is less).
#[derive(Debug, Clone)]
pub struct Stages(pub [Tensor<4>; 4]);

/// Blocks in each stage, and whether they are bottlenecks.
fn blocks(backbone: Backbone) -> ([usize; 4], bool) {
    match backbone {
        Backbone::ResNet10 => ([1, 1, 1, 1], false),
        Backbone::ResNet18 => ([2, 2, 2, 2], false),
        Backbone::ResNet34 => ([3, 4, 6, 3], false),
        Backbone::ResNet50 => ([3, 4, 6, 3], true),
        Backbone::ResNet101 => ([3, 4, 23, 3], true),
    }
}

impl ResNet {
    /// How many values the tensors of such a backbone hold, and its channels out: known without
    /// making one.
    pub(super) fn size(config: &ModelConfig) -> (usize, usize) {
        // A convolution without bias and the four vectors of its batch normalisation.
        let unit = |input: usize, output: usize, kernel: usize| {
            input * output * kernel * kernel + 4 * output
        };
        let (counts, bottleneck) = blocks(config.backbone);
        let mut values = unit(3, config.width, 7);
        let mut input = config.width;
        for (stage, count) in counts.into_iter().enumerate() {
            let planes = config.width << stage;
            for _ in 0..count {
                let output = if bottleneck {
                    planes * EXPANSION
                } else {
                    planes
                };
                values += if bottleneck {
                    unit(input, planes, 1) + unit(planes, planes, 3) + unit(planes, output, 1)
                } else {
                    unit(input, planes, 3) + unit(planes, planes, 3)
                };
                if input != output {
                    values += unit(input, output, 1);
                }
                input = output;
            }
        }
        (values, input)
    }

    /// A freshly initialised backbone on `init.device`.
    pub fn new(init: &Init, config: &ModelConfig) -> Self {
        let (counts, bottleneck) = blocks(config.backbone);
        let width = config.width;
        let mut input = width;
        let mut stride_so_far = 4;
        let mut dilation = 1;
        let layers = std::array::from_fn(|stage| {
            let planes = width << stage;
            let wanted = if stage == 0 { 1 } else { 2 };
            let dilation_before = dilation;
            let stride = if stride_so_far * wanted > config.output_stride {
                1
            } else {
                wanted
            };
            stride_so_far *= stride;
            dilation *= wanted / stride;
            (0..counts[stage])
                .map(|index| {
                    let shape = BlockShape {
                        input,
                        planes,
                        stride: if index == 0 { stride } else { 1 },
                        dilation: if index == 0 {
                            dilation_before
                        } else {
                            dilation
                        },
                        dilation_after: dilation,
                    };
                    let name = format!("layer{}.{index}", stage + 1);
                    input = if bottleneck {
                        planes * EXPANSION
                    } else {
                        planes
                    };
                    if bottleneck {
                        Block::bottleneck(init, &name, shape)
                    } else {
                        Block::basic(init, &name, shape)
                    }
                })
                .collect()
        });
        Self {
            conv1: Conv2d::backbone(init, "conv1", [3, width], 7, 2, 1),
            bn1: BatchNorm::new(init, width),
            layers,
            channels: input,
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
        let x = relu(self.bn1.forward(self.conv1.forward(images), phase));
        let pool = MaxPoolOptions::new([3; 2])
            .with_stride([2; 2])
            .with_padding([1; 2]);
        let mut x = max_pool2d(x, pool);
        Stages(self.layers.each_mut().map(|blocks| {
            for block in blocks {
                x = block.forward(x.clone(), phase);
            }
            x.clone()
        }))
    }
}

impl Tensors for ResNet {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.conv1.visit(&format!("{prefix}conv1."), visitor);
        self.bn1.visit(&format!("{prefix}bn1."), visitor);
        for (stage, blocks) in self.layers.iter_mut().enumerate() {
            for (index, block) in blocks.iter_mut().enumerate() {
                block.visit(&format!("{prefix}layer{}.{index}.", stage + 1), visitor);
            }
        }
    }
}
