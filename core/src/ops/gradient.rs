//! A device's own kernels as nodes of Burn's gradient graph, the same for every device that has some.

use std::{fmt::Debug, marker::PhantomData};

use burn::backend::{
    Autodiff, Backend,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
        grads::Gradients,
        ops::{Backward, NodeGuard, Ops, OpsKind},
    },
    tensor::FloatTensor,
};
use burn::tensor::{DType, Tensor, activation::relu};

use super::{
    Activation, ConvWeights, FeatureMap, Following, Footprint, Geometry, Normalized, Operations,
};

/// Kernels of one backend, with the state that each keeps from the forward pass for its backward pass. Maps are
/// [B, H, W, C].
pub(super) trait Kernels: Debug + Send + Sync + 'static {
    /// The backend of the tensors.
    type Backend: Backend;
    /// What a convolution keeps.
    type Convolved: Debug + Clone + Send + 'static;
    /// What a batch normalisation keeps.
    type Normal: Debug + Clone + Send + 'static;
    /// What max pooling keeps.
    type Pooled: Debug + Clone + Send + 'static;

    /// The same operations on tensors outside a gradient graph.
    fn plain() -> &'static dyn Operations;

    /// Burn's tensor as a node of its graph.
    fn node<const D: usize>(x: Tensor<D>) -> Node<Self>;

    /// A node of the graph as Burn's tensor.
    fn tracked<const D: usize>(node: Node<Self>) -> Tensor<D>;

    /// Values as Burn's tensor, outside any gradient graph.
    fn constant<const D: usize>(x: Value<Self>) -> Tensor<D>;

    /// As [`Operations::conv2d`].
    fn convolve(
        x: Value<Self>,
        weights: &ConvWeights,
        bias: Option<Value<Self>>,
        geometry: Geometry,
    ) -> (Value<Self>, Self::Convolved);

    /// The gradient of a convolution's input.
    fn of_input(state: &Self::Convolved, gradient: Value<Self>) -> Value<Self>;

    /// The gradient of its weights.
    fn of_weights(state: &Self::Convolved, gradient: Value<Self>) -> Value<Self>;

    /// The gradient of its bias.
    fn of_bias(state: &Self::Convolved, gradient: Value<Self>) -> Value<Self>;

    /// As [`Operations::batch_norm`]: the output, the mean and the variance.
    fn normalize(
        x: Value<Self>,
        gamma_beta: [Value<Self>; 2],
        groups: usize,
        epsilon: f64,
        activation: Following<Value<Self>>,
    ) -> ([Value<Self>; 3], Self::Normal);

    /// The gradients of a batch normalisation.
    fn of_normal(state: &Self::Normal, gradient: Value<Self>) -> OfNormal<Value<Self>>;

    /// As [`Operations::max_pool`].
    fn pool(x: Value<Self>) -> (Value<Self>, Self::Pooled);

    /// The gradient of max pooling.
    fn of_pooled(state: &Self::Pooled, gradient: Value<Self>) -> Value<Self>;
}

/// The values of a tensor.
pub(super) type Value<K> = FloatTensor<<K as Kernels>::Backend>;
/// A tensor in a gradient graph.
pub(super) type Node<K> = FloatTensor<Autodiff<<K as Kernels>::Backend, NoCheckpointing>>;

/// The gradients of a batch normalisation.
pub(super) struct OfNormal<T> {
    pub(super) x: T,
    pub(super) gamma: T,
    pub(super) beta: T,
    /// The gradient before the activation; used only if there is a shortcut, whose gradient it is.
    pub(super) shortcut: T,
}

/// The operations on tensors that may be part of a gradient graph.
pub(super) struct Tracked<K>(PhantomData<K>);

impl<K> Tracked<K> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K: Kernels> Operations for Tracked<K> {
    fn channels_last(&self) -> bool {
        true
    }

