//! # DenseCL: dense contrastive learning
//!
//! Wang et al., "Dense Contrastive Learning for Self-Supervised Visual Pre-Training" (CVPR 2021,
//! arXiv 2011.09157), on one page:
//!
//! ```text
//! x_q, x_k = two views of an image                              augment     §4.1
//! F_q = f(x_q; θq)   F_k = f(x_k; θk)     S×S backbone cells    model       §3.2
//! q = g(F_q)         k⁺ = g(F_k)          global vectors        model::head §3.2
//! r_i = h(F_q)_i     t_j = h(F_k)_j       dense vectors, S² each
//! θk ← m·θk + (1−m)·θq                                          model::momentum (MoCo, eq. 2)
//!
//! c_i = argmax_j cos(F_q,i , F_k,j)       which key cell is i's positive   matching  eq. 4
//!
//! L_q = −log  exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σ exp(q·k₋/τ))          loss  eq. 1
//! L_r = (1/S²) Σ_i −log  exp(r_i·t_cᵢ/τ) / (exp(r_i·t_cᵢ/τ) + Σ exp(r_i·t₋/τ))   eq. 2
//! L   = (1−λ)·L_q + λ·L_r                                                        eq. 3
//!
//! k₋: a queue of global keys; t₋: a queue of dense keys, each the mean over an image's cells  queue
//! ```
//!
//! Beyond the paper, off by default: c_i from the views' geometry instead of the features
//! ([`config::Matching::Geometry`]), and an in-view loss, r_i against all t_j of its own picture
//! ([`loss::in_view`]), `L = (1−λ)·L_q + λ·(L_r + w·L_v)`. Both are PixContrast's (Xie et al., CVPR 2021).
//!
//! All vectors have unit length; no gradient flows to keys or through the match. λ = 0 is MoCo v2.
//! [`method::DenseCl::step_in_order`] is that page as code. BYOL (Grill et al. 2020) is another method with a page of its
//! own, [`method::Byol`].
//!
//! | module | what it knows |
//! |---|---|
//! | [`config`] | the settings; defaults are the authors' |
//! | [`network`] | the description of a network: blocks, convolutions and tensors by name, with their sizes |
//! | [`model`] | ResNets, heads, encoder, momentum encoder, split BN |
//! | [`ops`] | the operations that cost time, by device |
//! | [`queue`], [`matching`], [`loss`], [`schedule`], [`metrics`] | tensors and numbers, no model |
//! | [`method`], [`optim`], [`loss_scale`] | what a method is; one training step |
//! | [`memory`] | what a training step holds, from the settings alone |
//! | [`checkpoint`], [`weights`] | state and networks as bytes |
//! | [`foreign`] | formats and names of other programs, read and written; nothing in a file is executed |
//! | [`augment`] | seeded views and the geometry that relates them |
//! | [`synthetic`] | procedural scenes with exact correspondence |
//! | [`features`] | dense features and matches of any two pictures |
//! | [`interpolate`] | values between the centres of cells |
//! | [`transfer`] | small heads on a backbone's features: what they are worth in another task |
//! | [`visualize`] | pixels in, pixels out |
//! | [`boxes`] | overlap and suppression of boxes |
//! | [`device`] | the only place that names a backend |
//! | [`self_test`] | whether a device computes what it should |
//! | [`rng`] | one seed, split per purpose |
//!
//! The crate has no file system, no threads and no clock, and builds for wasm32. Its Cargo features are
//! Burn's backends; without `train` there is no gradient, and no training step.

pub mod augment;
pub mod boxes;
#[cfg(feature = "train")]
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod error;
pub mod features;
pub mod foreign;
pub mod interpolate;
pub mod loss;
#[cfg(feature = "train")]
pub mod loss_scale;
pub mod matching;
#[cfg(feature = "train")]
pub mod memory;
#[cfg(feature = "train")]
pub mod method;
pub mod metrics;
pub mod model;
mod names;
pub mod network;
pub mod ops;
#[cfg(feature = "train")]
pub mod optim;
pub mod queue;
pub mod rng;
pub mod schedule;
pub mod self_test;
mod stored;
pub mod synthetic;
#[cfg(feature = "train")]
pub mod transfer;
pub mod visualize;
pub mod weights;

pub use error::{Error, Result};
