//! The settings of the optimizer.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

/// Which optimizer takes the steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// SGD with momentum: MoCo's and DenseCL's.
    #[default]
    Sgd,
    /// SGD with momentum whose gradient is scaled layer by layer (You et al. 2017): BYOL's. See [`crate::optim`].
    Lars,
}

/// The settings of the optimizer and of its schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// SGD or LARS.
    pub name: OptimizerName,
    /// Base learning rate; it falls to 0 along a cosine.
    pub lr: f64,
    /// Whether to multiply `lr` by batch / 256 (Goyal et al., 2017).
    pub scale_lr: bool,
    /// Momentum of the optimizer, in [0, 1).
    pub momentum: f64,
    /// Weight decay: with SGD applied to all parameters, as DenseCL's authors do; with LARS to all but biases
    /// and the parameters of batch normalisation.
    pub weight_decay: f64,
    /// η, LARS's trust coefficient, above 0.
    pub trust: f64,
    /// Epochs at the start over which the learning rate rises linearly from 0; 0 = none. A fraction is a part
    /// of an epoch. The cosine takes the rest of the run.
    pub warmup_epochs: f64,
    /// Whether the learning rate changes once per epoch or every step.
    pub schedule: SchedulePer,
    /// Gradients with a larger L2 norm, over all parameters, are scaled down to this norm; 0 = no clipping.
    pub clip_norm: f64,
    /// A: the number of micro-batches into which a batch is split, on all ranks together; their gradients are averaged.
    /// 0 = one for each rank, or as many as memory needs.
    pub accumulate: usize,
    /// The number format of convolutions and activations.
    pub precision: Precision,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            name: OptimizerName::Sgd,
            lr: 0.03,
            scale_lr: false,
            momentum: 0.9,
            weight_decay: 1e-4,
            trust: 1e-3,
            warmup_epochs: 0.0,
            schedule: SchedulePer::Epoch,
            clip_norm: 0.0,
            accumulate: 0,
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
        let trust = self.trust;
        let positive = trust > 0.0 && trust.is_finite();
        Error::ensure("optim.trust", trust, positive, "above 0")?;
        let warmup = self.warmup_epochs;
        let key = "optim.warmup_epochs";
        Error::ensure(key, warmup, not_negative(warmup), "0 (none) or above")?;
        let clip = self.clip_norm;
        Error::ensure(
            "optim.clip_norm",
            clip,
            not_negative(clip),
            "0 (no clipping) or above",
        )
    }
}
