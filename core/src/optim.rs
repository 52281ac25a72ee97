//! SGD with momentum and weight decay, as in `torch.optim.SGD`, for the parameters of a network; and LARS, which
//! is SGD with its gradient scaled layer by layer.

mod lars;

use burn::tensor::{Gradients, Tensor, TensorData};

use self::lars::Lars;
use crate::{
    config::{OptimConfig, OptimizerName},
    error::Result,
    model::{AnyNetwork, Kind, NamedTensor, TensorVisitor, Tensors, visit::take},
    ops::{self, SgdSettings},
    world::{self, World},
};

/// The gradient of each parameter of a network, flattened, in the order of the network; `None` for a parameter
/// on which the loss does not depend.
type Flat = Vec<Option<Tensor<1>>>;

/// The sum of the gradients of a network's parameters over several backward passes.
///
/// The gradients are added pairwise, as the leaves of one binary tree: the first with the second, the third with the
/// fourth, then both sums. So the parts of a sum that several ranks compute are subtrees of it, and the number of
/// ranks does not change its bits ([`crate::world`]). Up to log₂ n + 1 gradients exist together after n passes.
#[derive(Debug, Clone, Default)]
pub struct ParameterGradients {
    /// Sums of 2ˡ consecutive gradients with their level l; the levels fall.
    sums: Vec<(u32, Flat)>,
}

impl ParameterGradients {
    /// Adds the gradients of `network`'s parameters from a backward pass, as one leaf of the tree.
    pub fn accumulate<M: Tensors>(&mut self, network: &M, gradients: &Gradients) {
        let mut collect = Collect {
            gradients,
            found: Vec::new(),
        };
        network.clone().visit("", &mut collect);
        self.push(collect.found);
    }

    /// Adds the sum of `part` as one leaf of the tree: for a step with another number of backward passes in each
    /// micro-batch than a power of two, because only micro-batches are shared by ranks.
    pub fn add(&mut self, mut part: Self) {
        let total = std::mem::take(part.total());
        self.push(total);
    }

    fn push(&mut self, leaf: Flat) {
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
        let own: Vec<Tensor<1>> = total.iter().flatten().cloned().collect();
        let Some(device) = own.first().map(Tensor::device) else {
            return Ok(());
        };
        // One transfer for all parameters.
        let flat = world::read(Tensor::cat(own, 0))?;
        let count = flat.len();
        let sum = TensorData::new(world.sum(flat)?, [count]);
        let sum = Tensor::<1>::from_data(sum, &device);
        let mut start = 0;
        for gradient in total.iter_mut().flatten() {
            let length = gradient.dims()[0];
            *gradient = sum.clone().narrow(0, start, length);
            start += length;
        }
        Ok(())
    }

    /// The sum over all passes so far.
    fn total(&mut self) -> &mut Flat {
        let sums = std::mem::take(&mut self.sums).into_iter().rev();
        let total = sums.reduce(|(_, later), (level, before)| (level, add(before, later)));
        self.sums.push(total.unwrap_or_default());
        &mut self.sums[0].1
    }

    /// The L2 norm over all parameters, one element; `None` if no parameter has a gradient.
    pub fn norm(&mut self) -> Option<Tensor<1>> {
        let squares = self.total().iter().flatten().map(|gradient| {
            let gradient = gradient.clone();
            ops::on(&gradient.device(), gradient.dtype()).sum_of_squares(gradient)
        });
        squares.reduce(|a, b| a + b).map(Tensor::sqrt)
    }

    /// Multiplies every gradient by `factor`.
    pub(crate) fn multiply(&mut self, factor: f64) {
        for gradient in self.total().iter_mut().flatten() {
            *gradient = gradient.clone() * factor;
        }
    }

    /// Scales the gradients, whose L2 norm is `norm`, so that it is at most `limit`.
    fn clip(&mut self, norm: &Tensor<1>, limit: f64) {
        // The same formula as torch.nn.utils.clip_grad_norm_.
        let scale = ((norm.clone() + 1e-6).recip() * limit).clamp_max(1.0);
        for gradient in self.total().iter_mut().flatten() {
            *gradient = gradient.clone() * scale.clone();
        }
    }
}

fn add(a: Flat, b: Flat) -> Flat {
    let pairs = a.into_iter().zip(b);
    let sums = pairs.map(|pair| match pair {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    });
    sums.collect()
}

struct Collect<'a> {
    gradients: &'a Gradients,
    found: Vec<Option<Tensor<1>>>,
}

impl TensorVisitor for Collect<'_> {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind == Kind::Parameter {
            let gradient = tensor.grad(self.gradients).map(|g| g.flatten(0, D - 1));
            self.found.push(gradient);
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
        let norm = gradients.norm();
        if let Some(norm) = norm.as_ref().filter(|_| self.clip_norm > 0.0) {
            gradients.clip(norm, self.clip_norm);
        }
        let gradients = std::mem::take(gradients.total());
        self.velocity.resize(gradients.len(), None);
        network.visit(
            "",
            &mut Update {
                sgd: self,
                gradients,
                learning_rate,
                index: 0,
            },
        );
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

struct Update<'a> {
    sgd: &'a mut Sgd,
    gradients: Vec<Option<Tensor<1>>>,
    learning_rate: f64,
    index: usize,
}

impl TensorVisitor for Update<'_> {
    fn tensor<const D: usize>(&mut self, _: &str, kind: Kind, tensor: &mut Tensor<D>) {
        if kind != Kind::Parameter {
            return;
        }
        let shape = tensor.shape();
        let theta = take(tensor).inner().flatten(0, D - 1);
        let gradient = self.gradients[self.index].take();
        let decay = self.sgd.weight_decay;
        let (gradient, weight_decay) = match self.sgd.lars {
            None => (gradient, decay),
            Some(lars) if Lars::adapts(D) => (Some(lars.adapt(&theta, gradient, decay)), 0.0),
            Some(_) => (gradient, 0.0),
        };
        let (moved, velocity) = ops::on(&theta.device(), theta.dtype()).sgd(
            theta,
            self.sgd.velocity[self.index].take(),
            gradient,
            SgdSettings {
                learning_rate: self.learning_rate,
                momentum: self.sgd.momentum,
                weight_decay,
            },
        );
        *tensor = moved.reshape(shape).autodiff().require_grad();
        self.sgd.velocity[self.index] = Some(velocity);
        self.index += 1;
    }
}
