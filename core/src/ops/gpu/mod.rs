//! The operations by this project's kernels for GPUs, on tensors of Burn's CubeCL backend.
//!
//! The kernels are written in CubeCL, which compiles them for the device when they are first used: to WGSL for wgpu, and
//! to CUDA with the feature `cuda`. Maps are in NHWC order, so that a convolution is a matrix product whose operands are
//! read in the order of memory. All kernels are launched in CubeCL's checked mode: an index outside of a buffer, which
//! would be a mistake here, reads or writes its last value.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Tensor};

use super::{
    Activation, ConvWeights, FeatureMap, Footprint, Geometry, Normalized, Operations, PerCell,
    PerQuery, Training,
    choice::{self, ConvShape, Mode},
    stock,
};

#[cfg_attr(
    not(feature = "train"),
    allow(dead_code, reason = "without training nothing needs gradients")
)]
mod conv;
#[cfg(feature = "train")]
pub(super) mod gradient;
mod in_view;
mod info_nce;
mod norm;
#[cfg_attr(
    not(feature = "train"),
    allow(dead_code, reason = "without training nothing needs gradients")
)]
mod normalize;
mod pool;
mod tensor;
mod threads;
mod updates;

use self::{
    conv::{After, Arranged},
    normalize::{NormShape, affine, normalize},
    tensor::{GpuTensor, Traits, contiguous, dims, primitive, tensor},
};

/// Whether this project has kernels for tensors on this device and of this element type.
pub(super) fn has_kernels(device: &Device, dtype: DType) -> bool {
    let device = device.clone().inner();
    matches!(dtype, DType::F32 | DType::F16)
        && choice::mode() != Mode::Stock
        && matches!(device.as_dispatch(), DispatchDevice::Cube(_))
}

/// The operations on tensors outside a gradient graph.
pub(super) struct Gpu;

impl Operations for Gpu {
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
        let x = values(x);
        let bias = bias.map(|bias| contiguous(primitive(bias)));
        let after = bias.as_ref().map_or(After::Nothing, After::Bias);
        let shape = conv_shape(&x, weights, geometry);
        map(conv::forward(&x, &arranged(weights), after, &shape))
    }

    fn conv2d_affine(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        geometry: Geometry,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let x = values(x);
        let scale_shift = scale_shift.map(|t| contiguous(primitive(t)));
        let scale_shift = scale_shift.each_ref();
        let shape = conv_shape(&x, weights, geometry);
        let activation = activation.map(values);
        let after = After::Affine(scale_shift, activation.as_ref());
        map(conv::forward(&x, &arranged(weights), after, &shape))
    }

    fn batch_norm(
        &self,
        x: FeatureMap,
        gamma_beta: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        activation: Activation,
    ) -> Normalized {
        let x = values(x);
        let gamma_beta = gamma_beta.map(|t| contiguous(primitive(t)));
        let shape = NormShape::of(&x, groups);
        let activation = activation.map(values);
        let (output, statistics) = normalize(
            &x,
            gamma_beta.each_ref(),
            &shape,
            epsilon,
            activation.as_ref(),
        );
        Normalized {
            output: map(output),
            mean: tensor(statistics.mean),
            variance: tensor(statistics.variance),
        }
    }

    fn affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let x = values(x);
        let scale_shift = scale_shift.map(|t| contiguous(primitive(t)));
        let shape = NormShape::of(&x, 1);
        let activation = activation.map(values);
        map(affine(
            &x,
            scale_shift.each_ref(),
            &shape,
            activation.as_ref(),
        ))
    }

    fn max_pool(&self, x: FeatureMap) -> FeatureMap {
        let (output, _) = normalize::max_pool(&values(x));
        map(output)
    }

    fn footprint(&self, dtype: DType) -> Footprint {
        let number = dtype.size() as u32;
        Footprint {
            // These are kept for the backward pass: the convolution's output, and ReLU's output, which is also the
            // next convolution's input.
            to_relu: 2 * number,
            without: number,
            pooled_from: 1,
            logits: stock::Burn.footprint(dtype).logits,
        }
    }
}

impl Training for Gpu {
    fn running(
        &self,
        running: [Tensor<1>; 2],
        statistics: [Tensor<1>; 2],
        momentum: f64,
        unbias: f64,
    ) -> [Tensor<1>; 2] {
        let running = running.map(|t| contiguous(primitive(t)));
        let statistics = statistics.map(|t| contiguous(primitive(t)));
        let (running, statistics) = (running.each_ref(), statistics.each_ref());
        normalize::running(statistics, running, momentum, unbias).map(tensor)
    }

    fn info_nce(&self, vectors: [Tensor<2>; 3], temperature: f64, gradient: bool) -> PerQuery {
        let [_, dim] = vectors[0].dims();
        let [query, ..] = &vectors;
        let traits = Traits::of(&primitive(query.clone()).client);
        if !info_nce::fits(&traits, dim, temperature) {
            return stock::Burn.info_nce(vectors, temperature, gradient);
        }
        let vectors = vectors.map(|t| contiguous(primitive(t)));
        let found = info_nce::info_nce(vectors.each_ref(), temperature, gradient, &traits);
        PerQuery {
            loss: tensor(found.loss),
            hit: tensor(found.hit),
            gradient: found.gradient.map(tensor),
        }
    }

    fn in_view(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        positives: Tensor<3>,
        temperature: f64,
    ) -> PerCell {
        let [_, cells, _] = key.dims();
        let traits = Traits::of(&primitive(query.clone()).client);
        if !in_view::fits(&traits, cells) {
            return stock::in_view(query, key, positives, temperature);
        }
        let vectors = [query, key, positives].map(|t| contiguous(primitive(t)));
        let found = in_view::in_view(vectors.each_ref(), temperature, &traits);
        PerCell {
            loss: tensor(found.loss),
            hit: tensor(found.hit),
            valid: tensor(found.valid),
            gradient: tensor(found.gradient),
        }
    }
}

/// The values of a feature map [B, H, W, C], outside any gradient graph.
fn values(map: FeatureMap) -> GpuTensor {
    contiguous(primitive(map.ordered))
}

fn map(values: GpuTensor) -> FeatureMap {
    FeatureMap {
        ordered: tensor(values),
        channels_last: true,
    }
}

/// The weights in the orders that the products need.
fn arranged(weights: &ConvWeights) -> std::sync::Arc<Arranged> {
    weights.prepared(0, |weights| Arranged::new(primitive(weights.clone())))
}

fn conv_shape(x: &GpuTensor, weights: &ConvWeights, geometry: Geometry) -> ConvShape {
    let [batch, height, width, channels] = dims(x);
    let [channels_out, channels_in, kernel, _] = weights.tensor().dims();
    assert_eq!(channels_in, channels, "channels of weights and input");
    ConvShape {
        batch,
        input: [height, width],
        channels: [channels_in, channels_out],
        kernel,
        stride: geometry.stride,
        dilation: geometry.dilation,
    }
}
