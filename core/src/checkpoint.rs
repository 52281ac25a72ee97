//! The whole state of a run as bytes: what `--resume` needs to continue exactly.
//!
//! Weights, momentum weights, both encoders' BN statistics, SGD's velocity and both queues. Data
//! order and random streams need no state: they are functions of the seed and the step.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    config::{MethodConfig, ModelConfig, OptimConfig},
    densecl::DenseCl,
    error::{Error, Result},
    model::{Kind, Tensors},
    queue::Queue,
    weights::{Archive, FORMAT_VERSION, Stored},
};

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Steps taken.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Images in the data set: with another number the order of the data would be another.
    pub images: usize,
    /// The network.
    pub model: ModelConfig,
    /// Where the global and the dense queue write next.
    pub queue_positions: [usize; 2],
}

const QUERY: &str = "query.";
const KEY: &str = "key.";
const VELOCITY: &str = "velocity.";
const QUEUES: [&str; 2] = ["queue.global", "queue.dense"];

/// The state of `learner` after `step` steps of the run with `seed` over `images` images.
///
/// # Errors
/// [`Error::Device`] when a tensor cannot be read back; [`Error::NotFinite`] when one has a NaN or an
/// infinity in it: what would be saved is nothing to continue from.
pub fn save(
    learner: &DenseCl,
    model: &ModelConfig,
    seed: u64,
    images: usize,
    step: u64,
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.insert_all(QUERY, &learner.query)?;
    archive.insert_all(KEY, &learner.key)?;
    for velocity in learner.optimizer.state(&learner.query) {
        archive.insert(
            format!("{VELOCITY}{}", velocity.name),
            velocity.shape,
            &velocity.values,
        )?;
    }
    let queues = [&learner.global_queue, &learner.dense_queue];
    for (name, queue) in QUEUES.iter().zip(queues) {
        let keys = queue.keys();
        archive.insert(name.to_string(), keys.dims().to_vec(), &keys)?;
    }
    if let Some(name) = archive.not_finite() {
        return Err(Error::NotFinite(name.to_string()));
    }
    archive.to_bytes(&CheckpointInfo {
        format_version: FORMAT_VERSION,
        step,
        seed,
        images,
        model: model.clone(),
        queue_positions: queues.map(Queue::position),
    })
}

/// The learner in a checkpoint, to continue with these settings.
///
/// # Errors
/// [`Error::Format`] for a damaged file, [`Error::Mismatch`] for one of another network or queue
/// length; never a partial load.
pub fn load(
    bytes: &[u8],
    model: &ModelConfig,
    method: &MethodConfig,
    optim: &OptimConfig,
    queue_len: usize,
    device: &Device,
) -> Result<(DenseCl, CheckpointInfo)> {
    let (mut archive, info): (_, CheckpointInfo) = Archive::from_bytes(bytes)?;
    if info.model != *model {
        return Err(Error::Mismatch(format!(
            "the checkpoint holds {}, the run asks for {}",
            describe(&info.model),
            describe(model)
        )));
    }
    let mut learner = DenseCl::new(model, method, optim, queue_len, info.seed, device);
    archive.restore(QUERY, &mut learner.query)?;
    archive.restore(KEY, &mut learner.key)?;

    let [global, dense] = [0, 1].map(|i| {
        let stored = take(&mut archive, QUEUES[i], &[queue_len, model.dim])?;
        let position = info.queue_positions[i];
        if position >= queue_len {
            return Err(Error::Format(format!(
                "{} writes at {position}, past its end",
                QUEUES[i]
            )));
        }
        let keys = TensorData::new(stored.values, [queue_len, model.dim]);
        Ok(Queue::from_parts(Tensor::from_data(keys, device), position))
    });
    (learner.global_queue, learner.dense_queue) = (global?, dense?);

    if info.step > 0 {
        let parameters = learner
            .query
            .named()
            .into_iter()
            .filter(|t| t.kind == Kind::Parameter);
        let velocity: Result<Vec<_>> = parameters
            .map(|t| {
                let stored = take(&mut archive, &format!("{VELOCITY}{}", t.name), &t.shape)?;
                let count = stored.values.len();
                Ok(Tensor::from_data(
                    TensorData::new(stored.values, [count]),
                    device,
                ))
            })
            .collect();
        learner.optimizer.restore(velocity?);
    }
    match archive.names().next() {
        None => Ok((learner, info)),
        Some(extra) => Err(Error::Mismatch(format!(
            "{extra} is not part of the run's state"
        ))),
    }
}

fn take(archive: &mut Archive, name: &str, shape: &[usize]) -> Result<Stored> {
    let stored = archive
        .take(name)
        .ok_or_else(|| Error::Mismatch(format!("the checkpoint lacks {name}")))?;
    if stored.shape == shape {
        Ok(stored)
    } else {
        Err(Error::Mismatch(format!(
            "{name} has shape {:?}, expected {shape:?}",
            stored.shape
        )))
    }
}

fn describe(model: &ModelConfig) -> String {
    let ModelConfig {
        backbone,
        width,
        output_stride,
        dim,
        num_grid,
    } = model;
    format!(
        "{} (width {width}, output stride {output_stride}, dim {dim}, num_grid {num_grid})",
        backbone.name()
    )
}
