//! The settings of the method, and what is known about a method before it is built.

mod unused;

use serde::{Deserialize, Serialize};

use super::{Attack, InViewPositives, Matching, MomentumSchedule, attack::fraction};
use crate::error::{Error, Result};

/// The methods that the settings can choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodName {
    /// DenseCL (Wang et al. 2021); with λ = 0 MoCo v2.
    #[default]
    DenseCl,
    /// BYOL (Grill et al. 2020).
    Byol,
    /// UniVIP (Li et al. 2022).
    UniVip,
    /// 3SAT (Fang et al. 2025).
    #[serde(rename = "3sat")]
    ThreeSat,
}

impl MethodName {
    /// Whether its loss has negatives, from queues.
    pub fn has_queues(self) -> bool {
        match self {
            Self::DenseCl => true,
            Self::Byol | Self::UniVip | Self::ThreeSat => false,
        }
    }

    /// Whether batch normalisation is applied to one vector per image, so that a group needs two images.
    pub fn normalises_vectors(self) -> bool {
        match self {
            Self::DenseCl => false,
            Self::Byol | Self::UniVip | Self::ThreeSat => true,
        }
    }

    /// Whether it compares instances: views of boxes in an image.
    pub fn has_instances(self) -> bool {
        match self {
            Self::DenseCl | Self::Byol | Self::ThreeSat => false,
            Self::UniVip => true,
        }
    }
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
    /// All but DenseCL: units of the hidden layer of the projector and of the predictor, at least 1.
    pub projector_hidden: usize,
    /// All but DenseCL: units of their outputs, at least 1.
    pub projector_dim: usize,
    /// UniVIP: K, the instances of an image, 1 to 64.
    pub instances: usize,
    /// UniVIP: side of an instance's view in pixels, a multiple of 32.
    pub instance_size: u32,
    /// UniVIP: ε, the weight of the entropy in the optimal transport, above 0.
    pub transport_epsilon: f64,
    /// UniVIP: iterations of Sinkhorn's algorithm, at least 1.
    pub transport_iterations: usize,
    /// 3SAT: ε, the largest change of a pixel's value by the attack, as a part of its range, above 0 and at most 1. In
    /// files it may be a fraction as text, `"8/255"`.
    #[serde(deserialize_with = "fraction")]
    pub attack_epsilon: f64,
    /// 3SAT: α, the change in one iteration of the attack, above 0 and at most ε.
    #[serde(deserialize_with = "fraction")]
    pub attack_step: f64,
    /// 3SAT: iterations of the attack, at least 1.
    pub attack_steps: usize,
    /// 3SAT: W, the share of the run during which the adversarial loss has weight 0, in [0, 1). Its weight then rises
    /// linearly to 1.
    #[serde(deserialize_with = "fraction")]
    pub adversarial_warmup: f64,
    /// 3SAT: whether the unaugmented picture predicts both views, too. The authors' code does so; the paper does not.
    pub unaugmented_terms: bool,
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
            attack_epsilon: 8.0 / 255.0,
            attack_step: 2.0 / 255.0,
            attack_steps: 5,
            adversarial_warmup: 0.3,
            unaugmented_terms: false,
        }
    }
}

/// The widest layer of a projector. It catches typing errors; the method has no such limit.
const MAX_UNITS: usize = 65_536;

/// The most instances of an image: a plan has the square of their number.
const MAX_INSTANCES: usize = 64;
/// The largest view of an instance in pixels, that of every view.
const MAX_INSTANCE_SIZE: u32 = 4096;
/// The range of ε. Costs lie in [0, 2]: with a smaller ε, f32 is too coarse for the plan; with a larger one, costs no
/// longer matter.
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
        self.validate_instances()?;
        self.attack().validate([
            "method.attack_epsilon",
            "method.attack_step",
            "method.attack_steps",
        ])?;
        Error::ensure(
            "method.adversarial_warmup",
            self.adversarial_warmup,
            (0.0..1.0).contains(&self.adversarial_warmup),
            "at least 0 and below 1: a share of the run, after which the adversarial loss begins",
        )?;
        self.ensure_used()
    }

    fn validate_instances(&self) -> Result<()> {
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
            "between 0.001 and 1000 (0 has no iteration that reaches a plan; 0.1 is usual)",
        )?;
        Error::ensure(
            "method.transport_iterations",
            self.transport_iterations,
            (1..=MAX_ITERATIONS).contains(&self.transport_iterations),
            "1 to 10,000",
        )
    }

    /// The attack of 3SAT.
    pub fn attack(&self) -> Attack {
        Attack {
            epsilon: self.attack_epsilon,
            step: self.attack_step,
            steps: self.attack_steps,
        }
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

    /// The training objective in words, for titles and messages.
    pub fn objective(&self) -> String {
        match self.name {
            MethodName::DenseCl if self.lambda == 0.0 => "MoCo v2".to_string(),
            MethodName::DenseCl => self.objective_of_densecl(),
            MethodName::Byol => "BYOL".to_string(),
            MethodName::UniVip => "UniVIP".to_string(),
            MethodName::ThreeSat => "3SAT".to_string(),
        }
    }

    fn objective_of_densecl(&self) -> String {
        let positives = match self.matching {
            Matching::Backbone => None,
            Matching::Dense => Some("matching by the dense head"),
            Matching::Centred => Some("centred matching"),
            Matching::Random => Some("random positives"),
            Matching::Geometry => Some("true positives"),
        };
        let in_view = (self.in_view_weight > 0.0).then_some("in-view negatives");
        let parts: Vec<&str> = positives.into_iter().chain(in_view).collect();
        match parts[..] {
            [] => "DenseCL".to_string(),
            _ => format!("DenseCL with {}", parts.join(" and ")),
        }
    }
}
