//! A learner of UniVIP small enough to step in milliseconds, with formula weights and formula views.

use burn::tensor::Device;
use densecl::{
    config::{Backbone, MethodConfig, MethodName, ModelConfig, OptimConfig},
    method::{MicroBatch, UniVip, ViewBatch},
    model::Tensors,
};

use crate::{
    golden::formula,
    learner::SIDE,
    network::{Gradient, fill, tensor, values},
};

/// Everything that decides what a tiny learner is.
#[derive(Debug, Clone)]
pub struct TinyUniVip {
    /// ResNet-10 of width 8 at output stride 8.
    pub model: ModelConfig,
    /// Three instances of 32 px, 24 hidden units, 12 outputs, a momentum of 0.9 so that one step shows; 2 groups.
    pub method: MethodConfig,
    /// SGD as DenseCL's.
    pub optim: OptimConfig,
}

impl Default for TinyUniVip {
    fn default() -> Self {
        Self {
            model: ModelConfig {
                backbone: Backbone::ResNet10,
                width: 8,
                output_stride: 8,
                ..ModelConfig::default()
            },
            method: MethodConfig {
                name: MethodName::UniVip,
                momentum: 0.9,
                bn_groups: 2,
                projector_hidden: 24,
                projector_dim: 12,
                instances: 3,
                instance_size: 32,
                ..MethodConfig::default()
            },
            optim: OptimConfig::default(),
        }
    }
}

impl TinyUniVip {
    /// A learner at step 0 with the formula's weights in the online network, and in the target network those
    /// under the prefix `target.`: two networks that differ, as after some training.
    pub fn learner(&self, device: &Device) -> UniVip {
        let mut learner = UniVip::new(&self.model, &self.method, &self.optim, 7, device);
        fill(&mut learner.online, "", Gradient::Tracked);
        fill(&mut learner.target, "target.", Gradient::None);
        learner
    }
}

/// The views of `images` images of the tiny learner under the formula's name.
pub fn batch(name: &str, images: usize, device: &Device) -> MicroBatch {
    sized_batch(name, images, 3, [SIDE; 2], device)
}

/// The scenes `NAME/first` and `NAME/second`, and the instances `NAME/instanceK` and `NAME/otherK`, of `images` images;
/// scenes and instances have these sides in pixels.
pub fn sized_batch(
    name: &str,
    images: usize,
    instances: usize,
    [scene, instance]: [usize; 2],
    device: &Device,
) -> MicroBatch {
    let view = |view: &str, side: usize| {
        let shape = [images, 3, side, side];
        let values = formula(&format!("{name}/{view}"), shape.iter().product());
        ViewBatch {
            pixels: tensor(values, shape, device),
            geometry: None,
        }
    };
    let mut views = vec![view("first", scene), view("second", scene)];
    for which in ["instance", "other"] {
        views.extend((0..instances).map(|number| view(&format!("{which}{number}"), instance)));
    }
    MicroBatch { views }
}

/// Everything a step changes, by name: both networks and the optimizer's velocity.
pub fn state(learner: &UniVip) -> Vec<(String, Vec<f32>)> {
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
