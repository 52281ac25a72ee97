//! Continuing the training of another program from its checkpoint: the authors' code, MoCo, mmselfsup. Our own
//! checkpoints are read too, for continuing a run of which only the checkpoint is left.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde::Deserialize;

use super::{describe, positions_by_name, restore::restore};
use crate::{
    config::{MethodConfig, ModelConfig, OptimConfig},
    error::{Error, Result},
    foreign::{
        names::{Imported, Mapping, Reason, recognise},
        torch::{Momentum, TorchFile},
    },
    method::DenseCl,
    model::{Kind, Tensors},
    names::{KEY, QUERY, QUEUES, VELOCITY},
    network::is_statistic,
    weights::{Account, Archive, Container, Stored, archive::metadata, container::OpenFile},
};

/// The training time of the other program; `None` if the file does not contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainedFor {
    /// Optimizer steps.
    pub step: Option<u64>,
    /// Epochs.
    pub epoch: Option<u64>,
}

/// The training state of a checkpoint in host memory: both encoders, the queues and SGD's velocity.
#[derive(Debug, Clone)]
pub struct TrainingState {
    /// How each tensor of the file was used.
    pub account: Account,
    /// The network, inferred from the shapes of the tensors. Shapes do not determine the output stride and the
    /// grid of the dense head; these two have their default values.
    pub model: ModelConfig,
    /// The training time of the other program.
    pub trained_for: TrainedFor,
    /// Whether the stride of bottlenecks is in their first 1×1 convolution; `None` if the file does not contain it.
    stride_in_1x1: Option<bool>,
    tensors: Archive,
    queue_positions: [usize; 2],
    /// Keys in each queue.
    queue_len: usize,
    /// The number of parameters with a velocity in the file; the velocity of others is 0.
    velocities: usize,
}

/// Those fields of the metadata of our checkpoints that do not follow from the tensors.
#[derive(Debug, Default, Deserialize)]
struct Written {
    step: Option<u64>,
    queue_positions: Option<[usize; 2]>,
    positions: Option<BTreeMap<String, usize>>,
    model: Option<ModelConfig>,
}

impl Written {
    /// The row that the next key overwrites, in the global and in the dense queue.
    fn positions(&self) -> Option<[usize; 2]> {
        let positions = self.positions.as_ref();
        let named = positions.map(|all| QUEUES.map(|name| all.get(name).copied().unwrap_or(0)));
        named.or(self.queue_positions)
    }
}

