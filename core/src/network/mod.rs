//! The description of a network: its stages, blocks and convolutions by name, with their sizes.
//!
//! A [`Network`] contains no weights. All code that depends on the structure of a ResNet uses it: building the
//! model, the memory estimate, the list of tensors that a file must have, the ONNX graph, detectron2's names,
//! and the strides and channels of features. Names are torchvision's.

mod config;
mod heads;
mod tensors;
#[cfg(test)]
mod tests;

pub(crate) use self::config::in_metadata;
pub use self::{
    config::{Backbone, ModelConfig, Stem},
    heads::{
        DENSE_HEAD, GLOBAL_HEAD, backbone_parameters, encoder_parameters, head_tensors, is_head,
    },
    tensors::{Kind, NORM_TENSORS, TensorShape, is_statistic},
};

/// Output channels of a bottleneck, per channel of its 3×3 convolution.
const EXPANSION: usize = 4;

/// Names of the stem's convolution and of its batch normalisation.
pub const STEM_NAMES: [&str; 2] = ["conv1", "bn1"];
/// Names, inside a block, of the shortcut's convolution and of its batch normalisation.
pub const SHORTCUT_NAMES: [&str; 2] = ["downsample.0", "downsample.1"];

/// Names, inside a block, of the convolution `index` (from 0) and of its batch normalisation.
pub fn chain_names(index: usize) -> [String; 2] {
    ["conv", "bn"].map(|part| format!("{part}{}", index + 1))
}

/// The name of the stage `index` (from 0).
pub fn stage_name(index: usize) -> String {
    format!("layer{}", index + 1)
}

/// The name of a block; both indices are from 0.
pub fn block_name(stage: usize, block: usize) -> String {
    format!("{}.{block}", stage_name(stage))
}

/// A max pooling with a square window, padded by (size−1)/2 on every side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Side of the window.
    pub size: usize,
    /// Step between neighbouring output pixels, in input pixels.
    pub stride: usize,
}

/// The description of a backbone without a classifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The first convolution.
    pub stem: Convolution,
    /// The max pooling that follows it; `None` in a network for small pictures.
    pub pool: Option<Pool>,
    /// The four stages, in the order of the forward pass.
    pub stages: [Stage; 4],
}

/// A stage: consecutive blocks whose outputs have the same shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// `layer1` to `layer4`.
    pub name: String,
    /// At least one block; only the first may change the shape.
    pub blocks: Vec<Block>,
    /// Channels of the stage's feature map.
    pub channels: usize,
    /// Side of a cell of the stage's feature map, in pixels of the picture.
    pub stride: usize,
}

/// A residual block: ReLU(F(x) + shortcut(x)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Such as `layer1.0`.
    pub name: String,
    /// The convolutions of F. Batch normalisation follows each of them, ReLU all but the last.
    pub convolutions: Vec<Convolution>,
    /// The 1×1 convolution of the shortcut, followed by batch normalisation; `None` (identity) if F does not
    /// change the shape.
    pub shortcut: Option<Convolution>,
}

/// A square convolution without a bias, padded by dilation·(size−1)/2 on every side, and the batch
/// normalisation that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// The name of the convolution, such as `layer1.0.conv1`.
    pub name: String,
    /// The name of its batch normalisation, such as `layer1.0.bn1`.
    pub norm: String,
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Side of the kernel.
    pub size: usize,
    /// Step between neighbouring output pixels, in input pixels.
    pub stride: usize,
    /// Distance between neighbouring taps of the kernel, in input pixels.
    pub dilation: usize,
}

impl Convolution {
    fn new(names: [String; 2], [input, output]: [usize; 2], size: usize, stride: usize) -> Self {
        let [name, norm] = names;
        Self {
            name,
            norm,
            input,
            output,
            size,
            stride,
            dilation: 1,
        }
    }

    fn dilated(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// Rows and columns of the output, from those of the input.
    pub fn output_sides(&self, input: [usize; 2]) -> [usize; 2] {
        input.map(|side| side.div_ceil(self.stride))
    }
}

/// The kinds of residual blocks (He et al. 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3×3 convolutions. The first has the stride.
    Basic,
    /// A 1×1, a 3×3 and a 1×1 convolution.
    Bottleneck {
        /// Whether the stride is in the first 1×1 convolution ("v1", Caffe) instead of the 3×3 ("v1.5",
        /// torchvision).
        stride_in_1x1: bool,
    },
}

impl BlockKind {
    /// The kind of the blocks of this model.
    pub fn of(model: &ModelConfig) -> Self {
        match model.backbone.blocks() {
            (_, false) => Self::Basic,
            (_, true) => Self::Bottleneck {
                stride_in_1x1: model.stride_in_1x1,
            },
        }
    }

    /// Output channels of a block with `planes` channels in its 3×3 convolutions.
    fn output(self, planes: usize) -> usize {
        match self {
            Self::Basic => planes,
            Self::Bottleneck { .. } => planes * EXPANSION,
        }
    }
}

/// The sizes of a block.
///
/// To reduce the output stride, a stride is replaced by dilation, and the weights stay the same: the cells in
/// every second row and column of the denser feature map then equal the original feature map. For this, the
/// convolution whose stride is removed keeps the dilation of the convolutions before it, and the dilation of all
/// 3×3 convolutions after it is multiplied by the removed stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    /// Input channels.
    pub input: usize,
    /// Channels of the 3×3 convolutions.
    pub planes: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// Dilation of a 3×3 convolution that has the stride.
    pub dilation: usize,
    /// Dilation of a 3×3 convolution after the one that has the stride.
    pub dilation_after: usize,
}

