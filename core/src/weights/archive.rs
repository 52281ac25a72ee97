//! Named tensors, written to and read from safetensors.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use burn::tensor::Tensor;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, View, tensor::TensorView};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::FORMAT_VERSION;
use crate::{
    device::{block_on, read},
    error::{Error, Result, SHOWN, first_names},
    model::{AnyNetwork, NamedTensor},
    stored::Stored,
};

/// The key of the safetensors header whose value is our metadata, as JSON.
const METADATA_KEY: &str = "densecl";

/// The number format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePrecision {
    /// All tensors as f32.
    F32,
    /// Tensors of two or more dimensions as f16, rounded to nearest; those with a value beyond f16's range, and all
    /// others, as f32.
    Half,
}

/// A tensor to be written. Its bytes are made when it is written, so that only one tensor is converted at a time.
struct TensorBytes<'a> {
    stored: &'a Stored,
    half: bool,
}

impl View for TensorBytes<'_> {
    fn dtype(&self) -> Dtype {
        if self.half { Dtype::F16 } else { Dtype::F32 }
    }

    fn shape(&self) -> &[usize] {
        &self.stored.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(if self.half {
            let values = self.stored.values.iter();
            values
                .flat_map(|&v| f16::from_f32(v).to_le_bytes())
                .collect()
        } else {
            self.stored.le_bytes()
        })
    }

    fn data_len(&self) -> usize {
        self.stored.values.len() * if self.half { 2 } else { 4 }
    }
}

/// Named tensors in host memory, to be written to or read from a file.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    tensors: BTreeMap<String, Stored>,
}

impl Archive {
    /// Adds a tensor.
    ///
    /// # Errors
    /// [`Error::Device`] when it cannot be read from the device.
    pub fn insert<const D: usize>(
        &mut self,
        name: String,
        shape: Vec<usize>,
        tensor: &Tensor<D>,
    ) -> Result<()> {
        let during = format!("when {name} was read");
        let values = block_on(read(tensor.clone().inner().into_data_async(), &during))?;
        self.tensors.insert(name, Stored { shape, values });
        Ok(())
    }

    /// The values of these tensors, read from their device without blocking.
    ///
    /// # Errors
    /// [`Error::Device`] when one cannot be read from the device.
    pub async fn read(tensors: Vec<NamedTensor>) -> Result<Self> {
        let mut archive = Self::default();
        for NamedTensor {
            name,
            shape,
            values,
            ..
        } in tensors
        {
            let during = format!("when {name} was read");
            let values = read(values.into_data_async(), &during).await?;
            archive.tensors.insert(name, Stored { shape, values });
        }
        Ok(archive)
    }

    /// Adds all tensors of `network`, with `prefix` before their names.
    ///
    /// # Errors
    /// [`Error::Device`] when one cannot be read from the device.
    pub fn insert_all(&mut self, prefix: &str, network: &dyn AnyNetwork) -> Result<()> {
        for tensor in network.list() {
            self.insert(
                format!("{prefix}{}", tensor.name),
                tensor.shape,
                &tensor.values,
            )?;
        }
        Ok(())
    }

    /// The name of the first tensor that contains NaN or infinity.
    pub fn not_finite(&self) -> Option<&str> {
        let bad = |stored: &Stored| stored.values.iter().any(|value| !value.is_finite());
        self.tensors
            .iter()
            .find(|(_, stored)| bad(stored))
            .map(|(name, _)| name.as_str())
    }

