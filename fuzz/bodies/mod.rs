//! What each fuzz target does with an input, as ordinary functions: `cargo test` calls them for the small corpus in
//! `fuzz/replay`, without a sanitizer.

pub(crate) mod boxes;
pub(crate) mod checkpoint;
pub(crate) mod image;
pub(crate) mod index;
pub(crate) mod keys;
pub(crate) mod layers_model;
pub(crate) mod lists;
pub(crate) mod pack;
pub(crate) mod run_files;
pub(crate) mod settings;
pub(crate) mod torch;
pub(crate) mod torch_pickle;
pub(crate) mod training_state;
pub(crate) mod truth;
pub(crate) mod weights;

use std::fs;
use std::path::PathBuf;

/// A folder of this process for the files of a target.
pub(crate) fn scratch(target: &str) -> PathBuf {
    let process = format!("densecl-fuzz-{}", std::process::id());
    let folder = std::env::temp_dir().join(process).join(target);
    fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// What a target does with an input; whether the reader accepted it. The tests see by that that an input of the
/// corpus reaches more than the first check.
pub(crate) type Run = fn(&[u8]) -> bool;

/// Every target by its name.
pub(crate) const TARGETS: [(&str, Run); 15] = [
    ("boxes", boxes::run),
    ("checkpoint", checkpoint::run),
    ("image", image::run),
    ("index", index::run),
    ("keys", keys::run),
    ("layers_model", layers_model::run),
    ("lists", lists::run),
    ("pack", pack::run),
    ("run_files", run_files::run),
    ("settings", settings::run),
    ("torch", torch::run),
    ("torch_pickle", torch_pickle::run),
    ("training_state", training_state::run),
    ("truth", truth::run),
    ("weights", weights::run),
];
