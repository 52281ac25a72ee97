//! The operations by this project's kernels, on tensors of Burn's CPU backend.

use std::sync::Arc;

use burn::backend::{DispatchDevice, Flex, flex::FlexTensor};
use burn::tensor::{DType, Device, Tensor, TensorData};
use densecl_kernels::{
    conv::{self, Epilogue, Kernel},
    info_nce, norm, pool, sgd,
};

#[cfg(feature = "train")]
pub(super) mod gradient;

use super::{
    ConvWeights, FeatureMap, Flat, Following, Footprint, Geometry, Moved, Normalized, Operations,
    PerQuery, SgdSettings, Training, Updates,
};

/// Whether this project has kernels for tensors on this device and of this element type.
pub(super) fn has_kernels(device: &Device, dtype: DType) -> bool {
    let device = device.clone().inner();
    dtype == DType::F32 && matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// The operations on tensors outside a gradient graph.
pub(super) struct Cpu;

impl Operations for Cpu {
    fn channels_last(&self) -> bool {
        true
    }

    fn conv2d(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> FeatureMap {
        let x = Map::of(x);
        let bias = bias.map(|bias| contiguous(primitive(bias)));
        let epilogue = bias
            .as_ref()
            .map_or(Epilogue::Identity, |bias| Epilogue::Bias(values(bias)));
        let (kernel, shape) = ready(&x, weights, geometry);
        convolve(&x, &kernel, epilogue, &shape).into_map()
    }

    fn conv2d_affine(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        geometry: Geometry,
        scale_shift: [Tensor<1>; 2],
        activation: super::Activation,
    ) -> FeatureMap {
        let (x, activation) = (Map::of(x), activation.map(Map::of));
        let scale_shift = scale_shift.map(|t| contiguous(primitive(t)));
        let epilogue = Epilogue::Affine(scale_shift.each_ref().map(values), of_values(&activation));
        let (kernel, shape) = ready(&x, weights, geometry);
        convolve(&x, &kernel, epilogue, &shape).into_map()
    }

    fn batch_norm(
        &self,
        x: FeatureMap,
        [gamma, beta]: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        activation: super::Activation,
    ) -> Normalized {
        let x = Map::of(x);
        let [gamma, beta] = [gamma, beta].map(|t| contiguous(primitive(t)));
        let activation = activation.map(Map::of);
        let (output, statistics) = normalize(&x, [&gamma, &beta], groups, epsilon, &activation);
        Normalized {
            output: output.into_map(),
            mean: row(statistics.mean),
            variance: row(statistics.variance),
        }
    }

    fn affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: super::Activation,
    ) -> FeatureMap {
        let x = Map::of(x);
        let scale_shift = scale_shift.map(|t| contiguous(primitive(t)));
        let scale_shift = scale_shift.each_ref().map(values);
        let (activation, shape) = (activation.map(Map::of), norm_shape(&x, 1));
        let output = norm::apply(
            values(&x.tensor),
            scale_shift,
            of_values(&activation),
            &shape,
        );
        x.alike(output).into_map()
    }

    fn max_pool(&self, x: FeatureMap) -> FeatureMap {
        pool_map(&Map::of(x)).0.into_map()
    }

    fn footprint(&self, _: DType) -> Footprint {
        Footprint {
            // These are kept for the backward pass: the convolution's output, and ReLU's output, which is
            // also the next convolution's input.
            to_relu: 2 * 4,
            without: 4,
            pooled_from: 1,
            // The kernel's tiles of a few kilobytes are not counted.
            logits: 0,
        }
    }
}

impl Training for Cpu {
    fn info_nce(&self, vectors: [Tensor<2>; 3], temperature: f64, gradient: bool) -> PerQuery {
        let [n, dim] = vectors[0].dims();
        let vectors = vectors.map(|t| contiguous(primitive(t)));
        let vectors = vectors.each_ref().map(values);
        let pass = info_nce::info_nce(vectors, dim, temperature as f32, gradient);
        PerQuery {
            loss: row(pass.loss),
            hit: row(pass.hit),
            gradient: gradient.then(|| tensor(filled(pass.gradient, vec![n, dim]))),
        }
    }
}

impl Updates for Cpu {
    fn sgd(
        &self,
        theta: Tensor<1>,
        velocity: Option<Tensor<1>>,
        gradient: Option<Tensor<1>>,
        settings: SgdSettings,
    ) -> (Tensor<1>, Tensor<1>) {
        let mut state = State::of(theta, velocity, gradient);
        sgd::step(vec![state.parameter()], &of_kernels(settings));
        state.into_tensors()
    }

    fn follow(&self, key: Tensor<1>, query: Tensor<1>, m: f64) -> Tensor<1> {
        let mut key = contiguous(primitive(key));
        let query = contiguous(primitive(query));
        sgd::follow(key.storage_mut(), values(&query), m);
        tensor(key)
    }

    fn sum_of_squares(&self, x: Tensor<1>) -> Tensor<1> {
        let x = contiguous(primitive(x));
        row(vec![sgd::sum_of_squares(values(&x)) as f32])
    }

    fn sgd_all(
        &self,
        theta: Flat,
        velocity: Vec<Option<Tensor<1>>>,
        gradient: Vec<Option<Tensor<1>>>,
        settings: SgdSettings,
        wants_squares: bool,
    ) -> Moved {
        let has_gradient = gradient.iter().any(Option::is_some);
        let each = theta.into_iter().zip(velocity).zip(gradient);
        let mut states: Vec<State> = each
            .map(|((theta, velocity), gradient)| State::of(theta, velocity, gradient))
            .collect();
        let parameters = states.iter_mut().map(State::parameter).collect();
        let squares = sgd::step(parameters, &of_kernels(settings));
        let (theta, velocity) = states.into_iter().map(State::into_tensors).unzip();
        Moved {
            theta,
            velocity,
            squares: (wants_squares && has_gradient).then(|| row(vec![squares as f32])),
        }
    }

    fn follow_all(&self, keys: Flat, queries: Flat, m: f64) -> Flat {
        densecl_kernels::together(|| {
            let pairs = keys.into_iter().zip(queries);
            pairs
                .map(|(key, query)| self.follow(key, query, m))
                .collect()
        })
    }

    fn sum_of_squares_all(&self, tensors: Flat) -> Option<Tensor<1>> {
        if tensors.is_empty() {
            return None;
        }
        let squares = tensors.into_iter().map(|x| {
            let x = contiguous(primitive(x));
            sgd::sum_of_squares(values(&x))
        });
        Some(row(vec![squares.sum::<f64>() as f32]))
    }
}

/// A parameter for SGD.
struct State {
    theta: FlexTensor,
    velocity: FlexTensor,
    gradient: FlexTensor,
}

impl State {
    /// A missing velocity or gradient is zero.
    fn of(theta: Tensor<1>, velocity: Option<Tensor<1>>, gradient: Option<Tensor<1>>) -> Self {
        let zeros = || filled(vec![0.0; theta.dims()[0]], vec![theta.dims()[0]]);
        let velocity = contiguous(velocity.map_or_else(zeros, primitive));
        let gradient = contiguous(gradient.map_or_else(zeros, primitive));
        Self {
            velocity,
            gradient,
            theta: contiguous(primitive(theta)),
        }
    }

    /// `storage_mut` copies values that other tensors share; otherwise a step works in place.
    fn parameter(&mut self) -> sgd::Parameter<'_> {
        sgd::Parameter {
            theta: self.theta.storage_mut(),
            velocity: self.velocity.storage_mut(),
            gradient: values(&self.gradient),
        }
    }

    fn into_tensors(self) -> (Tensor<1>, Tensor<1>) {
        (tensor(self.theta), tensor(self.velocity))
    }
}

