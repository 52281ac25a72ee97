//! The report of `densecl-bench gpu`, as JSON and as Markdown.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use densecl::ops::choice::Chosen;
use serde::Serialize;

use super::launches::Kernel;
use super::roofline::{Card, Needs};
use crate::machine::Machine;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    date: String,
    machine: Machine,
    device: String,
    /// Whether the sizes were tiny, so that the times mean nothing.
    quick: bool,
    /// The largest deviation of the self-test, and what is permitted.
    pub(crate) self_test: Option<[f64; 2]>,
    /// For each quantity the largest difference of a training step on the CPU and on the device, relative to its largest
    /// value.
    pub(crate) agreement: Vec<(String, f64)>,
    pub(crate) steps: Vec<Step>,
    /// Launches of a training step, with this project's kernels and with Burn's.
    pub(crate) launches: Vec<Launches>,
    /// The kernels of one training step with their times.
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) roofline: Vec<Roofline>,
    /// What was chosen for each convolution.
    pub(crate) chosen: Vec<Chosen>,
    pub(crate) training: Option<Training>,
    notes: Vec<String>,
    /// Parts that failed, with their errors.
    pub(crate) failures: Vec<(String, String)>,
    /// Seconds of each part.
    seconds: Vec<(String, f64)>,
}

/// The speed of a training step or of a part of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// What was done.
    pub(crate) name: String,
    /// By whom: `densecl`, or a variant of PyTorch.
    pub(crate) contender: String,
    /// Seconds.
    pub(crate) seconds: f64,
    /// Images per second, where it is a step.
    pub(crate) images_per_second: Option<f64>,
    /// Bytes that the device's memory held at the end, where known.
    pub(crate) memory: Option<f64>,
    /// Bytes that the estimate gives.
    pub(crate) estimate: Option<f64>,
}

/// Launches of a training step.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Launches {
    pub(crate) name: String,
    pub(crate) ours: usize,
    pub(crate) burns: usize,
}

/// What a step needs, and the least that cards take for it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Roofline {
    pub(crate) name: String,
    pub(crate) images: usize,
    pub(crate) needs: Needs,
    /// Seconds on each card by its data sheet.
    pub(crate) cards: Vec<(Card, f64)>,
}

/// A short real training.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Training {
    pub(crate) steps: u64,
    pub(crate) seconds: f64,
    pub(crate) images_per_second: f64,
    pub(crate) first_loss: f64,
    pub(crate) last_loss: f64,
}

impl Report {
    pub(crate) fn new(machine: Machine, device: &str, date: String, quick: bool) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            date,
            machine,
            device: device.to_string(),
            quick,
            self_test: None,
            agreement: Vec::new(),
            steps: Vec::new(),
            launches: Vec::new(),
            kernels: Vec::new(),
            roofline: Vec::new(),
            chosen: Vec::new(),
            training: None,
            notes: Vec::new(),
            failures: Vec::new(),
            seconds: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(crate) fn failed(&mut self, part: &str, error: &anyhow::Error) {
        self.failures.push((part.to_string(), format!("{error:#}")));
    }

    pub(crate) fn took(&mut self, part: &str, time: Duration) {
        self.seconds.push((part.to_string(), time.as_secs_f64()));
    }

    /// Writes report.json and report.md.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
        };
        write("report.json", serde_json::to_string_pretty(self)? + "\n")?;
        write("report.md", self.markdown())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "# {}\n", self.device);
        let _ = writeln!(
            text,
            "densecl {}, {}, {}",
            self.version,
            self.date,
            self.machine.line()
        );
        if self.quick {
            let _ = writeln!(text, "\nTiny sizes: the times mean nothing.");
        }
        if let Some([found, permitted]) = self.self_test {
            let _ = writeln!(text, "\nSelf-test: {found:.1e} of at most {permitted:.0e}.");
        }
        let worst = self.agreement.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((name, difference)) = worst {
            let _ = writeln!(
                text,
                "A training step differs from the CPU's by at most {difference:.1e} ({name}, of {} quantities).",
                self.agreement.len()
            );
        }
        self.steps_table(&mut text);
        for Launches { name, ours, burns } in &self.launches {
            let _ = writeln!(
                text,
                "\nLaunches of {name}: {ours}; with Burn's kernels {burns} ({:.1} times as many).",
                *burns as f64 / (*ours).max(1) as f64
            );
        }
        self.roofline_table(&mut text);
        self.kernel_table(&mut text);
        if let Some(training) = &self.training {
            let _ = writeln!(
                text,
                "\nTraining for {:.0} s: {} steps, {:.0} images/s, loss {:.3} → {:.3}.",
                training.seconds,
                training.steps,
                training.images_per_second,
                training.first_loss,
                training.last_loss
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n* {note}");
        }
        for (part, error) in &self.failures {
            let _ = writeln!(text, "\n* **{part} failed**: {error}");
        }
        text
    }

    fn steps_table(&self, text: &mut String) {
        if self.steps.is_empty() {
            return;
        }
        let _ = writeln!(
            text,
            "\n| | by | time | images/s | memory (estimate) |\n|---|---|--:|--:|--:|"
        );
        let gigabytes = |bytes: Option<f64>| {
            bytes.map_or("–".to_string(), |bytes| format!("{:.2} GB", bytes / 1e9))
        };
        for step in &self.steps {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} ms | {} | {} ({}) |",
                step.name,
                step.contender,
                step.seconds * 1e3,
                step.images_per_second
                    .map_or("–".to_string(), |speed| format!("{speed:.0}")),
                gigabytes(step.memory),
                gigabytes(step.estimate)
            );
        }
    }

    fn roofline_table(&self, text: &mut String) {
        for Roofline {
            name,
            images,
            needs,
            cards,
        } in &self.roofline
        {
            let _ = writeln!(
                text,
                "\n{name}: {:.2} · 10¹² operations; at least {:.1} GB through memory, {:.1} GB by this project's kernels \
                 ({:.2} times), {:.1} GB by them with written patches, {:.1} GB by Burn's operations ({:.2} times).",
                needs.operations / 1e12,
                needs.least_bytes / 1e9,
                needs.our_bytes / 1e9,
                needs.our_bytes / needs.least_bytes,
                needs.patch_bytes / 1e9,
                needs.burn_bytes / 1e9,
                needs.burn_bytes / needs.least_bytes
            );
            let _ = writeln!(
                text,
                "\n| by the data sheet | f32 | memory | at least | at most |\n|---|--:|--:|--:|--:|"
            );
            for (card, seconds) in cards {
                let _ = writeln!(
                    text,
                    "| {} | {:.1} TFLOPS | {:.0} GB/s | {:.0} ms | {:.0} images/s |",
                    card.name,
                    card.f32 / 1e12,
                    card.bandwidth / 1e9,
                    seconds * 1e3,
                    *images as f64 / seconds
                );
            }
        }
    }

    fn kernel_table(&self, text: &mut String) {
        if self.kernels.is_empty() {
            return;
        }
        let total: f64 = self.kernels.iter().map(|kernel| kernel.milliseconds).sum();
        let _ = writeln!(
            text,
            "\n| kernel | launches | time | share |\n|---|--:|--:|--:|"
        );
        for kernel in self.kernels.iter().take(25) {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} ms | {:.1} % |",
                kernel.name,
                kernel.launches,
                kernel.milliseconds,
                100.0 * kernel.milliseconds / total.max(1e-9)
            );
        }
    }
}
