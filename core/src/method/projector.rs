//! The projection heads of methods that compare whole pictures without negatives, with batch normalisation
//! between their layers.

use burn::tensor::{Tensor, activation::relu};

use crate::model::{BatchNorm, Init, Linear, TensorVisitor, Tensors};

/// Linear, batch normalisation, ReLU, Linear without bias: BYOL's projector g and predictor q (Grill et al.
/// 2020, section 3.3).
#[derive(Debug, Clone)]
pub struct Projector {
    fc1: Linear,
    norm: BatchNorm,
    fc2: Linear,
}

impl Projector {
    /// From vectors of `input` numbers by `hidden` units to `output` numbers; initial weights by `name`.
    pub fn new(init: &Init, name: &str, [input, hidden, output]: [usize; 3]) -> Self {
        Self {
            fc1: Linear::new(init, &format!("{name}.fc1"), [input, hidden]),
            norm: BatchNorm::new(init, hidden),
            fc2: Linear::without_bias(init, &format!("{name}.fc2"), [hidden, output]),
        }
    }

    /// [B, input] → [B, output], not normalised; batch normalisation by the batch, in this many groups; the
    /// running statistics follow.
    ///
    /// # Panics
    /// When `groups` does not divide B.
    pub fn forward_train(&mut self, x: Tensor<2>, groups: usize) -> Tensor<2> {
        let hidden = self.norm.forward_train_rows(self.fc1.forward(x), groups);
        self.fc2.forward(relu(hidden))
    }
}

impl Tensors for Projector {
    fn visit<V: TensorVisitor>(&mut self, prefix: &str, visitor: &mut V) {
        self.fc1.visit(&format!("{prefix}fc1."), visitor);
        self.norm.visit(&format!("{prefix}bn1."), visitor);
        self.fc2.visit(&format!("{prefix}fc2."), visitor);
    }
}
