//! The settings of a method and of its optimizer as plain serde structs; defaults are the authors'
//! (`configs/selfsup/densecl/densecl_imagenet_200ep.py`) unless said otherwise.

mod choice;
mod optim;

use serde::{Deserialize, Serialize};

pub use self::{
    choice::MethodName,
    optim::{OptimConfig, OptimizerName, Precision, SchedulePer},
};
use crate::error::{Error, Result};
pub use crate::network::{Backbone, ModelConfig};

/// Which features decide the match of a query cell (the paper's ablation, table 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// The backbone's last feature map (the paper's choice).
    Backbone,
    /// The dense head's output.
    Dense,
    /// Backbone features less their mean over the batch at the same cell, so that cells are told apart by
    /// what they show: zero padding tells a network where a cell is, and that is the same in every
    /// picture. Not in the paper.
    Centred,
    /// A random key cell: the lower bound of the ablation.
    Random,
    /// The key cell that holds the query cell's true place, known from the views' geometry, as in VADeR
    /// (Pinheiro et al., 2020) and PixContrast (Xie et al., 2021). Query cells whose centre the key view
    /// does not show are left out of the dense losses.
    Geometry,
}

/// Which key cells of the same picture are the positives of a query cell in the in-view loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InViewPositives {
    /// The one cell chosen by [`MethodConfig::matching`].
    Match,
    /// PixContrast's: every key cell whose centre lies within 0.7 of the larger of the two views' cell
    /// diagonals from the query cell's centre, in pixels of the source picture. Whatever the matching.
    Near,
}

/// The method: losses, queues, momentum encoder, normalisation. A comment that names no method speaks of DenseCL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// Which method trains. A setting that it does not use must be at its default.
    pub name: MethodName,
    /// λ: weight of the dense loss, L = (1−λ)·L_global + λ·L_dense. 0 is MoCo v2.
    pub lambda: f64,
    /// Steps at the start during which λ is 0 (needed for λ = 1; the authors use 1000 there).
    pub lambda_warmup_steps: u64,
    /// τ of InfoNCE.
    pub temperature: f64,
    /// m of the momentum encoder, θk ← m·θk + (1−m)·θq; τ of BYOL's target network.
    pub momentum: f64,
    /// Whether m stays or rises to 1 over the run.
    pub momentum_schedule: MomentumSchedule,
    /// Keys in each of the two queues. 0 = sized to the data: half the images, at most 65,536.
    pub queue: usize,
    /// A queue longer than the data set holds several keys of the same image as negatives, and the
    /// loss climbs; it is refused unless this is set.
    pub queue_exceeds_data: bool,
    /// Which features decide the matches.
    pub matching: Matching,
    /// w: weight of the in-view loss beside the dense one, L = (1−λ)·L_global + λ·(L_dense + w·L_in_view).
    /// The dense queue holds one mean per picture, so nothing in the paper's loss tells the cells of one
    /// picture apart; the in-view loss contrasts each query cell with all key cells of its own picture.
    /// 0 is the paper's DenseCL.
    pub in_view_weight: f64,
    /// τ of the in-view loss.
    pub in_view_temperature: f64,
    /// Which key cells are positives in the in-view loss.
    pub in_view_positives: InViewPositives,
    /// Groups of split batch normalisation: each is normalised by its own statistics, as on as many
    /// GPUs. 1 = ordinary batch normalisation, which leaks.
    pub bn_groups: usize,
    /// Shuffle the keys across the groups (shuffle-BN of MoCo).
    pub shuffle_keys: bool,
    /// BYOL: units of the hidden layer of the projector and of the predictor, at least 1.
    pub projector_hidden: usize,
    /// BYOL: units of their outputs, at least 1.
    pub projector_dim: usize,
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
        }
    }
}

/// How m of the momentum encoder changes over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentumSchedule {
    /// Not at all: MoCo's and DenseCL's.
    #[default]
    Constant,
    /// From its value to 1 by cosine: BYOL's.
    Cosine,
}

/// The widest layer of a projector. It catches typing errors; the method has no such limit.
const MAX_UNITS: usize = 65_536;

/// The longest queue chosen by default: the authors'.
pub const MAX_DEFAULT_QUEUE: usize = 65_536;

impl MethodConfig {
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
        self.ensure_used()
    }

    /// Whether a step needs to know the geometry of its views.
    pub fn needs_geometry(&self) -> bool {
        let near = self.in_view_weight > 0.0 && self.in_view_positives == InViewPositives::Near;
        self.matching == Matching::Geometry || near
    }

    /// The queue length for a data set of `images` trained in batches of `batch`; 0 for a method without queues.
    ///
    /// By default half the images, so that a key is gone well before its image comes again, as a
    /// whole number of batches and at most [`MAX_DEFAULT_QUEUE`].
    ///
    /// # Errors
    /// [`Error::Config`] when an explicit queue is shorter than the batch, or longer than the data
    /// without `queue_exceeds_data`.
    pub fn queue_len(&self, images: usize, batch: usize) -> Result<usize> {
        if self.name == MethodName::Byol {
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
