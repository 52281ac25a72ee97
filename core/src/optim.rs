//! SGD with momentum and weight decay, as in `torch.optim.SGD`, for the parameters of a network; and LARS, which
//! is SGD with its gradient scaled layer by layer.

mod lars;

use burn::tensor::{Gradients, Tensor, TensorData};

use self::lars::Lars;
use crate::{
    config::{OptimConfig, OptimizerName},
    error::Result,
    model::{
        AnyNetwork, Kind, NamedTensor, TensorVisitor, Tensors,
        visit::{put_parameters, take_parameters},
    },
    ops::{self, Flat, SgdSettings, Training},
    world::{self, World},
};

/// The gradients of a network's parameters, flattened.
#[derive(Debug, Clone, Default)]
struct Gradient {
    /// Of the parameters on which the loss depends, in the order of the network.
    values: Flat,
    /// For each parameter of the network, whether the loss depends on it.
    exists: Vec<bool>,
}

impl Gradient {
    /// The operations for these gradients; `None` if there is none.
    fn operations(&self) -> Option<&'static dyn Training> {
        let first = self.values.first()?;
        Some(ops::training(&first.device(), first.dtype()))
    }

    /// For each parameter of the network its gradient, or `None`.
    fn each(self) -> Vec<Option<Tensor<1>>> {
        let mut values = self.values.into_iter();
        let each = self
            .exists
            .iter()
            .map(|exists| exists.then(|| values.next().expect("one for each that exists")));
        each.collect()
    }

    fn scale(&mut self, factor: &Tensor<1>) {
        if let Some(operations) = self.operations() {
            let values = std::mem::take(&mut self.values);
            self.values = operations.scale_all(values, factor);
        }
    }
}

/// The sum of the gradients of a network's parameters over several backward passes.
///
/// The gradients are added pairwise, as the leaves of one binary tree: the first with the second, the third with the
/// fourth, then both sums. So the parts of a sum that several ranks compute are subtrees of it, and the number of
/// ranks does not change its bits ([`crate::world`]). Up to log₂ n + 1 gradients exist together after n passes.
#[derive(Debug, Clone, Default)]
pub struct ParameterGradients {
    /// Sums of 2ˡ consecutive gradients with their level l; the levels fall.
    sums: Vec<(u32, Gradient)>,
}

impl ParameterGradients {
    /// Adds the gradients of `network`'s parameters from a backward pass, as one leaf of the tree.
    pub fn accumulate<M: Tensors>(&mut self, network: &M, gradients: &Gradients) {
        let mut collect = Collect {
            gradients,
            found: Gradient::default(),
        };
        network.clone().visit("", &mut collect);
        let mut found = collect.found;
        if let Some(operations) = found.operations() {
            found.values = operations.gather(found.values);
        }
        self.push(found);
    }

    /// Adds the sum of `part` as one leaf of the tree: for a step with another number of backward passes in each
    /// micro-batch than a power of two, because only micro-batches are shared by ranks.
    pub fn add(&mut self, mut part: Self) {
        let total = std::mem::take(part.total());
        self.push(total);
    }

    fn push(&mut self, leaf: Gradient) {
        let mut newest = (0, leaf);
        while let Some((_, before)) = self.sums.pop_if(|(level, _)| *level == newest.0) {
            newest = (newest.0 + 1, add(before, newest.1));
        }
        self.sums.push(newest);
    }

    /// Replaces the sum by that over all ranks. Waits for the device, unless this rank is alone.
    ///
    /// # Errors
    /// When the device failed, or another rank has ended.
    pub fn sum_over(&mut self, world: &mut dyn World) -> Result<()> {
        if world.size() == 1 {
            return Ok(());
        }
        let total = self.total();
        let own = total.values.clone();
        let Some(device) = own.first().map(Tensor::device) else {
            return Ok(());
        };
        // One transfer for all parameters.
        let flat = world::read(Tensor::cat(own, 0))?;
        let count = flat.len();
        let sum = TensorData::new(world.sum(flat)?, [count]);
        let sum = Tensor::<1>::from_data(sum, &device);
        let mut start = 0;
        for gradient in &mut total.values {
            let length = gradient.dims()[0];
            *gradient = sum.clone().narrow(0, start, length);
            start += length;
        }
        Ok(())
    }

    /// The sum over all passes so far.
    fn total(&mut self) -> &mut Gradient {
        let sums = std::mem::take(&mut self.sums).into_iter().rev();
        let total = sums.reduce(|(_, later), (level, before)| (level, add(before, later)));
        self.sums.push(total.unwrap_or_default());
        &mut self.sums[0].1
    }

    /// The L2 norm over all parameters, one element; `None` if no parameter has a gradient.
    pub fn norm(&mut self) -> Option<Tensor<1>> {
        let total = self.total();
        let squares = total.operations()?.sum_of_squares_all(total.values.clone());
        squares.map(Tensor::sqrt)
    }

    /// Multiplies every gradient by `factor`.
    pub(crate) fn multiply(&mut self, factor: f64) {
        let total = self.total();
        if let Some(first) = total.values.first() {
            let factor = Tensor::full([1], factor, &first.device());
            total.scale(&factor);
        }
    }

    /// Scales the gradients, whose L2 norm is `norm`, so that it is at most `limit`.
    fn clip(&mut self, norm: &Tensor<1>, limit: f64) {
        // The same formula as torch.nn.utils.clip_grad_norm_.
        let scale = ((norm.clone() + 1e-6).recip() * limit).clamp_max(1.0);
        self.total().scale(&scale);
    }
}

