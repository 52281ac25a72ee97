//! safetensors that need no program of ours to be understood.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use densecl::weights::Weights;
use safetensors::{Dtype, View, serialize};

use super::state_dict::{Value, entries};
use densecl_train::files::write_atomically;

/// Writes the file; returns its bytes.
///
/// # Errors
/// When the heads are wanted and not there, or the file cannot be written.
pub(super) fn write(path: &Path, weights: &Weights, heads: bool) -> anyhow::Result<usize> {
    // Which numbers these are; Hugging Face's loaders ask for it.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes =
        serialize(entries(weights, heads)?, Some(metadata)).context("writing safetensors")?;
    write_atomically(path, &bytes)?;
    Ok(bytes.len())
}

impl View for Value<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Floats(_) => Dtype::F32,
            Self::Counter(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Floats(stored) => &stored.shape,
            Self::Counter(_) => &[],
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.le_bytes())
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Floats(stored) => stored.values.len() * 4,
            Self::Counter(_) => 8,
        }
    }
}
