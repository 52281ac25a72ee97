//! The whole state of a run as bytes: what `--resume` needs to continue exactly.
//!
//! Weights, momentum weights, both encoders' BN statistics, SGD's velocity and both queues. Data
//! order and random streams need no state: they are functions of the seed and the step.

mod begin;
mod foreign;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    config::{MethodConfig, ModelConfig, OptimConfig},
    densecl::DenseCl,
    error::{Error, Result},
    loss_scale::LossScale,
    model::{Kind, Tensors},
    names::{KEY, QUERY, QUEUES, VELOCITY},
    network::in_metadata,
    queue::Queue,
    weights::{Archive, FORMAT_VERSION, Stored},
};

pub use self::foreign::{TrainedFor, TrainingState};

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
    #[serde(serialize_with = "in_metadata")]
    pub model: ModelConfig,
    /// Where the global and the dense queue write next.
    pub queue_positions: [usize; 2],
    /// [`Archive::checksum`] of the tensors: any numbers are valid weights, so nothing else would show
    /// a bit that has changed on the disk. `None` in files from before there was one.
    #[serde(default)]
    pub crc32: Option<u32>,
    /// Where the run has one.
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
}

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
    let crc32 = Some(archive.checksum());
    archive.to_bytes(&CheckpointInfo {
        format_version: FORMAT_VERSION,
        step,
        seed,
        images,
        model: model.clone(),
        queue_positions: queues.map(Queue::position),
        crc32,
        loss_scale: learner.loss_scale,
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
    if info
        .crc32
        .is_some_and(|written| written != archive.checksum())
    {
        return Err(Error::Format(
            "its checksum is wrong: the file has changed since it was written, as by a failing disk or \
             a bad copy; continue from another checkpoint"
                .to_string(),
        ));
    }
    let mut learner = DenseCl::new(model, method, optim, queue_len, info.seed, device);
    if learner.loss_scale.is_some() && info.loss_scale.is_some() {
        learner.loss_scale = info.loss_scale;
    }
    archive.restore(QUERY, &mut learner.query)?;
    archive.restore(KEY, &mut learner.key)?;

    let positions = info.queue_positions;
    learner.global_queue = take_queue(&mut archive, 0, positions, queue_len, model.dim, device)?;
    learner.dense_queue = take_queue(&mut archive, 1, positions, queue_len, model.dim, device)?;
    if info.step > 0 {
        take_velocity(&mut archive, &mut learner, device)?;
    }
    match archive.names().next() {
        None => Ok((learner, info)),
        Some(extra) => Err(Error::Mismatch(format!(
            "{extra} is not part of the run's state"
        ))),
    }
}

/// The queue `which`, of `len` keys.
fn take_queue(
    archive: &mut Archive,
    which: usize,
    positions: [usize; 2],
    len: usize,
    dim: usize,
    device: &Device,
) -> Result<Queue> {
    let (name, position) = (QUEUES[which], positions[which]);
    let stored = take(archive, name, &[len, dim])?;
    if position >= len {
        return Err(Error::Format(format!(
            "{name} writes at {position}, past its end"
        )));
    }
    let keys = TensorData::new(stored.values, [len, dim]);
    Ok(Queue::from_parts(Tensor::from_data(keys, device), position))
}

/// SGD's velocity of every parameter.
fn take_velocity(archive: &mut Archive, learner: &mut DenseCl, device: &Device) -> Result<()> {
    let parameters = learner.query.named().into_iter();
    let parameters = parameters.filter(|tensor| tensor.kind == Kind::Parameter);
    let velocity = parameters.map(|tensor| {
        let stored = take(
            archive,
            &format!("{VELOCITY}{}", tensor.name),
            &tensor.shape,
        )?;
        let count = stored.values.len();
        let data = TensorData::new(stored.values, [count]);
        Ok(Tensor::from_data(data, device))
    });
    let velocity: Vec<_> = velocity.collect::<Result<_>>()?;
    learner.optimizer.restore(velocity);
    Ok(())
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
        stride_in_1x1,
    } = model;
    let placement = if *stride_in_1x1 {
        ", stride in the 1x1 convolution"
    } else {
        ""
    };
    format!(
        "{} (width {width}, output stride {output_stride}, dim {dim}, num_grid {num_grid}{placement})",
        backbone.name()
    )
}
