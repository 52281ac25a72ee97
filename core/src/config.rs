//! The settings of method and optimizer, as serde structs. Defaults are those of the authors
//! (`configs/selfsup/densecl/densecl_imagenet_200ep.py`) unless a comment says otherwise.

mod choice;
mod optim;

use serde::{Deserialize, Serialize};

pub use self::{
    choice::MethodName,
    optim::{OptimConfig, OptimizerName, Precision, SchedulePer},
};
use crate::error::{Error, Result};
pub use crate::network::{Backbone, ModelConfig};

/// How the positive key cell of a query cell is chosen (the paper's ablation, table 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// The key cell with the most similar backbone features: the paper's choice.
    Backbone,
    /// The key cell with the most similar output of the dense head.
    Dense,
    /// As `Backbone`, after subtracting from each cell's features their mean over the batch at that cell. Zero
    /// padding makes features depend on the position of the cell, in the same way in every image; subtracting
    /// the mean removes that part. Not in the paper.
    Centred,
    /// A random key cell: the baseline of the ablation.
    Random,
    /// The key cell that contains the centre of the query cell, according to the geometry of the views, as in
    /// VADeR (Pinheiro et al., 2020) and PixContrast (Xie et al., 2021). Query cells whose centre lies outside
    /// the key view are excluded from the dense losses.
    Geometry,
}

/// Which key cells of the same image are the positives of a query cell in the in-view loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InViewPositives {
    /// The cell chosen by [`MethodConfig::matching`].
    Match,
    /// As in PixContrast, for any `matching`: every key cell whose centre is near that of the query cell in the
    /// source image. Near is a distance of at most 0.7 times the diagonal of a cell. If the cells of the two
    /// views differ in size, the larger diagonal counts.
    Near,
}

/// The method: losses, queues, momentum encoder, normalisation. A comment that names no method speaks of DenseCL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// Which method trains. A setting that it does not use must be at its default.
    pub name: MethodName,
    /// λ: weight of the dense loss in L = (1−λ)·L_global + λ·L_dense (equation 3), in [0, 1]. 0 is MoCo v2.
    pub lambda: f64,
    /// Number of steps at the start during which λ is 0. Needed for λ = 1, where the authors use 1000.
    pub lambda_warmup_steps: u64,
    /// Temperature τ of InfoNCE, above 0.
    pub temperature: f64,
    /// m of the momentum encoder θk ← m·θk + (1−m)·θq, in [0, 1]; τ of BYOL's target network.
    pub momentum: f64,
    /// Whether m is constant or rises to 1 over the run.
    pub momentum_schedule: MomentumSchedule,
    /// Number of keys in each of the two queues. 0 = half the number of images, at most 65,536
    /// ([`Self::queue_len`]).
    pub queue: usize,
    /// Permits a queue longer than the data set. Such a queue holds several keys of one image, which count as
    /// negatives of that image, and the loss rises.
    pub queue_exceeds_data: bool,
    /// How the positive key cell of a query cell is chosen.
    pub matching: Matching,
    /// w: weight of the in-view loss in L = (1−λ)·L_global + λ·(L_dense + w·L_in_view). The dense queue holds
    /// one mean per image, so the paper's loss has no negatives from the same image. The in-view loss adds
    /// them: it contrasts each query cell with all key cells of its own image. 0 is the paper's DenseCL.
    pub in_view_weight: f64,
    /// Temperature τ of the in-view loss, above 0.
    pub in_view_temperature: f64,
    /// Which key cells are positives in the in-view loss.
    pub in_view_positives: InViewPositives,
    /// Number of groups of split batch normalisation. Each group is normalised by its own statistics, as on
    /// that many GPUs. 1 = ordinary batch normalisation; the network can then recognise the key of a query by
    /// the batch statistics that both share, and learn no useful features.
    pub bn_groups: usize,
    /// Whether to shuffle the keys across the groups (shuffling BN of MoCo).
    pub shuffle_keys: bool,
    /// BYOL and UniVIP: units of the hidden layer of the projector and of the predictor, at least 1.
    pub projector_hidden: usize,
    /// BYOL and UniVIP: units of their outputs, at least 1.
    pub projector_dim: usize,
    /// UniVIP: K, the instances of an image, 1 to 64.
    pub instances: usize,
    /// UniVIP: side of an instance's view in pixels, a multiple of 32.
    pub instance_size: u32,
    /// UniVIP: ε, the weight of the entropy in the optimal transport, above 0.
    pub transport_epsilon: f64,
    /// UniVIP: iterations of Sinkhorn's algorithm, at least 1.
    pub transport_iterations: usize,
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
            name: MethodName::DenseCl,
            lambda: 0.5,
            lambda_warmup_steps: 0,
            temperature: 0.2,
            momentum: 0.999,
            momentum_schedule: MomentumSchedule::Constant,
            queue: 0,
            queue_exceeds_data: false,
            matching: Matching::Backbone,
            in_view_weight: 0.0,
            in_view_temperature: 0.2,
            in_view_positives: InViewPositives::Match,
            bn_groups: 8,
            shuffle_keys: true,
            projector_hidden: 4096,
            projector_dim: 256,
            instances: 4,
            instance_size: 96,
            transport_epsilon: 0.1,
            transport_iterations: 50,
        }
    }
}

