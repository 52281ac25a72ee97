//! A learner of 3SAT small enough to step in milliseconds, with formula weights and formula views.

use burn::tensor::{Device, Tensor};
use densecl::{
    augment::normalize,
    config::{Backbone, MethodConfig, MethodName, ModelConfig, OptimConfig, Stem},
    method::{MicroBatch, ThreeSat, ViewBatch},
};

use crate::{
    byol,
    golden::formula,
    network::{Gradient, fill, tensor},
};

/// Side of the tiny learner's pictures in pixels.
pub const SIDE: usize = 16;

/// Everything that decides what a tiny learner is.
#[derive(Debug, Clone)]
pub struct TinyThreeSat {
    /// ResNet-10 of width 8 with the stem for small pictures.
    pub model: ModelConfig,
    /// 24 hidden units, 12 outputs, a momentum of 0.9 so that one step shows; 2 groups, no warm-up.
    pub method: MethodConfig,
    /// SGD as DenseCL's.
    pub optim: OptimConfig,
}

impl Default for TinyThreeSat {
    fn default() -> Self {
        Self {
            model: ModelConfig {
                backbone: Backbone::ResNet10,
                width: 8,
                stem: Stem::Cifar,
                output_stride: 8,
                ..ModelConfig::default()
            },
            method: MethodConfig {
                name: MethodName::ThreeSat,
                momentum: 0.9,
                bn_groups: 2,
                projector_hidden: 24,
                projector_dim: 12,
                adversarial_warmup: 0.0,
                ..MethodConfig::default()
            },
            optim: OptimConfig::default(),
        }
    }
}

impl TinyThreeSat {
    /// A learner at step 0 with the formula's weights in the online network, and in the target network those
    /// under the prefix `target.`: two networks that differ, as after some training.
    pub fn learner(&self, device: &Device) -> ThreeSat {
        let mut learner = ThreeSat::new(&self.model, &self.method, &self.optim, 7, device);
        fill(&mut learner.byol.online, "", Gradient::Tracked);
        fill(&mut learner.byol.target, "target.", Gradient::None);
        learner
    }
}

/// The pixels `name` of `images` pictures, in [0, 1).
pub fn pixels(name: &str, images: usize, device: &Device) -> Tensor<4> {
    let shape = [images, 3, SIDE, SIDE];
    let values = formula(name, shape.iter().product());
    let values = values.into_iter().map(|value| (value + 1.0) / 2.0);
    tensor(values.collect(), shape, device)
}

/// The views `NAME/first`, `NAME/second` and `NAME/whole` of `images` pictures.
pub fn batch(name: &str, images: usize, device: &Device) -> MicroBatch {
    let view = |view: &str| ViewBatch {
        pixels: normalize(pixels(&format!("{name}/{view}"), images, device)),
        geometry: None,
    };
    MicroBatch {
        views: ["first", "second", "whole"].map(view).to_vec(),
    }
}

/// Everything a step changes, by name: both networks and the optimizer's velocity.
pub fn state(learner: &ThreeSat) -> Vec<(String, Vec<f32>)> {
    byol::state(&learner.byol)
}
