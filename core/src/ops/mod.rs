//! The operations that take most of the time of a training step, each with up to three implementations.
//!
//! On the CPU in `f32` they call this project's kernels (the crate `densecl-kernels`), on GPUs in `f32` and `f16` its kernels
//! in CubeCL; both have their own gradients. Otherwise they are composed of Burn's operations. The implementation is
//! selected only in [`on`] and [`training`]. Between operations a feature map is a [`FeatureMap`], in the memory
//! order of the selected implementation.

use burn::tensor::{DType, Device, Tensor, activation::relu};

pub mod choice;
mod conv_weights;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(all(feature = "gpu", not(feature = "fusion")))]
mod gpu;
#[cfg(all(
    feature = "train",
    any(feature = "cpu", all(feature = "gpu", not(feature = "fusion")))
))]
mod gradient;
mod stock;
#[cfg(all(test, feature = "cpu", feature = "train"))]
mod tests;
mod updates;

pub use conv_weights::ConvWeights;
pub use updates::{Flat, Moved, SgdSettings, Updates};

/// Stride and dilation of a k×k convolution. The feature map is padded by dilation·(k−1)/2 on every side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels of the input per pixel of the output, along each axis.
    pub stride: usize,
    /// Distance between neighbouring taps in pixels of the input.
    pub dilation: usize,
}

/// A feature map [B, C, H, W] in the memory order that its device computes in: NHWC for this project's kernels,
/// NCHW for Burn's operations. The order is changed once, at the input of a network, so that sums of maps and of
/// their gradients run over memory sequentially.
#[derive(Debug, Clone)]
pub struct FeatureMap {
    ordered: Tensor<4>,
    channels_last: bool,
}

impl FeatureMap {
    /// Converts a tensor [B, C, H, W] to the memory order of its device.
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

    /// Wraps a tensor [B, C, H, W] without reordering it, for Burn's operations.
    fn in_order(x: Tensor<4>) -> Self {
        Self {
            ordered: x,
            channels_last: false,
        }
    }

    /// Converts the map to a tensor [B, C, H, W].
    pub fn into_tensor(self) -> Tensor<4> {
        if self.channels_last {
            self.ordered.permute([0, 3, 1, 2])
        } else {
            self.ordered
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.ordered.dtype()
    }

    /// The shape [B, C, H, W].
    pub fn dims(&self) -> [usize; 4] {
        let dims = self.ordered.dims();
        if self.channels_last {
            let [b, h, w, c] = dims;
            [b, c, h, w]
        } else {
            dims
        }
    }

    /// The operations for this map and a layer with this `parameter`. They track gradients if either is part of a
    /// gradient graph.
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

    /// ReLU: max(x, 0).
    pub fn relu(self) -> Self {
        let rectified = relu(self.ordered.clone());
        self.ordered(rectified)
    }

    /// A map of another tensor that is in this map's memory order already.
    fn ordered(&self, ordered: Tensor<4>) -> Self {
        Self {
            ordered,
            channels_last: self.channels_last,
        }
    }
}

/// The activation after a normalisation in a residual network, with the shortcut as a `T`.
#[derive(Debug, Clone, Copy)]
pub enum Following<T> {
    /// Nothing: the map stays as it is.
    Identity,
    /// ReLU.
    Relu,
    /// The sum with this shortcut, then ReLU.
    AddRelu(T),
}

/// The activation after a normalisation in a residual network.
pub type Activation = Following<FeatureMap>;

#[allow(dead_code, reason = "only devices with kernels of ours convert it")]
impl<T> Following<T> {
    /// The same with a converted shortcut.
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Following<U> {
        match self {
            Self::Identity => Following::Identity,
            Self::Relu => Following::Relu,
            Self::AddRelu(shortcut) => Following::AddRelu(convert(shortcut)),
        }
    }

    fn as_ref(&self) -> Following<&T> {
        match self {
            Self::Identity => Following::Identity,
            Self::Relu => Following::Relu,
            Self::AddRelu(shortcut) => Following::AddRelu(shortcut),
        }
    }
}

/// The result of [`Operations::batch_norm`].
#[derive(Debug, Clone)]
pub struct Normalized {
    /// The activation of γ·x̂ + β, of the shape of x.
    pub output: FeatureMap,
    /// Mean of each channel in each of G groups, [G·C], outside any gradient graph.
    pub mean: Tensor<1>,
    /// Biased variance of each channel in each of G groups, [G·C], outside any gradient graph.
    pub variance: Tensor<1>,
}

/// InfoNCE of each query, outside any gradient graph.
#[derive(Debug, Clone)]
pub struct PerQuery {
    /// −log softmax of the positive, `[N]`.
    pub loss: Tensor<1>,
    /// 1 where the positive is more similar than every key, else 0; `[N]`.
    pub hit: Tensor<1>,
    /// ∂loss/∂query, [N, D], if requested.
    pub gradient: Option<Tensor<2>>,
}

/// The in-view loss of each of N query cells of b pictures against the M key cells of the same picture, outside any
/// gradient graph.
#[derive(Debug, Clone)]
pub struct PerCell {
    /// −log( Σ_positives exp(q·k/τ) / Σ_all exp(q·k/τ) ), [b, N]; 0 for a cell without a positive.
    pub loss: Tensor<2>,
    /// 1 where the most similar key cell is a positive, else 0, [b, N].
    pub hit: Tensor<2>,
    /// 1 where the cell has a positive, else 0, [b, N].
    pub valid: Tensor<2>,
    /// ∂loss/∂query, [b, N, D].
    pub gradient: Tensor<3>,
}

/// Memory that the operations hold within a gradient graph, as far as it depends on their implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes that a convolution, its normalisation and the ReLU after it keep for the backward pass, per
    /// element of the convolution's output and without the convolution's input.
    pub to_relu: u32,
    /// As `to_relu`, for a convolution and its normalisation without a ReLU.
    pub without: u32,
    /// Bytes per element of its output in which max pooling keeps the positions of the maxima.
    pub pooled_from: u32,
    /// The most logits of InfoNCE in memory at once.
    pub logits: usize,
}

