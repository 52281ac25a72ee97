//! CPU kernels for the operations that take most of the time of training a ResNet with a contrastive loss.
//!
//! They are functions of slices of `f32`; `densecl` makes differentiable Burn operations of them. Feature maps
//! are in NHWC order, in which the channels of a pixel are adjacent: a 1×1 convolution is one matrix product
//! over the batch, a patch is copied in a few long runs, and channel statistics are vectorised along channels.
//!
//! | module | what it computes |
//! |---|---|
//! | [`conv`] | convolution and its gradients, as matrix products of patches |
//! | [`norm`] | batch normalisation in groups, fused with the residual sum and ReLU that follow |
//! | [`pool`] | the stem's max pooling |
//! | [`info_nce`] | InfoNCE against a queue and its gradient in one pass, without the logits |
//! | [`sgd`] | the updates of SGD and of the momentum encoder, in one pass over the parameters each |
//! | `allocator` | the global allocator for programs that train (feature `allocator`) |
//!
//! Results are bitwise the same for any number of threads: how the work is split depends only on its size, and sums
//! are taken in a fixed order.

#[cfg(feature = "allocator")]
pub mod allocator;
pub mod conv;
pub mod info_nce;
pub mod norm;
mod parallel;
pub mod pool;
mod product;
pub mod sgd;
#[cfg(feature = "threads")]
mod team;

pub use parallel::together;
