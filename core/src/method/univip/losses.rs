//! The three losses of UniVIP, and the plan of its third.

use burn::tensor::Tensor;

use crate::{
    loss::{Transport, marginal, sinkhorn},
    matching::l2_normalize,
    method::regression_loss,
};

/// One term of L_scene: −cos, the mean over the batch, in [−1, 1], one element; predictions and targets [B, D] of any
/// length. No gradient flows to the target.
pub fn scene_loss(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    regression_loss(prediction, target) * 0.5 - 1.0
}

/// L_scene-instance, the mean over the batch, in [−2, 2], one element: I and the targets of both scenes, [B, D] of any
/// length. No gradient flows to the targets.
pub fn scene_instance_loss(joined: Tensor<2>, targets: [Tensor<2>; 2]) -> Tensor<1> {
    let [first, second] = targets.map(|target| scene_loss(joined.clone(), target));
    first + second
}

/// L_instance, the mean over the batch, in [−1, 1], one element: online and target vectors of the instances, [B, K, D] of
/// any length, and Y [B, K, K]. A gradient flows to the online vectors alone.
pub fn instance_loss(online: Tensor<3>, target: Tensor<3>, plan: Tensor<3>) -> Tensor<1> {
    let [b, ..] = plan.dims();
    let [mut target, mut plan] = [l2_normalize(target.inner(), 2), plan.inner()];
    if online.is_autodiff() {
        (target, plan) = (target.autodiff(), plan.autodiff());
    }
    let cosine = l2_normalize(online, 2).matmul(target.swap_dims(1, 2));
    (cosine * plan).sum() / -(b as f64)
}

/// Y and its residual: online and target vectors of the instances [B, K, D], online and target vectors of both scenes
/// [B, D], all of any length; ε and the number of iterations. No gradient flows.
pub fn instance_plan(
    [online, target]: [Tensor<3>; 2],
    online_scenes: [Tensor<2>; 2],
    target_scenes: [Tensor<2>; 2],
    epsilon: f64,
    iterations: usize,
) -> Transport {
    let [online, target] = [online, target].map(|vectors| l2_normalize(vectors.inner(), 2));
    let mean = |scenes: [Tensor<2>; 2]| {
        let [first, second] = scenes.map(|scene| l2_normalize(scene.inner(), 1));
        ((first + second) * 0.5).unsqueeze_dim::<3>(2)
    };
    let weights =
        |vectors: &Tensor<3>, scene| marginal(vectors.clone().matmul(scene).squeeze_dim(2));
    let rows = weights(&online, mean(target_scenes));
    let columns = weights(&target, mean(online_scenes));
    let cost = online.matmul(target.swap_dims(1, 2)) * -1.0 + 1.0;
    sinkhorn(cost, rows, columns, epsilon, iterations)
}
