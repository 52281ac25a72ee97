//! Networks as bytes: safetensors with torchvision's key names and a metadata block.
//!
//! The format is data only: parsing checks every offset, and nothing in it is executed.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    config::ModelConfig,
    error::{Error, Result},
    model::{Encoder, Kind, TensorVisitor, Tensors},
};

/// Version of the files this crate writes; a reader refuses newer ones.
pub const FORMAT_VERSION: u32 = 1;

/// The header key under which our metadata stands, as JSON.
const METADATA_KEY: &str = "densecl";

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

/// One tensor of an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row major.
    pub values: Vec<f32>,
}

/// Named tensors and a metadata block, on the way to or from bytes.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    tensors: BTreeMap<String, Stored>,
}

impl Archive {
    /// Adds a tensor.
    ///
    /// # Errors
    /// [`Error::Device`] when it cannot be read back.
    pub fn insert<const D: usize>(
        &mut self,
        name: String,
        shape: Vec<usize>,
        tensor: &Tensor<D>,
    ) -> Result<()> {
        let values = tensor
            .clone()
            .inner()
            .try_into_vec_as::<f32>()
            .map_err(|e| {
                Error::Device(format!("reading {name} back from the device failed: {e}"))
            })?;
        self.tensors.insert(name, Stored { shape, values });
        Ok(())
    }

    /// Adds every tensor of `network` under `prefix`.
    ///
    /// # Errors
    /// [`Error::Device`] when one cannot be read back.
    pub fn insert_all<M: Tensors>(&mut self, prefix: &str, network: &M) -> Result<()> {
        for tensor in network.named() {
            self.insert(
                format!("{prefix}{}", tensor.name),
                tensor.shape,
                &tensor.values,
            )?;
        }
        Ok(())
    }

    /// The first tensor with a NaN or an infinity in it.
    pub fn not_finite(&self) -> Option<&str> {
        let bad = |stored: &Stored| stored.values.iter().any(|value| !value.is_finite());
        self.tensors
            .iter()
            .find(|(_, stored)| bad(stored))
            .map(|(name, _)| name.as_str())
    }

    /// Takes a tensor out.
    pub fn take(&mut self, name: &str) -> Option<Stored> {
        self.tensors.remove(name)
    }

    /// How many numbers its tensors hold together.
    pub fn values(&self) -> usize {
        self.tensors
            .values()
            .map(|stored| stored.values.len())
            .sum()
    }

    /// Names of the tensors still in the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Takes the tensors under `prefix` into `network`, all of them or none.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the tensors that are missing or have another shape; `network` is
    /// then unchanged.
    pub fn restore<M: Tensors>(&mut self, prefix: &str, network: &mut M) -> Result<()> {
        let mut problems = Vec::new();
        for tensor in network.named() {
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
            return Err(Error::Mismatch(listed(
                "the file does not fit the network",
                &problems,
            )));
        }
        network.visit(
            "",
            &mut Load {
                archive: self,
                prefix,
            },
        );
        Ok(())
    }

    /// Serialises with `metadata`.
    ///
    /// # Errors
    /// [`Error::Format`] when the metadata cannot be written as JSON.
    pub fn to_bytes(&self, metadata: &impl Serialize) -> Result<Vec<u8>> {
        let json = serde_json::to_string(metadata).map_err(|e| Error::Format(e.to_string()))?;
        let bytes: Vec<(&str, &[usize], Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, stored)| {
                let bytes = stored.values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (name.as_str(), stored.shape.as_slice(), bytes)
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            TensorView::new(Dtype::F32, shape.to_vec(), data).map(|view| (*name, view))
        });
        let views: std::result::Result<Vec<_>, _> = views.collect();
        let header = HashMap::from([(METADATA_KEY.to_string(), json)]);
        views
            .and_then(|views| safetensors::serialize(views, Some(header)))
            .map_err(|e| Error::Format(format!("writing safetensors failed: {e}")))
    }

    /// Parses bytes written by [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Format`] when they are damaged, of a newer version, or no such file at all.
    pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Self, T)> {
        let damaged = |e: &dyn std::fmt::Display| {
            Error::Format(format!(
                "not a whole safetensors file ({e}); it may be truncated"
            ))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let json = header
            .metadata()
            .as_ref()
            .and_then(|m| m.get(METADATA_KEY))
            .ok_or_else(|| {
                Error::Format("a safetensors file, but not one that densecl wrote".to_string())
            })?;
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let version: Version = serde_json::from_str(json).map_err(|e| damaged(&e))?;
        if version.format_version > FORMAT_VERSION {
            return Err(Error::Format(format!(
                "written by a newer densecl (format {}, this one reads up to {FORMAT_VERSION}); update",
                version.format_version
            )));
        }
        let metadata = serde_json::from_str(json).map_err(|e| damaged(&e))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let tensors = tensors
            .iter()
            .map(|(name, view)| Ok((name.to_string(), stored(name, &view)?)))
            .collect::<Result<_>>()?;
        Ok((Self { tensors }, metadata))
    }
}

fn stored(name: &str, view: &TensorView) -> Result<Stored> {
    fn values<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (chunks, _) = data.as_chunks::<N>();
        chunks.iter().map(|bytes| read(*bytes)).collect()
    }
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => values(data, f32::from_le_bytes),
        Dtype::F16 => values(data, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => values(data, |b| bf16::from_le_bytes(b).to_f32()),
        other => {
            return Err(Error::Format(format!(
                "tensor {name} has type {other:?}; F32, F16 and BF16 are read"
            )));
        }
    };
    Ok(Stored {
        shape: view.shape().to_vec(),
        values,
    })
}

/// `what: first, second, third and 12 more`.
fn listed(what: &str, problems: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = problems[..problems.len().min(SHOWN)].join(", ");
    match problems.len().saturating_sub(SHOWN) {
        0 => format!("{what}: {shown}"),
        more => format!("{what}: {shown} and {more} more"),
    }
}

struct Load<'a> {
    archive: &'a mut Archive,
    prefix: &'a str,
}

impl TensorVisitor for Load<'_> {
    fn tensor<const D: usize>(&mut self, name: &str, _: Kind, tensor: &mut Tensor<D>) {
        let stored = self.archive.take(&format!("{}{name}", self.prefix));
        let stored = stored.expect("presence was checked before");
        let tracked = tensor.is_require_grad();
        let device = tensor.device().inner();
        let loaded = Tensor::from_data(TensorData::new(stored.values, tensor.shape()), &device);
        *tensor = if tracked {
            loaded.autodiff().require_grad()
        } else {
            loaded
        };
    }
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
    // The file's word alone must not make us ask for gigabytes.
    let (held, needed) = (archive.values(), Encoder::size(&info.model));
    if held < needed {
        return Err(Error::Mismatch(format!(
            "the file does not fit the network it names: it holds {held} numbers, a {} of width {} \
             has {needed}",
            info.model.backbone.name(),
            info.model.width
        )));
    }
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