fn add(a: Gradient, b: Gradient) -> Gradient {
    // Of two passes of one network, the loss depends on the same parameters; only the empty sum has none.
    match a.operations().filter(|_| a.exists == b.exists) {
        Some(operations) => Gradient {
            values: operations.add_all(a.values, b.values),
            exists: a.exists,
        },
        None => add_each(a, b),
    }
}

/// The sum where the passes have gradients of different parameters.
fn add_each(a: Gradient, b: Gradient) -> Gradient {
    let (mut a, mut b) = (a.each(), b.each());
    let count = a.len().max(b.len());
    a.resize(count, None);
    b.resize(count, None);
    let sums = a.into_iter().zip(b).map(|pair| match pair {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    });
    let sums: Vec<_> = sums.collect();
    Gradient {
        exists: sums.iter().map(Option::is_some).collect(),
        values: sums.into_iter().flatten().collect(),
    }
}

struct Collect<'a> {
    gradients: &'a Gradients,
    found: Gradient,
}

impl TensorVisitor for Collect<'_> {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Parameter {
            let gradient = tensor.grad(self.gradients).map(|g| g.flatten(0, D - 1));
            self.found.exists.push(gradient.is_some());
            self.found.values.extend(gradient);
        }
    }
}

/// The optimizer: v ← μ·v + (g + w·θ), θ ← θ − lr·v. As LARS it puts (g + w·θ)·η·‖θ‖/‖g + w·θ‖ in the place of
/// g + w·θ for weights, and g for biases and the parameters of batch normalisation.
#[derive(Debug, Clone)]
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    clip_norm: f64,
    lars: Option<Lars>,
    velocity: Vec<Option<Tensor<1>>>,
}

impl Sgd {
    /// An optimizer before its first step, without velocity.
    pub fn new(config: &OptimConfig) -> Self {
        Self {
            momentum: config.momentum,
            weight_decay: config.weight_decay,
            clip_norm: config.clip_norm,
            lars: (config.name == OptimizerName::Lars).then_some(Lars {
                trust: config.trust,
            }),
            velocity: Vec::new(),
        }
    }

    /// One step on the parameters of `network`. Returns the norm of the gradient before clipping.
    ///
    /// A missing gradient counts as zero: weight decay and momentum still change the parameter, as in PyTorch
    /// when the parameter's loss has weight 0.
    pub fn step<M: Tensors>(
        &mut self,
        network: &mut M,
        mut gradients: ParameterGradients,
        learning_rate: f64,
    ) -> Option<Tensor<1>> {
        // Without clipping, the norm is found while the parameters change.
        let mut norm = None;
        if self.clip_norm > 0.0 || self.lars.is_some() {
            norm = gradients.norm();
        }
        if let Some(norm) = norm.as_ref().filter(|_| self.clip_norm > 0.0) {
            gradients.clip(norm, self.clip_norm);
        }
        let mut gradients = std::mem::take(gradients.total()).each();
        let (theta, shapes) = take_parameters(network);
        let Some(first) = theta.first() else {
            return norm;
        };
        gradients.resize(theta.len(), None);
        let operations = ops::training(&first.device(), first.dtype());
        let settings = SgdSettings {
            learning_rate,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
        };
        let mut velocity = std::mem::take(&mut self.velocity);
        velocity.resize(theta.len(), None);
        let (moved, velocity) = match self.lars {
            None => {
                let moved =
                    operations.sgd_all(theta, velocity, gradients, settings, norm.is_none());
                norm = norm.or(moved.squares.map(Tensor::sqrt));
                (moved.theta, moved.velocity)
            }
            Some(lars) => {
                let each = theta.into_iter().zip(velocity).zip(gradients).zip(&shapes);
                let each = each.map(|(((theta, velocity), gradient), shape)| {
                    let gradient = if Lars::adapts(shape.num_dims()) {
                        Some(lars.adapt(&theta, gradient, settings.weight_decay))
                    } else {
                        gradient
                    };
                    let undecayed = SgdSettings {
                        weight_decay: 0.0,
                        ..settings
                    };
                    operations.sgd(theta, velocity, gradient, undecayed)
                });
                each.unzip()
            }
        };
        self.velocity = velocity.into_iter().map(Some).collect();
        put_parameters(network, moved.into_iter().zip(shapes), true);
        norm
    }

    /// The velocity of each parameter, by the parameter's name; empty before the first step.
    pub fn state(&self, network: &dyn AnyNetwork) -> Vec<NamedTensor> {
        let parameters = network
            .list()
            .into_iter()
            .filter(|t| t.kind == Kind::Parameter);
        parameters
            .zip(&self.velocity)
            .filter_map(|(parameter, velocity)| {
                velocity.clone().map(|values| NamedTensor {
                    values,
                    ..parameter
                })
            })
            .collect()
    }

    /// Restores the velocities that [`Self::state`] returned, one for each parameter, in the order of the network.
    pub fn restore(&mut self, velocity: Vec<Tensor<1>>) {
        self.velocity = velocity.into_iter().map(Some).collect();
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;

    #[test]
    fn clipping_leaves_a_gradient_below_the_limit_as_it_is_however_small() {
        for scale in [0.0, 5e-7, 0.5] {
            let values = Tensor::<1>::from_floats([0.6, -0.8], &Device::flex()) * scale;
            let mut gradients = ParameterGradients::default();
            gradients.push(Gradient {
                values: vec![values.clone()],
                exists: vec![true],
            });
            let norm = gradients.norm().expect("a gradient");
            gradients.clip(&norm, 1.0);
            gradients.total().values[0]
                .to_data()
                .assert_approx_eq::<f32>(&values.to_data(), Tolerance::relative(1e-6));
        }
    }
}
