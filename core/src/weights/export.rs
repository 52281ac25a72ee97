//! Exporting weights to the formats of other programs.

use super::Weights;
use crate::{
    config::Stem,
    error::{Error, Result},
    foreign::{Source, StateDict, detectron2, onnx, safetensors, torch},
};

/// A format of another program; an export is one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors with torchvision's names.
    Safetensors,
    /// A `.pth` file for `torch.load`, with torchvision's names.
    Torch,
    /// A pickle of NumPy arrays with detectron2's names.
    Detectron2,
    /// An ONNX graph, at the output stride of the model.
    Onnx,
}

impl Weights {
    /// The bytes of a file for another program: the backbone, and if `heads` also the heads that the weights have.
    ///
    /// # Errors
    /// [`crate::Error::Mismatch`] when `heads` is true and the weights have none, or the format cannot contain
    /// them; for detectron2 also when the network is one for small pictures.
    pub fn export(&self, format: Format, heads: bool) -> Result<Vec<u8>> {
        let source = self.source();
        match format {
            Format::Safetensors => safetensors::write(&StateDict::new(&source, heads)?),
            Format::Torch => torch::write(&StateDict::new(&source, heads)?),
            Format::Detectron2 if source.model.stem == Stem::Cifar => Err(Error::Mismatch(
                "detectron2's ResNet has no stem for small pictures (3x3, without a pooling), as these weights need; \
                 export them with --to torch, safetensors or onnx"
                    .to_string(),
            )),
            Format::Detectron2 => {
                detectron2::write(&StateDict::new(&source, heads)?, source.model.stride_in_1x1)
            }
            Format::Onnx => onnx::write(&source, heads),
        }
    }

    /// The input of the writers in [`crate::foreign`].
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            model: &self.info.model,
            tensors: self.tensors.iter().collect(),
            method: &self.info.method,
            steps: self.info.steps,
            data: &self.info.data,
        }
    }

    /// One line of advice on how the other program's network must differ from its usual one, or `None` if it need not.
    ///
    /// A network for small pictures has a 3×3 stem of stride 1 without a pooling, which a ResNet of torchvision gets by
    /// replacing both. Of the stride of bottlenecks: detectron2 has the stride in the first 1×1 convolution by default, and a setting changes this.
    /// torchvision's ResNet always has it in the 3×3 convolution. An ONNX graph contains the stride of each
    /// convolution and needs no advice.
    pub fn advice(&self, format: Format) -> Option<String> {
        let model = &self.info.model;
        let (_, bottleneck) = model.backbone.blocks();
        let in_1x1 = model.stride_in_1x1;
        match format {
            Format::Detectron2 if bottleneck => Some(format!(
                "for detectron2 set MODEL.RESNETS.STRIDE_IN_1X1: {}",
                if in_1x1 { "True" } else { "False" }
            )),
            Format::Safetensors | Format::Torch if model.stem == Stem::Cifar => Some(format!(
                "these weights have a 3x3 stem without a pooling: before loading them into torchvision's ResNet, set \
                 conv1 = Conv2d(3, {}, 3, padding=1, bias=False) and maxpool = Identity(){}",
                model.width,
                if in_1x1 {
                    ", and the stride of its bottlenecks in their first 1x1 convolution"
                } else {
                    ""
                }
            )),
            Format::Safetensors | Format::Torch if in_1x1 => Some(
                "these weights have the stride of a bottleneck in its first 1x1 convolution, which this format \
                 cannot say: torchvision's ResNet, with the stride in the 3x3, would give other features; \
                 take a network of the other kind, such as mmdetection's with style=\"caffe\""
                    .to_string(),
            ),
            _ => None,
        }
    }
}
