//! The start of a run: random weights, given weights, or a training state of another program.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use densecl::checkpoint::{TrainedFor, TrainingState};
use densecl::foreign::names::Selection;
use densecl::method::Method;

use crate::config::RunConfig;
use crate::plan::Plan;
use crate::weights;

/// The training state named by `train.continue_from`; `None` if that is empty.
///
/// # Errors
/// When it cannot be read, or is no training state.
pub(crate) fn training_state(config: &RunConfig) -> anyhow::Result<Option<TrainingState>> {
    let path = Path::new(&config.train.continue_from);
    if config.train.continue_from.is_empty() {
        return Ok(None);
    }
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let state = TrainingState::read(&bytes).with_context(|| {
        format!(
            "--continue-from {}: cannot be continued from (--init starts a new run from its weights)",
            path.display()
        )
    })?;
    Ok(Some(state))
}

/// Initialises `learner`, which is at step 0; returns it, its first step, and notes for the user.
///
/// # Errors
/// When the weights or the training state do not fit the settings.
pub(crate) fn learner(
    plan: &Plan,
    mut learner: Box<dyn Method>,
    state: Option<TrainingState>,
) -> anyhow::Result<(Box<dyn Method>, u64, Vec<String>)> {
    let train = &plan.config.train;
    if let Some(state) = state {
        return go_on(plan, state);
    }
    if train.init.is_empty() {
        return Ok((learner, 0, Vec::new()));
    }
    let path = Path::new(&train.init);
    let selection = Selection {
        prefix: train.init_prefix.clone(),
        ignore: train.init_ignore.clone(),
    };
    let heads = weights::read(path, &selection)?
        .begin(&mut *learner, &plan.config.model)
        .with_context(|| format!("--init {}", path.display()))?;
    let begun = |there| if there { "from it" } else { "at random" };
    // Heads that the method does not have are not mentioned.
    let encoder = learner.encoder();
    let parts = [
        ("global head", encoder.global_head.is_some(), heads.global),
        ("dense head", encoder.dense_head.is_some(), heads.dense),
    ];
    let trained = parts.into_iter().filter(|(_, trained, _)| *trained);
    let heads: String = trained
        .map(|(head, _, there)| format!(", {head} {}", begun(there)))
        .collect();
    let note = format!("weights of {}: backbone from it{heads}", path.display());
    Ok((learner, 0, vec![note]))
}

fn go_on(plan: &Plan, state: TrainingState) -> anyhow::Result<(Box<dyn Method>, u64, Vec<String>)> {
    let RunConfig {
        model,
        method,
        optim,
        train,
        ..
    } = &plan.config;
    let shown = &train.continue_from;
    let step = match state.trained_for {
        TrainedFor {
            step: Some(step), ..
        } => step,
        TrainedFor {
            epoch: Some(epoch), ..
        } => epoch.saturating_mul(plan.steps_per_epoch),
        TrainedFor { .. } => 0,
    };
    if step >= plan.total_steps {
        bail!(
            "--continue-from {shown}: is at step {step} already, the run ends after {}: give more with \
             --steps or --epochs, or start a new run from its weights with --init",
            plan.total_steps
        );
    }
    let account = &state.account;
    let mut notes = vec![format!(
        "{shown}: {} at step {step}, {} tensors used, {} dropped",
        account.layout,
        account.used.len(),
        account.dropped.len()
    )];
    if !account.absent.is_empty() {
        let absent = account.absent.join(", ");
        notes.push(format!("{shown} lacks {absent}: begun anew"));
    }
    let learner = state
        .learner(
            model,
            method,
            optim,
            plan.queue_len,
            train.seed,
            &plan.device,
        )
        .with_context(|| format!("--continue-from {shown}"))?;
    Ok((Box::new(learner), step, notes))
}
