//! Adversarial perturbations of pixels: projected gradient ascent in the L∞ ball (PGD, Madry et al. 2018).
//!
//! The attack works on pixels in [0, 1], the values of a picture's bytes divided by 255, and the perturbed picture
//! stays in this range. The normalisation of the network's input belongs to what is attacked: so an ε is the same
//! change of a picture for every network, and the ε that is meant where the literature says "8/255".

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use crate::{config::Attack, rng::Rng};

/// The result of an attack on a batch.
#[derive(Debug, Clone)]
pub struct Perturbed {
    /// δ [B, 3, H, W]: |δ| ≤ ε, and pixels + δ lie in [0, 1].
    pub delta: Tensor<4>,
    /// The loss at the start of the attack, outside any gradient graph.
    pub first_loss: Tensor<1>,
}

/// A start of the attack: uniform in [−ε, ε], of this shape.
pub fn random_start(
    attack: &Attack,
    shape: [usize; 4],
    rng: &mut Rng,
    device: &Device,
) -> Tensor<4> {
    let epsilon = attack.epsilon as f32;
    let draw = || (rng.random::<f32>() * 2.0 - 1.0) * epsilon;
    let values: Vec<f32> = std::iter::repeat_with(draw)
        .take(shape.iter().product())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &device.clone().inner())
}

/// δ that makes `loss` large: beginning at `start`, each iteration adds α·sign(∂loss/∂δ) and goes back into the range.
///
/// `pixels` [B, 3, H, W] lie in [0, 1], outside any gradient graph. `loss` receives pixels + δ in a gradient graph and
/// returns one element; it normalises them, and computes with networks that are constants
/// ([`Tensors::constant`](crate::model::Tensors::constant)). A factor of the loss changes nothing but its rounding.
///
/// # Panics
/// When the loss does not depend on the pixels, or there are no iterations.
pub fn perturb(
    attack: &Attack,
    pixels: &Tensor<4>,
    start: Tensor<4>,
    mut loss: impl FnMut(Tensor<4>) -> Tensor<1>,
) -> Perturbed {
    let low = (-pixels.clone()).clamp_min(-attack.epsilon);
    let high = (-pixels.clone() + 1.0).clamp_max(attack.epsilon);
    let into_range = |delta: Tensor<4>| delta.max_pair(low.clone()).min_pair(high.clone());
    let mut delta = into_range(start);
    let mut first_loss = None;
    for _ in 0..attack.steps {
        let leaf = delta.clone().autodiff().require_grad();
        let value = loss(pixels.clone().autodiff() + leaf.clone());
        first_loss.get_or_insert_with(|| value.clone().inner());
        let gradients = value.backward();
        let gradient = leaf.grad(&gradients);
        let gradient = gradient.expect("the loss depends on the pixels");
        delta = into_range(delta + gradient.sign() * attack.step);
    }
    Perturbed {
        delta,
        first_loss: first_loss.expect("at least one iteration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.inner().try_into_vec_as().expect("on the CPU")
    }

    #[test]
    fn a_linear_loss_is_climbed_to_the_edge_of_the_range() {
        let device = Device::flex();
        let shape = [2, 3, 4, 4];
        // Pixels at both ends of [0, 1] and between them; slopes of both signs.
        let pixels: Vec<f32> = (0..96).map(|i| [0.0, 0.4, 1.0][i % 3]).collect();
        let slopes: Vec<f32> = (0..96).map(|i| [1.0, -0.2][i % 2]).collect();
        let tensor = |values: &[f32]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device)
        };
        let attack = Attack {
            epsilon: 8.0 / 255.0,
            step: 2.0 / 255.0,
            steps: 8,
        };
        let mut rng = stream(3, Purpose::Attack, 0);
        let start = random_start(&attack, shape, &mut rng, &device);
        let begun = values(start.clone());
        let epsilon = attack.epsilon as f32;
        assert!(begun.iter().all(|d| d.abs() <= epsilon) && begun.iter().any(|d| *d < -0.02));
        let found = perturb(&attack, &tensor(&pixels), start, |x| {
            (x * tensor(&slopes).autodiff()).sum()
        });
        for ((delta, pixel), slope) in values(found.delta).iter().zip(&pixels).zip(&slopes) {
            let edge = if *slope > 0.0 {
                epsilon.min(1.0 - pixel)
            } else {
                (-epsilon).max(-pixel)
            };
            assert_eq!(*delta, edge);
        }
    }
}
