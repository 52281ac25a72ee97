//! DenseCL in the browser: the interface of the core for `js/worker.js`.
//!
//! `web/build.sh` builds two modules from this crate: `densecl_cpu` (feature `cpu`: Burn's `flex` with SIMD) and
//! `densecl_gpu` (feature `gpu`: WebGPU). They have the same interface; [`Session::open`] opens the CPU in
//! one and the GPU in the other. Pictures, features, matches and truth are computed by the core.
//!
//! Numbers are passed to JavaScript as typed arrays, pictures as bytes, settings and facts as JSON. Errors
//! that a visitor can cause are a [`Failure`]. A panic is reported through the function given to
//! [`Session::open`]; the worker with the module must then be replaced.

mod failure;
mod hasher;
mod pair;
mod picture;
mod session;
mod truth;
mod weights;

pub use failure::Failure;
pub use hasher::Hasher;
pub use pair::{Match, Pair, pca};
pub use picture::{Picture, Scene};
pub use session::Session;
pub use truth::Truth;
pub use weights::{Features, Weights, default_feature};
