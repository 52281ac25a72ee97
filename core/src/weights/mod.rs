//! Networks as bytes: safetensors with torchvision's key names and a metadata block.
//!
//! The format is data only: parsing checks every offset, and nothing in it is executed.

mod archive;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use self::archive::listed;
pub use self::archive::{Archive, Precision, Stored};
use crate::{
    config::ModelConfig,
    error::{Error, Result},
    model::Encoder,
};

/// Version of the files this crate writes; a reader refuses newer ones.
pub const FORMAT_VERSION: u32 = 1;

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// `densecl`, or `mocov2` when λ was 0.
    pub method: String,
    /// The network.
    pub model: ModelConfig,
    /// Training steps taken.
    pub steps: u64,
    /// What it was trained on, as the user named it.
    pub data: String,
    /// The resolved run configuration (TOML), empty when unknown.
    pub config: String,
}

/// An encoder and where it comes from, as a file.
///
/// # Errors
/// [`Error::Device`] when a tensor cannot be read back.
pub fn save(encoder: &Encoder, info: &WeightsInfo) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.insert_all("", encoder)?;
    archive.to_bytes(info)
}

/// The encoder in a file written by [`save`], for inference on `device`.
///
/// # Errors
/// [`Error::Format`] for a damaged or foreign file; [`Error::Mismatch`] when its tensors are not
/// those of the network it names, with a list; never a partial load.
pub fn load(bytes: &[u8], device: &Device) -> Result<(Encoder, WeightsInfo)> {
    load_with_stride(bytes, None, device)
}

/// Like [`load`], at another output stride than the one trained with: dilation needs no other
/// weights. `info.model` says what was made.
///
/// # Errors
/// As [`load`], and [`Error::Config`] for a stride other than 8, 16 and 32.
pub fn load_with_stride(
    bytes: &[u8],
    stride: Option<usize>,
    device: &Device,
) -> Result<(Encoder, WeightsInfo)> {
    let (mut archive, mut info): (_, WeightsInfo) = Archive::from_bytes(bytes)?;
    if let Some(stride) = stride {
        info.model.output_stride = stride;
    }
    info.model.validate()?;
    let mut encoder = Encoder::new(&info.model, 0, device);
    archive.restore("", &mut encoder)?;
    let extra: Vec<String> = archive
        .names()
        .map(|name| format!("{name} is not part of it"))
        .collect();
    if extra.is_empty() {
        Ok((encoder, info))
    } else {
        Err(Error::Mismatch(listed(
            "the file does not fit the network it names",
            &extra,
        )))
    }
}
