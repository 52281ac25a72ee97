//! What this project's kernels for the CPU keep from the forward pass, and their backward passes.

use std::sync::Arc;

use burn::backend::{Flex, flex::FlexTensor};
use burn::tensor::Tensor;
use densecl_kernels::{
    conv::{self, Epilogue},
    norm, pool,
};

use super::{
    Cpu, Map, contiguous, convolve, filled, norm_shape, normalize, pool_map, pool_shape, ready,
    tensor, values,
};
use crate::ops::{
    ConvWeights, Following, Geometry, Operations,
    gradient::{Kernels, Node, OfNormal},
};

/// The kernels for the CPU.
#[derive(Debug)]
pub(in crate::ops) struct CpuKernels;

impl Kernels for CpuKernels {
    type Backend = Flex;
    type Convolved = Convolved;
    type Normal = NormalizedBatch;
    type Pooled = Pooled;

    fn plain() -> &'static dyn Operations {
        &Cpu
    }

    fn node<const D: usize>(x: Tensor<D>) -> Node<Self> {
        x.try_into_primitive::<Graph>()
            .expect("`on` chose these operations by this tensor's device")
    }

    fn tracked<const D: usize>(node: Node<Self>) -> Tensor<D> {
        Tensor::from_primitive::<Graph>(node)
    }

    fn constant<const D: usize>(x: FlexTensor) -> Tensor<D> {
        tensor(x)
    }

    fn convolve(
        x: FlexTensor,
        weights: &ConvWeights,
        bias: Option<FlexTensor>,
        geometry: Geometry,
    ) -> (FlexTensor, Convolved) {
        let x = Map::new(x);
        let (kernel, shape) = ready(&x, weights, geometry);
        let bias = bias.map(contiguous);
        let epilogue = bias
            .as_ref()
            .map_or(Epilogue::Identity, |bias| Epilogue::Bias(values(bias)));
        let output = convolve(&x, &kernel, epilogue, &shape).tensor;
        (output, Convolved { x, kernel, shape })
    }

    fn of_input(state: &Convolved, gradient: FlexTensor) -> FlexTensor {
        let gradient = contiguous(gradient);
        let input = conv::input_gradient(values(&gradient), &state.kernel, &state.shape);
        state.x.alike(input).tensor
    }

    fn of_weights(state: &Convolved, gradient: FlexTensor) -> FlexTensor {
        let gradient = contiguous(gradient);
        let x = values(&state.x.tensor);
        let weights = conv::weight_gradient(x, values(&gradient), &state.shape);
        let conv::Shape {
            channels_in,
            channels_out,
            kernel: k,
            ..
        } = state.shape;
        filled(weights, vec![channels_out, channels_in, k, k])
    }

    fn of_bias(state: &Convolved, gradient: FlexTensor) -> FlexTensor {
        let gradient = contiguous(gradient);
        let bias = conv::bias_gradient(values(&gradient), &state.shape);
        filled(bias, vec![state.shape.channels_out])
    }

    fn normalize(
        x: FlexTensor,
        gamma_beta: [FlexTensor; 2],
        groups: usize,
        epsilon: f64,
        activation: Following<FlexTensor>,
    ) -> ([FlexTensor; 3], NormalizedBatch) {
        let x = Map::new(x);
        let [gamma, beta] = gamma_beta.map(contiguous);
        let activation = activation.map(Map::new);
        let (output, statistics) = normalize(&x, [&gamma, &beta], groups, epsilon, &activation);
        let row = |values: &[f32]| filled(values.to_vec(), vec![values.len()]);
        let found = [row(&statistics.mean), row(&statistics.variance)];
        let state = NormalizedBatch {
            shape: norm_shape(&x, groups),
            x,
            gamma,
            statistics,
            epsilon,
            rectified: (!matches!(activation, Following::Identity)).then(|| output.clone()),
        };
        let [mean, variance] = found;
        ([output.tensor, mean, variance], state)
    }

    fn of_normal(state: &NormalizedBatch, gradient: FlexTensor) -> OfNormal<FlexTensor> {
        let gradient = state.through_relu(gradient);
        let found = norm::gradients(
            values(&gradient.tensor),
            values(&state.x.tensor),
            &state.statistics,
            (values(&state.gamma), state.epsilon),
            &state.shape,
        );
        let channel = |values| filled(values, vec![state.shape.channels]);
        OfNormal {
            x: state.x.alike(found.x).tensor,
            gamma: channel(found.gamma),
            beta: channel(found.beta),
            shortcut: gradient.tensor,
        }
    }

    fn pool(x: FlexTensor) -> (FlexTensor, Pooled) {
        let x = Map::new(x);
        let (output, taps) = pool_map(&x);
        let shape = pool_shape(&x);
        (output.tensor, Pooled { shape, taps })
    }

    fn of_pooled(state: &Pooled, gradient: FlexTensor) -> FlexTensor {
        let gradient = contiguous(gradient);
        let Pooled { taps, shape } = state;
        let input = pool::gradient(values(&gradient), taps, shape);
        Map::from_values(input, shape.batch, shape.input, shape.channels).tensor
    }
}

type Graph =
    burn::backend::Autodiff<Flex, burn::backend::autodiff::checkpoint::strategy::NoCheckpointing>;

/// The state that a convolution keeps for its backward pass.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Convolved {
    x: Map,
    kernel: Arc<conv::Kernel>,
    shape: conv::Shape,
}

/// The state that a batch normalisation keeps for its backward pass.
#[derive(Debug, Clone)]
pub(in crate::ops) struct NormalizedBatch {
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
}

/// The state that max pooling keeps for its backward pass.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Pooled {
    taps: Vec<u8>,
    shape: pool::Shape,
}
