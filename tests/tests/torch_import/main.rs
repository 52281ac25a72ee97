//! Checkpoints of PyTorch, written by `golden/torch/generate_torch.py` with PyTorch itself.

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

/// The bytes of a file beside the generator.
fn bytes(file: &str) -> Vec<u8> {
    fs::read(path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}
