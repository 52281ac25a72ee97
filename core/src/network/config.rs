//! The settings of a network.

use serde::{Deserialize, Serialize, Serializer};

use super::Pool;
use crate::error::{Error, Result};

/// Backbone architectures (He et al., 2016), with torchvision's numerics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backbone {
    /// Basic blocks [1, 1, 1, 1]; for quick starts and tests.
    ResNet10,
    /// Basic blocks [2, 2, 2, 2].
    ResNet18,
    /// Basic blocks [3, 4, 6, 3].
    ResNet34,
    /// Bottlenecks [3, 4, 6, 3]; the paper's backbone.
    ResNet50,
    /// Bottlenecks [3, 4, 23, 3].
    ResNet101,
}

impl Backbone {
    /// Every architecture, from the fewest blocks to the most.
    pub const ALL: [Self; 5] = [
        Self::ResNet10,
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::ResNet101,
    ];

    /// The name as written in configs and in the metadata of weights.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet10 => "resnet10",
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
        }
    }

    /// Blocks in each of the four stages, and whether they are bottlenecks (He et al. 2016, table 1).
    pub fn blocks(self) -> ([usize; 4], bool) {
        match self {
            Self::ResNet10 => ([1, 1, 1, 1], false),
            Self::ResNet18 => ([2, 2, 2, 2], false),
            Self::ResNet34 => ([3, 4, 6, 3], false),
            Self::ResNet50 => ([3, 4, 6, 3], true),
            Self::ResNet101 => ([3, 4, 23, 3], true),
        }
    }
}

/// How a backbone begins: which pictures it is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// A 7×7 convolution of stride 2 and a max pooling of stride 2, for photographs (He et al. 2016, table 1).
    #[default]
    ImageNet,
    /// A 3×3 convolution of stride 1 without a pooling, for pictures of about 32 px: they have too few pixels for the
    /// other one.
    Cifar,
}

impl Stem {
    /// The name as written in configs and in the metadata of weights.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageNet => "imagenet",
            Self::Cifar => "cifar",
        }
    }

    /// Side of the convolution's kernel, and its stride.
    pub fn convolution(self) -> [usize; 2] {
        match self {
            Self::ImageNet => [7, 2],
            Self::Cifar => [3, 1],
        }
    }

    /// The max pooling after the convolution.
    pub fn pool(self) -> Option<Pool> {
        match self {
            Self::ImageNet => Some(Pool { size: 3, stride: 2 }),
            Self::Cifar => None,
        }
    }

    /// Side of a cell behind the stem in pixels.
    pub fn stride(self) -> usize {
        let [_, stride] = self.convolution();
        stride * self.pool().map_or(1, |pool| pool.stride)
    }

    /// The output stride of a network whose strides are not replaced by dilation: three stages halve the resolution.
    pub fn largest_output_stride(self) -> usize {
        self.stride() * 8
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The network: backbone f and the two projection heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Architecture of the backbone.
    pub backbone: Backbone,
    /// Channels of the stem, 1 to 256; torchvision has 64. The stages have 1, 2, 4 and 8 times as many (with
    /// bottlenecks 4, 8, 16 and 32 times).
    pub width: usize,
    /// The stem: for photographs, or for small pictures.
    pub stem: Stem,
    /// Side of a cell of the last feature map in pixels: 32, 16 or 8. For 16 and 8, strides are replaced by
    /// dilation; the weights are the same. With [`Stem::Cifar`] it is 8, which needs no dilation.
    pub output_stride: usize,
    /// Dimension of the outputs of both heads, 1 to 4096.
    pub dim: usize,
    /// Side of the grid to which the feature map is pooled before the dense head, in cells, at most 128; 0 = no
    /// pooling.
    pub num_grid: usize,
    /// Whether the stride of a bottleneck is in its first 1×1 convolution ("v1", as in Caffe and in
    /// detectron2's ImageNet models) instead of its 3×3 convolution (torchvision). Weights are trained for one
    /// of the two; their names and shapes are the same for both.
    pub stride_in_1x1: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            backbone: Backbone::ResNet50,
            width: 64,
            stem: Stem::ImageNet,
            output_stride: 32,
            dim: 128,
            num_grid: 0,
            stride_in_1x1: false,
        }
    }
}

impl ModelConfig {
    /// The possible output strides, in pixels.
    pub const OUTPUT_STRIDES: [usize; 3] = [32, 16, 8];

    /// Checks that this output stride is one of [`Self::OUTPUT_STRIDES`].
    ///
    /// # Errors
    /// The permitted values as the end of a sentence: "must be …".
    pub fn check_output_stride(stride: usize) -> std::result::Result<(), String> {
        if Self::OUTPUT_STRIDES.contains(&stride) {
            return Ok(());
        }
        let [most, middle, least] = Self::OUTPUT_STRIDES;
        Err(format!("must be {least}, {middle} or {most}"))
    }

    /// The network in words, such as `resnet50 of width 64`.
    pub fn describe(&self) -> String {
        let stem = match self.stem {
            Stem::ImageNet => "",
            Stem::Cifar => " with the stem for small pictures",
        };
        let placement = if self.stride_in_1x1 {
            " with the stride in the 1x1 convolution"
        } else {
            ""
        };
        format!(
            "{} of width {}{stem}{placement}",
            self.backbone.name(),
            self.width
        )
    }

    /// Checks the range of each setting.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        Error::ensure(
            "model.width",
            self.width,
            (1..=256).contains(&self.width),
            "1 to 256 channels",
        )?;
        let stride = self.output_stride;
        Self::check_output_stride(stride)
            .map_err(|expected| Error::config("model.output_stride", stride, expected))?;
        let largest = self.stem.largest_output_stride();
        if stride > largest {
            return Err(Error::config(
                "model.output_stride",
                stride,
                format!(
                    "with model.stem = {:?} the cells of the last feature map have at most {largest} pixels: must be \
                     {largest} (--stride {largest})",
                    self.stem.name()
                ),
            ));
        }
        Error::ensure(
            "model.dim",
            self.dim,
            (1..=4096).contains(&self.dim),
            "1 to 4096 channels",
        )?;
        Error::ensure(
            "model.num_grid",
            self.num_grid,
            self.num_grid <= 128,
            "0 (no pooling) to 128 cells",
        )?;
        let (_, bottleneck) = self.backbone.blocks();
        Error::ensure(
            "model.stride_in_1x1",
            self.stride_in_1x1,
            bottleneck || !self.stride_in_1x1,
            "false for a backbone of basic blocks, which have no 1x1 convolution: resnet50 and resnet101 have one",
        )
    }
}

/// Serialises a [`ModelConfig`] for the metadata of weights and checkpoints. `stem` and `stride_in_1x1` are written
/// only if they are not the usual ones, so that other files can also be read by versions without these settings.
pub(crate) fn in_metadata<S: Serializer>(
    model: &ModelConfig,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Written {
        backbone: Backbone,
        width: usize,
        #[serde(skip_serializing_if = "Stem::is_default")]
        stem: Stem,
        output_stride: usize,
        dim: usize,
        num_grid: usize,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        stride_in_1x1: bool,
    }
    let &ModelConfig {
        backbone,
        width,
        stem,
        output_stride,
        dim,
        num_grid,
        stride_in_1x1,
    } = model;
    let written = Written {
        backbone,
        width,
        stem,
        output_stride,
        dim,
        num_grid,
        stride_in_1x1,
    };
    written.serialize(serializer)
}
