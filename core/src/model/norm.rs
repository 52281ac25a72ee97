//! Batch normalisation, split into groups; and group normalisation, for transfer heads.
//!
//! With ordinary batch normalisation, a query and its key can be matched by the batch statistics that they
//! share instead of by their content, and the loss falls without useful features (He et al. 2020, section 3.3).
//! MoCo avoids this with 8 GPUs, each of which normalises its own part of the batch, and shuffles the keys
//! across them. Split batch normalisation makes such groups on one device.

use std::sync::{Arc, OnceLock};

use burn::tensor::Tensor;

use super::{
    layers::Init,
    visit::{Kind, TensorVisitor, Tensors},
};
use crate::{
    network::NORM_TENSORS,
    ops::{self, Activation, FeatureMap},
};

/// Added to the variance; torchvision's value.
pub const EPSILON: f64 = 1e-5;
/// Weight of the newest batch in the running statistics; torchvision's value.
pub(super) const MOMENTUM: f64 = 0.1;

/// Batch normalisation of each channel; γ = 1 and β = 0 initially.
///
/// The running statistics are always outside the gradient graph.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    running_mean: Tensor<1>,
    running_var: Tensor<1>,
    /// [`Self::by_running`], kept outside gradient graphs until a tensor changes: it is some operations on a few
    /// numbers, which take longer to start than to compute. Clones share it.
    kept: Arc<OnceLock<[Tensor<1>; 2]>>,
}

impl BatchNorm {
    /// A normalisation of feature maps with `channels` channels.
    pub fn new(init: &Init, channels: usize) -> Self {
        Self {
            gamma: Tensor::ones([channels], init.device),
            beta: Tensor::zeros([channels], init.device),
            running_mean: Tensor::zeros([channels], init.device),
            running_var: Tensor::ones([channels], init.device),
            kept: Arc::default(),
        }
    }

    /// [N, C, H, W] → the same shape: normalised by the running statistics, followed by the activation.
    pub fn forward(&self, x: FeatureMap, activation: Activation) -> FeatureMap {
        let [a, b] = self.by_running();
        x.operations(&a).affine(x, [a, b], activation)
    }

    /// [N, C, H, W] → the same shape: normalised by the statistics of the batch, followed by the activation.
    /// Sample i belongs to group i mod `groups`, and each group is normalised by its own statistics. Updates
    /// the running statistics.
    ///
    /// In training both encoders call this function: the key encoder has no gradient, but it is normalised by
    /// batch statistics too, and has running statistics of its own.
    ///
    /// # Panics
    /// When `groups` does not divide N.
    pub fn forward_train(
        &mut self,
        x: FeatureMap,
        groups: usize,
        activation: Activation,
    ) -> FeatureMap {
        let [n, _, h, w] = x.dims();
        assert!(
            groups > 0 && n % groups == 0,
            "{n} samples do not divide into {groups} groups"
        );
        let parameters = [self.gamma.clone(), self.beta.clone()];
        let operations = x.operations(&self.gamma);
        let out = operations.batch_norm(x, parameters, groups, EPSILON, activation);

        // The running statistics average the mean over the groups; as in PyTorch, the variance is unbiased.
        let count = (n / groups * h * w) as f64;
        let running = [&self.running_mean, &self.running_var].map(Tensor::clone);
        let unbias = count / (count - 1.0).max(1.0);
        let training = ops::training(&self.running_mean.device(), self.running_mean.dtype());
        self.kept = Arc::default();
        [self.running_mean, self.running_var] =
            training.running(running, [out.mean, out.variance], MOMENTUM, unbias);
        out.output
    }

    /// Rows [N, C] → the same shape, normalised by the running statistics: PyTorch's `BatchNorm1d`, for
    /// projection heads.
    pub fn forward_rows(&self, x: Tensor<2>) -> Tensor<2> {
        let [n, c] = x.dims();
        let map = FeatureMap::new(x.reshape([n, c, 1, 1]));
        let out = self.forward(map, Activation::Identity).into_tensor();
        out.reshape([n, c])
    }

    /// Rows [N, C] → the same shape, normalised by the statistics of the batch. Updates the running statistics.
    ///
    /// # Panics
    /// When `groups` does not divide N.
    pub fn forward_train_rows(&mut self, x: Tensor<2>, groups: usize) -> Tensor<2> {
        let [n, c] = x.dims();
        let map = FeatureMap::new(x.reshape([n, c, 1, 1]));
        let out = self.forward_train(map, groups, Activation::Identity);
        out.into_tensor().reshape([n, c])
    }

    /// Normalisation by the running statistics as x·a + b: a = γ/√(σ²+ε) and b = β − μ·a, `[C]` each.
    pub(super) fn by_running(&self) -> [Tensor<1>; 2] {
        if self.gamma.is_autodiff() || self.running_mean.is_autodiff() {
            return self.scale_and_shift();
        }
        self.kept.get_or_init(|| self.scale_and_shift()).clone()
    }

    fn scale_and_shift(&self) -> [Tensor<1>; 2] {
        let tracked = self.gamma.is_autodiff();
        let running = |t: &Tensor<1>| {
            if tracked {
                t.clone().autodiff()
            } else {
                t.clone()
            }
        };
        let a = self.gamma.clone() / (running(&self.running_var) + EPSILON).sqrt();
        let b = self.beta.clone() - running(&self.running_mean) * a.clone();
        [a, b]
    }
}

