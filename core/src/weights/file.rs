//! A file of weights, whoever wrote it: recognised, checked against the network it must be, and
//! accounted for tensor by tensor.

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
        torch::TorchFile,
    },
    model::{Encoder, Heads},
};

/// What became of every tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// How the file packs them.
    pub container: Container,
    /// Whose names they have.
    pub layout: Layout,
    /// Keys under which they were found, joined by dots; empty at the top.
    pub under: String,
    /// From the file's names to ours.
    pub used: Vec<(String, String)>,
    /// Known and without use here, each for a reason.
    pub dropped: Vec<(String, Reason)>,
    /// What else is in the file and was not read, e.g. `epoch`.
    pub beside: Vec<String>,
    /// Parts that the file does not have at all, e.g. `dense head`.
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

/// The query encoder of a file, its tensors not yet on a device.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Where they come from.
    pub info: WeightsInfo,
    /// What became of the file's tensors.
    pub account: Account,
    pub(crate) tensors: Archive,
}

impl Weights {
    /// Reads our own weights and checkpoints, safetensors of others, what torch.save writes, and detectron2's pickles, in
    /// every layout of [`Layout`]. Of a training state it takes the query encoder.
    ///
    /// Nothing is made before the file's own shapes have been found to be those of a network, so
    /// memory stays near the file's size: each tensor used is copied once, as f32.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that is none of these, is damaged, or holds NaN or infinity;
    /// [`Error::Mismatch`] for one of another network, or with a tensor missing or unaccounted for.
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
        } else {
            let file = TorchFile::parse(bytes)?;
            let container = if file.is_numpy() {
                Container::NumpyPickle
            } else {
                container
            };
            let weights = gather(container, &OpenFile::torch(&file)?, None, selection)?;
            // Pickles for detectron2 that densecl wrote say it.
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

    /// Which heads are there.
    pub fn heads(&self) -> Heads {
        Heads {
            global: !self.account.absent.contains(&"global head"),
            dense: !self.account.absent.contains(&"dense head"),
        }
    }

    /// The same weights, as those of a network with the stride of bottlenecks in their first 1×1
    /// convolution. Files of other programs do not say which placement they were trained for.
    ///
    /// # Errors
    /// [`Error::Config`] when the backbone has no bottlenecks.
    pub fn with_stride_in_1x1(mut self) -> Result<Self> {
        self.info.model.stride_in_1x1 = true;
        self.info.model.validate()?;
        Ok(self)
    }

    /// A file of ours, as [`super::save`] writes it.
    ///
    /// # Errors
    /// [`Error::Format`] when it cannot be written.
    pub fn to_bytes(&self, precision: FilePrecision) -> Result<Vec<u8>> {
        self.tensors.to_bytes_as(&self.info, precision)
    }

    /// The encoder on `device`, for inference, with the heads that are there; at the stride trained
    /// with or, by dilation, at another. The info says what was made.
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

/// What the metadata of our weights and of our checkpoints have in common, and what only weights
/// have.
#[derive(Deserialize)]
struct OwnMetadata {
    model: ModelConfig,
    #[serde(default = "unknown")]
    method: String,
    /// A checkpoint calls it `step`.
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

/// The metadata decides what the shapes do not tell, and may not contradict them.
fn ensure_same(written: &ModelConfig, mapping: &Mapping) -> Result<()> {
    written.validate()?;
    let found = &mapping.model;
    let headless =
        mapping.absent.contains(&"global head") && mapping.absent.contains(&"dense head");
    let dim = headless || written.dim == found.dim;
    if (written.backbone, written.width) == (found.backbone, found.width) && dim {
        return Ok(());
    }
    let describe = |model: &ModelConfig| format!("{} and dim {}", model.describe(), model.dim);
    Err(Error::Mismatch(format!(
        "the file says that it holds {}, but its tensors are those of {}",
        describe(written),
        describe(found)
    )))
}

/// The method that a layout tells, by the heads that are there.
fn method(account: &Account) -> &'static str {
    let has = |part: &str| !account.absent.contains(&part);
    match account.layout {
        Layout::Authors | Layout::OpenMmlab if has("dense head") => "densecl",
        Layout::Moco if has("global head") => "mocov2",
        Layout::Moco => "mocov1",
        _ => "unknown",
    }
}

/// Batches that the network was trained on, as its batch normalisations counted them: one number for
/// all, or it is not known and 0.
fn batches(mapping: &Mapping, file: &OpenFile) -> Result<u64> {
    let counters = mapping.dropped.iter();
    let counters = counters.filter(|(_, reason)| *reason == Reason::Counter);
    let mut count = None;
    for (key, _) in counters {
        let value = file.read(key)?.values.first().copied().unwrap_or_default();
        // f32 holds every integer up to 2²⁴.
        let exact = (0.0..16_777_216.0).contains(&value);
        if !exact || count.is_some_and(|count| count != value) {
            return Ok(0);
        }
        count = Some(value);
    }
    Ok(count.unwrap_or_default() as u64)
}
