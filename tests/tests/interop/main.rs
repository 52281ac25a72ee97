//! Checks that densecl and PyTorch get the same results from the files of other programs. The files are
//! written by PyTorch in `golden/interop/generate_interop.py`, or made here from these.

mod features;
mod training;
mod weights;

use std::{fs, path::PathBuf};

/// The bytes of a golden file.
fn bytes(folder: &str, file: &str) -> Vec<u8> {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    fs::read(goldens.join(folder).join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}
