//! What this project's kernels for GPUs keep from the forward pass, and their backward passes.

use std::sync::Arc;

use burn::backend::{
    Autodiff, Cube, autodiff::checkpoint::strategy::NoCheckpointing, ops::FloatTensorOps,
};
use burn::tensor::{DType, Tensor};

use super::{
    Gpu, arranged,
    conv::{self, After, Arranged},
    conv_shape,
    normalize::{self, NormShape, Statistics},
    tensor::{GpuTensor, cast, contiguous, count, dims, reshaped, tensor},
};
use crate::ops::{
    ConvWeights, Following, Geometry, Operations,
    choice::ConvShape,
    gradient::{Kernels, Node, OfNormal},
};

/// The kernels for GPUs.
#[derive(Debug)]
pub(in crate::ops) struct GpuKernels;

type Graph = Autodiff<Cube, NoCheckpointing>;

impl Kernels for GpuKernels {
    type Backend = Cube;
    type Convolved = Convolved;
    type Normal = NormalizedBatch;
    type Pooled = Pooled;

    fn plain() -> &'static dyn Operations {
        &Gpu
    }

    fn node<const D: usize>(x: Tensor<D>) -> Node<Self> {
        x.try_into_primitive::<Graph>()
            .expect("`on` chose these operations by this tensor's device")
    }

    fn tracked<const D: usize>(node: Node<Self>) -> Tensor<D> {
        Tensor::from_primitive::<Graph>(node)
    }

    fn constant<const D: usize>(x: GpuTensor) -> Tensor<D> {
        tensor(x)
    }

    fn convolve(
        x: GpuTensor,
        weights: &ConvWeights,
        bias: Option<GpuTensor>,
        geometry: Geometry,
    ) -> (GpuTensor, Convolved) {
        let x = contiguous(x);
        let bias = bias.map(contiguous);
        let after = bias.as_ref().map_or(After::Nothing, After::Bias);
        let shape = conv_shape(&x, weights, geometry);
        let weights = arranged(weights);
        let output = conv::forward(&x, &weights, after, &shape);
        (output, Convolved { x, weights, shape })
    }

    fn of_input(state: &Convolved, gradient: GpuTensor) -> GpuTensor {
        conv::input_gradient(&contiguous(gradient), &state.weights, &state.shape)
    }

    fn of_weights(state: &Convolved, gradient: GpuTensor) -> GpuTensor {
        conv::weight_gradient(
            &state.x,
            &contiguous(gradient),
            &state.weights,
            &state.shape,
        )
    }

    fn of_bias(state: &Convolved, gradient: GpuTensor) -> GpuTensor {
        let channels = state.shape.channels[1];
        let gradient = cast(contiguous(gradient), DType::F32);
        let rows = count(&gradient) / channels;
        let sum = Cube::float_sum_dim(reshaped(gradient, [rows, channels]), 0);
        reshaped(sum, [channels])
    }

    fn normalize(
        x: GpuTensor,
        gamma_beta: [GpuTensor; 2],
        groups: usize,
        epsilon: f64,
        activation: Following<GpuTensor>,
    ) -> ([GpuTensor; 3], NormalizedBatch) {
        let x = contiguous(x);
        let gamma_beta = gamma_beta.map(contiguous);
        let activation = activation.map(contiguous);
        let shape = NormShape::of(&x, groups);
        let (output, statistics) = normalize::normalize(
            &x,
            gamma_beta.each_ref(),
            &shape,
            epsilon,
            activation.as_ref(),
        );
        let found = [
            output.clone(),
            statistics.mean.clone(),
            statistics.variance.clone(),
        ];
        let [gamma, _] = gamma_beta;
        let state = NormalizedBatch {
            x,
            gamma,
            statistics,
            epsilon,
            shape,
            output: activation.map(|_| output),
        };
        (found, state)
    }

    fn of_normal(state: &NormalizedBatch, gradient: GpuTensor) -> OfNormal<GpuTensor> {
        let [x, gamma, beta, shortcut] = normalize::gradients(
            &contiguous(gradient),
            &state.x,
            &state.statistics,
            (&state.gamma, state.epsilon),
            &state.shape,
            state.output.as_ref(),
        );
        OfNormal {
            x,
            gamma,
            beta,
            shortcut,
        }
    }

    fn pool(x: GpuTensor) -> (GpuTensor, Pooled) {
        let x = contiguous(x);
        let [_, height, width, _] = dims(&x);
        let (output, taps) = normalize::max_pool(&x);
        let sides = [height, width];
        (output, Pooled { taps, sides })
    }

    fn of_pooled(state: &Pooled, gradient: GpuTensor) -> GpuTensor {
        normalize::pooled_gradient(&contiguous(gradient), &state.taps, state.sides)
    }
}

/// The state that a convolution keeps for its backward pass.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Convolved {
    x: GpuTensor,
    weights: Arc<Arranged>,
    shape: ConvShape,
}

/// The state that a batch normalisation keeps for its backward pass.
#[derive(Debug, Clone)]
pub(in crate::ops) struct NormalizedBatch {
    x: GpuTensor,
    gamma: GpuTensor,
    statistics: Statistics,
    epsilon: f64,
    shape: NormShape,
    /// The activation; with a shortcut, the output in place of it.
    output: Following<GpuTensor>,
}

/// The state that max pooling keeps for its backward pass.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Pooled {
    taps: GpuTensor,
    sides: [usize; 2],
}
