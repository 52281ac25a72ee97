//! Whether a training step fits in memory: the core's estimate compared with the available memory, and settings that
//! would fit.
//!
//! wgpu does not report how much memory a graphics card has. There only the size of single tensors is checked
//! beforehand; running out of memory is an error of the step (`advice`).

mod available;
mod bytes;
mod forward;
mod resident;

use anyhow::bail;
use burn::tensor::Device;
use densecl::device::Selected;
use densecl::memory::{StepMemory, StepShape};

use crate::config::RunConfig;
use crate::panics;
use crate::plan::{Plan, Seat};
use bytes::Bytes;
pub use forward::ensure_fits;
pub(crate) use resident::resident;

/// Factor by which the estimate may be too high or too low; `tests/cli/memory.rs` checks it.
const ESTIMATE_ERROR: f64 = 1.25;

/// Memory in bytes of the program itself: code, threads, buffers, and pages that the allocator keeps between steps.
const PROGRAM: u64 = 140_000_000;

/// Batches of views in host memory besides the `data.prefetch` waiting ones: the one being trained on and the one
/// being assembled.
const BATCHES_BESIDES: u64 = 2;

/// The memory that a run with these settings needs, in bytes.
struct Needed {
    /// On the device, during a step.
    device: u64,
    /// In the host's memory.
    host: u64,
    largest_tensor: u64,
}

