//! The file of weights that a run publishes: `weights.safetensors`, and the same from any step of it.

use densecl::device::block_on;
use densecl::model::{Encoder, Tensors};
use densecl::weights::{self, FORMAT_VERSION, WeightsInfo};

use crate::plan::Plan;
use crate::settings;

/// The content of a file with `encoder`, as it is after `step` steps of a run by the method of this published name
/// ([`Method::published_name`](densecl::method::Method::published_name)). The file also has the settings of the run.
///
/// # Errors
/// When the device fails while the weights are read from it.
pub fn weights_file(
    plan: &Plan,
    encoder: &Encoder,
    method: &str,
    step: u64,
) -> anyhow::Result<Vec<u8>> {
    block_on(weights_file_async(plan, encoder, method, step))
}

/// [`weights_file`] without blocking the thread, for browsers, where blocking is not allowed.
///
/// # Errors
/// As [`weights_file`].
pub async fn weights_file_async(
    plan: &Plan,
    encoder: &Encoder,
    method: &str,
    step: u64,
) -> anyhow::Result<Vec<u8>> {
    let config = &plan.config;
    let info = WeightsInfo {
        format_version: FORMAT_VERSION,
        method: method.to_string(),
        model: config.model.clone(),
        steps: step,
        data: config.data.source.clone(),
        config: settings::to_toml(config)?,
    };
    Ok(weights::save_async(&encoder.clone().inference(), &info).await?)
}
