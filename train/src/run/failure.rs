//! Error messages for a run that cannot go on: the cause, what was saved, and the remedy.

use super::folder::RunDir;
use crate::memory;
use crate::panics;
use crate::plan::{Plan, Seat};
use crate::trainer::Failure;

/// The failure of a training loop as one line for the user.
pub(super) fn explain(failure: Failure, plan: &Plan, seat: Seat, run: &RunDir) -> anyhow::Error {
    match failure {
        Failure::NotFinite(step) => not_finite(step, run),
        Failure::Device(noticed) => {
            let why = device_failure(plan, seat, &noticed);
            anyhow::anyhow!("{why}; {}", how_to_go_on(run))
        }
        Failure::Rank(why) => anyhow::anyhow!("{why}; {}", how_to_go_on(run)),
        Failure::Data { why, unsaved } => of_data(&why, unsaved.map(|failure| *failure), run),
        Failure::Other(error) => error,
    }
}

/// The error for a loss that is NaN or infinite at `step`.
fn not_finite(step: u64, run: &RunDir) -> anyhow::Error {
    let (kept, _) = kept(run);
    anyhow::anyhow!(
        "the loss is not finite at step {step}; {kept}. Try a lower optim.lr, optim.clip_norm = 1, or \
         a higher method.temperature"
    )
}

/// The error for a device that was lost or ran out of memory, without what is kept. `noticed` is the message of the
/// read that failed.
pub(super) fn device_failure(plan: &Plan, seat: Seat, noticed: &str) -> anyhow::Error {
    let why = match panics::device_failure() {
        Some(said) => format!("the device failed: {said}"),
        None => noticed.to_string(),
    };
    let memory = if why.to_lowercase().contains("out of memory") {
        format!("; {}", memory::advice(plan, seat))
    } else {
        String::new()
    };
    anyhow::anyhow!("{why}{memory}")
}

/// What is kept of the run, and how to continue.
fn how_to_go_on(run: &RunDir) -> String {
    let (kept, resumable) = kept(run);
    let go_on = if resumable {
        format!(
            "continue with: densecl pretrain --resume {}",
            run.path().display()
        )
    } else {
        "start again with --overwrite".to_string()
    };
    format!("{kept}; {go_on}")
}

/// The error for data that cannot be read; `unsaved` is the reason when the last checkpoint could not be written.
fn of_data(why: &anyhow::Error, unsaved: Option<Failure>, run: &RunDir) -> anyhow::Error {
    let lost =
        |error: String| format!("; what was learned since the last checkpoint is lost: {error}");
    let failed = match unsaved {
        None => String::new(),
        Some(Failure::NotFinite(step)) => lost(not_finite(step, run).to_string()),
        Some(Failure::Device(why) | Failure::Rank(why)) => lost(why),
        Some(Failure::Data { why: error, .. } | Failure::Other(error)) => {
            lost(format!("{error:#}"))
        }
    };
    let (kept, resumable) = kept(run);
    let go_on = if resumable {
        format!(
            "; when the data is whole again, continue with: densecl pretrain --resume {}",
            run.path().display()
        )
    } else {
        String::new()
    };
    anyhow::anyhow!("{why:#}{failed}; {kept}{go_on}")
}

/// The last checkpoint in words, and whether the run can be resumed.
fn kept(run: &RunDir) -> (String, bool) {
    match run.checkpoints().ok().and_then(|mut found| found.pop()) {
        Some((good, path)) => {
            let kept = format!("the checkpoint of step {good} is kept: {}", path.display());
            (kept, true)
        }
        None => ("no checkpoint had been written yet".to_string(), false),
    }
}
