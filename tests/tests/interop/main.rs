//! Files of other programs in use: what PyTorch computes with them, densecl computes too. The files are
//! written by `golden/interop/generate_interop.py` with PyTorch itself, or made here from such.

mod features;
mod training;
mod weights;

use std::{fs, path::PathBuf};

/// The bytes of a golden file.
fn bytes(folder: &str, file: &str) -> Vec<u8> {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    fs::read(goldens.join(folder).join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}
