//! The layer-wise scaling of LARS (You et al. 2017), as BYOL uses it (Grill et al. 2020, section 3.3).

use burn::tensor::Tensor;

use crate::ops;

/// What LARS makes of the gradient g of a weight θ before SGD's momentum: (g + w·θ)·η·‖θ‖/‖g + w·θ‖, so that
/// the step is a fixed share of the weight's own norm whatever the size of its gradient. Where either norm is 0
/// the factor is 1. Biases and the parameters of batch normalisation keep their gradient, without decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lars {
    /// η.
    pub(super) trust: f64,
}

impl Lars {
    /// Whether a parameter of this rank is scaled and decays. Rank 1 are biases, and γ and β of batch
    /// normalisation.
    pub(super) fn adapts(rank: usize) -> bool {
        rank > 1
    }

    /// The scaled gradient of `theta`, both flattened; a gradient of `None` counts as 0.
    pub(super) fn adapt(
        self,
        theta: &Tensor<1>,
        gradient: Option<Tensor<1>>,
        weight_decay: f64,
    ) -> Tensor<1> {
        let decay = theta.clone() * weight_decay;
        let gradient = match gradient {
            Some(gradient) => gradient + decay,
            None => decay,
        };
        let operations = ops::training(&theta.device(), theta.dtype());
        let squares = |x: &Tensor<1>| operations.sum_of_squares(x.clone());
        let (of_theta, of_gradient) = (squares(theta), squares(&gradient));
        // Stays on the device: reading a norm would wait for it once per parameter.
        let factor = (of_theta.clone() / of_gradient.clone()).sqrt() * self.trust;
        let factor = factor
            .mask_fill(of_theta.lower_equal_elem(0.0), 1.0)
            .mask_fill(of_gradient.lower_equal_elem(0.0), 1.0);
        gradient * factor
    }
}
