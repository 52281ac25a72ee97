//! A whole training step.

use std::time::Instant;

use burn::tensor::Device;
use densecl::config::{MethodConfig, OptimConfig};
use densecl::method::{DenseCl, Method, MicroBatch, StepSettings, ViewBatch};
use densecl::ops::together;
use densecl::world::Alone;

use super::{Iteration, model, random};
use crate::work::Network;

/// The default method, but with batch normalisation over the whole batch, because PyTorch has no groups.
fn method() -> MethodConfig {
    MethodConfig {
        bn_groups: 1,
        ..MethodConfig::default()
    }
}

/// A learner before its first step, and a batch of random views.
pub(super) fn learner(network: Network, device: &Device) -> (DenseCl, MicroBatch) {
    let optim = OptimConfig::default();
    let model = model(network.backbone);
    let learner = DenseCl::new(&model, &method(), &optim, network.queue, 0, device);
    (learner, views(network, device))
}

/// A batch of random views.
pub(crate) fn views(network: Network, device: &Device) -> MicroBatch {
    let Network { size, batch, .. } = network;
    let view = || ViewBatch {
        pixels: random([batch, 3, size, size], device),
        geometry: None,
    };
    MicroBatch {
        views: vec![view(), view()],
    }
}

/// Trains on the same views in every step and reads the figures after it, as a loop that logs each step does.
pub(super) fn iteration(network: Network, device: &Device) -> Iteration {
    let (mut learner, views) = learner(network, device);
    let device = device.clone();
    let mut step = 0;
    Box::new(move || {
        let settings = StepSettings {
            step,
            total_steps: u64::MAX,
            learning_rate: OptimConfig::default().lr,
        };
        step += 1;
        let start = Instant::now();
        let output = together(&device, || {
            learner.step(vec![views.clone()], &settings, &mut Alone)
        })?;
        output.figures()?;
        Ok(start.elapsed())
    })
}
