//! A whole training step.

use std::time::Instant;

use burn::tensor::Device;
use densecl::config::{MethodConfig, OptimConfig};
use densecl::densecl::{DenseCl, StepSettings, Views, key_order};

use super::{Iteration, model, random};
use crate::work::Network;

/// As trained by default, but for batch normalisation over the whole batch: PyTorch's has no groups.
fn method() -> MethodConfig {
    MethodConfig {
        bn_groups: 1,
        ..MethodConfig::default()
    }
}

/// A learner at step 0, and views for it.
pub(super) fn learner(network: Network, device: &Device) -> (DenseCl, Views) {
    let Network {
        backbone,
        size,
        batch,
        queue,
    } = network;
    let optim = OptimConfig::default();
    let learner = DenseCl::new(&model(backbone), &method(), &optim, queue, 0, device);
    let views = Views {
        query: random([batch, 3, size, size], device),
        key: random([batch, 3, size, size], device),
        key_order: key_order(batch, 0, 0),
        geometry: None,
    };
    (learner, views)
}

/// Steps on the same views; the figures are read after each.
pub(super) fn iteration(network: Network, device: &Device) -> Iteration {
    let (mut learner, views) = learner(network, device);
    let mut step = 0;
    Box::new(move || {
        let settings = StepSettings {
            step,
            learning_rate: OptimConfig::default().lr,
            lambda: method().lambda,
        };
        step += 1;
        let start = Instant::now();
        let output = learner.step(vec![views.clone()], &settings)?;
        output.figures()?;
        Ok(start.elapsed())
    })
}