impl TrainingState {
    /// Reads a training state with at least both encoders, the global head and the global queue.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that is damaged or contains NaN or infinity; [`Error::Mismatch`] for one
    /// that is no training state, lacks a tensor, or has an unknown one.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let container = Container::of(bytes)?;
        if container == Container::Safetensors {
            let written: Option<Written> = metadata(bytes)?;
            let file = OpenFile::safetensors(bytes)?;
            let (mapping, mut imported) = gather(&file)?;
            let written = written.unwrap_or_default();
            imported.queue_positions = written.positions().unwrap_or(imported.queue_positions);
            let trained_for = TrainedFor {
                step: written.step,
                epoch: None,
            };
            let account = Account::new(container, &file, &mapping);
            let mut state = Self::new(account, mapping, imported, trained_for)?;
            state.stride_in_1x1 = written.model.map(|model| model.stride_in_1x1);
            return Ok(state);
        }
        if container == Container::LayersModel {
            return Err(Error::Mismatch(
                "weights of Keras, not a training state; start a run from them with --init"
                    .to_string(),
            ));
        }
        let torch = TorchFile::parse(bytes)?;
        let file = OpenFile::torch(&torch)?;
        let (mapping, mut imported) = gather(&file)?;
        if let Some(momentum) = torch.momentum()? {
            let velocity = velocity(&file.keys(), &mapping, &momentum)?;
            imported.tensors.extend(velocity);
        }
        let integer = |keys: &[&str]| {
            torch
                .integer(keys)
                .and_then(|value| u64::try_from(value).ok())
        };
        let trained_for = TrainedFor {
            step: integer(&["meta", "iter"]),
            epoch: integer(&["meta", "epoch"]).or_else(|| integer(&["epoch"])),
        };
        Self::new(
            Account::new(container, &file, &mapping),
            mapping,
            imported,
            trained_for,
        )
    }

    fn new(
        mut account: Account,
        mapping: Mapping,
        imported: Imported,
        trained_for: TrainedFor,
    ) -> Result<Self> {
        let Imported {
            mut tensors,
            queue_positions,
        } = imported;
        let lens = QUEUES.map(|name| tensors.get(name).map(|queue| queue.shape[0]));
        let queue_len = lens[0].unwrap_or_default();
        if let Some(dense) = lens[1].filter(|dense| *dense != queue_len) {
            return Err(Error::Mismatch(format!(
                "its queues have {queue_len} and {dense} keys; here both have the same number"
            )));
        }
        let velocities = tensors
            .keys()
            .filter(|name| name.starts_with(VELOCITY))
            .count();
        if velocities > 0 {
            // PyTorch stores no velocity for a parameter that never had a gradient; it is 0.
            let parameters = tensors.iter().filter_map(|(name, stored)| {
                let name = name
                    .strip_prefix(QUERY)
                    .filter(|name| !is_statistic(name))?;
                Some((format!("{VELOCITY}{name}"), stored.shape.clone()))
            });
            let parameters: Vec<_> = parameters.collect();
            for (name, shape) in parameters {
                let count = shape.iter().product();
                tensors.entry(name).or_insert_with(|| Stored {
                    shape,
                    values: vec![0.0; count],
                });
            }
        } else {
            account.absent.push("velocity of SGD");
        }
        Ok(Self {
            account,
            model: mapping.model,
            trained_for,
            stride_in_1x1: None,
            tensors: tensors.into(),
            queue_positions,
            queue_len,
            velocities,
        })
    }

    /// Keys in each queue.
    pub fn queue_len(&self) -> usize {
        self.queue_len
    }

    /// The method in this state, to continue training with these settings. Parts that the file lacks
    /// ([`Account::absent`]; in a checkpoint of MoCo the dense head and its queue) are initialised as in a new
    /// run with `seed`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the settings describe another network or queue length.
    pub fn learner(
        self,
        model: &ModelConfig,
        method: &MethodConfig,
        optim: &OptimConfig,
        queue_len: usize,
        seed: u64,
        device: &Device,
    ) -> Result<DenseCl> {
        let found = ModelConfig {
            output_stride: model.output_stride,
            num_grid: model.num_grid,
            stride_in_1x1: self.stride_in_1x1.unwrap_or(model.stride_in_1x1),
            ..self.model.clone()
        };
        if found != *model {
            return Err(Error::Mismatch(format!(
                "the checkpoint holds {}, the run asks for {}",
                describe(&found),
                describe(model)
            )));
        }
        if self.queue_len != queue_len {
            return Err(Error::Mismatch(format!(
                "its queues have {} keys, the run's {queue_len}",
                self.queue_len
            )));
        }
        let mut learner = DenseCl::new(model, method, optim, queue_len, seed, device);
        let mut archive = self.tensors;
        let has = |part: &str| !self.account.absent.contains(&part);
        let velocities = self.velocities > 0;
        if !has("dense head") {
            for (prefix, encoder) in [(QUERY, &learner.query), (KEY, &learner.key)] {
                let all = encoder.named().into_iter();
                for tensor in all.filter(|tensor| tensor.name.starts_with("dense_head.")) {
                    let name = format!("{prefix}{}", tensor.name);
                    archive.insert(name, tensor.shape, &tensor.values)?;
                }
            }
        }
        if !has("dense queue") {
            let keys = learner.dense_queue.keys();
            archive.insert(QUEUES[1].to_string(), keys.dims().to_vec(), &keys)?;
        }
        if velocities {
            let parameters = learner.query.named().into_iter();
            for tensor in parameters.filter(|tensor| tensor.kind == Kind::Parameter) {
                let name = format!("{VELOCITY}{}", tensor.name);
                if archive.get(&name).is_none() {
                    // The head is newly initialised because the file lacks it, so its velocity is 0.
                    archive.insert(name, tensor.shape, &tensor.values.zeros_like())?;
                }
            }
        }
        let mut positions = positions_by_name(self.queue_positions);
        if !has("dense queue") {
            positions.insert(QUEUES[1].to_string(), 0);
        }
        restore(&mut archive, &positions, velocities, None, &mut learner)?;
        Ok(learner)
    }
}

