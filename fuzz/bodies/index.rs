//! Indexes of pictures, as `densecl search` opens them.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_eval::embedding::index::Index;

use super::scratch;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("index").join("index.safetensors"));

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    let Ok(index) = Index::open(&FILE) else {
        return false;
    };
    for kind in index.vectors() {
        // A query of one number is of another length than most rows; it is refused or it is right.
        if let Ok(hits) = index.nearest(kind, &[1.0], 3) {
            assert!(hits.iter().all(|hit| hit.row < index.names.len()));
        }
    }
    true
}
