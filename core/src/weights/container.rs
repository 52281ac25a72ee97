//! Reading single tensors by name from safetensors or from a file of torch, without copying the others.

use std::{collections::HashMap, fmt};

use safetensors::SafeTensors;

use super::archive::{damaged, stored};
use crate::{
    error::{Error, Result},
    foreign::{
        tfjs::{self, LayersModel},
        torch::{self, Listing, TorchFile},
    },
    stored::Stored,
};

/// The file format in which tensors are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// safetensors.
    Safetensors,
    /// A zip archive, as `torch.save` writes since version 1.6.
    TorchZip,
    /// Consecutive pickles, as `torch.save` wrote before version 1.6.
    TorchLegacy,
    /// A pickle of NumPy arrays, as in detectron2's model zoo.
    NumpyPickle,
    /// A layers model of TensorFlow.js, see [`tfjs`].
    LayersModel,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "torch.save",
            Self::TorchLegacy => "torch.save, the format before 1.6",
            Self::NumpyPickle => "a pickle of numpy arrays",
            Self::LayersModel => "a layers model of TensorFlow.js",
        })
    }
}

impl Container {
    /// Recognises the format by the first bytes. [`Self::NumpyPickle`] begins like [`Self::TorchLegacy`], which
    /// is returned for both.
    ///
    /// # Errors
    /// [`Error::Format`] when the bytes begin like none of these formats.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        // safetensors begins with the length of its header in 8 bytes, then JSON. The first byte alone may also
        // be that of a pickle.
        let json = bytes.get(6..9) == Some(&[0, 0, b'{']);
        if json {
            return Ok(Self::Safetensors);
        }
        if torch::is_torch(bytes) {
            return Ok(if bytes[0] == 0x80 {
                Self::TorchLegacy
            } else {
                Self::TorchZip
            });
        }
        if tfjs::is_layers_model(bytes) {
            return Ok(Self::LayersModel);
        }
        Err(Error::Format(if bytes.is_empty() {
            "an empty file".to_string()
        } else if bytes.starts_with(b"version https://git-lfs") {
            "a pointer of Git LFS, not the file itself; `git lfs pull` gets it".to_string()
        } else {
            "no file of weights: neither safetensors nor what torch.save writes; it may be truncated"
                .to_string()
        }))
    }
}

/// A file whose tensors can be read by name.
pub(crate) enum OpenFile<'f, 'a> {
    Safetensors(SafeTensors<'a>),
    Torch(Listing<'f, 'a>, HashMap<String, usize>),
    LayersModel(&'f LayersModel<'a>),
}

impl<'a> OpenFile<'_, 'a> {
    /// Opens a safetensors file.
    ///
    /// # Errors
    /// [`Error::Format`] when the file is damaged.
    pub(crate) fn safetensors(bytes: &'a [u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        Ok(Self::Safetensors(file))
    }
}

impl<'f, 'a> OpenFile<'f, 'a> {
    /// Opens a file of torch.
    ///
    /// # Errors
    /// [`Error::Format`] as [`TorchFile::listing`]: when the file contains no named tensors, or tensors inside
    /// objects of unknown classes.
    pub(crate) fn torch(file: &'f TorchFile<'a>) -> Result<Self> {
        let listing = file.listing()?;
        let keys = listing.keys().into_iter().enumerate();
        let places = keys.map(|(index, (name, _))| (name, index)).collect();
        Ok(Self::Torch(listing, places))
    }

    /// Names and shapes of all tensors; for files of torch in the order of the file.
    pub(crate) fn keys(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Safetensors(file) => {
                let tensors = file.iter();
                tensors
                    .map(|(name, view)| (name.to_string(), view.shape().to_vec()))
                    .collect()
            }
            Self::Torch(listing, _) => listing.keys(),
            Self::LayersModel(model) => model.keys(),
        }
    }

    /// Copies one tensor.
    ///
    /// # Errors
    /// [`Error::Format`] when it is damaged or its number format is not supported; [`Error::Mismatch`] when
    /// there is none of this name.
    pub(crate) fn read(&self, name: &str) -> Result<Stored> {
        let gone = || Error::Mismatch(format!("{name} is not in the file"));
        match self {
            Self::Safetensors(file) => {
                let view = file.tensor(name).map_err(|_| gone())?;
                stored(name, &view)
            }
            Self::LayersModel(model) => model.read(name),
            Self::Torch(listing, places) => listing.read(*places.get(name).ok_or_else(gone)?),
        }
    }

    /// The dotted key under which the tensors were found (empty at the top level), and the keys that were not read.
    pub(crate) fn surroundings(&self) -> (String, Vec<String>) {
        match self {
            Self::Safetensors(_) | Self::LayersModel(_) => (String::new(), Vec::new()),
            Self::Torch(listing, _) => (listing.under.clone(), listing.beside.clone()),
        }
    }
}