fn of_kernels(settings: SgdSettings) -> sgd::Settings {
    sgd::Settings {
        learning_rate: settings.learning_rate as f32,
        momentum: settings.momentum as f32,
        weight_decay: settings.weight_decay as f32,
    }
}

/// A feature map whose memory is in NHWC order, without gaps.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Map {
    pub(super) tensor: FlexTensor,
    pub(super) batch: usize,
    pub(super) sides: [usize; 2],
    pub(super) channels: usize,
}

impl Map {
    /// The values of a feature map, outside any gradient graph.
    fn of(map: FeatureMap) -> Self {
        Self::new(primitive(map.ordered))
    }

    /// The map of a tensor [B, H, W, C]; copies the values only if they are not contiguous in this order.
    pub(super) fn new(nhwc: FlexTensor) -> Self {
        let tensor = contiguous(nhwc);
        let shape = tensor.layout().shape();
        let (batch, sides, channels) = (shape[0], [shape[1], shape[2]], shape[3]);
        Self {
            tensor,
            batch,
            sides,
            channels,
        }
    }

    /// The map of `values` in NHWC order.
    pub(super) fn from_values(
        values: Vec<f32>,
        batch: usize,
        sides: [usize; 2],
        channels: usize,
    ) -> Self {
        let tensor = filled(values, vec![batch, sides[0], sides[1], channels]);
        Self {
            tensor,
            batch,
            sides,
            channels,
        }
    }

