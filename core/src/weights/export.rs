//! Weights in the formats of other programs.

use super::Weights;
use crate::{
    error::Result,
    foreign::{Source, StateDict, detectron2, onnx, safetensors, torch},
};

/// A format to export to, one file each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors with torchvision's names.
    Safetensors,
    /// What `torch.load` reads, with torchvision's names.
    Torch,
    /// A pickle with detectron2's names.
    Detectron2,
    /// A graph, at the output stride of the model.
    Onnx,
}

impl Weights {
    /// A file for another program: the backbone, and with `heads` the heads that are there.
    ///
    /// # Errors
    /// [`crate::Error::Mismatch`] when the heads are wanted and not there, or the receiver has no use for
    /// them.
    pub fn export(&self, format: Format, heads: bool) -> Result<Vec<u8>> {
        let source = self.source();
        match format {
            Format::Safetensors => safetensors::write(&StateDict::new(&source, heads)?),
            Format::Torch => torch::write(&StateDict::new(&source, heads)?),
            Format::Detectron2 => {
                detectron2::write(&StateDict::new(&source, heads)?, source.model.stride_in_1x1)
            }
            Format::Onnx => onnx::write(&source, heads),
        }
    }

    /// What writers for other programs take.
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            model: &self.info.model,
            tensors: self.tensors.iter().collect(),
            method: &self.info.method,
            steps: self.info.steps,
            data: &self.info.data,
        }
    }

    /// What the receiver of an export has to be told about the stride of bottlenecks, in a line: detectron2
    /// in its settings, as its own default is the first 1×1 convolution; torchvision's ResNet has it in the
    /// 3×3 and cannot be told. An ONNX graph says it itself. None where there is nothing to tell.
    pub fn stride_advice(&self, format: Format) -> Option<String> {
        let model = &self.info.model;
        let (_, bottleneck) = model.backbone.blocks();
        let in_1x1 = model.stride_in_1x1;
        match format {
            Format::Detectron2 if bottleneck => Some(format!(
                "for detectron2 set MODEL.RESNETS.STRIDE_IN_1X1: {}",
                if in_1x1 { "True" } else { "False" }
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
