//! The operations that a step spends its time in, each in two homes.
//!
//! On the CPU they are kernels of ours (the crate `densecl-kernels`) with gradients of their own; on every
//! other device, and in other precisions than `f32`, they are made of Burn's operations. [`on`] decides, and
//! nothing else asks. Feature maps are [B, C, H, W] as everywhere; on the CPU their memory is in NHWC order,
//! which nobody else need know.

use burn::tensor::{DType, Device, Tensor};

#[cfg(feature = "cpu")]
mod cpu;
#[cfg(all(feature = "cpu", feature = "train"))]
mod gradient;
mod stock;
#[cfg(all(test, feature = "cpu", feature = "train"))]
mod tests;

/// How a kernel moves over a feature map, padded by dilation·(k−1)/2 on every side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels of the input per pixel of the output.
    pub stride: usize,
    /// Distance between the taps.
    pub dilation: usize,
}

/// What follows a normalisation in a residual network.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub enum Then {
    /// Nothing.
    Nothing,
    /// ReLU.
    Relu,
    /// The sum with a shortcut, then ReLU.
    AddRelu(Tensor<4>),
}

/// A batch normalised by its own statistics.
#[derive(Debug, Clone)]
pub struct Normalized {
    /// γ·x̂ + β and what follows, [N, C, H, W].
    pub output: Tensor<4>,
    /// Mean of each channel in each group, [G·C], outside any gradient graph.
    pub mean: Tensor<1>,
    /// Biased variance of each channel in each group, [G·C], outside any gradient graph.
    pub variance: Tensor<1>,
}

/// InfoNCE of each query, outside any gradient graph.
#[derive(Debug, Clone)]
pub struct PerQuery {
    /// −log softmax of the positive, [N].
    pub loss: Tensor<1>,
    /// 1 where the positive is more similar than every key, else 0; [N].
    pub hit: Tensor<1>,
    /// ∂loss/∂query, [N, D], if it was asked for.
    pub gradient: Option<Tensor<2>>,
}

/// How SGD moves a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdSettings {
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum μ.
    pub momentum: f64,
    /// Weight decay w.
    pub weight_decay: f64,
}

/// What operations hold in memory, as far as it is not the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes per number of its output that a convolution, its normalisation and the ReLU after it keep for
    /// the backward pass, the map they are given not counted.
    pub to_relu: u32,
    /// The same for a convolution and its normalisation alone.
    pub without: u32,
    /// Bytes per cell that max pooling keeps of where its maxima were.
    pub pooled_from: u32,
    /// Logits that exist at once, at most.
    pub logits: usize,
}

/// What a device computes the network with. Tensors of one call live on one device.
pub trait Operations: Sync {
    /// [B, in, H, W] with weights [out, in, k, k] and a bias [out] or none →
    /// [B, out, ⌈H/stride⌉, ⌈W/stride⌉].
    fn conv2d(
        &self,
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> Tensor<4>;

    /// [N, C, H, W] normalised by the batch; sample i belongs to group i mod `groups`. γ and β are f32 and so
    /// are the statistics, in whatever precision x is; the output has that of x.
    fn batch_norm(
        &self,
        x: Tensor<4>,
        gamma_beta: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        then: Then,
    ) -> Normalized;

    /// x·scale + shift per channel, and what follows: [N, C, H, W] and [C] each, these in f32.
    fn affine(&self, x: Tensor<4>, scale_shift: [Tensor<1>; 2], then: Then) -> Tensor<4>;

    /// Max pooling 3×3, stride 2, padding 1.
    fn max_pool(&self, x: Tensor<4>) -> Tensor<4>;

    /// Queries [N, D] with their positives [N, D] against a queue [K, D], all of unit length, in memory that
    /// does not grow with K; none of them is part of a gradient graph.
    fn info_nce(&self, vectors: [Tensor<2>; 3], temperature: f64, gradient: bool) -> PerQuery;

    /// v ← μ·v + (g + w·θ), θ ← θ − lr·v: (θ, v), outside any gradient graph. No velocity or no gradient
    /// counts as 0.
    fn sgd(
        &self,
        theta: Tensor<1>,
        velocity: Option<Tensor<1>>,
        gradient: Option<Tensor<1>>,
        settings: SgdSettings,
    ) -> (Tensor<1>, Tensor<1>);

    /// m·key + (1−m)·query, outside any gradient graph.
    fn follow(&self, key: Tensor<1>, query: Tensor<1>, m: f64) -> Tensor<1>;

    /// Σ x², one element.
    fn sum_of_squares(&self, x: Tensor<1>) -> Tensor<1>;

    /// What they hold in memory within a gradient graph, in this precision.
    fn footprint(&self, dtype: DType) -> Footprint;
}

/// The operations for tensors of this device and precision; those of a gradient graph if the device is one's.
#[allow(
    unused_variables,
    reason = "what decides depends on the backends that are compiled in"
)]
pub fn on(device: &Device, dtype: DType) -> &'static dyn Operations {
    #[cfg(feature = "cpu")]
    if cpu::has_kernels(device, dtype) {
        #[cfg(feature = "train")]
        if device.is_autodiff() {
            return &gradient::Tracked;
        }
        return &cpu::Cpu;
    }
    &stock::Burn
}
