//! Draws the pictures of an existing run again.

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

/// Draws `RUN/curves.png`, or `out`; also `RUN/matches.png` where the run has weights and held-out pairs. While the
/// run is training only `out` can be drawn. Returns the paths written.
///
/// # Errors
/// When `run` is not the folder of a run, has no logged step yet, or is training and `out` is `None`.
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
    // While another process trains in the folder, only that process writes its pictures.
    let pairs = if may_write && path.exists() {
        images::example_pairs(&config)?
    } else {
        Vec::new()
    };
    if !pairs.is_empty() {
        let (encoder, _) = weights::open(&path, &Selection::default(), None, device)?;
        // The upper half, the picture of the untrained network, may come from an older version that matched by another
        // feature. The lower half, drawn here, must use the same feature.
        let feature = result::untrained(&run)?.map_or(held_out::FEATURE, |before| before.feature);
        let after = pictures::matches(&encoder, &pairs, feature, device)?;
        pictures::save_before_and_after(&run, after)?;
        drawn.push(run.matches());
    }
    Ok(drawn)
}
