//! Files of other programs, read and written.
//!
//! Whatever is known of another program stands here: how its files pack tensors ([`torch`],
//! [`detectron2`], [`onnx`], [`safetensors`]), and what it calls the tensors of a ResNet ([`names`], in
//! both directions). Reader and writer of a format are neighbours, so whoever changes one sees the other.
//! [`crate::weights`] decides which reader a file needs, and what of a network is written.
//!
//! A writer is a function from a [`StateDict`] or a [`Source`] to the bytes of a file. The caller stores
//! them.

pub mod detectron2;
pub mod names;
pub mod onnx;
mod pickle_writer;
pub mod safetensors;
mod state_dict;
pub mod torch;

use std::collections::BTreeMap;

pub use self::state_dict::{StateDict, Value};
use crate::{network::ModelConfig, stored::Stored};

/// A network to be written for another program.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The network.
    pub model: &'a ModelConfig,
    /// Its tensors under torchvision's names, those of the heads under ours.
    pub tensors: BTreeMap<&'a str, &'a Stored>,
    /// The method it was trained by.
    pub method: &'a str,
    /// Training steps taken.
    pub steps: u64,
    /// What it was trained on.
    pub data: &'a str,
}

impl Source<'_> {
    /// Whether a tensor's name begins with `prefix`.
    fn has(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }
}
