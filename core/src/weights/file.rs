//! Reading files of weights from this and other programs: recognising the layout, checking the tensors against
//! the network, and recording how each tensor is used.

use burn::tensor::Device;
use serde::Deserialize;

use super::{
    Archive, Container, FORMAT_VERSION, FilePrecision, WeightsInfo, archive, container::OpenFile,
};
use crate::{
    config::ModelConfig,
    error::{Error, Result},
    foreign::{
        detectron2,
        names::{Layout, Mapping, Reason, Selection, recognise_selected},
        tfjs::LayersModel,
        torch::TorchFile,
    },
    model::{Encoder, Heads},
};

/// How each tensor of a file was used.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The format of the file.
    pub container: Container,
    /// The program whose names the tensors have.
    pub layout: Layout,
    /// Keys under which the tensors were found, joined by dots; empty at the top level.
    pub under: String,
    /// Tensors that were used: the file's name and ours.
    pub used: Vec<(String, String)>,
    /// Tensors that are known but not used, with the reason.
    pub dropped: Vec<(String, Reason)>,
    /// Other entries of the file, which were not read, e.g. `epoch`.
    pub beside: Vec<String>,
    /// Parts of which the file has no tensor, e.g. `dense head`.
    pub absent: Vec<&'static str>,
}

impl Account {
    pub(crate) fn new(container: Container, file: &OpenFile, mapping: &Mapping) -> Self {
        let (under, beside) = file.surroundings();
        Self {
            container,
            layout: mapping.layout,
            under,
            used: mapping.used.clone(),
            dropped: mapping.dropped.clone(),
            beside,
            absent: mapping.absent.clone(),
        }
    }
}

/// The query encoder of a file, in host memory.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The origin of the weights.
    pub info: WeightsInfo,
    /// How each tensor of the file was used.
    pub account: Account,
    pub(crate) tensors: Archive,
}

impl Weights {
    /// Reads our own weights and checkpoints, safetensors of other programs, files of `torch.save`, detectron2's
    /// pickles, and [layers models](crate::foreign::tfjs) of TensorFlow.js, in every layout of [`Layout`]. From a
    /// training state it takes the query encoder.
    ///
    /// Tensors are copied only after the shapes in the file have been checked to be those of a network, and
    /// each tensor is copied once, as f32. So a damaged file cannot cause allocations much larger than itself.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that is none of these, is damaged, or contains NaN or infinity;
    /// [`Error::Mismatch`] for one of an unsupported network, with a tensor missing, or with an unknown one.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Self::read_selected(bytes, &Selection::default())
    }

    /// The same of a part of a file of another program. A file that densecl wrote is read as a whole: it says
    /// itself what its tensors are.
    ///
    /// # Errors
    /// As [`Self::read`], and [`Error::Mismatch`] when the selection fits no tensor of the file.
    pub fn read_selected(bytes: &[u8], selection: &Selection) -> Result<Self> {
        let container = Container::of(bytes)?;
        if container == Container::Safetensors {
            let written: Option<OwnMetadata> = archive::metadata(bytes)?;
            gather(
                container,
                &OpenFile::safetensors(bytes)?,
                written,
                selection,
            )
        } else if container == Container::LayersModel {
            let model = LayersModel::open(bytes)?;
            let file = OpenFile::LayersModel(&model);
            let weights = gather(container, &file, None, selection)?;
            if model.stride_in_1x1() == Some(true) {
                return weights.with_stride_in_1x1();
            }
            Ok(weights)
        } else {
            let file = TorchFile::parse(bytes)?;
            let container = if file.is_numpy() {
                Container::NumpyPickle
            } else {
                container
            };
            let weights = gather(container, &OpenFile::torch(&file)?, None, selection)?;
            // Pickles that densecl wrote for detectron2 contain the placement of the stride.
            if file.truth(detectron2::STRIDE_IN_1X1) == Some(true) {
                return weights.with_stride_in_1x1();
            }
            Ok(weights)
        }
    }

    /// The tensors, under our names.
    pub fn tensors(&self) -> &Archive {
        &self.tensors
    }

    /// Which heads the weights have.
    pub fn heads(&self) -> Heads {
        Heads {
            global: !self.account.absent.contains(&"global head"),
            dense: !self.account.absent.contains(&"dense head"),
        }
    }

    /// The same weights for a network with the stride of bottlenecks in their first 1×1 convolution. Files of
    /// torch do not contain the placement of the stride with which the weights were trained, so the user has to
    /// give it.
    ///
    /// # Errors
    /// [`Error::Config`] when the backbone has no bottlenecks.
    pub fn with_stride_in_1x1(mut self) -> Result<Self> {
        self.info.model.stride_in_1x1 = true;
        self.info.model.validate()?;
        Ok(self)
    }

    /// The bytes of our own file format, as of [`super::save`].
    ///
    /// # Errors
    /// [`Error::Format`] when they cannot be serialised.
    pub fn to_bytes(&self, precision: FilePrecision) -> Result<Vec<u8>> {
        self.tensors.to_bytes_as(&self.info, precision)
    }

    /// The encoder on `device`, for inference, with the heads that the weights have. `stride` is its output
    /// stride; `None` = the one it was trained with. The returned info describes the resulting network.
    ///
    /// # Errors
    /// [`Error::Config`] for a stride other than 8, 16 and 32.
    pub fn encoder(self, stride: Option<usize>, device: &Device) -> Result<(Encoder, WeightsInfo)> {
        let heads = self.heads();
        let Self {
            mut info,
            mut tensors,
            ..
        } = self;
        if let Some(stride) = stride {
            info.model.output_stride = stride;
        }
        info.model.validate()?;
        let mut encoder = Encoder::blank(&info.model, heads, device);
        tensors.restore("", &mut encoder)?;
        Ok((encoder, info))
    }
}

