//! Whether a training step fits in memory: what it needs by the core's estimate, what is there, and which
//! settings would fit.
//!
//! How much memory a graphics card has, wgpu does not tell. There only the size of single tensors is
//! checked beforehand; running out is an error of the step ([`advice`]).

mod available;

use anyhow::bail;
use densecl::device::Selected;
use densecl::memory::{StepMemory, StepShape};
use indicatif::DecimalBytes;

use crate::config::RunConfig;
use crate::panics;
use crate::trainer::Plan;

/// By how much the estimate may be wrong, either way: `tests/cli/memory.rs` holds it to that.
const ESTIMATE_ERROR: f64 = 1.25;

/// What the program itself holds: its code, threads and buffers.
const PROGRAM: u64 = 100_000_000;

/// Batches of views that wait on the host besides `data.prefetch`: the one that trains, and the one
/// that is being put together.
const BATCHES_BESIDES: u64 = 2;

/// What a run with these settings needs, in bytes.
struct Needed {
    /// On the device, within a step.
    device: u64,
    /// In the host's memory.
    host: u64,
    largest_tensor: u64,
}

impl Needed {
    /// `device_is_host`: whether the device's memory is the host's.
    fn estimate(config: &RunConfig, queue: usize, device_is_host: bool) -> Self {
        let step = StepMemory::estimate(&StepShape {
            model: &config.model,
            batch: config.train.batch_size,
            accumulate: config.optim.accumulate,
            size: config.views.size as usize,
            queue,
        });
        let batches = config.data.prefetch as u64 + BATCHES_BESIDES;
        let views = step.views.saturating_mul(batches);
        // A checkpoint is written between steps, when of a step only the state is there.
        let step_or_saving = if device_is_host {
            step.device().max(step.state.saturating_add(step.saving))
        } else {
            step.saving
        };
        Self {
            device: step.device(),
            host: PROGRAM.saturating_add(views).saturating_add(step_or_saving),
            largest_tensor: step.largest_tensor,
        }
    }

    fn fits(&self, had: &Had, margin: f64) -> bool {
        let within = |needed: u64, had: Option<u64>| {
            had.is_none_or(|had| needed as f64 * margin <= had as f64)
        };
        within(self.host, had.host)
            && within(self.device, had.device)
            && had
                .largest_tensor
                .is_none_or(|largest| self.largest_tensor <= largest)
    }
}

/// What there is, in bytes.
struct Had {
    /// `None` where the system does not say.
    host: Option<u64>,
    /// What the device gave before it ran out, where that is how one knows.
    device: Option<u64>,
    largest_tensor: Option<u64>,
}

/// Checks that a step of `plan` fits, and says what it needs and what there is.
///
/// # Errors
/// One line with what is needed, what there is and what would fit, when it clearly does not and the
/// settings do not insist.
pub(crate) fn check(plan: &Plan, selected: &Selected) -> anyhow::Result<String> {
    let had = Had {
        host: available::memory(),
        device: None,
        largest_tensor: selected.memory.largest_tensor,
    };
    let shared = selected.memory.is_the_hosts;
    let needed = Needed::estimate(&plan.config, plan.queue_len, shared);
    verdict(&plan.config, plan.source.len(), &needed, &had, selected)
}

fn verdict(
    config: &RunConfig,
    images: usize,
    needed: &Needed,
    had: &Had,
    selected: &Selected,
) -> anyhow::Result<String> {
    let shared = selected.memory.is_the_hosts;
    let available = match had.host {
        Some(bytes) => format!("{} are available", DecimalBytes(bytes)),
        None => "the system does not say how much there is".to_string(),
    };
    let on_host = format!(
        "a step needs about {} of memory, {available}",
        DecimalBytes(needed.host)
    );
    let limit = had.largest_tensor.unwrap_or(u64::MAX);
    if needed.fits(had, 1.0 / ESTIMATE_ERROR) || config.train.exceeds_memory {
        let mut note = if shared {
            on_host
        } else {
            format!(
                "a step needs about {} of the device's memory, which does not tell how much it has",
                DecimalBytes(needed.device)
            )
        };
        if !needed.fits(had, ESTIMATE_ERROR) {
            note.push_str(": it may not fit");
            note.push_str(&that_would_fit(config, images, had, shared));
        }
        return Ok(note);
    }
    let why = if needed.largest_tensor > limit {
        format!(
            "the largest tensor of a step has {}, and {} takes at most {} in one",
            DecimalBytes(needed.largest_tensor),
            selected.name,
            DecimalBytes(limit)
        )
    } else {
        on_host
    };
    bail!(
        "{why}{}; train.exceeds_memory = true starts all the same",
        that_would_fit(config, images, had, shared)
    )
}

/// What a step of `plan` needs and what would fit, after one ran out of the device's memory.
pub(crate) fn advice(plan: &Plan) -> String {
    // A runtime that is broken may panic when asked.
    let usage = panics::catch(|| plan.device.memory_pool_usage());
    let reserved = usage.ok().flatten().map(|usage| usage.bytes_reserved);
    let needed = Needed::estimate(&plan.config, plan.queue_len, false);
    let had = Had {
        host: available::memory(),
        // What it has is not known; it was too little for the step, and half the step is a guess.
        device: Some(reserved.unwrap_or(needed.device / 2)),
        largest_tensor: None,
    };
    let held = match reserved {
        Some(bytes) => format!(", and the device gave {}", DecimalBytes(bytes)),
        None => String::new(),
    };
    format!(
        "a step needs about {}{held}{}",
        DecimalBytes(needed.device),
        that_would_fit(&plan.config, plan.source.len(), &had, false)
    )
}

/// The smallest changes that fit, each on its own, as the end of a sentence.
fn that_would_fit(config: &RunConfig, images: usize, had: &Had, shared: bool) -> String {
    let fits = |config: &RunConfig| {
        let queue = config.method.queue_len(images, config.train.batch_size);
        config.validate().is_ok()
            && queue.is_ok_and(|queue| {
                Needed::estimate(config, queue, shared).fits(had, ESTIMATE_ERROR)
            })
    };
    let changed = |change: &dyn Fn(&mut RunConfig)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    let (batch, accumulate) = (config.train.batch_size, config.optim.accumulate);
    let smallest = config.method.bn_groups * accumulate;

    let mut ways = Vec::new();
    let parts = (accumulate + 1..=batch / config.method.bn_groups.max(1))
        .filter(|&parts| batch.is_multiple_of(parts))
        .find(|&parts| fits(&changed(&|config| config.optim.accumulate = parts)));
    if let Some(parts) = parts {
        ways.push(format!(
            "--set optim.accumulate={parts} (the same batch in {parts} parts)"
        ));
    }
    let fewer = (1..batch / smallest)
        .rev()
        .map(|times| times * smallest)
        .find(|&fewer| fits(&changed(&|config| config.train.batch_size = fewer)));
    if let Some(fewer) = fewer {
        ways.push(format!("--set train.batch_size={fewer}"));
    }
    let smaller = (1..config.views.size.div_ceil(32))
        .rev()
        .map(|times| 32 * times)
        .find(|&smaller| fits(&changed(&|config| config.views.size = smaller)));
    if let Some(smaller) = smaller {
        ways.push(format!("--set views.size={smaller}"));
    }
    if ways.is_empty() {
        "; no batch or view is small enough, only a smaller model.backbone or model.width is"
            .to_string()
    } else {
        format!("; what would fit: {}", ways.join(", or "))
    }
}
