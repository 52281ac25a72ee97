//! SGD with momentum and weight decay, as in `torch.optim.SGD`, for the parameters of a network; and LARS, which
//! is SGD with its gradient scaled layer by layer.

mod lars;

use burn::tensor::{Gradients, Tensor};

use self::lars::Lars;
use crate::{
    config::{OptimConfig, OptimizerName},
    model::{AnyNetwork, Kind, NamedTensor, TensorVisitor, Tensors, visit::take},
    ops::{self, SgdSettings},
};

/// The gradient of each parameter of a network, flattened, in the order of the network; `None` for a parameter
/// on which the loss does not depend.
#[derive(Debug, Clone, Default)]
pub struct ParameterGradients(Vec<Option<Tensor<1>>>);

impl ParameterGradients {
    /// Adds the gradients of `network`'s parameters from a backward pass.
    pub fn accumulate<M: Tensors>(&mut self, network: &M, gradients: &Gradients) {
        let mut collect = Collect {
            gradients,
            found: Vec::new(),
        };
        network.clone().visit("", &mut collect);
        self.0.resize(collect.found.len(), None);
        for (sum, new) in self.0.iter_mut().zip(collect.found) {
            *sum = match (sum.take(), new) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
    }

    /// The L2 norm over all parameters, one element; `None` if no parameter has a gradient.
    pub fn norm(&self) -> Option<Tensor<1>> {
        let squares = self.0.iter().flatten().map(|gradient| {
            let gradient = gradient.clone();
            ops::on(&gradient.device(), gradient.dtype()).sum_of_squares(gradient)
        });
        squares.reduce(|a, b| a + b).map(Tensor::sqrt)
    }

    /// Multiplies every gradient by `factor`.
    pub(crate) fn multiply(&mut self, factor: f64) {
        for gradient in self.0.iter_mut().flatten() {
            *gradient = gradient.clone() * factor;
        }
    }

    /// Scales the gradients, whose L2 norm is `norm`, so that it is at most `limit`.
    fn clip(&mut self, norm: &Tensor<1>, limit: f64) {
        // The same formula as torch.nn.utils.clip_grad_norm_.
        let scale = ((norm.clone() + 1e-6).recip() * limit).clamp_max(1.0);
        for gradient in self.0.iter_mut().flatten() {
            *gradient = gradient.clone() * scale.clone();
        }
    }
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
        self.velocity.resize(gradients.0.len(), None);
        network.visit(
            "",
            &mut Update {
                sgd: self,
                gradients: gradients.0,
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
