//! InfoNCE with the negatives of a queue or of the same picture, the weighted sum of the losses, and optimal transport.

mod in_view;
mod transport;

use burn::tensor::{Device, Tensor};

use crate::ops::{self, PerQuery};

pub use in_view::{Positives, SIMILARITIES, in_view};
pub use transport::{Transport, marginal, sinkhorn};

/// The loss and the top-1 accuracy of a set of queries.
#[derive(Debug, Clone)]
pub struct InfoNce {
    /// Mean loss, rank 1 with one element.
    pub loss: Tensor<1>,
    /// Share of the queries whose positive is more similar than every negative (top-1 accuracy), in [0, 1];
    /// one element, outside the gradient graph.
    pub accuracy: Tensor<1>,
}

impl InfoNce {
    /// The value for an empty set of queries: loss and accuracy are 0, without a gradient.
    pub fn none(device: &Device) -> Self {
        let zero = Tensor::zeros([1], device);
        Self {
            loss: zero.clone(),
            accuracy: zero.inner(),
        }
    }
}

/// InfoNCE: −log( exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σₖ exp(q·k/τ)) ), the mean over queries (equations 1 and 2).
///
/// `query` and `positive` are [N, D], `queue` is [K, D], all of unit length; `temperature` is τ. No gradient
/// flows to `positive` and `queue`, because both come from the key encoder.
pub fn info_nce(
    query: Tensor<2>,
    positive: Tensor<2>,
    queue: Tensor<2>,
    temperature: f64,
) -> InfoNce {
    let tracked = query.is_autodiff();
    let vectors = [query.clone(), positive, queue].map(Tensor::inner);
    let operations = ops::training(&vectors[0].device(), query.dtype());
    let PerQuery {
        loss,
        hit,
        gradient,
    } = operations.info_nce(vectors, temperature, tracked);
    let loss = match gradient {
        Some(gradient) => {
            let along = (query * gradient.autodiff()).sum_dim(1).squeeze_dim::<1>(1);
            with_gradient_of(along, loss)
        }
        None => loss,
    };
    InfoNce {
        loss: loss.mean(),
        accuracy: hit.mean(),
    }
}

/// Returns `value`, which was computed outside the gradient graph, as a tensor of the graph whose derivatives are
/// those of `along`. If the kernel has also computed the gradient g by a tensor x of the graph, pass Σ x·g as
/// `along`: its derivative by x is g. The value of `along` has no effect.
fn with_gradient_of(along: Tensor<1>, value: Tensor<1>) -> Tensor<1> {
    let rest = value - along.clone().inner();
    along + rest.autodiff()
}

/// L = (1−λ)·L_global + λ·L_dense (equation 3).
pub fn weighted(global: Tensor<1>, dense: Tensor<1>, lambda: f64) -> Tensor<1> {
    global * (1.0 - lambda) + dense * lambda
}

/// InfoNCE when all keys are equally similar to the query, as with an untrained network: ln(K + 1) for K
/// negatives.
pub fn chance(queue_len: usize) -> f64 {
    (queue_len as f64 + 1.0).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equally_similar_keys_give_the_loss_of_chance() {
        let device = Device::flex();
        for negatives in [1, 4, 63] {
            let same = |n| Tensor::<2>::ones([n, 4], &device) * 0.5;
            let found: f32 = info_nce(same(3), same(3), same(negatives), 0.2)
                .loss
                .into_scalar();
            let expected = chance(negatives);
            assert!((f64::from(found) - expected).abs() < 1e-5, "{found}");
        }
    }
}
