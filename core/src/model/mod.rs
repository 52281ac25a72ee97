//! The networks: ResNet backbones, projection heads, and the momentum encoder.

mod block;
mod encoder;
pub(crate) mod head;
mod layers;
mod momentum;
mod norm;
mod resnet;
#[cfg(feature = "train")]
mod running;
pub(crate) mod visit;

pub use block::Block;
pub use encoder::{Embeddings, Encoder, Heads};
pub use head::{DenseHead, GlobalHead};
pub use layers::{Conv2d, Init, Linear};
pub use momentum::follow;
pub use norm::{BatchNorm, EPSILON, GroupNorm};
pub use resnet::{ResNet, Stages};
#[cfg(feature = "train")]
pub use running::RunningStatistics;
pub use visit::{AnyNetwork, Kind, NamedTensor, TensorVisitor, Tensors};
