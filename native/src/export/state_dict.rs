//! The tensors of a network as torchvision's `state_dict()` has them.

use anyhow::bail;
use densecl::weights::{Stored, Weights};

/// One entry of a state dict.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Floats(&'a Stored),
    /// A scalar of int64.
    Counter(i64),
}

impl Value<'_> {
    /// Its bytes, little-endian.
    pub(super) fn le_bytes(&self) -> Vec<u8> {
        match self {
            Self::Floats(stored) => stored.le_bytes(),
            Self::Counter(count) => count.to_le_bytes().to_vec(),
        }
    }
}

/// Names and values, the classifier missing. The heads, if wanted, keep our names.
///
/// Every batch normalisation counts its batches: the steps of the training, which is where a count of
/// another program's file was kept.
///
/// # Errors
/// When the heads are wanted and not there.
pub(super) fn entries(weights: &Weights, heads: bool) -> anyhow::Result<Vec<(String, Value<'_>)>> {
    let there = weights.heads();
    if heads && !(there.global || there.dense) {
        bail!("--heads: the weights have none; leave it out to export the backbone alone");
    }
    let batches = i64::try_from(weights.info.steps).unwrap_or_default();
    let mut entries = Vec::new();
    for (name, stored) in weights.tensors().iter() {
        if !heads && is_head(name) {
            continue;
        }
        entries.push((name.to_string(), Value::Floats(stored)));
        if let Some(norm) = name.strip_suffix("running_var") {
            let name = format!("{norm}num_batches_tracked");
            entries.push((name, Value::Counter(batches)));
        }
    }
    Ok(entries)
}

fn is_head(name: &str) -> bool {
    name.starts_with("global_head.") || name.starts_with("dense_head.")
}
