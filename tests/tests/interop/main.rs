//! Checks that densecl computes with other programs' files what PyTorch computes with them. The files are
//! written by PyTorch in `golden/interop/generate_interop.py`, or made here from those.

mod features;
mod training;
mod weights;

use std::{fs, path::PathBuf};

/// The bytes of a golden file.
fn bytes(folder: &str, file: &str) -> Vec<u8> {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    fs::read(goldens.join(folder).join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}
