//! Networks as bytes: safetensors with torchvision's key names and a metadata block.
//!
//! The format is data only: parsing checks every offset, and nothing in it is executed. Files of other
//! programs come in through the same door, [`Weights::read`].

pub(crate) mod archive;
mod bundle;
pub(crate) mod container;
mod export;
mod file;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

pub use self::{
    archive::{Archive, FilePrecision},
    bundle::{Bundle, MANIFEST, Shard, is_shard},
    container::Container,
    export::Format,
    file::{Account, Weights},
};
pub use crate::stored::Stored;
use crate::{
    error::Result,
    model::Encoder,
    network::{ModelConfig, in_metadata},
};

/// Version of the files this crate writes; a reader refuses newer ones.
pub const FORMAT_VERSION: u32 = 1;

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// `densecl`, or `mocov2` when λ was 0; `unknown` where the file does not tell.
    pub method: String,
    /// The network.
    #[serde(serialize_with = "in_metadata")]
    pub model: ModelConfig,
    /// Training steps taken.
    pub steps: u64,
    /// What it was trained on, as the user named it; for a file of another program, whose it is.
    pub data: String,
    /// The resolved run configuration (TOML), empty when unknown.
    pub config: String,
}

/// An encoder and where it comes from, as a file.
///
/// # Errors
/// [`crate::Error::Device`] when a tensor cannot be read back.
pub fn save(encoder: &Encoder, info: &WeightsInfo) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.insert_all("", encoder)?;
    archive.to_bytes(info)
}

/// The encoder in a file of weights, whoever wrote it (see [`Weights::read`]), for inference on
/// `device`.
///
/// # Errors
/// As [`Weights::read`]; never a partial load.
pub fn load(bytes: &[u8], device: &Device) -> Result<(Encoder, WeightsInfo)> {
    load_with_stride(bytes, None, device)
}

/// Like [`load`], at another output stride than the one trained with: dilation needs no other
/// weights. `info.model` says what was made.
///
/// # Errors
/// As [`load`], and [`crate::Error::Config`] for a stride other than 8, 16 and 32.
pub fn load_with_stride(
    bytes: &[u8],
    stride: Option<usize>,
    device: &Device,
) -> Result<(Encoder, WeightsInfo)> {
    Weights::read(bytes)?.encoder(stride, device)
}
