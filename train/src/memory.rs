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
use crate::plan::Plan;
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
        let step = StepMemory::estimate(&StepShape {
            model: &config.model,
            method: &config.method,
            batch: config.train.batch_size,
            accumulate: config.optim.accumulate,
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

/// The memory that is available, in bytes.
struct Had {
    /// `None` where the system does not report it.
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
    had: Had,
}

/// Checks that a step of `plan` fits in memory; returns a line with the needed and the available memory.
///
/// # Errors
/// When the step clearly does not fit and `train.exceeds_memory` is not set: one line with the needed and the
/// available memory and settings that would fit.
pub(crate) fn check(plan: &Plan, selected: &Selected) -> anyhow::Result<String> {
    let place = Place {
        device: &selected.device,
        name: &selected.name,
        is_the_hosts: selected.memory.is_the_hosts,
        had: Had {
            host: available::memory(),
            device: None,
            largest_tensor: selected.memory.largest_tensor,
        },
    };
    verdict(&plan.config, plan.images, &place)
}

fn verdict(config: &RunConfig, images: usize, place: &Place) -> anyhow::Result<String> {
    let queue = config.method.queue_len(images, config.train.batch_size)?;
    let (had, needed) = (&place.had, Needed::estimate(config, queue, place));
    let available = match had.host {
        Some(bytes) => format!("{} are available", Bytes(bytes)),
        None => "the system does not say how much there is".to_string(),
    };
    let on_host = format!(
        "a step needs about {} of memory, {available}",
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
pub(crate) fn advice(plan: &Plan) -> String {
    // The query can panic when the GPU runtime has failed.
    let usage = panics::catch(|| plan.device.memory_pool_usage());
    let reserved = usage.ok().flatten().map(|usage| usage.bytes_reserved);
    let mut place = Place {
        device: &plan.device,
        name: "the device",
        is_the_hosts: false,
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
mod tests {
    use super::*;
    use crate::settings;

    /// The verdict on a network whose activations take more memory than its parameters, given `host` bytes of memory
    /// and the largest permitted tensor.
    fn of(host: u64, largest_tensor: Option<u64>, sets: &[&str]) -> anyhow::Result<String> {
        let mut all = vec![
            "model.backbone=resnet18",
            "model.width=16",
            "views.size=224",
            "train.batch_size=64",
            "method.bn_groups=4",
            "data.prefetch=1",
        ];
        all.extend(sets);
        let sets: Vec<String> = all.into_iter().map(String::from).collect();
        let config: RunConfig = settings::resolve(&[], &sets).expect("settings");
        config.validate().expect("valid settings");
        let place = Place {
            device: &Device::flex(),
            name: "it",
            is_the_hosts: true,
            had: Had {
                host: Some(host),
                device: None,
                largest_tensor,
            },
        };
        verdict(&config, 1000, &place)
    }

    /// The bytes that a step needs, read from the note of [`of`].
    fn needed() -> u64 {
        let note = of(64 << 30, None, &[]).expect("enough");
        let mut words = note.split_whitespace().skip(4);
        let number = words.next().and_then(|n| n.parse::<f64>().ok());
        assert_eq!(words.next(), Some("MB"), "{note}");
        (number.expect("a number") * 1e6) as u64
    }

    #[test]
    fn enough_is_noted_too_little_is_refused_and_what_lies_between_is_warned_of() {
        let note = of(64 << 30, None, &[]).expect("enough");
        assert!(note.starts_with("a step needs about"), "{note}");
        assert!(!note.contains("fit"), "{note}");

        let too_little = 100_000_000;
        let refused = of(too_little, None, &[]).expect_err("refused").to_string();
        for part in [
            "a step needs about",
            "100.00 MB are available",
            "train.exceeds_memory = true",
        ] {
            assert!(refused.contains(part), "`{part}` is not in: {refused}");
        }
        let insisted = of(too_little, None, &["train.exceeds_memory=true"]);
        assert!(insisted.expect("insisted").contains("it may not fit"));

        // With exactly the estimated memory the run starts, but with a warning, because the estimate may be 25 % off.
        let warned = of(needed(), None, &[]).expect("may be enough");
        assert!(warned.contains("it may not fit"), "{warned}");
    }

    /// The number that `text` suggests for `key`.
    fn suggested(text: &str, key: &str) -> usize {
        let rest = text.split(&format!("--set {key}=")).nth(1);
        let rest = rest.unwrap_or_else(|| panic!("no {key} in: {text}"));
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        let number = digits.and_then(|digits| digits.parse().ok());
        number.expect("a number")
    }

    #[test]
    fn what_is_suggested_fits_and_what_is_next_to_it_does_not() {
        let had = needed() / 7 * 5;
        let refused = of(had, None, &[]).expect_err("too little").to_string();
        let fits = |set: String| {
            let note = of(had, None, &[&set]);
            note.is_ok_and(|note| !note.contains("it may not fit"))
        };
        let parts = suggested(&refused, "optim.accumulate");
        assert!(parts > 1 && 64 % parts == 0, "{refused}");
        assert!(fits(format!("optim.accumulate={parts}")));
        assert!(!fits(format!("optim.accumulate={}", parts / 2)));
        let batch = suggested(&refused, "train.batch_size");
        assert!(fits(format!("train.batch_size={batch}")));
        assert!(!fits(format!("train.batch_size={}", batch + 4)));
        let size = suggested(&refused, "views.size");
        assert!(fits(format!("views.size={size}")));
        assert!(!fits(format!("views.size={}", size + 32)));

        let hopeless = of(1 << 20, None, &[]).expect_err("nothing").to_string();
        assert!(hopeless.contains("smaller model.backbone"), "{hopeless}");
    }

    #[test]
    fn a_tensor_larger_than_the_device_takes_is_refused_beforehand() {
        // 64 maps of 16 channels at 112 x 112: 51.4 MB.
        let refused = of(64 << 30, Some(26_000_000), &[]);
        let refused = refused.expect_err("too large").to_string();
        let limit = "it takes at most 26.00 MB in one";
        assert!(refused.contains(limit), "{refused}");
        assert_eq!(suggested(&refused, "optim.accumulate"), 2);
        assert_eq!(suggested(&refused, "train.batch_size"), 32);
    }
}
