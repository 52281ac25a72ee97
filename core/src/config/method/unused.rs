//! The settings of each method, so that one which the chosen method does not use can be refused.

use serde_json::to_value;

use super::{MethodConfig, MethodName};
use crate::error::{Error, Result};

/// Settings of `[method]` that only DenseCL uses.
const OF_DENSECL: [&str; 10] = [
    "lambda",
    "lambda_warmup_steps",
    "temperature",
    "queue",
    "queue_exceeds_data",
    "matching",
    "in_view_weight",
    "in_view_temperature",
    "in_view_positives",
    "shuffle_keys",
];

/// Those that all methods but DenseCL use.
const OF_BYOL: [&str; 2] = ["projector_hidden", "projector_dim"];

/// Those that only UniVIP uses.
const OF_UNIVIP: [&str; 4] = [
    "instances",
    "instance_size",
    "transport_epsilon",
    "transport_iterations",
];

/// Those that only 3SAT uses.
const OF_THREE_SAT: [&str; 5] = [
    "attack_epsilon",
    "attack_step",
    "attack_steps",
    "adversarial_warmup",
    "unaugmented_terms",
];

impl MethodConfig {
    /// Checks that every setting which the method does not use is at its default: it would have no effect, and
    /// whoever set it expects one.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first that is not.
    pub(super) fn ensure_used(&self) -> Result<()> {
        let unused: Vec<&str> = match self.name {
            MethodName::DenseCl => [&OF_BYOL[..], &OF_UNIVIP, &OF_THREE_SAT].concat(),
            MethodName::Byol => [&OF_DENSECL[..], &OF_UNIVIP, &OF_THREE_SAT].concat(),
            MethodName::UniVip => [&OF_DENSECL[..], &OF_THREE_SAT].concat(),
            MethodName::ThreeSat => [&OF_DENSECL[..], &OF_UNIVIP].concat(),
        };
        let json = |config: &Self| to_value(config).expect("plain settings have a JSON form");
        let (is, default) = (json(self), json(&Self::default()));
        match unused.iter().find(|key| is[**key] != default[**key]) {
            None => Ok(()),
            Some(key) => Err(Error::config(
                &format!("method.{key}"),
                &is[*key],
                format!(
                    "has no effect with method.name = {}: leave it out, or set it to its default {}",
                    is["name"], default[*key]
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
