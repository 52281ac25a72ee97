//! Optimal transport between two small weighted sets, with an entropy term (Cuturi 2013), by Sinkhorn's iteration.
//!
//! ```text
//! Y = argmin ⟨C, Y⟩ − ε·H(Y)   where   Σ_n Y_mn = a_m,  Σ_m Y_mn = b_n
//! ```
//!
//! The iteration runs on logarithms, because exp(−C/ε) underflows in f32 for a small ε. A few iterations need not reach
//! both marginals, so the residual is part of the result.

use burn::tensor::{Tensor, activation::relu};

/// What is added to a score before scores become weights: a set whose scores are all negative has equal weights then.
const LEAST_SCORE: f64 = 1e-3;

/// The plans of a batch.
#[derive(Debug, Clone)]
pub struct Transport {
    /// Y: how much goes from row m to column n; [B, M, N], not negative, with sum 1.
    pub plan: Tensor<3>,
    /// Σ_m |Σ_n Y_mn − a_m| + Σ_n |Σ_m Y_mn − b_n|, the mean over the batch; in [0, 4], one element. 0 is a plan that
    /// has both marginals.
    pub residual: Tensor<1>,
}

/// Weights from scores [B, N]: max(score, 0) + 0.001, divided by the sum, so that each row has the sum 1.
pub fn marginal(scores: Tensor<2>) -> Tensor<2> {
    let scores = relu(scores) + LEAST_SCORE;
    let sum = scores.clone().sum_dim(1);
    scores / sum
}

/// The plans for costs C [B, M, N], weights a of the rows [B, M] and b of the columns [B, N], both positive with sum 1,
/// by `iterations` iterations, each of which fits the rows and then the columns. No gradient flows.
///
/// # Panics
/// When `epsilon` is not above 0.
pub fn sinkhorn(
    cost: Tensor<3>,
    rows: Tensor<2>,
    columns: Tensor<2>,
    epsilon: f64,
    iterations: usize,
) -> Transport {
    assert!(epsilon > 0.0, "the entropy term needs a weight above 0");
    let kernel = cost.inner() / -epsilon;
    let rows = rows.inner().unsqueeze_dim::<3>(2);
    let columns = columns.inner().unsqueeze_dim::<3>(1);
    let (log_rows, log_columns) = (rows.clone().log(), columns.clone().log());
    let mut by_row = log_rows.zeros_like();
    let mut by_column = log_columns.zeros_like();
    for _ in 0..iterations {
        by_row = log_rows.clone() - log_sum_exp(kernel.clone() + by_column.clone(), 2);
        by_column = log_columns.clone() - log_sum_exp(kernel.clone() + by_row.clone(), 1);
    }
    let plan = (kernel + by_row + by_column).exp();
    let off = |dim: usize, wanted: Tensor<3>| {
        let difference = plan.clone().sum_dim(dim) - wanted;
        difference
            .abs()
            .sum_dim(if dim == 2 { 1 } else { 2 })
            .mean()
    };
    Transport {
        residual: off(2, rows) + off(1, columns),
        plan,
    }
}

/// log Σ exp along a dimension, which is kept with length 1.
fn log_sum_exp(x: Tensor<3>, dim: usize) -> Tensor<3> {
    let greatest = x.clone().max_dim(dim);
    (x - greatest.clone()).exp().sum_dim(dim).log() + greatest
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.try_into_vec_as().expect("the CPU answers")
    }

    #[test]
    fn scores_below_zero_count_as_next_to_nothing() {
        let device = Device::flex();
        let found = values(marginal(Tensor::from_floats(
            [[0.5, -3.0, 0.499], [-1.0, -2.0, -0.5]],
            &device,
        )));
        let sum = 0.501 + 0.001 + 0.5;
        for (found, expected) in found.iter().zip([
            0.501 / sum,
            0.001 / sum,
            0.5 / sum,
            1.0 / 3.0,
            1.0 / 3.0,
            1.0 / 3.0,
        ]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_plan_has_its_marginals_and_prefers_what_is_cheap() {
        let device = Device::flex();
        let cost = Tensor::from_floats([[[0.0, 1.0], [1.0, 0.0]]], &device);
        let rows = Tensor::from_floats([[0.7, 0.3]], &device);
        let columns = Tensor::from_floats([[0.4, 0.6]], &device);
        let Transport { plan, residual } = sinkhorn(cost, rows, columns, 0.02, 50);
        // The exact plan leaves 0.4 and 0.3 where they are and moves the remaining 0.3.
        for (found, exact) in values(plan).iter().zip([0.4, 0.3, 0.0, 0.3]) {
            assert!((found - exact).abs() < 1e-5, "{found} {exact}");
        }
        assert!(values(residual)[0] < 1e-5);
    }

    #[test]
    fn too_few_iterations_show_in_the_residual() {
        let device = Device::flex();
        let cost = Tensor::from_floats([[[0.0, 2.0, 1.0], [1.5, 0.1, 0.2]]], &device);
        let rows = Tensor::from_floats([[0.9, 0.1]], &device);
        let columns = Tensor::from_floats([[0.2, 0.3, 0.5]], &device);
        let residual = |iterations| {
            let plan = sinkhorn(cost.clone(), rows.clone(), columns.clone(), 0.1, iterations);
            values(plan.residual)[0]
        };
        let [one, some, many] = [1, 3, 50].map(residual);
        assert!(one > some && some > many, "{one} {some} {many}");
        assert!(one > 0.1 && many < 1e-3, "{one} {many}");
    }
}