    fn conv2d(
        &self,
        map: FeatureMap,
        weights: &ConvWeights,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> FeatureMap {
        let (x, x_guard) = node::<K, 4>(map.ordered.clone()).into_parts();
        let (_, weight_guard) = node::<K, 4>(weights.tensor().clone()).into_parts();
        let (bias, bias_guard) = match bias {
            Some(bias) => {
                let (bias, guard) = node::<K, 1>(bias).into_parts();
                (Some(bias), Some(guard))
            }
            None => (None, None),
        };
        let (output, state) = K::convolve(x, weights, bias, geometry);
        map.ordered(K::tracked(match bias_guard {
            None => {
                let operation = Convolution::<K>(PhantomData);
                finish(operation, [x_guard, weight_guard], state, output)
            }
            Some(bias_guard) => {
                let operation = BiasedConvolution::<K>(PhantomData);
                finish(
                    operation,
                    [x_guard, weight_guard, bias_guard],
                    state,
                    output,
                )
            }
        }))
    }

    fn batch_norm(
        &self,
        map: FeatureMap,
        [gamma, beta]: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        activation: Activation,
    ) -> Normalized {
        let (x, x_guard) = node::<K, 4>(map.ordered.clone()).into_parts();
        let (gamma, gamma_guard) = node::<K, 1>(gamma).into_parts();
        let (beta, beta_guard) = node::<K, 1>(beta).into_parts();
        let mut shortcut_guard = None;
        let activation = activation.map(|shortcut| {
            let (shortcut, guard) = node::<K, 4>(shortcut.ordered).into_parts();
            shortcut_guard = Some(guard);
            shortcut
        });
        let ([output, mean, variance], state) =
            K::normalize(x, [gamma, beta], groups, epsilon, activation);
        let output = match shortcut_guard {
            None => {
                let guards = [x_guard, gamma_guard, beta_guard];
                finish(Normalization::<K>(PhantomData), guards, state, output)
            }
            Some(shortcut_guard) => {
                let guards = [x_guard, gamma_guard, beta_guard, shortcut_guard];
                finish(
                    ResidualNormalization::<K>(PhantomData),
                    guards,
                    state,
                    output,
                )
            }
        };
        Normalized {
            output: map.ordered(K::tracked(output)),
            mean: K::constant(mean),
            variance: K::constant(variance),
        }
    }

    fn max_pool(&self, map: FeatureMap) -> FeatureMap {
        let (x, guard) = node::<K, 4>(map.ordered.clone()).into_parts();
        let (output, state) = K::pool(x);
        let output = finish(Pooling::<K>(PhantomData), [guard], state, output);
        map.ordered(K::tracked(output))
    }

    // With gradients, running statistics are used only for tuning a head, which is too rare to need kernels.
    fn affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let [scale, shift] = scale_shift.map(|t| t.cast(x.dtype()).reshape([1, 1, 1, -1]));
        let y = x.ordered.clone() * scale + shift;
        x.ordered(match activation {
            Activation::Identity => y,
            Activation::Relu => relu(y),
            Activation::AddRelu(shortcut) => relu(y + shortcut.ordered),
        })
    }

    fn footprint(&self, dtype: DType) -> Footprint {
        K::plain().footprint(dtype)
    }
}

/// The tensor's node in its graph; a constant gets a node that requires no gradient.
fn node<K: Kernels, const D: usize>(x: Tensor<D>) -> Node<K> {
    K::node(if x.is_autodiff() { x } else { x.autodiff() })
}

/// Adds an operation to the graph. Its state is dropped if none of its inputs requires a gradient.
fn finish<B: Backend, O: Backward<B, N>, const N: usize>(
    operation: O,
    guards: [NodeGuard; N],
    state: O::State,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, NoCheckpointing>> {
    let prepared = operation.prepare::<NoCheckpointing>(guards);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

#[derive(Debug)]
struct Convolution<K>(PhantomData<K>);

impl<K: Kernels> Backward<K::Backend, 2> for Convolution<K> {
    type State = K::Convolved;

    fn backward(self, ops: Ops<K::Convolved, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<K::Backend>(&ops.node);
        let [x, weight] = ops.parents;
        if let Some(node) = weight {
            let found = K::of_weights(&ops.state, gradient.clone());
            grads.register::<K::Backend>(node.id, found);
        }
        if let Some(node) = x {
            grads.register::<K::Backend>(node.id, K::of_input(&ops.state, gradient));
        }
    }
}

#[derive(Debug)]
struct BiasedConvolution<K>(PhantomData<K>);

impl<K: Kernels> Backward<K::Backend, 3> for BiasedConvolution<K> {
    type State = K::Convolved;

    fn backward(self, ops: Ops<K::Convolved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<K::Backend>(&ops.node);
        let [x, weight, bias] = ops.parents;
        if let Some(node) = bias {
            let found = K::of_bias(&ops.state, gradient.clone());
            grads.register::<K::Backend>(node.id, found);
        }
        if let Some(node) = weight {
            let found = K::of_weights(&ops.state, gradient.clone());
            grads.register::<K::Backend>(node.id, found);
        }
        if let Some(node) = x {
            grads.register::<K::Backend>(node.id, K::of_input(&ops.state, gradient));
        }
    }
}

#[derive(Debug)]
struct Normalization<K>(PhantomData<K>);

impl<K: Kernels> Backward<K::Backend, 3> for Normalization<K> {
    type State = K::Normal;

    fn backward(self, ops: Ops<K::Normal, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let found = K::of_normal(&ops.state, grads.consume::<K::Backend>(&ops.node));
        let found = [found.x, found.gamma, found.beta];
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                grads.register::<K::Backend>(node.id, found);
            }
        }
    }
}

#[derive(Debug)]
struct ResidualNormalization<K>(PhantomData<K>);

impl<K: Kernels> Backward<K::Backend, 4> for ResidualNormalization<K> {
    type State = K::Normal;

    fn backward(self, ops: Ops<K::Normal, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let found = K::of_normal(&ops.state, grads.consume::<K::Backend>(&ops.node));
        let found = [found.x, found.gamma, found.beta, found.shortcut];
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                grads.register::<K::Backend>(node.id, found);
            }
        }
    }
}

#[derive(Debug)]
struct Pooling<K>(PhantomData<K>);

impl<K: Kernels> Backward<K::Backend, 1> for Pooling<K> {
    type State = K::Pooled;

    fn backward(self, ops: Ops<K::Pooled, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<K::Backend>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<K::Backend>(node.id, K::of_pooled(&ops.state, gradient));
        }
    }
}
