//! The pictures of a run, drawn again from what it left.

use std::path::{Path, PathBuf};

use anyhow::bail;
use burn::tensor::Device;
use densecl::foreign::names::Selection;
use densecl::method;

use super::folder::RunDir;
use super::images;
use super::pictures;
use super::result;
use crate::config::RunConfig;
use crate::held_out;
use crate::report::read_jsonl;
use crate::settings;
use crate::weights;

/// Draws `RUN/curves.png`, or `out`; and `RUN/matches.png` where the run has weights already and
/// keeps pairs out of training. Of a run that is going on, only the curves can be drawn, and elsewhere. Returns what
/// was drawn.
///
/// # Errors
/// When `run` is no run, or has not logged a step yet.
pub fn plot(run: &Path, out: Option<&Path>, device: &Device) -> anyhow::Result<Vec<PathBuf>> {
    let mut run = RunDir::open(run)?;
    let locked = run.lock("wait for it, or draw the curves elsewhere with --out");
    let may_write = match out {
        Some(_) => locked.is_ok(),
        None => {
            locked?;
            true
        }
    };
    let config: RunConfig = settings::resolve_file(&run.config(), &[])?;
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
    let curves = out.map_or_else(|| run.curves(), Path::to_path_buf);
    pictures::curves(&config, &method::figures(&config.method), &rows, &curves)?;
    let mut drawn = vec![curves];

    let path = run.weights();
    // While the run goes on, its pictures are its own to write.
    let pairs = if may_write && path.exists() {
        images::example_pairs(&config)?
    } else {
        Vec::new()
    };
    if !pairs.is_empty() {
        let (encoder, _) = weights::open(&path, &Selection::default(), None, device)?;
        // By what the picture above it was drawn, which an older program may have left.
        let feature = result::untrained(&run)?.map_or(held_out::FEATURE, |before| before.feature);
        let after = pictures::matches(&encoder, &pairs, feature, device)?;
        pictures::save_before_and_after(&run, after)?;
        drawn.push(run.matches());
    }
    Ok(drawn)
}
