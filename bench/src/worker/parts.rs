//! The parts of a training step, each on its own.

use burn::tensor::{Device, Int, Tensor, TensorData};
use densecl::config::{MethodConfig, OptimConfig};
use densecl::matching::{best_match, gather_cells, similarity};
use densecl::model::{Phase, follow};
use densecl::optim::{ParameterGradients, Sgd};

use super::step::learner;
use super::{Iteration, clock, clocked, loss, random, unit};
use crate::work::{DIM, Network, Part};

const PHASE: Phase = Phase::Train { groups: 1 };

/// One part, with inputs as the step would give it.
///
/// # Errors
/// When the device fails.
pub(super) fn iteration(
    part: Part,
    network: Network,
    device: &Device,
) -> anyhow::Result<Iteration> {
    let Network { batch, queue, .. } = network;
    // Only the parts that need a learner make one: it decides the memory they take.
    Ok(match part {
        Part::GlobalLoss => loss(batch, queue, DIM, device),
        Part::DenseLoss => loss(network.cells(), queue, DIM, device),
        Part::Ema => {
            let (mut learner, _) = learner(network, device);
            let m = MethodConfig::default().momentum;
            clocked(device, move || follow(&mut learner.key, &learner.query, m))
        }
        Part::ForwardQuery => {
            let (mut learner, views) = learner(network, device);
            clocked(device, move || {
                learner.query.forward(views.query.clone().autodiff(), PHASE);
            })
        }
        Part::ForwardKey => forward_key(network, device),
        Part::Matching => matching(network, device),
        Part::Backward => backward(network, device),
        Part::Optimizer => optimizer(network, device)?,
    })
}

fn forward_key(network: Network, device: &Device) -> Iteration {
    let (mut learner, views) = learner(network, device);
    let indices = |order: Vec<usize>| {
        let order: Vec<i32> = order.into_iter().map(|i| i as i32).collect();
        let count = order.len();
        Tensor::<1, Int>::from_data(TensorData::new(order, [count]), device)
    };
    let mut back: Vec<usize> = (0..network.batch).collect();
    back.sort_by_key(|&i| views.key_order[i]);
    let (order, back) = (indices(views.key_order), indices(back));
    clocked(device, move || {
        let images = views.key.clone().select(0, order.clone());
        let k = learner.key.forward(images, PHASE);
        k.global.select(0, back.clone());
        k.dense.select(0, back.clone());
        k.dense_pooled.select(0, back.clone());
        k.backbone.select(0, back.clone());
    })
}

fn matching(network: Network, device: &Device) -> Iteration {
    let (mut learner, views) = learner(network, device);
    let k = learner.key.forward(views.key, PHASE);
    let query = unit(k.backbone.dims(), device);
    clocked(device, move || {
        let chosen = best_match(similarity(query.clone(), k.backbone.clone()));
        gather_cells(k.dense.clone(), chosen);
    })
}

/// From random slopes at both heads' outputs; the forward pass before it is not counted.
fn backward(network: Network, device: &Device) -> Iteration {
    let (mut learner, views) = learner(network, device);
    let sides = network.size.div_ceil(32);
    let at_global = random([network.batch, DIM], device).autodiff();
    let at_dense = random([network.batch, DIM, sides * sides], device).autodiff();
    let device = device.clone();
    Box::new(move || {
        let q = learner.query.forward(views.query.clone().autodiff(), PHASE);
        let slopes = (q.global * at_global.clone()).sum() + (q.dense * at_dense.clone()).sum();
        device.sync()?;
        clock(&device, || {
            slopes.backward();
        })
    })
}

/// Collecting the gradients, and SGD.
fn optimizer(network: Network, device: &Device) -> anyhow::Result<Iteration> {
    let (mut learner, views) = learner(network, device);
    let q = learner.query.forward(views.query.autodiff(), PHASE);
    let gradients = (q.global.sum() + q.dense.sum()).backward();
    // SGD leaves new parameters behind; the gradients are those of the old ones.
    let differentiated = learner.query.clone();
    let optim = OptimConfig::default();
    let mut sgd = Sgd::new(&optim);
    device.sync()?;
    Ok(clocked(device, move || {
        let mut collected = ParameterGradients::default();
        collected.accumulate(&differentiated, &gradients);
        sgd.step(&mut learner.query, collected, optim.lr);
    }))
}
