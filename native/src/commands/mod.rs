//! What the program can do, a file per command.

mod compare;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod import;
pub(crate) mod loader_speed;
pub(crate) mod matching;
pub(crate) mod pack;
pub(crate) mod plot;
pub(crate) mod pretrain;
pub(crate) mod search;
pub(crate) mod synth;

use anyhow::bail;
use densecl::network::ModelConfig;

/// Checks `--stride`, where it is given.
///
/// # Errors
/// For a stride that no network can be built at.
fn check_stride(stride: Option<usize>) -> anyhow::Result<()> {
    match stride.map(|stride| (stride, ModelConfig::check_output_stride(stride))) {
        Some((stride, Err(expected))) => bail!("--stride {stride}: {expected}"),
        _ => Ok(()),
    }
}
