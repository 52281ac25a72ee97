//! Writing safetensors for other programs: plain state dicts, without our metadata.

use std::{borrow::Cow, collections::HashMap};

use safetensors::{Dtype, View, serialize};

use super::{StateDict, Value};
use crate::error::{Error, Result};

/// The bytes of the file.
///
/// # Errors
/// [`Error::Format`] when they cannot be serialised.
pub fn write(state_dict: &StateDict) -> Result<Vec<u8>> {
    // Hugging Face's loaders require this key; `pt` stands for PyTorch.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    serialize(state_dict.0.iter().cloned(), Some(metadata))
        .map_err(|e| Error::Format(format!("writing safetensors failed: {e}")))
}

impl View for Value<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Floats(_) => Dtype::F32,
            Self::Counter(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape()
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
