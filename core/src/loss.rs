//! InfoNCE against a queue, and the weighted sum of the global and the dense loss.

use burn::tensor::{Tensor, activation::log_softmax};

/// The loss of some queries and how often their positive wins.
#[derive(Debug, Clone)]
pub struct InfoNce {
    /// Mean loss, rank 1 with one element.
    pub loss: Tensor<1>,
    /// Share of queries whose positive is more similar than every key of the queue (top-1 accuracy),
    /// one element, outside the gradient graph.
    pub accuracy: Tensor<1>,
}

/// −log( exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σₖ exp(q·k/τ)) ), the mean over queries (equations 1 and 2).
///
/// `query` and `positive` are [N, D], `queue` is [K, D], all of unit length. No gradient flows to
/// `positive` or `queue`: both come from the key encoder.
pub fn info_nce(
    query: Tensor<2>,
    positive: Tensor<2>,
    queue: Tensor<2>,
    temperature: f64,
) -> InfoNce {
    let [n, _] = query.dims();
    let same_graph = |t: Tensor<2>| {
        if query.is_autodiff() {
            t.inner().autodiff()
        } else {
            t
        }
    };
    let (positive, queue) = (same_graph(positive), same_graph(queue));

    let l_pos = (query.clone() * positive).sum_dim(1); // [N, 1]
    let l_neg = query.matmul(queue.transpose()); // [N, K]

    let hardest = l_neg.clone().inner().max_dim(1);
    let accuracy = l_pos.clone().inner().greater(hardest).float().mean();

    let logits = Tensor::cat(vec![l_pos, l_neg], 1) / temperature; // [N, 1 + K], positives first
    let loss = -log_softmax(logits, 1).slice([0..n, 0..1]).mean();
    InfoNce { loss, accuracy }
}

/// L = (1−λ)·L_global + λ·L_dense (equation 3).
pub fn weighted(global: Tensor<1>, dense: Tensor<1>, lambda: f64) -> Tensor<1> {
    global * (1.0 - lambda) + dense * lambda
}

/// The loss of a network that knows nothing: ln(K + 1).
pub fn chance(queue_len: usize) -> f64 {
    (queue_len as f64 + 1.0).ln()
}
