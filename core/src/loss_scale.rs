//! Dynamic loss scaling (Micikevicius et al. 2018, section 3.2).
//!
//! Gradients of activations are small, and f16 rounds values below about 6·10⁻⁸ to 0. So the loss is multiplied
//! by a factor before the backward pass, and the gradient of the weights, which is f32, is divided by it
//! afterwards. If the factor is too large, the gradient overflows to infinity: the step is skipped and the
//! factor halved. The initial factor and the growth interval are those of PyTorch's `GradScaler`.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::optim::ParameterGradients;

/// The initial factor.
const FIRST: f64 = 65_536.0;
/// The factor is doubled after this many consecutive steps with a finite gradient.
const GROWTH_INTERVAL: u32 = 2000;
/// The smallest useful factor. If the gradient still overflows at 1, scaling is not the cause.
const SMALLEST: f64 = 1.0;

/// The factor of the loss, with the counts that adapt it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor by which the loss is multiplied; a power of 2.
    pub factor: f64,
    /// Steps with a finite gradient since the factor last changed.
    pub good_steps: u32,
    /// Steps skipped since the start of the run.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: FIRST,
            good_steps: 0,
            skipped: 0,
        }
    }
}

impl LossScale {
    /// Divides the gradients by the factor, then adapts the factor. Returns whether the gradients are finite;
    /// if not, the caller must skip the step. Waits for the device.
    ///
    /// If reading from the device fails, the gradients count as finite; the failure is reported when the
    /// figures are read.
    pub fn unscale(&mut self, gradients: &mut ParameterGradients) -> bool {
        gradients.multiply(1.0 / self.factor);
        let finite = gradients.norm().is_none_or(|norm| is_finite(&norm));
        self.update(finite);
        finite
    }

    /// Adapts the factor after a step whose gradient was `finite` or not.
    pub fn update(&mut self, finite: bool) {
        if !finite {
            self.factor /= 2.0;
            self.good_steps = 0;
            self.skipped += 1;
            return;
        }
        self.good_steps += 1;
        if self.good_steps == GROWTH_INTERVAL {
            self.factor *= 2.0;
            self.good_steps = 0;
        }
    }

    /// Whether the factor has fallen below 1. The forward pass itself then overflows, and no factor helps.
    pub fn is_exhausted(&self) -> bool {
        self.factor < SMALLEST
    }
}

/// Whether a one-element tensor is finite; true if it cannot be read.
fn is_finite(value: &Tensor<1>) -> bool {
    let read = value.try_to_vec_as::<f32>();
    read.map_or(true, |values| values.iter().all(|value| value.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_halves_at_once_and_doubles_after_many_good_steps() {
        let mut scale = LossScale::default();
        scale.update(false);
        assert_eq!((scale.factor, scale.skipped), (FIRST / 2.0, 1));
        for _ in 1..GROWTH_INTERVAL {
            scale.update(true);
        }
        assert_eq!(scale.factor, FIRST / 2.0);
        scale.update(true);
        assert_eq!((scale.factor, scale.good_steps), (FIRST, 0));

        // An overflow resets the count.
        scale.update(true);
        scale.update(false);
        assert_eq!((scale.good_steps, scale.skipped), (0, 2));
    }

    #[test]
    fn factors_below_one_are_of_no_use() {
        let mut scale = LossScale::default();
        for _ in 0..16 {
            scale.update(false);
        }
        assert!(!scale.is_exhausted());
        scale.update(false);
        assert!(scale.is_exhausted());
    }
}
