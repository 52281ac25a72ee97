//! The parts of a training step, each on its own.

use burn::tensor::{Device, Int, Tensor, TensorData};
use densecl::config::{MethodConfig, OptimConfig};
use densecl::loss::{Positives, in_view};
use densecl::matching::{best_match, gather_cells, similarity};
use densecl::method::{MicroBatch, key_order};
use densecl::model::follow;
use densecl::optim::{ParameterGradients, Sgd};

use super::step::learner;
use super::{Iteration, clock, clocked, loss, random, unit};
use crate::work::{DIM, Network, Part};

/// Batch normalisation over the whole batch, as in PyTorch.
const GROUPS: usize = 1;
/// Index of the query view in a batch; the key view follows.
const QUERY: usize = 0;
const KEY: usize = 1;

fn pixels(batch: &MicroBatch, view: usize) -> Tensor<4> {
    batch.views[view].pixels.clone()
}

/// Makes the inputs that a step would pass to `part`, and returns the iteration that times it.
///
/// # Errors
/// If the device fails.
pub(super) fn iteration(
    part: Part,
    network: Network,
    device: &Device,
) -> anyhow::Result<Iteration> {
    let Network { batch, queue, .. } = network;
    // The losses need no learner; its networks would dominate the memory measured for them.
    Ok(match part {
        Part::GlobalLoss => loss(batch, queue, DIM, device),
        Part::DenseLoss => loss(network.cells(), queue, DIM, device),
        Part::Ema => {
            let (mut learner, _) = learner(network, device);
            let m = MethodConfig::default().momentum;
            clocked(device, move || follow(&mut learner.key, &learner.query, m))
        }
        Part::ForwardQuery => network_pass(network, device, Counted::Forward),
        Part::ForwardKey => forward_key(network, device),
        Part::Matching => matching(network, device),
        Part::InViewLoss => in_view_loss(network, device),
        Part::Backward => network_pass(network, device, Counted::Backward),
        Part::Optimizer => optimizer(network, device)?,
    })
}

fn forward_key(network: Network, device: &Device) -> Iteration {
    let (mut learner, batch) = learner(network, device);
    let key = pixels(&batch, KEY);
    let indices = |order: Vec<usize>| {
        let order: Vec<i32> = order.into_iter().map(|i| i as i32).collect();
        let count = order.len();
        Tensor::<1, Int>::from_data(TensorData::new(order, [count]), device)
    };
    let mut back: Vec<usize> = (0..network.batch).collect();
    let order = key_order(network.batch, 0, 0);
    back.sort_by_key(|&i| order[i]);
    let (order, back) = (indices(order), indices(back));
    clocked(device, move || {
        let images = key.clone().select(0, order.clone());
        let k = learner.key.forward_train(images, GROUPS);
        k.global.select(0, back.clone());
        k.dense.select(0, back.clone());
        k.dense_pooled.select(0, back.clone());
        k.backbone.select(0, back.clone());
    })
}

fn matching(network: Network, device: &Device) -> Iteration {
    let (mut learner, batch) = learner(network, device);
    let k = learner.key.forward_train(pixels(&batch, KEY), GROUPS);
    let query = unit(k.backbone.dims(), device);
    clocked(device, move || {
        let chosen = best_match(similarity(query.clone(), k.backbone.clone()));
        gather_cells(k.dense.clone(), chosen);
    })
}

/// The in-view loss: each query cell against all cells of the same picture's key view; the positive is the
/// cell at the same place.
fn in_view_loss(network: Network, device: &Device) -> Iteration {
    let cells = network.cells() / network.batch;
    let shape = [network.batch, DIM, cells];
    let query = unit(shape, device).autodiff().require_grad();
    let key = unit(shape, device);
    let numbers = Tensor::<1, Int>::arange(0..cells as i64, device);
    let positives = Positives::One {
        cells: numbers.unsqueeze::<2>().expand([network.batch, cells]),
        valid: Tensor::ones([network.batch, cells], device),
    };
    let temperature = MethodConfig::default().in_view_temperature;
    clocked(device, move || {
        let loss = in_view(query.clone(), key.clone(), &positives, temperature).loss;
        let gradients = loss.backward();
        query.grad(&gradients).expect("the query has a gradient");
    })
}

/// Which half of a pass through the query encoder is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Forward,
    Backward,
}

/// Forward pass, then backward pass from random gradients at both heads' outputs. Both are done even if only
/// one is timed: without the backward pass the graph would keep its memory, which no training step does.
fn network_pass(network: Network, device: &Device, counted: Counted) -> Iteration {
    let (mut learner, batch) = learner(network, device);
    let query = pixels(&batch, QUERY);
    let sides = network.size.div_ceil(32);
    let at_global = random([network.batch, DIM], device).autodiff();
    let at_dense = random([network.batch, DIM, sides * sides], device).autodiff();
    let device = device.clone();
    Box::new(move || {
        let mut q = None;
        let forward = clock(&device, || {
            q = Some(
                learner
                    .query
                    .forward_train(query.clone().autodiff(), GROUPS),
            );
        })?;
        let q = q.expect("the forward pass was made");
        let slopes = (q.global * at_global.clone()).sum() + (q.dense * at_dense.clone()).sum();
        device.sync()?;
        let backward = clock(&device, || {
            slopes.backward();
        })?;
        Ok(match counted {
            Counted::Forward => forward,
            Counted::Backward => backward,
        })
    })
}

/// Collects the gradients and takes an SGD step.
fn optimizer(network: Network, device: &Device) -> anyhow::Result<Iteration> {
    let (mut learner, batch) = learner(network, device);
    let query = pixels(&batch, QUERY).autodiff();
    let q = learner.query.forward_train(query, GROUPS);
    let gradients = (q.global.sum() + q.dense.sum()).backward();
    // SGD replaces the parameters, but gradients are looked up by the identity of the parameters before the
    // step. Therefore a copy of these is kept.
    let differentiated = learner.query.clone();
    let optim = OptimConfig::default();
    let mut sgd = Sgd::new(&optim);
    device.sync()?;
    let device = device.clone();
    let other = random([1], &device).autodiff();
    Ok(Box::new(move || {
        // Any backward pass frees what Burn kept for the parameters that SGD has replaced; each training step has one.
        other.clone().require_grad().backward();
        clock(&device, || {
            let mut collected = ParameterGradients::default();
            collected.accumulate(&differentiated, &gradients);
            sgd.step(&mut learner.query, collected, optim.lr);
        })
    }))
}
