//! This project's kernels as nodes of Burn's gradient graph: the state that each keeps from the forward pass, and
//! its backward pass.

use std::sync::Arc;

use burn::backend::{
    Autodiff, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
        grads::Gradients,
        ops::{Backward, NodeGuard, Ops, OpsKind},
    },
    flex::FlexTensor,
    tensor::FloatTensor,
};
use burn::tensor::{DType, Tensor, activation::relu};
use densecl_kernels::{
    conv::{self, Epilogue},
    norm, pool,
};

use super::{
    Activation, ConvWeights, FeatureMap, Footprint, Geometry, Normalized, Operations, PerQuery,
    SgdSettings,
    cpu::{self, Cpu, Map, contiguous, filled, norm_shape, pool_map, pool_shape, ready, values},
};

/// The operations on tensors that may be part of a gradient graph.
pub(super) struct Tracked;

type Graph = Autodiff<Flex, NoCheckpointing>;
type Node = FloatTensor<Graph>;

impl Operations for Tracked {
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
        let (x, x_guard) = node(map.ordered.clone()).into_parts();
        let (_, weight_guard) = node(weights.tensor().clone()).into_parts();
        let x = Map::new(x);
        let (kernel, shape) = ready(&x, weights, geometry);
        let bias = bias.map(|bias| {
            let (bias, guard) = node(bias).into_parts();
            (contiguous(bias), guard)
        });
        let epilogue = match &bias {
            None => Epilogue::Identity,
            Some((bias, _)) => Epilogue::Bias(values(bias)),
        };
        let output = cpu::convolve(&x, &kernel, epilogue, &shape).tensor;
        let state = Convolved { x, kernel, shape };
        let guards = [x_guard, weight_guard];
        map.ordered(tracked(match bias {
            None => finish(Convolution, guards, state, output),
            Some((_, bias_guard)) => {
                let [x, weight] = guards;
                finish(BiasedConvolution, [x, weight, bias_guard], state, output)
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
        let (x, x_guard) = node(map.ordered.clone()).into_parts();
        let (gamma, gamma_guard) = node(gamma).into_parts();
        let (beta, beta_guard) = node(beta).into_parts();
        let x = Map::new(x);
        let [gamma, beta] = [gamma, beta].map(contiguous);
        let (activation, shortcut_guard) = match activation {
            Activation::Identity => (cpu::Activation::Identity, None),
            Activation::Relu => (cpu::Activation::Relu, None),
            Activation::AddRelu(shortcut) => {
                let (shortcut, guard) = node(shortcut.ordered).into_parts();
                (cpu::Activation::AddRelu(Map::new(shortcut)), Some(guard))
            }
        };
        let (output, statistics) =
            cpu::normalize(&x, [&gamma, &beta], groups, epsilon, &activation);
        let [mean, variance] =
            [&statistics.mean, &statistics.variance].map(|t| cpu::row(t.clone()));
        let state = NormalizedBatch {
            shape: norm_shape(&x, groups),
            x,
            gamma,
            statistics,
            epsilon,
            rectified: (!matches!(activation, cpu::Activation::Identity)).then(|| output.clone()),
        };
        let guards = [x_guard, gamma_guard, beta_guard];
        let output = output.tensor;
        let output = match shortcut_guard {
            None => finish(Normalization, guards, state, output),
            Some(shortcut) => {
                let [x, gamma, beta] = guards;
                let guards = [x, gamma, beta, shortcut];
                finish(ResidualNormalization, guards, state, output)
            }
        };
        Normalized {
            output: map.ordered(tracked(output)),
            mean,
            variance,
        }
    }

    fn max_pool(&self, map: FeatureMap) -> FeatureMap {
        let (x, guard) = node(map.ordered.clone()).into_parts();
        let x = Map::new(x);
        let (output, taps) = pool_map(&x);
        let state = Pooled {
            shape: pool_shape(&x),
            taps,
        };
        map.ordered(tracked(finish(Pooling, [guard], state, output.tensor)))
    }

    // With gradients, running statistics are used only for tuning a head, which is too rare to need kernels.
    fn affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let [scale, shift] = scale_shift.map(|t| t.reshape([1, 1, 1, -1]));
        let y = x.ordered.clone() * scale + shift;
        x.ordered(match activation {
            Activation::Identity => y,
            Activation::Relu => relu(y),
            Activation::AddRelu(shortcut) => relu(y + shortcut.ordered),
        })
    }

    // The operations below are never part of a gradient graph.

    fn info_nce(&self, vectors: [Tensor<2>; 3], temperature: f64, gradient: bool) -> PerQuery {
        Cpu.info_nce(vectors, temperature, gradient)
    }

    fn sgd(
        &self,
        theta: Tensor<1>,
        velocity: Option<Tensor<1>>,
        gradient: Option<Tensor<1>>,
        settings: SgdSettings,
    ) -> (Tensor<1>, Tensor<1>) {
        Cpu.sgd(theta, velocity, gradient, settings)
    }

    fn follow(&self, key: Tensor<1>, query: Tensor<1>, m: f64) -> Tensor<1> {
        Cpu.follow(key, query, m)
    }

    fn sum_of_squares(&self, x: Tensor<1>) -> Tensor<1> {
        Cpu.sum_of_squares(x)
    }

    fn footprint(&self, dtype: DType) -> Footprint {
        Cpu.footprint(dtype)
    }
}

/// The tensor's node in its graph; a constant gets a node that requires no gradient.
fn node<const D: usize>(x: Tensor<D>) -> Node {
    let x = if x.is_autodiff() { x } else { x.autodiff() };
    x.try_into_primitive::<Graph>()
        .expect("`on` chose these operations by this tensor's device")
}

fn tracked<const D: usize>(node: Node) -> Tensor<D> {
    Tensor::from_primitive::<Graph>(node)
}

/// Adds an operation to the graph. Its state is dropped if none of its inputs requires a gradient.
fn finish<O: Backward<Flex, N>, const N: usize>(
    operation: O,
    guards: [NodeGuard; N],
    state: O::State,
    output: FlexTensor,
) -> Node {
    let prepared = operation.prepare::<NoCheckpointing>(guards);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

/// The state that a convolution keeps for its backward pass.
#[derive(Debug, Clone)]
struct Convolved {
    x: Map,
    kernel: Arc<conv::Kernel>,
    shape: conv::Shape,
}

impl Convolved {
    fn of_input(&self, gradient: &Map) -> FlexTensor {
        let gradient = values(&gradient.tensor);
        let input = conv::input_gradient(gradient, &self.kernel, &self.shape);
        self.x.alike(input).tensor
    }

    fn of_weight(&self, gradient: &Map) -> FlexTensor {
        let (x, gradient) = (values(&self.x.tensor), values(&gradient.tensor));
        let weights = conv::weight_gradient(x, gradient, &self.shape);
        let conv::Shape {
            channels_in,
            channels_out,
            kernel: k,
            ..
        } = self.shape;
        filled(weights, vec![channels_out, channels_in, k, k])
    }

    fn of_bias(&self, gradient: &Map) -> FlexTensor {
        let bias = conv::bias_gradient(values(&gradient.tensor), &self.shape);
        filled(bias, vec![self.shape.channels_out])
    }
}

#[derive(Debug)]
struct Convolution;

impl Backward<Flex, 2> for Convolution {
    type State = Convolved;

    fn backward(self, ops: Ops<Convolved, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Map::new(grads.consume::<Flex>(&ops.node));
        let [x, weight] = ops.parents;
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, ops.state.of_weight(&gradient));
        }
        if let Some(node) = x {
            grads.register::<Flex>(node.id, ops.state.of_input(&gradient));
        }
    }
}

#[derive(Debug)]
struct BiasedConvolution;

impl Backward<Flex, 3> for BiasedConvolution {
    type State = Convolved;

