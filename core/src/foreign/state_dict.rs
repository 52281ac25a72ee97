//! The tensors of a network as in torchvision's `state_dict()`.

use super::Source;
use crate::{
    error::{Error, Result},
    network::{DENSE_HEAD, GLOBAL_HEAD, is_head},
    stored::Stored,
};

/// Names and values of the tensors of a backbone without classifier, optionally with our heads.
#[derive(Debug, Clone)]
pub struct StateDict<'a>(pub(super) Vec<(String, Value<'a>)>);

/// One entry of a state dict.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A tensor of f32.
    Floats(&'a Stored),
    /// A scalar of int64.
    Counter(i64),
}

impl Value<'_> {
    /// Its shape.
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Floats(stored) => &stored.shape,
            Self::Counter(_) => &[],
        }
    }

    /// Its bytes, little-endian.
    pub(super) fn le_bytes(&self) -> Vec<u8> {
        match self {
            Self::Floats(stored) => stored.le_bytes(),
            Self::Counter(count) => count.to_le_bytes().to_vec(),
        }
    }
}

impl<'a> StateDict<'a> {
    /// The backbone of `source`, and if `heads` also its heads, with our names.
    ///
    /// The counter `num_batches_tracked` of each batch normalisation is set to the number of training steps.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `heads` is true and there is no head.
    pub fn new(source: &Source<'a>, heads: bool) -> Result<Self> {
        if heads && !(source.has(GLOBAL_HEAD) || source.has(DENSE_HEAD)) {
            return Err(Error::Mismatch(
                "the weights have none; leave it out to export the backbone alone".to_string(),
            ));
        }
        let batches = i64::try_from(source.steps).unwrap_or_default();
        let mut entries = Vec::new();
        for (&name, &stored) in &source.tensors {
            if !heads && is_head(name) {
                continue;
            }
            entries.push((name.to_string(), Value::Floats(stored)));
            if let Some(norm) = name.strip_suffix("running_var") {
                let name = format!("{norm}num_batches_tracked");
                entries.push((name, Value::Counter(batches)));
            }
        }
        Ok(Self(entries))
    }
}
