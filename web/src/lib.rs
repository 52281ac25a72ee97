//! DenseCL in the browser: a thin surface over the core for `js/worker.js`.
//!
//! Two modules are built from it (`web/build.sh`): `densecl_cpu` (feature `cpu`: Burn's `flex`, SIMD) and
//! `densecl_gpu` (feature `gpu`: WebGPU). Their interface is the same; only [`Session::open`] differs in
//! what it opens. Nothing here knows the network: pictures, features, matches and truth are the core's.
//!
//! Numbers cross the border as typed arrays, pictures as bytes, settings and facts as JSON. Whatever a
//! visitor can get wrong is a [`Failure`]; a panic is reported through the function given to
//! [`Session::open`], and the module is then to be thrown away with its worker.

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
