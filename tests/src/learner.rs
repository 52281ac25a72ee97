//! A learner whose steps take milliseconds, with weights and views from the formula of the goldens.

use burn::tensor::{Device, Tensor};
use densecl::{
    augment::ViewGeometry,
    config::{Backbone, MethodConfig, ModelConfig, OptimConfig},
    method::{DenseCl, Figures, MicroBatch, StepOutput, StepSettings, ViewBatch},
    model::Tensors,
    world::Alone,
};

use crate::{
    golden::formula,
    network::{Gradient, fill, tensor, values},
};

/// Settings of a tiny learner.
#[derive(Debug, Clone)]
pub struct Tiny {
    /// ResNet-10 of width 8 at output stride 8: 4×4 cells at 32 px.
    pub model: ModelConfig,
    /// m = 0.9, so that a single step changes the key encoder visibly; 1 group of batch normalisation.
    pub method: MethodConfig,
    /// The authors' defaults.
    pub optim: OptimConfig,
    /// Keys in each queue; not a multiple of the batch size.
    pub queue: usize,
}

/// Side of the tiny learner's images in pixels.
pub const SIDE: usize = 32;
/// The tiny learner's learning rate.
pub const LEARNING_RATE: f64 = 0.05;

impl Default for Tiny {
    fn default() -> Self {
        Self {
            model: ModelConfig {
                backbone: Backbone::ResNet10,
                width: 8,
                output_stride: 8,
                dim: 16,
                ..ModelConfig::default()
            },
            method: MethodConfig {
                momentum: 0.9,
                bn_groups: 1,
                ..MethodConfig::default()
            },
            optim: OptimConfig::default(),
            queue: 10,
        }
    }
}

impl Tiny {
    /// A learner at step 0. The formula computes the weights of the query encoder from their names, and
    /// those of the key encoder from the names with the prefix `key.`, so that the two differ as after some
    /// training.
    pub fn learner(&self, device: &Device) -> DenseCl {
        let Self {
            model,
            method,
            optim,
            queue,
        } = self;
        let mut learner = DenseCl::new(model, method, optim, *queue, 7, device);
        fill(&mut learner.query, "", Gradient::Tracked);
        fill(&mut learner.key, "key.", Gradient::None);
        learner
    }
}

/// The query and the key view of the same images, and the order in which the keys are encoded.
#[derive(Debug, Clone)]
pub struct Views {
    /// [B, 3, S, S].
    pub query: Tensor<4>,
    /// [B, 3, S, S].
    pub key: Tensor<4>,
    /// A permutation of 0..B.
    pub key_order: Vec<usize>,
    /// The geometry of both views in their image, B pairs.
    pub geometry: Option<Vec<[ViewGeometry; 2]>>,
}

impl Views {
    /// The views as the input of a step.
    pub fn micro_batch(self) -> MicroBatch {
        let geometry = |view: usize| {
            let pairs = self.geometry.as_ref()?.iter();
            Some(pairs.map(|pair| pair[view]).collect())
        };
        let geometry = [geometry(0), geometry(1)];
        let views = [self.query, self.key].into_iter().zip(geometry);
        let views = views.map(|(pixels, geometry)| ViewBatch { pixels, geometry });
        MicroBatch {
            views: views.collect(),
        }
    }
}

/// A step of one rank in which the keys of each micro-batch are encoded in its `key_order`.
///
/// # Errors
/// Those of the step.
pub fn step(
    learner: &mut DenseCl,
    views: Vec<Views>,
    settings: &StepSettings,
) -> densecl::Result<StepOutput> {
    let orders: Vec<Vec<usize>> = views.iter().map(|views| views.key_order.clone()).collect();
    let batches = views.into_iter().map(Views::micro_batch).collect();
    learner.step_in_order(batches, &orders, settings, &mut Alone)
}

/// The named figures of a step, in f32 as the device computed them.
pub fn figures<const N: usize>(of: &Figures, names: [&str; N]) -> [f32; N] {
    names.map(|name| of[name] as f32)
}

/// Settings of step `step` out of 100, at [`LEARNING_RATE`].
pub fn settings(step: u64) -> StepSettings {
    StepSettings {
        step,
        total_steps: 100,
        learning_rate: LEARNING_RATE,
    }
}

/// Views of `batch` images with the formula's values for `name`; the keys are encoded in the batch's order.
pub fn views(name: &str, batch: usize, device: &Device) -> Views {
    let images = |which: &str| {
        let shape = [batch, 3, SIDE, SIDE];
        let values = formula(&format!("{name}/{which}"), shape.iter().product());
        tensor(values, shape, device)
    };
    Views {
        query: images("query"),
        key: images("key"),
        key_order: (0..batch).collect(),
        geometry: None,
    }
}

/// `images` with image `index` replaced by a different one.
pub fn with_other_image(images: Tensor<4>, index: usize) -> Tensor<4> {
    let [_, c, h, w] = images.dims();
    let other = tensor(
        formula("other image", c * h * w),
        [1, c, h, w],
        &images.device(),
    );
    images.slice_assign([index..index + 1, 0..c, 0..h, 0..w], other)
}

/// All state that a step changes, by name: both encoders, SGD's velocity, both queues and their positions.
pub fn state(learner: &DenseCl) -> Vec<(String, Vec<f32>)> {
    let mut state = Vec::new();
    let encoders = [("query", &learner.query), ("key", &learner.key)];
    for (which, encoder) in encoders {
        let tensors = encoder.named().into_iter();
        state.extend(tensors.map(|t| (format!("{which}.{}", t.name), values(&t.values))));
    }
    let velocity = learner.optimizer.state(&learner.query).into_iter();
    state.extend(velocity.map(|t| (format!("velocity.{}", t.name), values(&t.values))));
    let queues = [
        ("global", &learner.global_queue),
        ("dense", &learner.dense_queue),
    ];
    for (which, queue) in queues {
        state.push((format!("queue.{which}"), values(&queue.keys())));
        state.push((
            format!("queue.{which}.position"),
            vec![queue.position() as f32],
        ));
    }
    state
}

/// The matched key cell of each query cell, as a flat list for each micro-batch.
///
/// # Panics
/// If reading from the device fails.
pub fn matches(output: &StepOutput) -> Vec<Vec<i64>> {
    let flat = output.matches.iter().map(|m| m.clone().try_into_vec_as());
    flat.map(|m| m.expect("the device answers")).collect()
}
