//! Files of a run that are read again: the lines of its metrics.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_train::report::read_jsonl;

use super::scratch;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("run_files").join("metrics.jsonl"));

/// What the target does with an input; whether the reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    let Ok(rows) = read_jsonl(&FILE) else {
        return false;
    };
    let lines = bytes.split(|&byte| byte == b'\n').count();
    assert!(rows.len() <= lines, "more rows than lines");
    true
}
