//! Files of other programs, read and written.
//!
//! Whatever is known of another program stands here: how its files pack tensors ([`torch`], pickles,
//! ONNX), and what it calls the tensors of a ResNet ([`names`], in both directions). Reading and writing of one format are
//! neighbours, so that a change of either meets the other. [`crate::weights`] is the door to it: it
//! decides which reader a file needs, and what of a network is written.
//!
//! Writers are functions from a [`StateDict`] or a [`Source`] to bytes; putting them on a disk is for
//! others.

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
