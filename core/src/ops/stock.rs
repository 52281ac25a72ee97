//! The operations composed of Burn's, which every device supports.

use burn::tensor::{
    DType, FloatDType, Tensor,
    activation::relu,
    module::{batch_norm_train, conv2d, max_pool2d},
    ops::{ConvOptions, MaxPoolOptions},
};

use super::{
    Activation, ConvWeights, FeatureMap, Footprint, Geometry, Normalized, Operations, PerCell,
    PerQuery, SgdSettings, Training, Updates,
};

/// Compositions of Burn's operations.
pub(super) struct Burn;

impl Operations for Burn {
    fn channels_last(&self) -> bool {
        false
    }

    fn conv2d(
        &self,
        x: FeatureMap,
        weights: &ConvWeights,
        bias: Option<Tensor<1>>,
        geometry: Geometry,
    ) -> FeatureMap {
        let Geometry { stride, dilation } = geometry;
        let weight = weights.tensor().clone().cast(x.dtype());
        let bias = bias.map(|bias| bias.cast(x.dtype()));
        let [_, _, kernel, _] = weight.dims();
        let padding = dilation * (kernel - 1) / 2;
        let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], 1);
        FeatureMap::in_order(conv2d(x.into_tensor(), weight, bias, options))
    }

    fn batch_norm(
        &self,
        x: FeatureMap,
        [gamma, beta]: [Tensor<1>; 2],
        groups: usize,
        epsilon: f64,
        activation: Activation,
    ) -> Normalized {
        let [n, c, h, w] = x.dims();
        // In the shape [N / groups, groups·C, H, W], sample i is block i mod groups of row i / groups, so the
        // groups become channels without a copy.
        let dtype = x.dtype();
        // In f16 squares overflow, and long sums lose small terms.
        let x = x.into_tensor().cast(FloatDType::F32);
        let grouped = x.reshape([n / groups, groups * c, h, w]);
        let repeated = |t: Tensor<1>| t.repeat(&[groups]);
        let out = batch_norm_train(grouped, repeated(gamma), repeated(beta), epsilon);
        Normalized {
            output: activate(out.output.reshape([n, c, h, w]).cast(dtype), activation),
            mean: out.mean.inner(),
            variance: out.variance.inner(),
        }
    }

    fn affine(
        &self,
        x: FeatureMap,
        [scale, shift]: [Tensor<1>; 2],
        activation: Activation,
    ) -> FeatureMap {
        let [_, c, _, _] = x.dims();
        let x = x.into_tensor();
        let [scale, shift] = [scale, shift].map(|t| t.cast(x.dtype()));
        let y = x * scale.reshape([1, c, 1, 1]) + shift.reshape([1, c, 1, 1]);
        activate(y, activation)
    }

    fn max_pool(&self, x: FeatureMap) -> FeatureMap {
        let pool = MaxPoolOptions::new([3; 2])
            .with_stride([2; 2])
            .with_padding([1; 2]);
        FeatureMap::in_order(max_pool2d(x.into_tensor(), pool))
    }

    fn footprint(&self, dtype: DType) -> Footprint {
        // These are kept for the backward pass: the normalisation's input in f32, ReLU's input, and ReLU's
        // output, which is the next convolution's input.
        let number = dtype.size() as u32;
        Footprint {
            to_relu: 4 + 2 * number,
            without: 4,
            pooled_from: 4,
            logits: TILE,
        }
    }
}

impl Training for Burn {
    fn info_nce(&self, vectors: [Tensor<2>; 3], temperature: f64, gradient: bool) -> PerQuery {
        let tile = TILE / vectors[0].dims()[0];
        info_nce_in_tiles(vectors, temperature, gradient, tile)
    }
}

impl Updates for Burn {
    fn sgd(
        &self,
        theta: Tensor<1>,
        velocity: Option<Tensor<1>>,
        gradient: Option<Tensor<1>>,
        settings: SgdSettings,
    ) -> (Tensor<1>, Tensor<1>) {
        let theta = theta.inner();
        let decay = theta.clone() * settings.weight_decay;
        let gradient = match gradient {
            Some(gradient) => gradient.inner() + decay,
            None => decay,
        };
        let velocity = match velocity {
            Some(velocity) => velocity.inner() * settings.momentum + gradient,
            None => gradient,
        };
        let moved = theta - velocity.clone() * settings.learning_rate;
        (moved, velocity)
    }

