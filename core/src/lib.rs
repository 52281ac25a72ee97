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
//! Two extensions are off by default, both from PixContrast (Xie et al., CVPR 2021): c_i from the geometry of
//! the views instead of the features ([`config::Matching::Geometry`]), and an in-view loss L_v, which contrasts
//! r_i with all t_j of its own image ([`loss::in_view`]): `L = (1−λ)·L_q + λ·(L_r + w·L_v)`.
//!
//! All vectors have unit length. Keys and matches have no gradient. λ = 0 is MoCo v2.
//! [`method::DenseCl::step_in_order`] computes these equations in this order. BYOL (Grill et al. 2020) is another
//! method with a page of its own, [`method::Byol`]; UniVIP (Li et al. 2022), [`method::UniVip`], adds instances to
//! it, and 3SAT (Fang et al. 2025), [`method::ThreeSat`], attacked pictures.
//!
//! # Five things people do
//!
//! Each example is a short program that the tests compile and run: `cargo run --release --example NAME -- …`; the file
//! is `examples/NAME.rs`.
//!
//! | to | use | example |
//! |---|---|---|
//! | train on a folder of photographs | `PreparedRun` of [densecl-train](../densecl_train/index.html) | `train_on_a_folder` |
//! | compute the dense features of a picture | [`weights::load`], [`features::dense_features`] | `dense_features` |
//! | match two pictures | [`features::map_similarity`], [`matching::mutual_matches`] | `match_two_pictures` |
//! | read another program's weights and export them | [`weights::Weights`] | `convert_weights` |
//! | evaluate a backbone | `evaluate` of [densecl-eval](../densecl_eval/index.html) | `evaluate_a_backbone` |
//!
//! Two more show how to add a method (`a_method_of_your_own`) and what UniVIP sees (`boxes_and_plan`).
//!
//! # Modules
//!
//! | module | what it contains |
//! |---|---|
//! | [`config`] | the settings of method and optimizer; defaults are the authors' |
//! | [`network`] | the description of a network: blocks, convolutions and tensors by name, with their sizes |
//! | [`model`] | ResNets, heads, encoder, momentum encoder, split BN |
//! | [`ops`] | convolution, normalisation, pooling, InfoNCE and SGD, for each kind of device |
//! | [`queue`], [`matching`], [`loss`], [`schedule`], [`metrics`] | functions of tensors, independent of the model |
//! | [`method`], [`optim`], [`loss_scale`] | the interface of a method; one training step |
//! | [`attack`] | adversarial perturbations of pixels |
//! | [`world`] | the ranks that train one run together: several devices or machines |
//! | [`memory`] | an estimate of the memory of a training step, from the settings |
//! | [`checkpoint`], [`weights`] | training states and networks as bytes |
//! | [`foreign`] | formats and names of other programs, read and written; nothing in a file is executed |
//! | [`augment`] | seeded views and the geometry that relates them |
//! | [`synthetic`] | procedural scenes with exact correspondence |
//! | [`features`] | dense features of pictures, and matches between two pictures |
//! | [`interpolate`] | bilinear interpolation between the centres of cells |
//! | [`transfer`] | small heads trained on a backbone's features, to measure these features on other tasks |
//! | [`visualize`] | drawings of matches, heat maps and PCA colours; input and output are pixels |
//! | [`boxes`] | overlap and non-maximum suppression of boxes |
//! | [`device`] | choosing and opening a device |
//! | [`self_test`] | a test that a device computes correctly |
//! | [`rng`] | random streams, derived from one seed |
//!
//! The crate uses no file system and no clock, starts no threads of its own, and builds for wasm32. Its Cargo
//! features select Burn's backends; without `train` there are no gradients and no training step.

#[cfg(feature = "train")]
pub mod attack;
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
pub mod mask;
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
#[cfg(feature = "train")]
pub mod world;

pub use error::{Error, Result};