/// The operations of a network. All tensors of a call are on one device.
pub trait Operations: Sync {
    /// Whether the memory order of maps is NHWC.
    fn channels_last(&self) -> bool;

    /// Convolution of `x` `[B, in, H, W]` with weights `[out, in, k, k]` and an optional bias `[out]`:
    /// [B, out, ⌈H/stride⌉, ⌈W/stride⌉]. It is computed in the precision of x; weights and bias are
    /// converted.
    fn conv2d(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> FeatureMap;

    /// [`conv2d`](Operations::conv2d) without a bias, followed by [`affine`](Operations::affine): a convolution
    /// and a normalisation with given statistics.
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

    /// Batch normalisation of `x` [N, C, H, W] by the statistics of the batch, separately in each group; sample i
    /// belongs to group i mod `groups`. γ, β and the statistics are f32 whatever the precision of x, which is
    /// also that of the output.
    fn batch_norm(
        &self,
        x: FeatureMap,
        gamma_beta: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        activation: Activation,
    ) -> Normalized;

    /// The activation of x·scale + shift per channel; `x` is `[N, C, H, W]` in any precision, scale and shift are
    /// `[C]` in f32.
    fn affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap;

    /// Max pooling 3×3, stride 2, padding 1.
    fn max_pool(&self, x: FeatureMap) -> FeatureMap;

    /// The memory that the operations hold within a gradient graph in this precision.
    fn footprint(&self, dtype: DType) -> Footprint;
}

/// The operations of a training step that are never part of a gradient graph. All tensors of a call are on one device and
/// outside any gradient graph.
///
/// They are a trait of their own so that a browser module that only compares pictures does not contain them.
pub trait Training: Updates {
    /// The running statistics r ← (1 − m)·r + m·s of a batch normalisation, mean and variance `[C]` each. s is the mean over
    /// the groups of the batch's `statistics`, which are [G·C] each; its variance is multiplied by `unbias`. All are outside
    /// any gradient graph.
    fn running(
        &self,
        running: [Tensor<1>; 2],
        statistics: [Tensor<1>; 2],
        momentum: f64,
        unbias: f64,
    ) -> [Tensor<1>; 2] {
        let [channels] = running[0].dims();
        let of_groups = |statistic: Tensor<1>| -> Tensor<1> {
            let [count] = statistic.dims();
            let grouped = statistic.reshape([count / channels, channels]);
            grouped.mean_dim(0).reshape([channels])
        };
        let [mean, variance] = statistics.map(of_groups);
        let follow =
            |running: Tensor<1>, batch: Tensor<1>| running * (1.0 - momentum) + batch * momentum;
        let [of_mean, of_variance] = running;
        [
            follow(of_mean, mean),
            follow(of_variance, variance * unbias),
        ]
    }

    /// InfoNCE of queries [N, D] with their positives [N, D] and a queue [K, D] of negatives, all of unit length
    /// and outside any gradient graph. The memory does not grow with K. `gradient` requests the gradient of the
    /// queries.
    fn info_nce(&self, vectors: [Tensor<2>; 3], temperature: f64, gradient: bool) -> PerQuery;

    /// The in-view loss of query cells [b, N, D] against key cells [b, M, D], all of unit length and outside any gradient
    /// graph; `positives` is 1 where a key cell is a positive of a query cell, else 0: [b, N, M].
    fn in_view(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        positives: Tensor<3>,
        temperature: f64,
    ) -> PerCell {
        stock::in_view(query, key, positives, temperature)
    }
}

/// The operations for tensors on this device and in this precision. They track gradients if the device is an
/// autodiff device.
#[allow(
    unused_variables,
    reason = "what decides depends on the backends that are compiled in"
)]
pub fn on(device: &Device, dtype: DType) -> &'static dyn Operations {
    #[cfg(feature = "cpu")]
    if cpu::has_kernels(device, dtype) {
        #[cfg(feature = "train")]
        if device.is_autodiff() {
            return &const { gradient::Tracked::<cpu::gradient::CpuKernels>::new() };
        }
        return &cpu::Cpu;
    }
    #[cfg(all(feature = "gpu", not(feature = "fusion")))]
    if gpu::has_kernels(device, dtype) {
        #[cfg(feature = "train")]
        if device.is_autodiff() {
            return &const { gradient::Tracked::<gpu::gradient::GpuKernels>::new() };
        }
        return &gpu::Gpu;
    }
    &stock::Burn
}

/// The operations of a training step for tensors on this device and in this precision.
#[allow(
    unused_variables,
    reason = "what decides depends on the backends that are compiled in"
)]
pub fn training(device: &Device, dtype: DType) -> &'static dyn Training {
    #[cfg(feature = "cpu")]
    if cpu::has_kernels(device, dtype) {
        return &cpu::Cpu;
    }
    #[cfg(all(feature = "gpu", not(feature = "fusion")))]
    if gpu::has_kernels(device, dtype) {
        return &gpu::Gpu;
    }
    &stock::Burn
}

/// Runs `work` that consists of many operations on `device`, such as a training step or a network on one picture. On the
/// CPU the threads that share each operation stay awake in between.
#[allow(
    unused_variables,
    reason = "what decides depends on the backends that are compiled in"
)]
pub fn together<R>(device: &Device, work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "cpu")]
    if cpu::has_kernels(device, DType::F32) {
        return densecl_kernels::together(work);
    }
    work()
}
