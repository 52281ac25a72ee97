//! The whole state of a run as bytes: what `--resume` needs to continue exactly.
//!
//! Networks, queues and the optimizer's velocity, as the method names them. Data order and random streams need no state:
//! they are functions of the seed and the step.

mod begin;
mod foreign;
mod restore;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    config::ModelConfig,
    error::{Error, Result},
    loss_scale::LossScale,
    method::{Method, StateVisitor},
    model::AnyNetwork,
    names::QUEUES,
    network::in_metadata,
    optim::Sgd,
    queue::Queue,
    weights::{Archive, FORMAT_VERSION},
};

pub use self::foreign::{TrainedFor, TrainingState};

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// [`Method::name`].
    #[serde(default = "first_method")]
    pub method: String,
    /// Steps taken.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Images in the data set: with another number the order of the data would be another.
    pub images: usize,
    /// The network.
    #[serde(serialize_with = "in_metadata")]
    pub model: ModelConfig,
    /// Where each queue writes next, by its name.
    #[serde(default)]
    pub positions: BTreeMap<String, usize>,
    /// The same in files from before methods had names: of the global and the dense queue.
    #[serde(default, skip_serializing)]
    queue_positions: Option<[usize; 2]>,
    /// [`Archive::checksum`] of the tensors: any numbers are valid weights, so nothing else would show
    /// a bit that has changed on the disk. `None` in files from before there was one.
    #[serde(default)]
    pub crc32: Option<u32>,
    /// Where the run has one.
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
}

/// The only method that there was before the name was written.
fn first_method() -> String {
    "densecl".to_string()
}

/// The state of `learner` after `step` steps of the run with `seed` over `images` images. The learner is only read.
///
/// # Errors
/// [`Error::Device`] when a tensor cannot be read back; [`Error::NotFinite`] when one has a NaN or an
/// infinity in it: what would be saved is nothing to continue from.
pub fn save(
    learner: &mut dyn Method,
    model: &ModelConfig,
    seed: u64,
    images: usize,
    step: u64,
) -> Result<Vec<u8>> {
    let mut saved = Save::default();
    learner.visit_state(&mut saved)?;
    if let Some(name) = saved.archive.not_finite() {
        return Err(Error::NotFinite(name.to_string()));
    }
    let crc32 = Some(saved.archive.checksum());
    saved.archive.to_bytes(&CheckpointInfo {
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

/// The parts of a state on their way to bytes.
#[derive(Default)]
struct Save {
    archive: Archive,
    positions: BTreeMap<String, usize>,
    loss_scale: Option<LossScale>,
}

impl StateVisitor for Save {
    fn network(&mut self, name: &str, network: &mut dyn AnyNetwork) -> Result<()> {
        self.archive.insert_all(&format!("{name}."), network)
    }

    fn velocity(
        &mut self,
        name: &str,
        optimizer: &mut Sgd,
        network: &dyn AnyNetwork,
    ) -> Result<()> {
        for velocity in optimizer.state(network) {
            let name = format!("{name}.{}", velocity.name);
            self.archive
                .insert(name, velocity.shape, &velocity.values)?;
        }
        Ok(())
    }

    fn queue(&mut self, name: &str, queue: &mut Queue) -> Result<()> {
        let keys = queue.keys();
        self.positions.insert(name.to_string(), queue.position());
        self.archive
            .insert(name.to_string(), keys.dims().to_vec(), &keys)
    }

    fn loss_scale(&mut self, scale: &mut LossScale) -> Result<()> {
        self.loss_scale = Some(*scale);
        Ok(())
    }
}

/// A checkpoint that has been read and found whole.
#[derive(Debug)]
pub struct Checkpoint {
    /// What it says about itself.
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

    /// Puts the state into `learner`, which is of the same settings and seed and has taken no step.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a state of another method or queue length. Then part of `learner` may have changed: it is
    /// of no use.
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
