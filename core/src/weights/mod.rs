//! Files of weights: safetensors with torchvision's names and a block of metadata.
//!
//! The format contains data only: parsing checks every offset, and nothing is executed. [`Weights::read`] also
//! reads files of other programs.

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
    device::block_on,
    error::Result,
    model::{Encoder, Tensors},
    network::{ModelConfig, in_metadata},
};

/// Format version of the files that this crate writes; newer ones are refused.
pub const FORMAT_VERSION: u32 = 1;

/// The origin of weights, as stored in the metadata of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// [`FORMAT_VERSION`] of the program that wrote the file.
    pub format_version: u32,
    /// `densecl`, or `mocov2` if λ was 0; `unknown` if the file does not contain it.
    pub method: String,
    /// The network.
    #[serde(serialize_with = "in_metadata")]
    pub model: ModelConfig,
    /// Training steps taken.
    pub steps: u64,
    /// The training data, as the user named it; `unknown (…)` with the layout for files of other programs.
    pub data: String,
    /// The resolved run configuration (TOML), empty when unknown.
    pub config: String,
}

/// The bytes of a file with this encoder and its origin.
///
/// # Errors
/// [`crate::Error::Device`] when a tensor cannot be read from the device.
pub fn save(encoder: &Encoder, info: &WeightsInfo) -> Result<Vec<u8>> {
    block_on(save_async(encoder, info))
}

/// [`save`] without blocking the thread, for browsers, where blocking is not allowed.
///
/// # Errors
/// As [`save`].
pub async fn save_async(encoder: &Encoder, info: &WeightsInfo) -> Result<Vec<u8>> {
    Archive::read(encoder.named()).await?.to_bytes(info)
}

/// Loads the encoder of a file that [`Weights::read`] supports, for inference on `device`.
///
/// # Errors
/// As [`Weights::read`]. An encoder is never loaded in part.
pub fn load(bytes: &[u8], device: &Device) -> Result<(Encoder, WeightsInfo)> {
    load_with_stride(bytes, None, device)
}

/// As [`load`], but with the output stride `stride`, if given; other strides use dilation and the same weights.
/// The model in the returned info has this stride.
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