impl Block {
    /// A block with this name.
    pub fn new(name: &str, kind: BlockKind, sizes: BlockSizes) -> Self {
        let BlockSizes {
            input,
            planes,
            stride,
            dilation,
            dilation_after,
        } = sizes;
        let inside = |names: [String; 2]| names.map(|part| format!("{name}.{part}"));
        let convolution = |index, channels, size, stride| {
            Convolution::new(inside(chain_names(index)), channels, size, stride)
        };
        let output = kind.output(planes);
        let convolutions = match kind {
            BlockKind::Basic => vec![
                convolution(0, [input, planes], 3, stride).dilated(dilation),
                convolution(1, [planes, planes], 3, 1).dilated(dilation_after),
            ],
            BlockKind::Bottleneck {
                stride_in_1x1: false,
            } => vec![
                convolution(0, [input, planes], 1, 1),
                convolution(1, [planes, planes], 3, stride).dilated(dilation),
                convolution(2, [planes, output], 1, 1),
            ],
            BlockKind::Bottleneck {
                stride_in_1x1: true,
            } => vec![
                convolution(0, [input, planes], 1, stride),
                convolution(1, [planes, planes], 3, 1).dilated(dilation_after),
                convolution(2, [planes, output], 1, 1),
            ],
        };
        let shortcut = (stride != 1 || input != output).then(|| {
            let names = SHORTCUT_NAMES.map(str::to_string);
            Convolution::new(inside(names), [input, output], 1, stride)
        });
        Self {
            name: name.to_string(),
            convolutions,
            shortcut,
        }
    }

    /// All convolutions: those of F, then the shortcut's.
    pub fn all(&self) -> impl Iterator<Item = &Convolution> {
        self.convolutions.iter().chain(&self.shortcut)
    }
}

impl Network {
    /// The backbone of these settings, which must be valid ([`ModelConfig::validate`]).
    pub fn new(model: &ModelConfig) -> Self {
        let (counts, _) = model.backbone.blocks();
        let kind = BlockKind::of(model);
        let [size, stride] = model.stem.convolution();
        let names = STEM_NAMES.map(str::to_string);
        let stem = Convolution::new(names, [3, model.width], size, stride);
        let mut input = stem.output;
        let mut stride_so_far = model.stem.stride();
        let mut dilation = 1;
        let stages = std::array::from_fn(|stage| {
            let planes = model.width << stage;
            let wanted = if stage == 0 { 1 } else { 2 };
            let dilation_before = dilation;
            let stride = if stride_so_far * wanted > model.output_stride {
                1
            } else {
                wanted
            };
            stride_so_far *= stride;
            dilation *= wanted / stride;
            let block = |index| {
                let first = index == 0;
                let sizes = BlockSizes {
                    input,
                    planes,
                    stride: if first { stride } else { 1 },
                    dilation: if first { dilation_before } else { dilation },
                    dilation_after: dilation,
                };
                input = kind.output(planes);
                Block::new(&block_name(stage, index), kind, sizes)
            };
            Stage {
                name: stage_name(stage),
                blocks: (0..counts[stage]).map(block).collect(),
                channels: kind.output(planes),
                stride: stride_so_far,
            }
        });
        Self {
            stem,
            pool: model.stem.pool(),
            stages,
        }
    }

    /// Channels of the last feature map.
    pub fn channels(&self) -> usize {
        self.stages[3].channels
    }

    /// All blocks, in the order of the forward pass.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.stages.iter().flat_map(|stage| &stage.blocks)
    }

    /// All convolutions: the stem, then those of [`Self::blocks`] in the order of [`Block::all`].
    pub fn convolutions(&self) -> impl Iterator<Item = &Convolution> {
        let blocks = self.blocks().flat_map(Block::all);
        std::iter::once(&self.stem).chain(blocks)
    }

    /// Rows and columns behind the pooling, from those of the stem's output.
    fn pooled(&self, sides: [usize; 2]) -> [usize; 2] {
        let stride = self.pool.map_or(1, |pool| pool.stride);
        sides.map(|side| side.div_ceil(stride))
    }

    /// Rows and columns of each stage's feature map, from those of the picture.
    pub fn stage_sides(&self, picture: [usize; 2]) -> [[usize; 2]; 4] {
        let mut sides = self.pooled(self.stem.output_sides(picture));
        self.stages.each_ref().map(|stage| {
            for block in &stage.blocks {
                sides = block.output_sides(sides);
            }
            sides
        })
    }

    /// All convolutions with the rows and columns of their outputs, from those of the picture, in the order of
    /// [`Self::convolutions`].
    pub fn maps(&self, picture: [usize; 2]) -> Vec<Map<'_>> {
        let output = self.stem.output_sides(picture);
        let mut maps = vec![Map {
            convolution: &self.stem,
            sides: output,
            relu: true,
        }];
        let mut input = self.pooled(output);
        for block in self.blocks() {
            let mut sides = input;
            for convolution in &block.convolutions {
                sides = convolution.output_sides(sides);
                maps.push(Map {
                    convolution,
                    sides,
                    relu: true,
                });
            }
            maps.extend(block.shortcut.iter().map(|convolution| Map {
                convolution,
                sides: convolution.output_sides(input),
                relu: false,
            }));
            input = sides;
        }
        maps
    }
}

impl Block {
    /// Rows and columns of the output, from those of the input.
    pub fn output_sides(&self, input: [usize; 2]) -> [usize; 2] {
        let convolutions = self.convolutions.iter();
        convolutions.fold(input, |sides, convolution| convolution.output_sides(sides))
    }
}

/// A convolution with the size of its output, for a picture of given size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map<'a> {
    /// The convolution.
    pub convolution: &'a Convolution,
    /// Rows and columns of its output.
    pub sides: [usize; 2],
    /// Whether a ReLU follows the normalisation or the sum of the block. Only shortcuts have none.
    pub relu: bool,
}