    /// CRC-32 of all names and values, in the order of the names.
    pub fn checksum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        for (name, stored) in &self.tensors {
            sum.update(name.as_bytes());
            sum.update(&stored.le_bytes());
        }
        sum.finalize()
    }

    /// Removes and returns a tensor.
    pub fn take(&mut self, name: &str) -> Option<Stored> {
        self.tensors.remove(name)
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// All tensors with their names, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Stored)> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, stored)| (name.as_str(), stored))
    }

    /// Names of the tensors still in the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Moves the tensors whose names begin with `prefix` into `network`, either all or none.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the names of tensors that are missing or have another shape; `network` is then
    /// unchanged.
    pub fn restore(&mut self, prefix: &str, network: &mut dyn AnyNetwork) -> Result<()> {
        let mut problems = Vec::new();
        for tensor in network.list() {
            let name = format!("{prefix}{}", tensor.name);
            match self.tensors.get(&name) {
                None => problems.push(format!("{name} is missing")),
                Some(stored) if stored.shape != tensor.shape => problems.push(format!(
                    "{name} has shape {:?}, expected {:?}",
                    stored.shape, tensor.shape
                )),
                Some(_) => {}
            }
        }
        if !problems.is_empty() {
            return Err(Error::Mismatch(format!(
                "the file does not fit the network: {}",
                first_names(&problems, SHOWN)
            )));
        }
        network.refill(&mut |name| {
            let stored = self.take(&format!("{prefix}{name}"));
            stored.expect("its presence was checked before").values
        });
        Ok(())
    }

    /// The bytes of a safetensors file with this metadata; all tensors are f32.
    ///
    /// # Errors
    /// [`Error::Format`] when the metadata cannot be written as JSON.
    pub fn to_bytes(&self, metadata: &impl Serialize) -> Result<Vec<u8>> {
        self.to_bytes_as(metadata, FilePrecision::F32)
    }

    /// The bytes of a safetensors file with this metadata, in this precision.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn to_bytes_as(
        &self,
        metadata: &impl Serialize,
        precision: FilePrecision,
    ) -> Result<Vec<u8>> {
        let json = serde_json::to_string(metadata).map_err(|e| Error::Format(e.to_string()))?;
        let header = HashMap::from([(METADATA_KEY.to_string(), json)]);
        let views = self.tensors.iter().map(|(name, stored)| {
            let half = precision == FilePrecision::Half && stored.fits_half();
            (name, TensorBytes { stored, half })
        });
        safetensors::serialize(views, Some(header))
            .map_err(|e| Error::Format(format!("writing safetensors failed: {e}")))
    }

    /// Reads tensors and metadata from bytes of [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Format`] when they are damaged, have a newer format version, or were not written by densecl.
    pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Self, T)> {
        let metadata = metadata(bytes)?.ok_or_else(|| {
            Error::Format("a safetensors file, but not one that densecl wrote".to_string())
        })?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let tensors = tensors
            .iter()
            .map(|(name, view)| Ok((name.to_string(), stored(name, &view)?)))
            .collect::<Result<_>>()?;
        Ok((Self { tensors }, metadata))
    }
}

impl From<BTreeMap<String, Stored>> for Archive {
    fn from(tensors: BTreeMap<String, Stored>) -> Self {
        Self { tensors }
    }
}

/// The metadata that densecl wrote; `None` for a file of another program.
///
/// # Errors
/// [`Error::Format`] when the header is damaged, or has a newer format version.
pub(crate) fn metadata<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let Some(json) = header.metadata().as_ref().and_then(|m| m.get(METADATA_KEY)) else {
        return Ok(None);
    };
    let version: Version = serde_json::from_str(json).map_err(|e| damaged(&e))?;
    if version.format_version > FORMAT_VERSION {
        return Err(Error::Format(format!(
            "written by a newer densecl (format {}, this one reads up to {FORMAT_VERSION}); update",
            version.format_version
        )));
    }
    serde_json::from_str(json)
        .map(Some)
        .map_err(|e| damaged(&e))
}

pub(super) fn damaged(e: &dyn std::fmt::Display) -> Error {
    Error::Format(format!(
        "not a whole safetensors file ({e}); it may be truncated"
    ))
}

/// A tensor of a safetensors file, converted to f32.
///
/// # Errors
/// [`Error::Format`] when its number format is not supported.
pub(super) fn stored(name: &str, view: &TensorView) -> Result<Stored> {
    fn values<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (chunks, _) = data.as_chunks::<N>();
        chunks.iter().map(|bytes| read(*bytes)).collect()
    }
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => values(data, f32::from_le_bytes),
        Dtype::F16 => values(data, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => values(data, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => values(data, |b| f64::from_le_bytes(b) as f32),
        Dtype::I64 => values(data, |b| i64::from_le_bytes(b) as f32),
        other => {
            return Err(Error::Format(format!(
                "tensor {name} has type {other:?}; F32, F16, BF16, F64 and I64 are read"
            )));
        }
    };
    Ok(Stored {
        shape: view.shape().to_vec(),
        values,
    })
}
