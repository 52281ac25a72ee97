//! The training loop with files, a clock and threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Context;
use densecl::method::Method;
use log::Level;

use super::failure::explain;
use super::folder::RunDir;
use super::images::Images;
use crate::data::BadFile;
use crate::data::loader::{Loader, LoaderConfig};
use crate::events::Observer;
use crate::memory;
use crate::plan::Plan;
use crate::report::read_jsonl;
use crate::trainer::{Ended, Host, Trainer};

/// The clock and memory of this machine, and the run's folder for checkpoints.
struct Machine<'a> {
    started: Instant,
    run: &'a RunDir,
    /// Number of checkpoints kept.
    keep: usize,
}

impl Host for Machine<'_> {
    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn resident_bytes(&self) -> Option<u64> {
        memory::resident()
    }

    fn keep(&mut self, step: u64, state: &[u8]) -> anyhow::Result<PathBuf> {
        self.run.save_checkpoint(step, state, self.keep)
    }
}

/// Trains `learner` from `first_step` to the end, or until `stop` is set; also returns the files that did not
/// decode.
///
/// # Errors
/// Too many unreadable files, a loss that is not finite, a failed device or disk. Earlier checkpoints stay
/// unchanged.
pub(super) fn train(
    plan: &Plan,
    images: &Images,
    learner: Box<dyn Method>,
    first_step: u64,
    run: &RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<(Ended, Vec<BadFile>)> {
    let config = LoaderConfig::of(plan, &learner.views(), &images.boxes, Level::Warn);
    let mut loader = Loader::start(Arc::clone(&images.source), config, first_step)?;
    let begun = (first_step, seconds_before(run, first_step)?);
    let mut machine = Machine {
        started: Instant::now(),
        run,
        keep: plan.config.checkpoint.keep,
    };
    let trainer = Trainer::new(
        plan,
        learner,
        begun,
        &mut loader,
        &mut machine,
        observer,
        stop,
    );
    let ended = trainer.and_then(Trainer::run);
    let ended = ended.map_err(|failure| explain(failure, plan, run))?;
    Ok((ended, loader.bad_files()))
}

/// Training time in seconds up to `step`, read from the log.
fn seconds_before(run: &RunDir, step: u64) -> anyhow::Result<f64> {
    let path = run.metrics();
    if step == 0 || !path.exists() {
        return Ok(0.0);
    }
    let rows = read_jsonl(&path).with_context(|| format!("reading {}", path.display()))?;
    let before = rows.iter().rfind(|row| row.step <= step);
    Ok(before.map_or(0.0, |row| row.seconds))
}
