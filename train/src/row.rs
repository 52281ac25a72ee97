//! The figures of one logged training step.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// The measurements of one logged training step: one line of `metrics.jsonl`.
///
/// A number that is not finite is `null` in JSON, which has no NaN, and reads back as NaN; it is a gap
/// in the curves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Optimizer steps done, from 1.
    pub step: u64,
    /// Passes over the data done, fractional, ≥ 0.
    #[serde(deserialize_with = "null_is_nan")]
    pub epoch: f64,
    /// The total loss, which was minimised.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// The other figures of the method by [`Figure::name`](densecl::method::Figure).
    #[serde(flatten, deserialize_with = "numbers")]
    pub figures: BTreeMap<String, f64>,
    /// Share of query cells whose true position lies inside the key view, in [0, 1].
    #[serde(default)]
    pub overlap: Option<f64>,
    /// Share of overlapping query cells that are matched with a key cell within one cell of the true position, in
    /// [0, 1]; `None` where the views of a step do not overlap.
    pub correspondence_accuracy: Option<f64>,
    /// `correspondence_accuracy` of random matches, in [0, 1].
    pub correspondence_chance: Option<f64>,
    /// `correspondence_accuracy` of matching every cell with the cell at the same position, in [0, 1]. A network
    /// that encodes positions instead of contents comes near it.
    #[serde(default)]
    pub correspondence_same_place: Option<f64>,
    /// Euclidean norm of the gradient over all parameters, before clipping, ≥ 0.
    #[serde(deserialize_with = "null_is_nan")]
    pub grad_norm: f64,
    /// Learning rate of the step, ≥ 0.
    #[serde(deserialize_with = "null_is_nan")]
    pub learning_rate: f64,
    /// Training images (not views) done per second since the row before.
    #[serde(deserialize_with = "null_is_nan")]
    pub images_per_second: f64,
    /// Share of the time since the row before that the device waited for data, in [0, 1].
    #[serde(deserialize_with = "null_is_nan")]
    pub data_wait_share: f64,
    /// Training time since the run began in seconds, including the time before each resume.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds: f64,
    /// Loss scale after the step, a power of 2; only in f16.
    #[serde(default)]
    pub loss_scale: Option<f64>,
    /// Steps skipped so far because a gradient overflowed; only in f16.
    #[serde(default)]
    pub skipped_steps: Option<u64>,
    /// Resident memory of the process in bytes; `None` where the system does not report it.
    #[serde(default)]
    pub resident_bytes: Option<u64>,
}

/// Figures of the method that have a field of their own in [`MetricRow`].
pub(crate) const ROW_FIELDS: [&str; 2] = ["loss", "grad_norm"];

impl MetricRow {
    /// A figure by name; NaN where the row does not have it.
    pub fn figure(&self, name: &str) -> f64 {
        match name {
            "loss" => self.loss,
            "grad_norm" => self.grad_norm,
            _ => self.figures.get(name).copied().unwrap_or(f64::NAN),
        }
    }
}

/// Reads numbers and `null`s by name. Other values are skipped: they are fields of another version of the program.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let named: BTreeMap<String, serde_json::Value> = Deserialize::deserialize(deserializer)?;
    let numbers = named.into_iter().filter_map(|(name, value)| match value {
        serde_json::Value::Null => Some((name, f64::NAN)),
        value => value.as_f64().map(|value| (name, value)),
    });
    Ok(numbers.collect())
}

/// Reads a number, or `null` as NaN: JSON has neither NaN nor infinities, and writers put `null` for them.
fn null_is_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
pub(crate) mod test_rows {
    use super::MetricRow;

    /// A plausible row of a run at this step.
    pub(crate) fn row(step: u64) -> MetricRow {
        let t = step as f64 / 1000.0;
        MetricRow {
            step,
            epoch: t * 4.0,
            loss: 5.0 + 2.0 * (-t).exp(),
            figures: [
                ("loss_global", 4.5 + 2.4 * (-t).exp()),
                ("loss_dense", 5.5 + 1.6 * (-t).exp()),
                ("accuracy_global", 0.5 * (1.0 - (-t).exp())),
                ("accuracy_dense", 0.4 * (1.0 - (-t).exp())),
                ("loss_in_view", 3.0 + (-t).exp()),
                ("accuracy_in_view", 0.3 * (1.0 - (-t).exp())),
                ("feature_std", 0.9),
                ("lambda", 0.5),
                ("chance_loss", 1025f64.ln()),
            ]
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
            overlap: Some(0.6),
            correspondence_accuracy: Some(0.15 + 0.3 * (1.0 - (-t).exp())),
            correspondence_chance: Some(0.06),
            correspondence_same_place: Some(0.2),
            grad_norm: 1.5,
            learning_rate: 0.03,
            images_per_second: 14.0,
            data_wait_share: 0.01,
            seconds: step as f64,
            loss_scale: None,
            skipped_steps: None,
            resident_bytes: Some(300_000_000),
        }
    }
}
