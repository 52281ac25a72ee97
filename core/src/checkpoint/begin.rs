//! A run that begins with the weights of a file instead of random ones.

use crate::{
    config::ModelConfig,
    error::{Error, Result},
    method::Method,
    model::{Heads, Tensors},
    weights::Weights,
};

impl Weights {
    /// Begins the training of `learner`, which has taken no step and is of `model`, from these weights:
    /// the backbone and those of the learner's heads that are there with the same `dim`. Returns which were.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the backbone is another one.
    pub fn begin(self, learner: &mut dyn Method, model: &ModelConfig) -> Result<Heads> {
        let found = &self.info.model;
        let network = |model: &ModelConfig| (model.backbone, model.width, model.stride_in_1x1);
        if network(found) != network(model) {
            let remedy = if found.stride_in_1x1 == model.stride_in_1x1 {
                ""
            } else {
                "; set model.stride_in_1x1 to what the weights were trained with, and import them with \
                 --stride-in-1x1 where their file does not say it"
            };
            return Err(Error::Mismatch(format!(
                "the weights are those of {}, the run asks for {}{remedy}",
                found.describe(),
                model.describe()
            )));
        }
        let same_dim = found.dim == model.dim;
        let mut encoder = learner.encoder().clone().inference();
        let heads = Heads {
            global: self.heads().global && same_dim && encoder.global_head.is_some(),
            dense: self.heads().dense && same_dim && encoder.dense_head.is_some(),
        };
        let mut tensors = self.tensors;
        tensors.restore("", &mut encoder.backbone)?;
        if let Some(head) = encoder.global_head.as_mut().filter(|_| heads.global) {
            tensors.restore("global_head.", head)?;
        }
        if let Some(head) = encoder.dense_head.as_mut().filter(|_| heads.dense) {
            tensors.restore("dense_head.", head)?;
        }
        learner.begin_with(encoder);
        Ok(heads)
    }
}
