//! The two residual blocks (He et al. 2016), as torchvision numbers and names them.

use super::{
    layers::{Conv2d, Init},
    norm::{BatchNorm, Phase},
    visit::{TensorVisitor, Tensors},
};
use crate::{
    config::ModelConfig,
    ops::{FeatureMap, Then},
};

/// Channels out of a bottleneck per channel inside it.
pub const EXPANSION: usize = 4;

/// What a block is to be: `stride` and `dilation` act on its (first) 3×3 convolution, `dilation_after`
/// on every 3×3 convolution behind that one.
///
/// When a stage's stride is taken away, the convolution that had it keeps the previous dilation, and
/// what follows is dilated by the stride that is gone: then the dense feature map, sampled at the old
/// stride, is the old one, with the same weights.
#[derive(Debug, Clone, Copy)]
pub struct BlockShape {
    /// Channels in.
    pub input: usize,
    /// Channels of the 3×3 convolutions.
    pub planes: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// Dilation of the convolution that has the stride.
    pub dilation: usize,
    /// Dilation of later 3×3 convolutions of the block.
    pub dilation_after: usize,
}

/// The blocks of the four stages of a backbone, in order.
pub fn block_shapes(config: &ModelConfig) -> [Vec<BlockShape>; 4] {
    let (counts, bottleneck) = config.backbone.blocks();
    let mut input = config.width;
    let mut stride_so_far = 4;
    let mut dilation = 1;
    std::array::from_fn(|stage| {
        let planes = config.width << stage;
        let wanted = if stage == 0 { 1 } else { 2 };
        let dilation_before = dilation;
        let stride = if stride_so_far * wanted > config.output_stride {
            1
        } else {
            wanted
        };
        stride_so_far *= stride;
        dilation *= wanted / stride;
        let block = |index| {
            let first = index == 0;
            let shape = BlockShape {
                input,
                planes,
                stride: if first { stride } else { 1 },
                dilation: if first { dilation_before } else { dilation },
                dilation_after: dilation,
            };
            input = planes * if bottleneck { EXPANSION } else { 1 };
            shape
        };
        (0..counts[stage]).map(block).collect()
    })
}

/// conv → BN → what follows: the unit of the stem and of both blocks.
#[derive(Debug, Clone)]
pub(super) struct ConvNorm {
    pub(super) conv: Conv2d,
    pub(super) norm: BatchNorm,
}

impl ConvNorm {
    pub(super) fn new(
        init: &Init,
        name: &str,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> Self {
        Self {
            conv: Conv2d::backbone(init, name, channels, kernel, stride, dilation),
            norm: BatchNorm::new(init, channels[1]),
        }
    }

    pub(super) fn forward(&mut self, x: FeatureMap, phase: Phase, then: Then) -> FeatureMap {
        match phase {
            Phase::Train { .. } => {
                let x = self.conv.map(x);
                // A gradient graph keeps what it needs; without one, it would be kept for nothing.
                self.conv.forget();
                self.norm.forward(x, phase, then)
            }
            Phase::Eval => self.conv.map_affine(x, self.norm.by_running(), then),
        }
    }
}

/// A residual block: ReLU(F(x) + shortcut(x)), where F is two 3×3 convolutions (basic) or 1×1, 3×3,
/// 1×1 (bottleneck), each followed by BN and all but the last by ReLU.
#[derive(Debug, Clone)]
pub struct Block {
    chain: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    /// Two 3×3 convolutions; `planes` channels out.
    pub fn basic(init: &Init, name: &str, shape: BlockShape) -> Self {
        let BlockShape {
            input,
            planes,
            stride,
            dilation,
            dilation_after,
        } = shape;
        let chain = vec![
            ConvNorm::new(
                init,
                &format!("{name}.conv1"),
                [input, planes],
                3,
                stride,
                dilation,
            ),
            ConvNorm::new(
                init,
                &format!("{name}.conv2"),
                [planes, planes],
                3,
                1,
                dilation_after,
            ),
        ];
        Self {
            chain,
            downsample: downsample(init, name, shape, planes),
        }
    }

    /// 1×1, 3×3 (with the stride: torchvision's "v1.5"), 1×1; 4·`planes` channels out.
    pub fn bottleneck(init: &Init, name: &str, shape: BlockShape) -> Self {
        let BlockShape {
            input,
            planes,
            stride,
            dilation,
            ..
        } = shape;
        let output = planes * EXPANSION;
        let chain = vec![
            ConvNorm::new(init, &format!("{name}.conv1"), [input, planes], 1, 1, 1),
            ConvNorm::new(
                init,
                &format!("{name}.conv2"),
                [planes, planes],
                3,
                stride,
                dilation,
            ),
            ConvNorm::new(init, &format!("{name}.conv3"), [planes, output], 1, 1, 1),
        ];
        Self {
            chain,
            downsample: downsample(init, name, shape, output),
        }
    }

    /// [B, in, H, W] → [B, out, ⌈H/stride⌉, ⌈W/stride⌉].
    pub fn forward(&mut self, x: FeatureMap, phase: Phase) -> FeatureMap {
        let shortcut = match &mut self.downsample {
            Some(downsample) => downsample.forward(x.clone(), phase, Then::Nothing),
            None => x.clone(),
        };
        let (last, first) = self
            .chain
            .split_last_mut()
            .expect("a block has convolutions");
        let inside = first
            .iter_mut()
            .fold(x, |x, layer| layer.forward(x, phase, Then::Relu));
        last.forward(inside, phase, Then::AddRelu(shortcut))
    }
}

/// The 1×1 projection of the shortcut, where shapes differ.
fn downsample(init: &Init, name: &str, shape: BlockShape, output: usize) -> Option<ConvNorm> {
    let BlockShape { input, stride, .. } = shape;
    (stride != 1 || input != output).then(|| {
        ConvNorm::new(
            init,
            &format!("{name}.downsample.0"),
            [input, output],
            1,
            stride,
            1,
        )
    })
}

impl Tensors for Block {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        for (i, layer) in self.chain.iter_mut().enumerate() {
            layer
                .conv
                .visit(&format!("{prefix}conv{}.", i + 1), visitor);
            layer.norm.visit(&format!("{prefix}bn{}.", i + 1), visitor);
        }
        if let Some(layer) = &mut self.downsample {
            layer.conv.visit(&format!("{prefix}downsample.0."), visitor);
            layer.norm.visit(&format!("{prefix}downsample.1."), visitor);
        }
    }
}
