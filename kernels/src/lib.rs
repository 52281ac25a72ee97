//! What a ResNet and its contrastive loss spend their time in, on a CPU.
//!
//! Plain functions of slices; the core wraps them into operations of Burn with gradients. Feature maps are
//! in NHWC order: a pixel's channels lie side by side, so that a 1×1 convolution is one matrix product over
//! the whole batch, a patch is a few long copies, and statistics of channels run along rows.
//!
//! | module | what it computes |
//! |---|---|
//! | [`conv`] | convolution and its two gradients, as matrix products of patches |
//! | [`norm`] | batch normalisation in groups, with the residual sum and ReLU behind it |
//! | [`pool`] | the stem's max pooling |
//! | [`info_nce`] | InfoNCE against a queue and its gradient in one pass, without the logits |
//! | [`sgd`] | the optimizer and the momentum encoder, one pass over the parameters each |
//! | `allocator` | the memory of a program that trains (feature `allocator`) |
//!
//! Every result is the same for any number of threads: work is cut by its size, never by how many there
//! are, and sums are taken in a fixed order.

#[cfg(feature = "allocator")]
pub mod allocator;
pub mod conv;
pub mod info_nce;
pub mod norm;
mod parallel;
pub mod pool;
mod product;
pub mod sgd;

pub use parallel::together;
