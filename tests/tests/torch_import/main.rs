//! Reads checkpoints that PyTorch wrote in `golden/torch/generate_torch.py`.

mod hostile;
mod layouts;
mod network;
mod numbers;
mod programs;

use std::{fs, path::PathBuf};

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "torch", file]
        .iter()
        .collect()
}

/// The bytes of a file in the generator's folder.
fn bytes(file: &str) -> Vec<u8> {
    fs::read(path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}