impl Needed {
    fn estimate(config: &RunConfig, queue: usize, on: &Place) -> Self {
        let ranks = on.seat.ranks;
        let step = StepMemory::estimate(&StepShape {
            model: &config.model,
            method: &config.method,
            batch: config.train.batch_size,
            accumulate: config.optim.accumulate,
            ranks,
            size: config.largest_view() as usize,
            queue,
            device: on.device,
            precision: config.optim.precision,
        });
        let batches = config.data.prefetch as u64 + BATCHES_BESIDES;
        let views = step.views.saturating_mul(batches);
        // A checkpoint is written between steps, when memory holds only the learner's state and the copy being saved.
        let step_or_saving = if on.is_the_hosts {
            step.device().max(step.state.saturating_add(step.saving))
        } else {
            step.saving
        };
        Self {
            device: step.device(),
            host: [views, step_or_saving, step.exchange]
                .into_iter()
                .fold(PROGRAM, u64::saturating_add),
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

/// The memory that is available, in bytes.
struct Had {
    /// For this rank: ranks of the same machine share it. `None` where the system does not report it.
    host: Option<u64>,
    /// What the device had allocated when it ran out of memory; only known after that.
    device: Option<u64>,
    largest_tensor: Option<u64>,
}

/// The device of a run, and what is known about its memory.
struct Place<'a> {
    device: &'a Device,
    name: &'a str,
    /// Whether the device uses the host's memory.
    is_the_hosts: bool,
    seat: Seat,
    had: Had,
}

impl<'a> Place<'a> {
    fn of(selected: &'a Selected, seat: Seat) -> Self {
        let share = |bytes| bytes / seat.neighbours as u64;
        Self {
            device: &selected.device,
            name: &selected.name,
            is_the_hosts: selected.memory.is_the_hosts,
            seat,
            had: Had {
                host: available::memory().map(share),
                device: None,
                largest_tensor: selected.memory.largest_tensor,
            },
        }
    }
}

/// `optim.accumulate`, where 0 leaves it open: the number of ranks, or as many times 2, 4, 8 … as a step needs so that
/// [`check`] does not refuse it. The number of ranks where nothing fits.
pub(crate) fn accumulate(
    config: &RunConfig,
    images: usize,
    selected: &Selected,
    seat: Seat,
) -> usize {
    if config.optim.accumulate > 0 {
        return config.optim.accumulate;
    }
    parts(config, images, &Place::of(selected, seat))
}

fn parts(config: &RunConfig, images: usize, place: &Place) -> usize {
    let ranks = place.seat.ranks;
    let fits = |parts: &usize| {
        let mut config = config.clone();
        config.optim.accumulate = *parts;
        let queue = config.method.queue_len(images, config.train.batch_size);
        config.validate().is_ok()
            && queue.is_ok_and(|queue| {
                let needed = Needed::estimate(&config, queue, place);
                needed.fits(&place.had, 1.0 / ESTIMATE_ERROR)
            })
    };
    let mut ways = std::iter::successors(Some(ranks), |parts| Some(2 * parts))
        .take_while(|&parts| parts <= config.train.batch_size);
    ways.find(fits).unwrap_or(ranks)
}

/// How much memory the system can give, in words.
pub fn available_text() -> String {
    match available::memory() {
        Some(bytes) => format!("{} available", Bytes(bytes)),
        None => "the system does not say how much memory there is".to_string(),
    }
}

/// Checks that a step of `plan` on the rank at `seat` fits in memory; returns a line with the needed and the available memory.
///
/// # Errors
/// When the step clearly does not fit and `train.exceeds_memory` is not set: one line with the needed and the
/// available memory and settings that would fit.
pub(crate) fn check(plan: &Plan, selected: &Selected, seat: Seat) -> anyhow::Result<String> {
    let place = Place::of(selected, seat);
    verdict(&plan.config, plan.images, &place)
}

fn verdict(config: &RunConfig, images: usize, place: &Place) -> anyhow::Result<String> {
    let queue = config.method.queue_len(images, config.train.batch_size)?;
    let (had, needed) = (&place.had, Needed::estimate(config, queue, place));
    let available = match had.host {
        Some(bytes) => format!("{} are available", Bytes(bytes)),
        None => "the system does not say how much there is".to_string(),
    };
    let per_rank = if place.seat.ranks > 1 {
        " for each rank"
    } else {
        ""
    };
    let on_host = format!(
        "a step needs about {} of memory, {available}{per_rank}",
        Bytes(needed.host)
    );
    if needed.fits(had, 1.0 / ESTIMATE_ERROR) || config.train.exceeds_memory {
        let mut note = if place.is_the_hosts {
            on_host
        } else {
            format!(
                "a step needs about {} of the device's memory, and the device does not report how much it has",
                Bytes(needed.device)
            )
        };
        if !needed.fits(had, ESTIMATE_ERROR) {
            note.push_str(": it may not fit");
            note.push_str(&that_would_fit(config, images, place));
        }
        return Ok(note);
    }
    let why = match had.largest_tensor {
        Some(limit) if needed.largest_tensor > limit => format!(
            "the largest tensor of a step has {}, and {} takes at most {} in one",
            Bytes(needed.largest_tensor),
            place.name,
            Bytes(limit)
        ),
        _ => on_host,
    };
    bail!(
        "{why}{}; train.exceeds_memory = true starts all the same",
        that_would_fit(config, images, place)
    )
}

/// After the device ran out of memory: what a step of `plan` needs, and settings that would fit.
pub(crate) fn advice(plan: &Plan, seat: Seat) -> String {
    // The query can panic when the GPU runtime has failed.
    let usage = panics::catch(|| plan.device.memory_pool_usage());
    let reserved = usage.ok().flatten().map(|usage| usage.bytes_reserved);
    let mut place = Place {
        device: &plan.device,
        name: "the device",
        is_the_hosts: false,
        seat,
        had: Had {
            host: available::memory(),
            device: None,
            largest_tensor: None,
        },
    };
    let needed = Needed::estimate(&plan.config, plan.queue_len, &place).device;
    // The size of the device's memory is unknown. A step did not fit, so the size is assumed to be what the device had
    // reserved, and at most what the step needs. If the reserved amount is unknown too, half of the need is assumed.
    place.had.device = Some(reserved.map_or(needed / 2, |reserved| reserved.min(needed)));
    let gave = match reserved {
        Some(bytes) => format!(", and the device gave {}", Bytes(bytes)),
        None => String::new(),
    };
    format!(
        "a step needs about {}{gave}{}",
        Bytes(needed),
        that_would_fit(&plan.config, plan.images, &place)
    )
}

/// The smallest changes of single settings with which a step fits, as the end of a sentence.
fn that_would_fit(config: &RunConfig, images: usize, place: &Place) -> String {
    let fits = |change: &dyn Fn(&mut RunConfig)| {
        let mut config = config.clone();
        change(&mut config);
        let queue = config.method.queue_len(images, config.train.batch_size);
        config.validate().is_ok()
            && config.ensure_divides(place.seat.ranks).is_ok()
            && queue.is_ok_and(|queue| {
                Needed::estimate(&config, queue, place).fits(&place.had, ESTIMATE_ERROR)
            })
    };
    let (batch, accumulate) = (config.train.batch_size, config.optim.accumulate);
    let smallest = config.method.bn_groups * accumulate;

    let mut ways = Vec::new();
    if config.data.prefetch > 1 && fits(&|config| config.data.prefetch = 1) {
        ways.push("--set data.prefetch=1".to_string());
    }
    let parts = (accumulate + 1..=batch / config.method.bn_groups)
        .filter(|&parts| batch.is_multiple_of(parts))
        .find(|&parts| fits(&|config| config.optim.accumulate = parts));
    if let Some(parts) = parts {
        ways.push(format!(
            "--set optim.accumulate={parts} (the same batch in {parts} parts)"
        ));
    }
    let fewer = (1..batch / smallest).rev().map(|times| times * smallest);
    if let Some(fewer) = fewer
        .into_iter()
        .find(|&fewer| fits(&|config| config.train.batch_size = fewer))
    {
        ways.push(format!("--set train.batch_size={fewer}"));
    }
    let smaller = (1..config.views.size.div_ceil(32)).rev();
    if let Some(smaller) = smaller
        .map(|times| 32 * times)
        .find(|&smaller| fits(&|config| config.views.size = smaller))
    {
        ways.push(format!("--set views.size={smaller}"));
    }
    if ways.is_empty() {
        "; no batch or view is small enough: a smaller model.backbone or model.width may be"
            .to_string()
    } else {
        format!("; what would fit: {}", ways.join(", or "))
    }
}

#[cfg(test)]
mod tests;
