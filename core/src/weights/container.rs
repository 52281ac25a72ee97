//! Named tensors in a file of either kind, each copied only when it is asked for.

use std::{collections::HashMap, fmt};

use safetensors::SafeTensors;

use super::archive::{damaged, stored};
use crate::{
    error::{Error, Result},
    foreign::torch::{self, Listing, TorchFile},
    stored::Stored,
};

/// How a file packs its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// safetensors.
    Safetensors,
    /// `torch.save` since 1.6: a zip archive.
    TorchZip,
    /// `torch.save` before 1.6.
    TorchLegacy,
    /// A pickle of numpy's arrays, as detectron2's model zoo has them.
    NumpyPickle,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "torch.save",
            Self::TorchLegacy => "torch.save, the format before 1.6",
            Self::NumpyPickle => "a pickle of numpy arrays",
        })
    }
}

impl Container {
    /// What these bytes are, by how they begin, which does not tell [`Self::NumpyPickle`] from
    /// [`Self::TorchLegacy`].
    ///
    /// # Errors
    /// [`Error::Format`] when they are none of these.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        // A header's length in 8 bytes, then JSON. The first byte alone may be a pickle's.
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

/// An opened file.
pub(crate) enum OpenFile<'f, 'a> {
    Safetensors(SafeTensors<'a>),
    Torch(Listing<'f, 'a>, HashMap<String, usize>),
}

impl<'a> OpenFile<'_, 'a> {
    /// # Errors
    /// [`Error::Format`] when the file is damaged.
    pub(crate) fn safetensors(bytes: &'a [u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        Ok(Self::Safetensors(file))
    }
}

impl<'f, 'a> OpenFile<'f, 'a> {
    /// # Errors
    /// [`Error::Format`] when the file holds no named tensors, or hides some.
    pub(crate) fn torch(file: &'f TorchFile<'a>) -> Result<Self> {
        let listing = file.listing()?;
        let keys = listing.keys().into_iter().enumerate();
        let places = keys.map(|(index, (name, _))| (name, index)).collect();
        Ok(Self::Torch(listing, places))
    }

    /// Names and shapes; torch's in the file's order.
    pub(crate) fn keys(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Safetensors(file) => {
                let tensors = file.iter();
                tensors
                    .map(|(name, view)| (name.to_string(), view.shape().to_vec()))
                    .collect()
            }
            Self::Torch(listing, _) => listing.keys(),
        }
    }

    /// Copies one tensor.
    ///
    /// # Errors
    /// [`Error::Format`] when it is damaged or of a type that is not read; [`Error::Mismatch`] when
    /// there is none of this name.
    pub(crate) fn read(&self, name: &str) -> Result<Stored> {
        let gone = || Error::Mismatch(format!("{name} is not in the file"));
        match self {
            Self::Safetensors(file) => {
                let view = file.tensor(name).map_err(|_| gone())?;
                stored(name, &view)
            }
            Self::Torch(listing, places) => listing.read(*places.get(name).ok_or_else(gone)?),
        }
    }

    /// Where the tensors were found, and what is beside them.
    pub(crate) fn surroundings(&self) -> (String, Vec<String>) {
        match self {
            Self::Safetensors(_) => (String::new(), Vec::new()),
            Self::Torch(listing, _) => (listing.under.clone(), listing.beside.clone()),
        }
    }
}
