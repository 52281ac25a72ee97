//! Detection as transfer: FCOS on one feature map.
//!
//! Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection" (ICCV 2019; TPAMI 2020, whose
//! improvements are in: centre sampling, GIoU, centre-ness beside the boxes). Every cell says what
//! object it belongs to and how far the four sides of its box are. No anchors, no proposals: small
//! enough to train on one machine, and as dense as the features it judges. Losses, targets and tensor
//! names are those of `torchvision.models.detection.fcos`, against which they are tested; in place of
//! the pyramid stands one level, a 1×1 convolution with group normalisation, which also takes out
//! the scale of a backbone's features.
//!
//! Cells stand for the point ((i + 0.5)·stride, (j + 0.5)·stride), as everywhere in this crate and in
//! the paper (torchvision: i·stride). Distances are in strides.

mod decode;
mod head;
mod loss;
mod targets;

pub use decode::{DecodeConfig, decode};
pub use head::{FcosHead, Predictions};
pub use loss::{FcosLoss, fcos_loss};
pub use targets::{CellTarget, assign};
