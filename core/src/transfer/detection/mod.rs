//! Transfer to detection: FCOS on one feature map.
//!
//! Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection" (ICCV 2019), with the improvements
//! of the journal version (TPAMI 2020): centre sampling, GIoU, and centre-ness in the tower of the boxes.
//! Every cell predicts the class of its object and the distances of the box's four sides. Without anchors
//! and proposals the detector is small enough to train on one machine, and its predictions are as dense
//! as the features that it evaluates. Losses, targets and tensor names are those of
//! `torchvision.models.detection.fcos`, against which they are tested. The feature pyramid is replaced by
//! one level: a 1×1 convolution with group normalisation, which also makes the detector independent of
//! the scale of the backbone's features.
//!
//! A cell stands for the point ((i + 0.5)·stride, (j + 0.5)·stride), as in the whole crate and in the
//! paper (torchvision: i·stride). Distances are in strides.

mod decode;
pub(in crate::transfer) mod head;
pub(in crate::transfer) mod loss;
mod targets;

pub use decode::{DecodeConfig, decode};
pub use head::{FcosHead, Predictions};
pub use loss::{FcosLoss, fcos_loss};
pub use targets::{CellTarget, assign};