fn gather(file: &OpenFile) -> Result<(Mapping, Imported)> {
    let mapping = recognise(&file.keys())?;
    let needed = ["key encoder", "global head", "global queue"];
    if let Some(part) = needed.iter().find(|part| mapping.absent.contains(part)) {
        return Err(Error::Mismatch(format!(
            "{} without a {part}, not a state that training can go on from",
            mapping.layout
        )));
    }
    let imported = mapping.gather(|key| file.read(key))?;
    Ok((mapping, imported))
}

/// SGD's momentum buffers under our names. torch numbers the parameters of an optimizer in the order of the
/// network, which is also the order of the state dict.
fn velocity(
    keys: &[(String, Vec<usize>)],
    mapping: &Mapping,
    momentum: &Momentum,
) -> Result<BTreeMap<String, Stored>> {
    let used: BTreeMap<&str, &str> = mapping
        .used
        .iter()
        .map(|(key, name)| (key.as_str(), name.as_str()))
        .collect();
    let not_learned = |reason: &Reason| matches!(reason, Reason::Classifier | Reason::LinearHead);
    let dropped = mapping.dropped.iter();
    let dropped: Vec<&str> = dropped
        .filter(|(_, reason)| not_learned(reason))
        .map(|(key, _)| key.as_str())
        .collect();
    let is_parameter =
        |name: &str| (name.starts_with(QUERY) || name.starts_with(KEY)) && !is_statistic(name);
    // Our name of each parameter of the file, or `None` if our network has no such parameter.
    let all: Vec<(Option<&str>, &[usize])> = keys
        .iter()
        .filter_map(|(key, shape)| match used.get(key.as_str()) {
            Some(name) => is_parameter(name).then_some((Some(*name), shape.as_slice())),
            None => dropped
                .contains(&key.as_str())
                .then_some((None, shape.as_slice())),
        })
        .collect();
    let is_key = |name: &Option<&str>| name.is_some_and(|name| name.starts_with(KEY));
    let query: Vec<_> = all
        .iter()
        .copied()
        .filter(|(name, _)| !is_key(name))
        .collect();
    let order = [&all, &query]
        .into_iter()
        .find(|order| order.len() == momentum.parameters);
    let order = order.ok_or_else(|| {
        Error::Mismatch(format!(
            "its optimizer has {} parameters, its encoders have {}",
            momentum.parameters,
            all.len()
        ))
    })?;
    let mut velocity = BTreeMap::new();
    for (index, (name, shape)) in order.iter().enumerate() {
        let Some(name) = name.and_then(|name| name.strip_prefix(QUERY)) else {
            continue;
        };
        match momentum.shape(index) {
            None => {}
            Some(found) if found == *shape => {
                let stored = momentum.read(index)?;
                if let Some(value) = stored.values.iter().find(|value| !value.is_finite()) {
                    return Err(Error::Format(format!(
                        "the momentum of {name} holds {value}"
                    )));
                }
                velocity.insert(format!("{VELOCITY}{name}"), stored);
            }
            Some(found) => {
                return Err(Error::Mismatch(format!(
                    "the optimizer's parameter {index} has shape {found:?}, {name} has {shape:?}"
                )));
            }
        }
    }
    Ok(velocity)
}
