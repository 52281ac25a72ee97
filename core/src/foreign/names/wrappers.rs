//! Names of wrappers around a network, which programs put before the names of its tensors.

use super::selection::Selected;

/// Before every key or none: DataParallel's, and the name that a LightningModule most often gives its network.
const OUTER: [&str; 2] = ["module.", "model."];
/// torch.compile's, anywhere in a name: a part of a network may be compiled alone.
const COMPILED: &str = "_orig_mod.";
/// Wrappers around wrappers that are taken off.
const MAX_WRAPPERS: usize = 4;

/// The names below the prefix that was asked for, without those of wrappers, in the same order.
pub(super) fn without(selected: &[Selected]) -> Vec<String> {
    let mut names: Vec<String> = selected
        .iter()
        .map(|(name, _, _)| name.replace(COMPILED, ""))
        .collect();
    for _ in 0..MAX_WRAPPERS {
        let everywhere = |wrapper: &&&str| names.iter().all(|name| name.starts_with(**wrapper));
        let Some(wrapper) = OUTER.iter().find(everywhere) else {
            break;
        };
        for name in &mut names {
            name.drain(..wrapper.len());
        }
        if names.is_empty() {
            break;
        }
    }
    names
}
