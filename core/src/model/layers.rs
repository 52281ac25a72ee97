//! The layers of ResNets and heads, and their initialisation.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::visit::{Kind, TensorVisitor, Tensors};
use crate::{
    ops::{Activation, ConvWeights, FeatureMap, Geometry},
    rng::{Purpose, Rng, normal_pair, stream},
};

/// Draws initial weights. Each tensor has its own random stream, so the weights of a layer do not depend on the
/// layers that are built before it.
#[derive(Debug, Clone)]
pub struct Init<'a> {
    /// Seed of the run; `None` for zeros instead of random weights.
    seed: Option<u64>,
    /// The device of the tensors.
    pub(super) device: &'a Device,
}

impl<'a> Init<'a> {
    /// Random weights from the streams of this seed, on `device`.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self {
            seed: Some(seed),
            device,
        }
    }

    /// Zeros instead of random weights, for a network whose weights are then read from a file.
    pub fn blank(device: &'a Device) -> Self {
        Self { seed: None, device }
    }

    fn rng(&self, seed: u64, name: &str) -> Rng {
        // FNV-1a, because the hashers of the standard library may change between releases.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        stream(seed, Purpose::Weights, hash)
    }

    /// N(0, std²).
    pub(crate) fn normal<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        std: f64,
    ) -> Tensor<D> {
        let Some(seed) = self.seed else {
            return Tensor::zeros(shape, self.device);
        };
        let mut rng = self.rng(seed, name);
        let count: usize = shape.iter().product();
        let values: Vec<f32> = std::iter::repeat_with(|| normal_pair(&mut rng))
            .flatten()
            .take(count)
            .map(|z| (z * std) as f32)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// U(−bound, bound).
    fn uniform<const D: usize>(&self, name: &str, shape: [usize; D], bound: f64) -> Tensor<D> {
        let Some(seed) = self.seed else {
            return Tensor::zeros(shape, self.device);
        };
        let mut rng = self.rng(seed, name);
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }
}

/// A 2-D convolution. Weights `[out, in, k, k]`; bias `[out]` or none.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weights: ConvWeights,
    bias: Option<Tensor<1>>,
    stride: usize,
    dilation: usize,
}

impl Conv2d {
    /// A convolution of the backbone: no bias; weights Kaiming normal with ReLU gain and *fan_in*, as the
    /// authors initialise (torchvision: fan_out).
    pub fn backbone(
        init: &Init,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> Self {
        let std = (2.0 / (input * kernel * kernel) as f64).sqrt();
        let weight = init.normal(
            &format!("{name}.weight"),
            [output, input, kernel, kernel],
            std,
        );
        Self {
            weights: ConvWeights::new(weight),
            bias: None,
            stride,
            dilation,
        }
    }

    /// A 1×1 convolution of the dense head, with PyTorch's default initialisation, which the authors use here:
    /// U(±1/√fan_in) for weights and bias.
    pub fn pointwise(init: &Init, name: &str, [input, output]: [usize; 2]) -> Self {
        let bound = 1.0 / (input as f64).sqrt();
        let weight = init.uniform(&format!("{name}.weight"), [output, input, 1, 1], bound);
        Self {
            weights: ConvWeights::new(weight),
            bias: Some(init.uniform(&format!("{name}.bias"), [output], bound)),
            stride: 1,
            dilation: 1,
        }
    }

    /// A convolution of a transfer head: weights N(0, `std`²), every bias `bias`.
    pub fn normal(
        init: &Init,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
        std: f64,
        bias: f64,
    ) -> Self {
        let shape = [output, input, kernel, kernel];
        Self {
            weights: ConvWeights::new(init.normal(&format!("{name}.weight"), shape, std)),
            bias: Some(Tensor::full([output], bias, init.device)),
            stride: 1,
            dilation: 1,
        }
    }

    /// The same convolution with this bias `[out]`.
    #[allow(dead_code, reason = "only heads that are trained get one")]
    #[must_use]
    pub(crate) fn with_bias(mut self, bias: Tensor<1>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// [B, in, H, W] → [B, out, ⌈H/stride⌉, ⌈W/stride⌉], padded by dilation·(k−1)/2. Computes in the precision
    /// of `x`; the weights may have another.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.map(FeatureMap::new(x)).into_tensor()
    }

    /// As [`Self::forward`], on feature maps in the device's memory order.
    pub fn map(&self, x: FeatureMap) -> FeatureMap {
        let operations = x.operations(self.weights.tensor());
        operations.conv2d(x, &self.weights, self.bias.clone(), self.geometry())
    }

    /// Frees the weights in the form packed for this device's kernels; the next forward pass packs them again.
    pub(super) fn forget(&mut self) {
        self.weights.change();
    }

    /// As [`Self::map`] without the bias, followed by a scale and a shift per channel, `[out]` each, and the
    /// activation.
    pub(super) fn map_affine(
        &self,
        x: FeatureMap,
        scale_shift: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let operations = x.operations(&scale_shift[0]);
        operations.conv2d_affine(x, &self.weights, self.geometry(), scale_shift, activation)
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            stride: self.stride,
            dilation: self.dilation,
        }
    }
}

impl Tensors for Conv2d {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        visitor.tensor(
            &format!("{prefix}weight"),
            Kind::Parameter,
            self.weights.change(),
        );
        if let Some(bias) = &mut self.bias {
            visitor.tensor(&format!("{prefix}bias"), Kind::Parameter, bias);
        }
    }
}

/// A fully connected layer. Weights `[out, in]` as in PyTorch; bias `[out]` or none.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// Weights Kaiming normal with ReLU gain and fan_in, bias 0 (the authors' `_init_weights`).
    pub fn new(init: &Init, name: &str, [input, output]: [usize; 2]) -> Self {
        let std = (2.0 / input as f64).sqrt();
        Self {
            weight: init.normal(&format!("{name}.weight"), [output, input], std),
            bias: Some(Tensor::zeros([output], init.device)),
        }
    }

    /// The same without a bias.
    pub fn without_bias(init: &Init, name: &str, sizes: [usize; 2]) -> Self {
        Self {
            bias: None,
            ..Self::new(init, name, sizes)
        }
    }

    /// The layer that gives for x what this one gives for (x − mean)·scale, both [1, in]. It has a bias.
    pub fn for_raw_input(self, mean: Tensor<2>, scale: Tensor<2>) -> Self {
        let weight = self.weight * scale;
        let shift = mean.matmul(weight.clone().transpose()).squeeze_dim(0);
        let bias = match self.bias {
            Some(bias) => bias - shift,
            None => -shift,
        };
        Self {
            weight,
            bias: Some(bias),
        }
    }

    /// [B, in] → [B, out].
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        // The product this way round makes the gradient of the weights in their own order. Of x·Wᵀ it would be the gradient
        // of Wᵀ, which has to be transposed before each update.
        let product = self.weight.clone().matmul(x.transpose()).transpose();
        match &self.bias {
            Some(bias) => product + bias.clone().unsqueeze(),
            None => product,
        }
    }
}

impl Tensors for Linear {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        visitor.tensor(
            &format!("{prefix}weight"),
            Kind::Parameter,
            &mut self.weight,
        );
        if let Some(bias) = &mut self.bias {
            visitor.tensor(&format!("{prefix}bias"), Kind::Parameter, bias);
        }
    }
}