/// The schedule of m of the momentum encoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentumSchedule {
    /// m is constant, as in MoCo and DenseCL.
    #[default]
    Constant,
    /// m rises from its value to 1 along a cosine, as in BYOL.
    Cosine,
}

/// The widest layer of a projector. It catches typing errors; the method has no such limit.
const MAX_UNITS: usize = 65_536;

/// The most instances of an image: a plan has the square of their number.
const MAX_INSTANCES: usize = 64;
/// The largest view of an instance in pixels, that of every view.
const MAX_INSTANCE_SIZE: u32 = 4096;
/// The range of ε. Costs lie in [0, 2]: a smaller ε is out of the precision of f32, a larger one makes every plan the same.
const MIN_EPSILON: f64 = 1e-3;
const MAX_EPSILON: f64 = 1e3;
/// The most iterations of Sinkhorn's algorithm. It catches typing errors.
const MAX_ITERATIONS: usize = 10_000;

/// The longest queue that is chosen by default; the authors' length.
pub const MAX_DEFAULT_QUEUE: usize = 65_536;

impl MethodConfig {
    /// Checks the range of each setting.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first setting that is out of range, or that the method does not use.
    pub fn validate(&self) -> Result<()> {
        Error::ensure(
            "method.lambda",
            self.lambda,
            (0.0..=1.0).contains(&self.lambda),
            "between 0 and 1",
        )?;
        Error::ensure(
            "method.temperature",
            self.temperature,
            self.temperature > 0.0 && self.temperature.is_finite(),
            "above 0",
        )?;
        Error::ensure(
            "method.momentum",
            self.momentum,
            (0.0..=1.0).contains(&self.momentum),
            "between 0 and 1",
        )?;
        Error::ensure(
            "method.in_view_weight",
            self.in_view_weight,
            self.in_view_weight >= 0.0 && self.in_view_weight.is_finite(),
            "0 (no in-view loss) or above",
        )?;
        Error::ensure(
            "method.in_view_temperature",
            self.in_view_temperature,
            self.in_view_temperature > 0.0 && self.in_view_temperature.is_finite(),
            "above 0",
        )?;
        Error::ensure(
            "method.queue",
            self.queue,
            self.queue <= 1 << 24,
            "at most 16,777,216 keys",
        )?;
        Error::ensure(
            "method.bn_groups",
            self.bn_groups,
            self.bn_groups >= 1,
            "at least 1",
        )?;
        for (key, units) in [
            ("method.projector_hidden", self.projector_hidden),
            ("method.projector_dim", self.projector_dim),
        ] {
            let in_range = (1..=MAX_UNITS).contains(&units);
            Error::ensure(key, units, in_range, "1 to 65,536 units")?;
        }
        Error::ensure(
            "method.instances",
            self.instances,
            (1..=MAX_INSTANCES).contains(&self.instances),
            "1 to 64",
        )?;
        Error::ensure(
            "method.instance_size",
            self.instance_size,
            (32..=MAX_INSTANCE_SIZE).contains(&self.instance_size)
                && self.instance_size.is_multiple_of(32),
            "a multiple of 32, at most 4096",
        )?;
        Error::ensure(
            "method.transport_epsilon",
            self.transport_epsilon,
            (MIN_EPSILON..=MAX_EPSILON).contains(&self.transport_epsilon),
            "between 0.001 and 1000 (the paper's plan without entropy, 0, has no iteration; 0.1 is usual)",
        )?;
        Error::ensure(
            "method.transport_iterations",
            self.transport_iterations,
            (1..=MAX_ITERATIONS).contains(&self.transport_iterations),
            "1 to 10,000",
        )?;
        self.ensure_used()
    }

    /// Whether a step needs the geometry of its views.
    pub fn needs_geometry(&self) -> bool {
        let near = self.in_view_weight > 0.0 && self.in_view_positives == InViewPositives::Near;
        self.matching == Matching::Geometry || near
    }

    /// The queue length for a data set of `images` images, trained in batches of `batch`; 0 for a method
    /// without queues.
    ///
    /// The default is half the number of images, rounded down to whole batches, at most [`MAX_DEFAULT_QUEUE`]:
    /// a key has left the queue well before its image is used again.
    ///
    /// # Errors
    /// [`Error::Config`] when an explicit queue is shorter than the batch, or longer than the data
    /// without `queue_exceeds_data`.
    pub fn queue_len(&self, images: usize, batch: usize) -> Result<usize> {
        if !self.name.has_queues() {
            return Ok(0);
        }
        if self.queue == 0 {
            let half = (images / 2).min(MAX_DEFAULT_QUEUE);
            return Ok((half / batch * batch).max(batch));
        }
        if self.queue < batch {
            return Err(Error::config(
                "method.queue",
                self.queue,
                format!(
                    "a queue holds at least one batch, {batch} keys here; 0 sizes it to the data"
                ),
            ));
        }
        if self.queue > images && !self.queue_exceeds_data {
            return Err(Error::config(
                "method.queue",
                self.queue,
                format!(
                    "longer than the data set of {images} images, so an image would meet old keys of \
                     itself as negatives; use 0 to size it to the data, or set \
                     method.queue_exceeds_data = true to insist"
                ),
            ));
        }
        Ok(self.queue)
    }
}
