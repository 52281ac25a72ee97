//! The settings of method and optimizer, as serde structs. Defaults are those of the authors
//! (`configs/selfsup/densecl/densecl_imagenet_200ep.py`) unless a comment says otherwise.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

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

/// The method: losses, queues, momentum encoder, normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// λ: weight of the dense loss in L = (1−λ)·L_global + λ·L_dense (equation 3), in [0, 1]. 0 is MoCo v2.
    pub lambda: f64,
    /// Number of steps at the start during which λ is 0. Needed for λ = 1, where the authors use 1000.
    pub lambda_warmup_steps: u64,
    /// Temperature τ of InfoNCE, above 0.
    pub temperature: f64,
    /// m of the momentum encoder θk ← m·θk + (1−m)·θq, in [0, 1].
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
}

impl Default for MethodConfig {
    fn default() -> Self {
        Self {
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

/// The longest queue that is chosen by default; the authors' length.
pub const MAX_DEFAULT_QUEUE: usize = 65_536;

impl MethodConfig {
    /// Checks the range of each setting.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first setting that is out of range.
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
        )
    }

    /// Whether a step needs the geometry of its views.
    pub fn needs_geometry(&self) -> bool {
        let near = self.in_view_weight > 0.0 && self.in_view_positives == InViewPositives::Near;
        self.matching == Matching::Geometry || near
    }

    /// The queue length for a data set of `images` images, trained in batches of `batch`.
    ///
    /// The default is half the number of images, rounded down to whole batches, at most [`MAX_DEFAULT_QUEUE`]:
    /// a key has left the queue well before its image is used again.
    ///
    /// # Errors
    /// [`Error::Config`] when an explicit queue is shorter than the batch, or longer than the data
    /// without `queue_exceeds_data`.
    pub fn queue_len(&self, images: usize, batch: usize) -> Result<usize> {
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

/// How often the cosine schedule changes the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulePer {
    /// Once per epoch, as the authors do (mmcv `CosineAnnealing` with `by_epoch`).
    Epoch,
    /// Every step.
    Step,
}

/// The number format of convolutions and of the activations between them. Weights, the optimizer's state, batch
/// statistics, outputs of the heads and losses are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of mantissa.
    F32,
    /// 8 bits of mantissa, and the range of f32.
    Bf16,
    /// 11 bits of mantissa, up to 65,504: the loss is scaled, see [`crate::loss_scale`].
    F16,
}

impl Precision {
    /// Every precision, the most precise first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The type of a tensor's elements.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }
}

/// The settings of SGD and of its schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Initial learning rate; it falls to 0 along a cosine.
    pub lr: f64,
    /// Whether to multiply `lr` by batch / 256 (Goyal et al., 2017).
    pub scale_lr: bool,
    /// Momentum of SGD, in [0, 1).
    pub momentum: f64,
    /// Weight decay, applied to all parameters, as the authors do.
    pub weight_decay: f64,
    /// Whether the learning rate changes once per epoch or every step.
    pub schedule: SchedulePer,
    /// Gradients with a larger L2 norm, over all parameters, are scaled down to this norm; 0 = no clipping.
    pub clip_norm: f64,
    /// Number of micro-batches into which a batch is split; their gradients are averaged. At least 1.
    pub accumulate: usize,
    /// The number format of convolutions and activations.
    pub precision: Precision,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            lr: 0.03,
            scale_lr: false,
            momentum: 0.9,
            weight_decay: 1e-4,
            schedule: SchedulePer::Epoch,
            clip_norm: 0.0,
            accumulate: 1,
            precision: Precision::F32,
        }
    }
}

impl OptimConfig {
    /// Checks the range of each setting.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        Error::ensure("optim.lr", self.lr, not_negative(self.lr), "0 or above")?;
        Error::ensure(
            "optim.momentum",
            self.momentum,
            (0.0..1.0).contains(&self.momentum),
            "in [0, 1)",
        )?;
        let decay = self.weight_decay;
        Error::ensure(
            "optim.weight_decay",
            decay,
            not_negative(decay),
            "0 or above",
        )?;
        let clip = self.clip_norm;
        Error::ensure(
            "optim.clip_norm",
            clip,
            not_negative(clip),
            "0 (no clipping) or above",
        )?;
        Error::ensure(
            "optim.accumulate",
            self.accumulate,
            self.accumulate >= 1,
            "at least 1",
        )
    }
}
