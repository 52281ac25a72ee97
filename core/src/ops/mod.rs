//! The operations that a step spends its time in, each in two homes.
//!
//! On the CPU they are kernels of ours (the crate `densecl-kernels`) with gradients of their own; on every
//! other device, and in other precisions than `f32`, they are made of Burn's operations. [`on`] decides, and
//! nothing else asks. Between operations a feature map is a [`FeatureMap`], in the order that its device wants.

use burn::tensor::{DType, Device, Tensor, activation::relu};

mod conv_weights;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(all(feature = "cpu", feature = "train"))]
mod gradient;
mod stock;
#[cfg(all(test, feature = "cpu", feature = "train"))]
mod tests;

pub use conv_weights::ConvWeights;

/// How a kernel moves over a feature map, padded by dilation·(k−1)/2 on every side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels of the input per pixel of the output.
    pub stride: usize,
    /// Distance between the taps.
    pub dilation: usize,
}

/// A feature map [B, C, H, W] in the memory order that its device computes in: NHWC for our kernels, NCHW for
/// Burn's operations. It is put into order once, where a network begins, so that sums of maps and of their
/// gradients run over memory as it lies.
#[derive(Debug, Clone)]
pub struct FeatureMap {
    ordered: Tensor<4>,
    channels_last: bool,
}

impl FeatureMap {
    /// Of a tensor [B, C, H, W].
    pub fn new(x: Tensor<4>) -> Self {
        let channels_last = on(&x.device(), x.dtype()).channels_last();
        let ordered = if channels_last {
            x.permute([0, 2, 3, 1])
        } else {
            x
        };
        Self {
            ordered,
            channels_last,
        }
    }

    /// Of a tensor [B, C, H, W] that Burn's operations are to work on.
    fn in_order(x: Tensor<4>) -> Self {
        Self {
            ordered: x,
            channels_last: false,
        }
    }

    /// The tensor [B, C, H, W].
    pub fn into_tensor(self) -> Tensor<4> {
        if self.channels_last {
            self.ordered.permute([0, 3, 1, 2])
        } else {
            self.ordered
        }
    }

    /// The type of its numbers.
    pub fn dtype(&self) -> DType {
        self.ordered.dtype()
    }

    /// B, C, H, W.
    pub fn dims(&self) -> [usize; 4] {
        let dims = self.ordered.dims();
        if self.channels_last {
            let [b, h, w, c] = dims;
            [b, c, h, w]
        } else {
            dims
        }
    }

    /// The operations for this map and a layer's parameters, which may be part of a gradient graph when the
    /// map is not.
    pub fn operations<const D: usize>(&self, parameter: &Tensor<D>) -> &'static dyn Operations {
        let device = if self.ordered.is_autodiff() {
            self.ordered.device()
        } else {
            parameter.device()
        };
        on(&device, self.ordered.dtype())
    }

    /// Max pooling 3×3, stride 2, padding 1.
    pub fn max_pool(self) -> Self {
        on(&self.ordered.device(), self.ordered.dtype()).max_pool(self)
    }

    /// max(x, 0).
    pub fn relu(self) -> Self {
        let rectified = relu(self.ordered.clone());
        self.ordered(rectified)
    }

    /// The same order, other values.
    fn ordered(&self, ordered: Tensor<4>) -> Self {
        Self {
            ordered,
            channels_last: self.channels_last,
        }
    }
}

/// What is applied behind a normalisation in a residual network.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "lives for one call")]
pub enum Activation {
    /// Nothing: the map stays as it is.
    Identity,
    /// ReLU.
    Relu,
    /// The sum with a shortcut, then ReLU.
    AddRelu(FeatureMap),
}

/// A batch normalised by its own statistics.
#[derive(Debug, Clone)]
pub struct Normalized {
    /// γ·x̂ + β, then the activation; as large as x.
    pub output: FeatureMap,
    /// Mean of each channel in each group, [G·C], outside any gradient graph.
    pub mean: Tensor<1>,
    /// Biased variance of each channel in each group, [G·C], outside any gradient graph.
    pub variance: Tensor<1>,
}

/// InfoNCE of each query, outside any gradient graph.
#[derive(Debug, Clone)]
pub struct PerQuery {
    /// −log softmax of the positive, `[N]`.
    pub loss: Tensor<1>,
    /// 1 where the positive is more similar than every key, else 0; `[N]`.
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
    /// Whether maps are in NHWC order.
    fn channels_last(&self) -> bool;

    /// `[B, in, H, W]` with weights `[out, in, k, k]` and a bias `[out]` or none →
    /// [B, out, ⌈H/stride⌉, ⌈W/stride⌉].
    /// All in the precision of x, whatever that of the others.
    fn conv2d(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> FeatureMap;

    /// The same without a bias, then [`affine`](Operations::affine): a convolution whose normalisation is known.
    fn conv2d_affine(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        geometry: Geometry,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let y = self.conv2d(x, weights, None, geometry);
        self.affine(y, scale_shift, activation)
    }

    /// [N, C, H, W] normalised by the batch; sample i belongs to group i mod `groups`. γ and β are f32 and so
    /// are the statistics, in whatever precision x is; the output has that of x.
    fn batch_norm(
        &self,
        x: FeatureMap,
        gamma_beta: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        activation: Activation,
    ) -> Normalized;

    /// x·scale + shift per channel, then the activation: `[N, C, H, W]` and `[C]` each, these in f32.
    fn affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap;

    /// Max pooling 3×3, stride 2, padding 1.
    fn max_pool(&self, x: FeatureMap) -> FeatureMap;

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

/// Runs much work in small pieces on `device`: a network on one picture. Its threads are gathered once for all.
#[allow(
    unused_variables,
    reason = "what decides depends on the backends that are compiled in"
)]
pub fn together<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    #[cfg(feature = "cpu")]
    if cpu::has_kernels(device, DType::F32) {
        return densecl_kernels::together(work);
    }
    work()
}