/// Group normalisation (Wu and He 2018): each group of channels of a sample is normalised by its own
/// statistics, so that results do not depend on the batch size. γ = 1 and β = 0 initially.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
}

impl GroupNorm {
    /// A normalisation of feature maps with `channels` channels in `groups` groups.
    ///
    /// # Panics
    /// When `groups` does not divide `channels`.
    pub fn new(init: &Init, channels: usize, groups: usize) -> Self {
        assert_eq!(channels % groups, 0, "{channels} channels, {groups} groups");
        Self {
            gamma: Tensor::ones([channels], init.device),
            beta: Tensor::zeros([channels], init.device),
            groups,
        }
    }

    /// [N, C, H, W] → the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        let grouped: Tensor<3> = x.reshape([n, self.groups, c / self.groups * h * w]);
        let centered = grouped.clone() - grouped.mean_dim(2);
        let variance = centered.clone().square().mean_dim(2);
        let normal = (centered / (variance + EPSILON).sqrt()).reshape([n, c, h, w]);
        normal * self.gamma.clone().reshape([1, c, 1, 1]) + self.beta.clone().reshape([1, c, 1, 1])
    }
}

impl Tensors for GroupNorm {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        visitor.tensor(&format!("{prefix}weight"), Kind::Parameter, &mut self.gamma);
        visitor.tensor(&format!("{prefix}bias"), Kind::Parameter, &mut self.beta);
    }
}

impl Tensors for BatchNorm {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        // The visitor may change the tensors.
        self.kept = Arc::default();
        let tensors = [
            &mut self.gamma,
            &mut self.beta,
            &mut self.running_mean,
            &mut self.running_var,
        ];
        for ((leaf, kind), tensor) in NORM_TENSORS.into_iter().zip(tensors) {
            visitor.tensor(&format!("{prefix}{leaf}"), kind, tensor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_normalised_by_their_channels() {
        let device = burn::tensor::Device::flex();
        let mut norm = BatchNorm::new(&Init::new(0, &device), 2);
        let rows = [[1.0, 2.0], [3.0, 6.0], [5.0, 10.0]];
        let x = Tensor::<2>::from_data(rows, &device)
            .autodiff()
            .require_grad();
        let values =
            |x: Tensor<2>| -> Vec<f32> { x.inner().try_into_vec_as().expect("on the CPU") };
        let out = norm.forward_train_rows(x.clone(), 1);
        // Means 3 and 6, variances 8/3 and 32/3: both channels are ±√1.5 around 0.
        let want = [-1.5f32, 0.0, 1.5].map(|x| x.signum() * x.abs().sqrt());
        for (row, want) in values(out.clone()).chunks_exact(2).zip(want) {
            assert!(
                row.iter().all(|x| (x - want).abs() < 1e-4),
                "{row:?}, {want}"
            );
        }
        // A shift of a whole channel changes nothing, so the gradient of each channel sums to 0.
        let weights = Tensor::<2>::from_data([[1.0, 0.5], [0.0, 2.0], [0.0, 0.0]], &device);
        let gradients = (out * weights.autodiff()).sum().backward();
        let gradient = values(x.grad(&gradients).expect("tracked"));
        for channel in 0..2 {
            let column = gradient.iter().skip(channel).step_by(2);
            assert!(
                column.clone().sum::<f32>().abs() < 1e-5 && column.clone().any(|g| g.abs() > 1e-3)
            );
        }
        // Running statistics: a tenth of the means, and of the unbiased variances 4 and 16.
        let zero = values(norm.forward_rows(Tensor::zeros([1, 2], &device)));
        let want = [(0.3f32, 1.3f32), (0.6, 2.5)].map(|(mean, var)| -mean / (var + 1e-5).sqrt());
        assert!(
            zero.iter()
                .zip(want)
                .all(|(x, want)| (x - want).abs() < 1e-4),
            "{zero:?}"
        );
    }

    #[test]
    fn what_is_kept_follows_the_tensors() {
        struct Double;
        impl TensorVisitor for Double {
            fn tensor<const D: usize>(&mut self, _: &str, _: Kind, tensor: &mut Tensor<D>) {
                *tensor = tensor.clone() * 2.0;
            }
        }
        let device = burn::tensor::Device::flex();
        let mut norm = BatchNorm::new(&Init::new(0, &device), 1);
        let one = Tensor::<2>::ones([1, 1], &device);
        let of = |norm: &BatchNorm| {
            let values = norm.forward_rows(one.clone()).try_into_vec_as::<f32>();
            values.expect("on the CPU")[0]
        };
        assert!((of(&norm) - 1.0).abs() < 1e-4);
        let copy = norm.clone();
        norm.forward_train_rows(Tensor::from_data([[2.0], [4.0]], &device), 1);
        // The mean is a tenth of 3, the variance nine tenths of 1 and a tenth of 2.
        assert!((of(&norm) - 0.7 / 1.1f32.sqrt()).abs() < 1e-4);
        norm.visit("", &mut Double);
        assert!((of(&norm) - 2.0 * 0.4 / 2.2f32.sqrt()).abs() < 1e-4);
        assert!((of(&copy) - 1.0).abs() < 1e-4);
    }
}