/// The metadata of our weights. Checkpoints have some of these fields; the others get defaults.
#[derive(Deserialize)]
struct OwnMetadata {
    model: ModelConfig,
    #[serde(default = "unknown")]
    method: String,
    /// Called `step` in checkpoints.
    #[serde(alias = "step")]
    steps: u64,
    #[serde(default = "unknown")]
    data: String,
    #[serde(default)]
    config: String,
}

fn unknown() -> String {
    "unknown".to_string()
}

fn gather(
    container: Container,
    file: &OpenFile,
    written: Option<OwnMetadata>,
    selection: &Selection,
) -> Result<Weights> {
    let all = Selection::default();
    let selection = if written.is_some() { &all } else { selection };
    let mut mapping = recognise_selected(&file.keys(), selection)?;
    if let Some(written) = &written {
        ensure_same(&written.model, &mapping)?;
        mapping.layout = Layout::Densecl;
    }
    mapping.check()?;
    let mapping = mapping.weights_alone();
    let mut account = Account::new(container, file, &mapping);
    account.absent.retain(|part| part.ends_with("head"));
    let tensors = mapping.gather(|key| file.read(key))?.tensors;
    let info = match written {
        Some(written) => WeightsInfo {
            format_version: FORMAT_VERSION,
            method: written.method,
            model: written.model,
            steps: written.steps,
            data: written.data,
            config: written.config,
        },
        None => WeightsInfo {
            format_version: FORMAT_VERSION,
            method: method(&account).to_string(),
            steps: batches(&mapping, file)?,
            data: format!("unknown ({})", mapping.layout),
            model: mapping.model,
            config: String::new(),
        },
    };
    Ok(Weights {
        info,
        account,
        tensors: tensors.into(),
    })
}

/// Checks that the metadata does not contradict the shapes of the tensors.
fn ensure_same(written: &ModelConfig, mapping: &Mapping) -> Result<()> {
    written.validate()?;
    let found = &mapping.model;
    let headless =
        mapping.absent.contains(&"global head") && mapping.absent.contains(&"dense head");
    let dim = headless || written.dim == found.dim;
    let network = |model: &ModelConfig| (model.backbone, model.width, model.stem);
    if network(written) == network(found) && dim {
        return Ok(());
    }
    let describe = |model: &ModelConfig| format!("{} and dim {}", model.describe(), model.dim);
    Err(Error::Mismatch(format!(
        "the file says that it holds {}, but its tensors are those of {}",
        describe(written),
        describe(found)
    )))
}

/// The method that trained the weights, inferred from the layout and the heads.
fn method(account: &Account) -> &'static str {
    let has = |part: &str| !account.absent.contains(&part);
    match account.layout {
        Layout::Authors | Layout::OpenMmlab if has("dense head") => "densecl",
        Layout::Moco if has("global head") => "mocov2",
        Layout::Moco => "mocov1",
        _ => "unknown",
    }
}

/// The number of training batches, from the counters of the batch normalisations; 0 if these differ or are missing.
fn batches(mapping: &Mapping, file: &OpenFile) -> Result<u64> {
    let counters = mapping.dropped.iter();
    let counters = counters.filter(|(_, reason)| *reason == Reason::Counter);
    let mut count = None;
    for (key, _) in counters {
        let value = file.read(key)?.values.first().copied().unwrap_or_default();
        // Counters were converted to f32, which is exact up to 2²⁴.
        let exact = (0.0..16_777_216.0).contains(&value);
        if !exact || count.is_some_and(|count| count != value) {
            return Ok(0);
        }
        count = Some(value);
    }
    Ok(count.unwrap_or_default() as u64)
}
