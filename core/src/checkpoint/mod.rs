//! Checkpoints: the complete state of a run as bytes, from which `--resume` continues exactly.
//!
//! A checkpoint contains the networks, the queues and the optimizer's velocity, under the names that the method
//! gives them. The order of the data and the random streams are functions of seed and step, and need not be
//! stored.

mod begin;
mod foreign;
mod restore;
mod share;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    config::{ModelConfig, Stem},
    device::block_on,
    error::{Error, Result},
    loss_scale::LossScale,
    method::{Method, StateVisitor},
    model::{AnyNetwork, Kind, NamedTensor},
    names::QUEUES,
    network::in_metadata,
    optim::Sgd,
    queue::Queue,
    weights::{Archive, FORMAT_VERSION},
};

pub use self::{
    foreign::{TrainedFor, TrainingState},
    share::share,
};

/// The metadata of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format_version: u32,
    /// [`Method::name`].
    #[serde(default = "first_method")]
    pub method: String,
    /// Steps taken.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Number of images in the data set. The order of the data depends on it.
    pub images: usize,
    /// The network.
    #[serde(serialize_with = "in_metadata")]
    pub model: ModelConfig,
    /// The row that the next key overwrites, by the name of the queue.
    #[serde(default)]
    pub positions: BTreeMap<String, usize>,
    /// Older files store two rows, of the global and of the dense queue, instead of `positions`.
    #[serde(default, skip_serializing)]
    queue_positions: Option<[usize; 2]>,
    /// [`Archive::checksum`] of the tensors. Without it, a bit that changed on the disk would not be noticed,
    /// because any values are valid weights. `None` in older files.
    #[serde(default)]
    pub crc32: Option<u32>,
    /// The loss scale, if the run has one.
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
}

/// The method of older files, which do not contain its name.
fn first_method() -> String {
    "densecl".to_string()
}

/// The bytes of a checkpoint: the state of `learner` after `step` steps of a run with `seed` over `images`
/// images. The learner is not changed.
///
/// # Errors
/// [`Error::Device`] when a tensor cannot be read from the device. [`Error::NotFinite`] when a tensor contains
/// NaN or infinity, because training cannot continue from such a state.
pub fn save(
    learner: &mut dyn Method,
    model: &ModelConfig,
    seed: u64,
    images: usize,
    step: u64,
) -> Result<Vec<u8>> {
    block_on(save_async(learner, model, seed, images, step))
}

/// [`save`] without blocking the thread, for browsers, where blocking is not allowed.
///
/// # Errors
/// As [`save`].
pub async fn save_async(
    learner: &mut dyn Method,
    model: &ModelConfig,
    seed: u64,
    images: usize,
    step: u64,
) -> Result<Vec<u8>> {
    let mut saved = Save::default();
    learner.visit_state(&mut saved)?;
    let archive = Archive::read(saved.tensors).await?;
    if let Some(name) = archive.not_finite() {
        return Err(Error::NotFinite(name.to_string()));
    }
    let crc32 = Some(archive.checksum());
    archive.to_bytes(&CheckpointInfo {
        format_version: FORMAT_VERSION,
        method: learner.name().to_string(),
        step,
        seed,
        images,
        model: model.clone(),
        positions: saved.positions,
        queue_positions: None,
        crc32,
        loss_scale: saved.loss_scale,
    })
}

/// Collects the parts of a state. Tensors are handles, so nothing is copied before they are read.
#[derive(Default)]
struct Save {
    tensors: Vec<NamedTensor>,
    positions: BTreeMap<String, usize>,
    loss_scale: Option<LossScale>,
    /// Whether an optimizer has velocities.
    velocities: bool,
}

impl Save {
    fn add(&mut self, part: &str, tensors: Vec<NamedTensor>) {
        let tensors = tensors.into_iter().map(|tensor| NamedTensor {
            name: format!("{part}.{}", tensor.name),
            ..tensor
        });
        self.tensors.extend(tensors);
    }
}

impl StateVisitor for Save {
    fn network(&mut self, name: &str, network: &mut dyn AnyNetwork) -> Result<()> {
        self.add(name, network.list());
        Ok(())
    }

    fn velocity(
        &mut self,
        name: &str,
        optimizer: &mut Sgd,
        network: &dyn AnyNetwork,
    ) -> Result<()> {
        let velocities = optimizer.state(network);
        self.velocities |= !velocities.is_empty();
        self.add(name, velocities);
        Ok(())
    }

    fn queue(&mut self, name: &str, queue: &mut Queue) -> Result<()> {
        let keys = queue.keys();
        self.positions.insert(name.to_string(), queue.position());
        self.tensors.push(NamedTensor {
            name: name.to_string(),
            kind: Kind::Buffer,
            shape: keys.dims().to_vec(),
            values: keys.flatten(0, 1),
        });
        Ok(())
    }

    fn loss_scale(&mut self, scale: &mut LossScale) -> Result<()> {
        self.loss_scale = Some(*scale);
        Ok(())
    }
}

/// A checkpoint that has been read and checked.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its metadata.
    pub info: CheckpointInfo,
    archive: Archive,
}

impl Checkpoint {
    /// Reads a checkpoint of a run with this network.
    ///
    /// # Errors
    /// [`Error::Format`] for a damaged file, [`Error::Mismatch`] for one of another network.
    pub fn read(bytes: &[u8], model: &ModelConfig) -> Result<Self> {
        let (archive, mut info): (Archive, CheckpointInfo) = Archive::from_bytes(bytes)?;
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
        if let Some(positions) = info.queue_positions.take() {
            info.positions = positions_by_name(positions);
        }
        Ok(Self { info, archive })
    }

    /// Restores the state into `learner`, which must have the same settings and seed and be at step 0.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a state of another method or queue length. A part of `learner` may then have
    /// been replaced, so it must not be used.
    pub fn restore(mut self, learner: &mut dyn Method) -> Result<CheckpointInfo> {
        if self.info.method != learner.name() {
            return Err(Error::Mismatch(format!(
                "the checkpoint is one of {}, the run trains {}",
                self.info.method,
                learner.name()
            )));
        }
        restore::restore(
            &mut self.archive,
            &self.info.positions,
            self.info.step > 0,
            self.info.loss_scale,
            learner,
        )?;
        Ok(self.info)
    }
}

fn positions_by_name(positions: [usize; 2]) -> BTreeMap<String, usize> {
    let names = QUEUES.iter().map(|name| name.to_string());
    names.zip(positions).collect()
}

fn describe(model: &ModelConfig) -> String {
    let ModelConfig {
        backbone,
        width,
        stem,
        output_stride,
        dim,
        num_grid,
        stride_in_1x1,
    } = model;
    let stem = match stem {
        Stem::ImageNet => "",
        Stem::Cifar => ", stem for small pictures",
    };
    let placement = if *stride_in_1x1 {
        ", stride in the 1x1 convolution"
    } else {
        ""
    };
    format!(
        "{} (width {width}, output stride {output_stride}, dim {dim}, num_grid {num_grid}{stem}{placement})",
        backbone.name()
    )
}
