//! A learner of BYOL small enough to step in milliseconds, with formula weights and formula views.

use burn::tensor::Device;
use densecl::{
    config::{
        Backbone, MethodConfig, MethodName, ModelConfig, MomentumSchedule, OptimConfig,
        OptimizerName,
    },
    method::{Byol, MicroBatch, ViewBatch},
    model::Tensors,
};

use crate::{
    golden::formula,
    learner::SIDE,
    network::{Gradient, fill, tensor, values},
};

/// Everything that decides what a tiny learner is.
#[derive(Debug, Clone)]
pub struct TinyByol {
    /// ResNet-10 of width 8, stride 8: 4×4 cells at 32 px.
    pub model: ModelConfig,
    /// 24 hidden units, 12 outputs, a momentum from 0.9 so that one step shows; 2 groups.
    pub method: MethodConfig,
    /// SGD as DenseCL's.
    pub optim: OptimConfig,
}

impl Default for TinyByol {
    fn default() -> Self {
        Self {
            model: ModelConfig {
                backbone: Backbone::ResNet10,
                width: 8,
                output_stride: 8,
                ..ModelConfig::default()
            },
            method: MethodConfig {
                name: MethodName::Byol,
                momentum: 0.9,
                momentum_schedule: MomentumSchedule::Cosine,
                bn_groups: 2,
                projector_hidden: 24,
                projector_dim: 12,
                ..MethodConfig::default()
            },
            optim: OptimConfig::default(),
        }
    }
}

impl TinyByol {
    /// The same with LARS, whose trust coefficient fits the learning rate of the tests.
    #[must_use]
    pub fn with_lars(mut self) -> Self {
        self.optim.name = OptimizerName::Lars;
        self.optim.trust = 0.02;
        self
    }

    /// A learner at step 0 with the formula's weights in the online network, and in the target network those
    /// under the prefix `target.`: two networks that differ, as after some training.
    pub fn learner(&self, device: &Device) -> Byol {
        let mut learner = Byol::new(&self.model, &self.method, &self.optim, 7, device);
        fill(&mut learner.online, "", Gradient::Tracked);
        fill(&mut learner.target, "target.", Gradient::None);
        learner
    }
}

/// The views `name` of `count` images of 32 px.
pub fn batch(name: &str, count: usize, device: &Device) -> MicroBatch {
    sized_batch(name, [count, SIDE], device)
}

/// The views `NAME/first` and `NAME/second` of `count` images of `side` px.
pub fn sized_batch(name: &str, [count, side]: [usize; 2], device: &Device) -> MicroBatch {
    let view = |view: &str| {
        let shape = [count, 3, side, side];
        let values = formula(&format!("{name}/{view}"), shape.iter().product());
        ViewBatch {
            pixels: tensor(values, shape, device),
            geometry: None,
        }
    };
    MicroBatch {
        views: vec![view("first"), view("second")],
    }
}

/// Everything a step changes, by name: both networks and the optimizer's velocity.
pub fn state(learner: &Byol) -> Vec<(String, Vec<f32>)> {
    let networks = [
        ("online", learner.online.named()),
        ("target", learner.target.named()),
        ("velocity", learner.optimizer.state(&learner.online)),
    ];
    let tensors = networks.into_iter().flat_map(|(which, tensors)| {
        tensors
            .into_iter()
            .map(move |t| (format!("{which}.{}", t.name), values(&t.values)))
    });
    tensors.collect()
}
