//! Files of JSON lines that a run reads: its metrics, and boxes of pictures.

use std::path::PathBuf;
use std::sync::LazyLock;

use densecl_train::data::count_boxed;
use densecl_train::report::read_jsonl;

use super::scratch;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| scratch("run_files").join("lines.jsonl"));

/// What the target does with an input; whether a reader accepted it.
pub(crate) fn run(bytes: &[u8]) -> bool {
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    let lines = bytes.split(|&byte| byte == b'\n').count();
    let rows = read_jsonl(&FILE).map(|rows| rows.len());
    let pictures = count_boxed(&FILE);
    for count in [&rows, &pictures].into_iter().flatten() {
        assert!(*count <= lines, "more of them than lines");
    }
    rows.is_ok() || pictures.is_ok()
}