    /// A map of this one's shape with other values.
    pub(super) fn alike(&self, values: Vec<f32>) -> Self {
        Self::from_values(values, self.batch, self.sides, self.channels)
    }

    /// The feature map, outside any gradient graph.
    fn into_map(self) -> FeatureMap {
        FeatureMap {
            ordered: tensor(self.tensor),
            channels_last: true,
        }
    }
}

fn conv_shape(x: &Map, weights: [usize; 4], geometry: Geometry) -> conv::Shape {
    let [channels_out, channels_in, kernel, _] = weights;
    assert_eq!(channels_in, x.channels, "channels of weights and input");
    conv::Shape {
        batch: x.batch,
        input: x.sides,
        channels_in,
        channels_out,
        kernel,
        stride: geometry.stride,
        padding: geometry.dilation * (kernel - 1) / 2,
        dilation: geometry.dilation,
    }
}

/// The packed weights and the shapes of a convolution of `x`.
pub(super) fn ready(
    x: &Map,
    weights: &ConvWeights,
    geometry: Geometry,
) -> (Arc<Kernel>, conv::Shape) {
    let shape = conv_shape(x, weights.tensor().dims(), geometry);
    let packing = Kernel::packing(&shape);
    let kernel = weights.prepared(packing as usize, |weights| {
        let weights = contiguous(primitive(weights.clone()));
        Kernel::pack(values(&weights), &shape)
    });
    (kernel, shape)
}

pub(super) fn convolve(x: &Map, kernel: &Kernel, epilogue: Epilogue, shape: &conv::Shape) -> Map {
    let output = conv::forward(values(&x.tensor), kernel, epilogue, shape);
    Map::from_values(output, x.batch, shape.output(), shape.channels_out)
}

pub(super) fn norm_shape(x: &Map, groups: usize) -> norm::Shape {
    norm::Shape {
        batch: x.batch,
        pixels: x.sides[0] * x.sides[1],
        channels: x.channels,
        groups,
    }
}

/// The activation for kernels.
fn of_values(activation: &Following<Map>) -> norm::Activation<'_> {
    match activation {
        Following::Identity => norm::Activation::Identity,
        Following::Relu => norm::Activation::Relu,
        Following::AddRelu(shortcut) => norm::Activation::AddRelu(values(&shortcut.tensor)),
    }
}

/// Normalises a batch by its own statistics and applies the activation. Returns the statistics, too.
pub(super) fn normalize(
    x: &Map,
    [gamma, beta]: [&FlexTensor; 2],
    groups: usize,
    epsilon: f64,
    activation: &Following<Map>,
) -> (Map, norm::Statistics) {
    let (of_x, shape) = (values(&x.tensor), norm_shape(x, groups));
    let statistics = norm::statistics(of_x, &shape);
    let [scale, shift] = norm::scale_and_shift(&statistics, values(gamma), values(beta), epsilon);
    let output = norm::apply(of_x, [&scale, &shift], of_values(activation), &shape);
    (x.alike(output), statistics)
}

/// The pooled map, and the tap of each window that had the maximum.
pub(super) fn pool_map(x: &Map) -> (Map, Vec<u8>) {
    let shape = pool_shape(x);
    let (output, taps) = pool::forward(values(&x.tensor), &shape);
    let map = Map::from_values(output, x.batch, shape.output(), x.channels);
    (map, taps)
}

pub(super) fn pool_shape(x: &Map) -> pool::Shape {
    pool::Shape {
        batch: x.batch,
        input: x.sides,
        channels: x.channels,
    }
}

/// Burn's tensor as the CPU backend's, outside any gradient graph.
fn primitive<const D: usize>(x: Tensor<D>) -> FlexTensor {
    x.inner()
        .try_into_primitive::<Flex>()
        .expect("`on` chose these operations by this tensor's device")
}

fn tensor<const D: usize>(primitive: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive)
}

/// The tensor in contiguous row-major memory; copies only if it is not.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// The values of a tensor that [`contiguous`] returned.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage()
}

pub(super) fn filled(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

pub(super) fn row(values: Vec<f32>) -> Tensor<1> {
    let count = values.len();
    tensor(filled(values, vec![count]))
}
