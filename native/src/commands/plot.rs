//! `densecl plot RUN`: the curves of a run, drawn again from its log.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::config::RunConfig;
use crate::report::{curves_png, read_jsonl};
use crate::run_dir::{RunDir, ensure_png};
use crate::settings;

/// Draws `RUN/curves.png`, or `out`; returns where.
///
/// # Errors
/// When `run` is no run, or has not logged a step yet.
pub(crate) fn plot(run: &Path, out: Option<&Path>) -> anyhow::Result<PathBuf> {
    let run = RunDir::open(run)?;
    if let Some(out) = out {
        ensure_png(out)?;
    }
    let config: RunConfig = settings::resolve(Some(&run.config()), None, &[])?;
    let metrics = run.metrics();
    let rows = if metrics.exists() {
        read_jsonl(&metrics)?
    } else {
        Vec::new()
    };
    if rows.is_empty() {
        bail!(
            "{} has no logged step yet: nothing to draw",
            run.path().display()
        );
    }
    let out = out.map_or_else(|| run.curves(), Path::to_path_buf);
    let title = format!("{} · {}", config.method_name(), config.data.source);
    curves_png(&rows, &title, &out)?;
    Ok(out)
}
