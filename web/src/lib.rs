//! DenseCL in the browser: the interface of the core for `js/worker.js`.
//!
//! `web/build.sh` builds four modules from this crate. `densecl_cpu` (features `cpu` and `match`: Burn's `flex` with
//! SIMD) and `densecl_gpu` (features `gpu` and `match`: WebGPU) compare pictures. They have the same interface;
//! [`Session::open`] opens the CPU in one and the GPU in the other. Pictures, features, matches and truth are computed
//! by the core. `densecl_train_cpu` and `densecl_train_gpu` (feature `train` in place of `match`) have [`Training`],
//! the trainer library's loop; they are larger, and fetched only by pages that train.
//!
//! Numbers are passed to JavaScript as typed arrays, pictures as bytes, settings and facts as JSON. Errors
//! that a visitor can cause are a [`Failure`]. A panic is reported through the function given to
//! [`Session::open`]; the worker with the module must then be replaced.

mod failure;
#[cfg(feature = "match")]
mod hasher;
#[cfg(feature = "match")]
mod pair;
#[cfg(feature = "match")]
mod picture;
mod session;
#[cfg(feature = "train")]
mod training;
#[cfg(feature = "match")]
mod truth;
#[cfg(feature = "match")]
mod weights;

pub use failure::Failure;
#[cfg(feature = "match")]
pub use hasher::Hasher;
#[cfg(feature = "match")]
pub use pair::{Match, Pair, pca};
#[cfg(feature = "match")]
pub use picture::{Picture, Scene};
pub use session::Session;
#[cfg(feature = "train")]
pub use training::Training;
#[cfg(feature = "match")]
pub use truth::Truth;
#[cfg(feature = "match")]
pub use weights::{Features, Weights, default_feature};
