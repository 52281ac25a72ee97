//! Dynamic loss scaling (Micikevicius et al. 2018, section 3.2).
//!
//! Gradients of activations are small, and in f16 what is below 6·10⁻⁸ is 0. So the loss is multiplied
//! before the backward pass, and the gradient of the weights, in f32, divided after it. Too large a factor
//! makes an infinity: then the step is not taken and the factor is halved. The numbers are those of
//! PyTorch's `GradScaler`.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::optim::ParameterGradients;

/// The factor at the start.
const FIRST: f64 = 65_536.0;
/// Good steps after which the factor is doubled.
const GROWTH_INTERVAL: u32 = 2000;
/// A factor to which halving leads only if something else than the factor is not finite.
const SMALLEST: f64 = 1.0;

/// The factor of the loss, and how it has fared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// By which the loss is multiplied; a power of 2.
    pub factor: f64,
    /// Steps taken since it was last changed.
    pub good_steps: u32,
    /// Steps not taken, over the whole run.
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
    /// Divides gradients by the factor and adapts it to whether they are finite; false = the step is not to be
    /// taken. Waits for the device.
    ///
    /// A device that does not answer counts as finite: its failure is reported when the figures are read.
    pub fn unscale(&mut self, gradients: &mut ParameterGradients) -> bool {
        gradients.multiply(1.0 / self.factor);
        let finite = gradients.norm().is_none_or(|norm| is_finite(&norm));
        self.update(finite);
        finite
    }

    /// After a step whose gradient was finite, or was not.
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

    /// Whether no factor can help any more: the numbers of the forward pass themselves are not finite.
    pub fn is_exhausted(&self) -> bool {
        self.factor < SMALLEST
    }
}

/// Whether one element is neither NaN nor infinite.
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

        // One overflow on the way, and the count begins again.
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