    fn backward(self, ops: Ops<Convolved, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Map::new(grads.consume::<Flex>(&ops.node));
        let [x, weight, bias] = ops.parents;
        if let Some(node) = bias {
            grads.register::<Flex>(node.id, ops.state.of_bias(&gradient));
        }
        if let Some(node) = weight {
            grads.register::<Flex>(node.id, ops.state.of_weight(&gradient));
        }
        if let Some(node) = x {
            grads.register::<Flex>(node.id, ops.state.of_input(&gradient));
        }
    }
}

/// The state that a batch normalisation keeps for its backward pass.
#[derive(Debug, Clone)]
struct NormalizedBatch {
    x: Map,
    gamma: FlexTensor,
    statistics: norm::Statistics,
    epsilon: f64,
    shape: norm::Shape,
    /// The output, if ReLU follows the normalisation.
    rectified: Option<Map>,
}

impl NormalizedBatch {
    /// The gradient after its backward pass through ReLU, which is also the shortcut's gradient.
    fn through_relu(&self, gradient: FlexTensor) -> Map {
        let mut gradient = Map::new(gradient);
        if let Some(output) = &self.rectified {
            let y = values(&output.tensor);
            // `storage_mut` copies a gradient that other tensors share; otherwise this works in place.
            norm::through_relu(gradient.tensor.storage_mut(), y);
        }
        gradient
    }

    /// The gradients of x, γ and β.
    fn gradients(&self, gradient: &Map) -> [FlexTensor; 3] {
        let found = norm::gradients(
            values(&gradient.tensor),
            values(&self.x.tensor),
            &self.statistics,
            (values(&self.gamma), self.epsilon),
            &self.shape,
        );
        let channel = |values| filled(values, vec![self.shape.channels]);
        [
            self.x.alike(found.x).tensor,
            channel(found.gamma),
            channel(found.beta),
        ]
    }
}

#[derive(Debug)]
struct Normalization;

impl Backward<Flex, 3> for Normalization {
    type State = NormalizedBatch;

    fn backward(self, ops: Ops<NormalizedBatch, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = ops.state.through_relu(grads.consume::<Flex>(&ops.node));
        let found = ops.state.gradients(&gradient);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, found);
            }
        }
    }
}

#[derive(Debug)]
struct ResidualNormalization;

impl Backward<Flex, 4> for ResidualNormalization {
    type State = NormalizedBatch;

    fn backward(self, ops: Ops<NormalizedBatch, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = ops.state.through_relu(grads.consume::<Flex>(&ops.node));
        let found = ops.state.gradients(&gradient);
        let [x, gamma, beta, shortcut] = ops.parents;
        for (parent, found) in [x, gamma, beta].into_iter().zip(found) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, found);
            }
        }
        if let Some(node) = shortcut {
            grads.register::<Flex>(node.id, gradient.tensor);
        }
    }
}

/// The state that max pooling keeps for its backward pass.
#[derive(Debug, Clone)]
struct Pooled {
    taps: Vec<u8>,
    shape: pool::Shape,
}

#[derive(Debug)]
struct Pooling;

impl Backward<Flex, 1> for Pooling {
    type State = Pooled;

    fn backward(self, ops: Ops<Pooled, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = Map::new(grads.consume::<Flex>(&ops.node));
        let Pooled { taps, shape } = &ops.state;
        if let [Some(node)] = ops.parents {
            let input = pool::gradient(values(&gradient.tensor), taps, shape);
            let input = Map::from_values(input, shape.batch, shape.input, shape.channels);
            grads.register::<Flex>(node.id, input.tensor);
        }
    }
}
