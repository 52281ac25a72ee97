//! Reading and writing files of other programs.
//!
//! This module contains the file formats of other programs ([`torch`], [`detectron2`], [`onnx`],
//! [`tfjs`], [`safetensors`]) and their names for the tensors of a ResNet ([`names`], in both directions).
//! [`crate::weights`] chooses the reader for a file, and which tensors of a network are written.
//!
//! A writer is a function from a [`StateDict`] or a [`Source`] to the bytes of a file; the caller stores them.

pub mod detectron2;
pub mod names;
pub mod onnx;
mod pickle_writer;
pub mod safetensors;
mod state_dict;
pub mod tfjs;
pub mod torch;

use std::collections::BTreeMap;

pub use self::state_dict::{StateDict, Value};
use crate::{network::ModelConfig, stored::Stored};

/// A network to be written for another program.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The network.
    pub model: &'a ModelConfig,
    /// Its tensors; the backbone has torchvision's names, the heads have ours.
    pub tensors: BTreeMap<&'a str, &'a Stored>,
    /// The method that trained it.
    pub method: &'a str,
    /// Number of training steps.
    pub steps: u64,
    /// The training data, as the user named it.
    pub data: &'a str,
}

impl Source<'_> {
    /// Whether there is a tensor whose name begins with `prefix`.
    fn has(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }
}