    fn follow(&self, key: Tensor<1>, query: Tensor<1>, m: f64) -> Tensor<1> {
        key.inner() * m + query.inner() * (1.0 - m)
    }

    fn sum_of_squares(&self, x: Tensor<1>) -> Tensor<1> {
        x.inner().square().sum()
    }
}

fn activate(y: Tensor<4>, activation: Activation) -> FeatureMap {
    FeatureMap::in_order(match activation {
        Activation::Identity => y,
        Activation::Relu => relu(y),
        Activation::AddRelu(shortcut) => relu(y + shortcut.into_tensor()),
    })
}

/// The most logits in memory at once: 64 MiB of `f32`.
const TILE: usize = 1 << 24;

/// InfoNCE with an online log-sum-exp over tiles of `tile` keys: when a tile has a larger logit than the maximum m
/// so far, the sums so far are scaled down (as in FlashAttention, Dao et al. 2022). The same pass sums
/// exp(lₖ − m)·k over the keys k with their logits lₖ, which gives the gradient of the query. Keys have no
/// gradient, so a separate backward pass is not needed.
pub(super) fn info_nce_in_tiles(
    [query, positive, queue]: [Tensor<2>; 3],
    temperature: f64,
    gradient: bool,
    tile: usize,
) -> PerQuery {
    let [count, _] = queue.dims();
    let beta = 1.0 / temperature;
    let own = (query.clone() * positive.clone()).sum_dim(1); // [N, 1]
    // The sums start with the positive.
    let mut largest = own.clone();
    let mut hardest: Option<Tensor<2>> = None;
    let mut sum = own.ones_like();
    let mut keys_sum = gradient.then(|| positive.clone());
    let tile = tile.clamp(1, count);
    for first in (0..count).step_by(tile) {
        let keys = queue.clone().slice(first..(first + tile).min(count));
        let similarity = query.clone().matmul(keys.clone().transpose());
        let best = similarity.clone().max_dim(1);
        let now = largest.clone().max_pair(best.clone());
        let shrink = ((largest - now.clone()) * beta).exp();
        let weights = ((similarity - now.clone()) * beta).exp();
        sum = sum * shrink.clone() + weights.clone().sum_dim(1);
        keys_sum = keys_sum.map(|total| total * shrink + weights.matmul(keys));
        largest = now;
        hardest = Some(match hardest {
            Some(hardest) => hardest.max_pair(best),
            None => best,
        });
    }
    let hardest = hardest.expect("a queue has a key");
    PerQuery {
        loss: (sum.clone().log() + (largest - own.clone()) * beta).squeeze_dim(1),
        hit: own.greater(hardest).float().squeeze_dim(1),
        gradient: keys_sum.map(|total| (total / sum - positive) * beta),
    }
}

/// [`Training::in_view`] for every device.
pub(super) fn in_view(
    query: Tensor<3>,
    key: Tensor<3>,
    positives: Tensor<3>,
    temperature: f64,
) -> PerCell {
    let beta = 1.0 / temperature;
    let [pictures, cells, _] = query.dims();
    let similarity = query.matmul(key.clone().swap_dims(1, 2));
    let valid = positives.clone().max_dim(2); // [b, N, 1]
    let hit = positives.clone().gather(2, similarity.clone().argmax(2));

    // Each of the two sums of exponentials is relative to its own largest term. Relative to the best of all
    // cells, the exponentials of much less similar positives would underflow at a small temperature.
    let top = similarity.clone().max_dim(2);
    let all = ((similarity.clone() - top.clone()) * beta).exp();
    let sum = all.clone().sum_dim(2);
    // Cells that are no positives get −2, which is below every cosine.
    let own = similarity * positives.clone() + (positives.clone() - 1.0) * 2.0;
    let own_top = own.clone().max_dim(2);
    let own = ((own - own_top.clone()) * beta).exp() * positives;
    // With a positive the sum is at least 1, its largest term. Without one it is 0, and the clamp avoids a
    // division by 0.
    let own_sum = own.clone().sum_dim(2).clamp_min(1.0);

    let loss = (sum.clone() / own_sum.clone()).log() + (top - own_top) * beta;
    let slope = (all / sum - own / own_sum) * valid.clone() * beta;
    let per_cell = |x: Tensor<3>| x.reshape([pictures, cells]);
    PerCell {
        loss: per_cell(loss * valid.clone()),
        hit: per_cell(hit),
        valid: per_cell(valid),
        gradient: slope.matmul(key),
    }
}
