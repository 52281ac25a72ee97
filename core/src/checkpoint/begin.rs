//! Starting a run from the weights of a file instead of random ones.

use crate::{
    config::ModelConfig,
    error::{Error, Result},
    method::Method,
    model::{Heads, Tensors},
    weights::Weights,
};

impl Weights {
    /// Replaces the initial weights of `learner`, a method at step 0 with the network `model`, by these
    /// weights: those of the backbone, and of each of the learner's heads that the file has with the same
    /// `dim`. Returns which heads were replaced.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the weights are of another backbone.
    pub fn begin(self, learner: &mut dyn Method, model: &ModelConfig) -> Result<Heads> {
        let found = &self.info.model;
        let network = |model: &ModelConfig| {
            let ModelConfig {
                backbone,
                width,
                stem,
                stride_in_1x1,
                ..
            } = model;
            (*backbone, *width, *stem, *stride_in_1x1)
        };
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
