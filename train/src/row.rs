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
    /// The loss whose gradient was followed.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// What else the method measured, by [`Figure::name`](densecl::method::Figure).
    #[serde(flatten, deserialize_with = "numbers")]
    pub figures: BTreeMap<String, f64>,
    /// Share of query cells whose true place lies in the key view, in [0, 1].
    #[serde(default)]
    pub overlap: Option<f64>,
    /// Share of overlapping query cells whose chosen key cell lies within one cell of the truth, in
    /// [0, 1]; none where the views of a step do not overlap.
    pub correspondence_accuracy: Option<f64>,
    /// What `correspondence_accuracy` would be for matches drawn at random, in [0, 1].
    pub correspondence_chance: Option<f64>,
    /// What it would be if every cell matched the one at the same place, in [0, 1]: a network that
    /// knows where a cell is, not what is there, comes near it.
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
    /// Time spent training since the run began, its interrupted parts included, in seconds.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds: f64,
    /// Factor of the loss after the step, a power of 2; only in f16.
    #[serde(default)]
    pub loss_scale: Option<f64>,
    /// Steps not taken so far, because their gradient overflowed; only in f16.
    #[serde(default)]
    pub skipped_steps: Option<u64>,
    /// Memory of the process, in bytes; where the system says.
    #[serde(default)]
    pub resident_bytes: Option<u64>,
}

/// Figures of a step that every row has a field for.
pub(crate) const ROW_FIELDS: [&str; 2] = ["loss", "grad_norm"];

impl MetricRow {
    /// A figure of the method; NaN where the row has none.
    pub fn figure(&self, name: &str) -> f64 {
        match name {
            "loss" => self.loss,
            "grad_norm" => self.grad_norm,
            _ => self.figures.get(name).copied().unwrap_or(f64::NAN),
        }
    }
}

/// Reads numbers and `null`s by name. What is no number belongs to another version of the program.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let named: BTreeMap<String, serde_json::Value> = Deserialize::deserialize(deserializer)?;
    let numbers = named.into_iter().filter_map(|(name, value)| match value {
        serde_json::Value::Null => Some((name, f64::NAN)),
        value => value.as_f64().map(|value| (name, value)),
    });
    Ok(numbers.collect())
}

/// Reads a number or `null`, which is how JSON writers put NaN and infinities.
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
