//! What a run is measured by, before and after training, and its result.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use densecl::features::Feature;
use densecl::model::{Encoder, Phase, Tensors};
use densecl::weights::{self, FORMAT_VERSION, WeightsInfo};
use image::RgbImage;
use log::Level;
use serde::Serialize;

use crate::config::RunConfig;
use crate::console;
use crate::events::{Observer, TrainEvent};
use crate::files::{write_atomically, write_png};
use crate::paths;
use crate::pictures;
use crate::probe::{self, Measured, Pair};
use crate::report::{read_jsonl, resident_by_hour};
use crate::run_data;
use crate::run_dir::RunDir;
use crate::settings;
use crate::trainer::{Ended, Plan};

/// Batches by whose statistics the untrained network's batch normalisation is calibrated. The
/// statistics of a fresh network are mean 0 and variance 1, which would make it look worse than it
/// is; after 40 batches 0.9⁴⁰ of that is left.
const CALIBRATION_BATCHES: usize = 40;

/// The figures of a run: `result.json`.
#[derive(Debug, Serialize)]
pub(crate) struct RunResult {
    densecl_version: &'static str,
    /// What cells are matched by; null without pairs.
    correspondence_feature: Option<Feature>,
    correspondence_accuracy_before: Option<f64>,
    correspondence_accuracy_after: Option<f64>,
    correspondence_accuracy_mirrored_before: Option<f64>,
    correspondence_accuracy_mirrored_after: Option<f64>,
    correspondence_chance: Option<f64>,
    correspondence_same_place: Option<f64>,
    pairs: usize,
    cells: u64,
    data: String,
    images: usize,
    steps: u64,
    total_steps: u64,
    pub(crate) interrupted: bool,
    loss: Option<f64>,
    seed: u64,
    seconds: f64,
    images_per_second: f64,
    /// Hour of training → the most memory of the process in it, in bytes.
    resident_bytes_by_hour: BTreeMap<u64, u64>,
    device: String,
    bad_files: usize,
    #[serde(serialize_with = "paths::serialize")]
    weights: PathBuf,
}

/// What the network can do before it has learned anything; `None` when asked to stop.
///
/// # Errors
/// When the device or the disk fails, or too many files are bad.
pub(crate) fn measure_untrained(
    plan: &Plan,
    pairs: &[Pair],
    run: &RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Measured>> {
    let RunConfig {
        model,
        train,
        method,
        ..
    } = &plan.config;
    let mut encoder = Encoder::new(model, train.seed, &plan.device);
    let phase = Phase::Train {
        groups: method.bn_groups,
    };
    observer.event(&TrainEvent::Note(
        "measuring the untrained network".to_string(),
    ))?;
    // The training loop meets the same files and names the bad ones.
    let mut loader = plan.loader(0, Level::Debug)?;
    let mut calibrated = 0;
    while calibrated < CALIBRATION_BATCHES {
        for views in plan.micro_batches(&loader.next()?) {
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            encoder.backbone.forward(views.query, phase);
            calibrated += 1;
        }
    }
    let (measured, picture) = measure(plan, &encoder, pairs, 0, observer)?;
    write_png(&run.matches_before(), &picture)?;
    let json = serde_json::to_string_pretty(&measured).context("writing the figures as JSON")?;
    write_atomically(&run.before(), json.as_bytes())?;
    Ok(Some(measured))
}

/// What [`measure_untrained`] has measured before, where it has.
///
/// # Errors
/// When its file cannot be read.
pub(crate) fn untrained(run: &RunDir) -> anyhow::Result<Option<Measured>> {
    let path = run.before();
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let measured = serde_json::from_str(&text);
    measured.with_context(|| format!("{} is damaged", path.display()))
}

/// Measures on all pairs, draws the first, and tells both.
fn measure(
    plan: &Plan,
    encoder: &Encoder,
    pairs: &[Pair],
    step: u64,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Measured, RgbImage)> {
    let measured = probe::measure(encoder, pairs, probe::FEATURE, &plan.device)?;
    observer.event(&TrainEvent::Measured {
        step,
        measured: &measured,
    })?;
    let image = pictures::matches(encoder, pairs, probe::FEATURE, &plan.device)?;
    observer.event(&TrainEvent::Picture {
        tag: "matches",
        step,
        image: &image,
    })?;
    Ok((measured, image))
}

/// Writes everything that a run leaves behind.
///
/// # Errors
/// When the device or the disk fails.
pub(crate) fn conclude(
    plan: &Plan,
    run: &RunDir,
    device: &str,
    pairs: &[Pair],
    before: Option<Measured>,
    ended: &Ended,
    observer: &mut dyn Observer,
) -> anyhow::Result<RunResult> {
    let config = &plan.config;
    let encoder = ended.learner.query.clone().inference();
    let info = WeightsInfo {
        format_version: FORMAT_VERSION,
        method: config.method_name().to_string(),
        model: config.model.clone(),
        steps: ended.step,
        data: config.data.source.clone(),
        config: settings::to_toml(config)?,
    };
    write_atomically(&run.weights(), &weights::save(&encoder, &info)?)?;

    let mut after = None;
    if !pairs.is_empty() {
        let (measured, picture) = measure(plan, &encoder, pairs, ended.step, observer)?;
        pictures::save_before_and_after(run, picture)?;
        after = Some(measured);
    }
    observer.event(&TrainEvent::Ended)?;

    let rows = read_jsonl(&run.metrics())?;
    pictures::curves(config, &rows, &run.curves())?;
    let bad_files = run_data::list_bad_files(run, &ended.bad_files)?;
    if bad_files > 0 {
        let list = run.bad_files();
        console::note(format_args!(
            "files that did not decode and were skipped: {bad_files}, listed in {}",
            list.display()
        ));
    }

    let result = RunResult {
        densecl_version: env!("CARGO_PKG_VERSION"),
        correspondence_feature: after.as_ref().map(|m| m.feature),
        correspondence_accuracy_before: before.as_ref().map(|m| m.accuracy),
        correspondence_accuracy_after: after.as_ref().map(|m| m.accuracy),
        correspondence_accuracy_mirrored_before: before.as_ref().map(|m| m.mirrored),
        correspondence_accuracy_mirrored_after: after.as_ref().map(|m| m.mirrored),
        correspondence_chance: after.as_ref().map(|m| m.chance),
        correspondence_same_place: after.as_ref().map(|m| m.same_place),
        pairs: pairs.len(),
        cells: after.as_ref().map_or(0, |m| m.cells),
        data: config.data.source.clone(),
        images: plan.source.len(),
        steps: ended.step,
        total_steps: plan.total_steps,
        interrupted: ended.interrupted,
        loss: rows.last().map(|row| row.loss),
        seed: config.train.seed,
        seconds: ended.seconds,
        images_per_second: (ended.step * config.train.batch_size as u64) as f64 / ended.seconds,
        resident_bytes_by_hour: resident_by_hour(&rows),
        device: device.to_string(),
        bad_files,
        weights: run.weights(),
    };
    write_atomically(&run.result(), result.json()?.as_bytes())?;
    Ok(result)
}

impl RunResult {
    /// As in `result.json`.
    ///
    /// # Errors
    /// When a figure has no JSON form.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("writing the figures as JSON")
    }

    /// The last words to the user.
    pub(crate) fn closing(&self, run: &RunDir) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let percent = |share: Option<f64>| share.map_or(f64::NAN, |share| 100.0 * share);
        if self.correspondence_accuracy_after.is_some() {
            let _ = writeln!(
                text,
                "\nCells matched within one cell of the truth by {}, {} held-out pairs ({} cells):\n\
             \x20                      as it is   second picture mirrored\n\
             \x20 untrained network   {:6.1} %   {:6.1} %\n\
             \x20 after {:6} steps  {:6.1} %   {:6.1} %\n\
             \x20 (random matches {:.1} %, the same place in both pictures {:.1} %)\n",
                self.correspondence_feature.map_or("", Feature::name),
                self.pairs,
                self.cells,
                percent(self.correspondence_accuracy_before),
                percent(self.correspondence_accuracy_mirrored_before),
                self.steps,
                percent(self.correspondence_accuracy_after),
                percent(self.correspondence_accuracy_mirrored_after),
                percent(self.correspondence_chance),
                percent(self.correspondence_same_place),
            );
        }
        let _ = writeln!(text, "weights   {}", self.weights.display());
        let _ = write!(text, "pictures  {}", run.curves().display());
        if self.pairs > 0 {
            let _ = write!(text, ", {}", run.matches().display());
        }
        text.push('\n');
        let _ = writeln!(
            text,
            "figures   {}, {}",
            run.result().display(),
            run.metrics().display()
        );
        if self.interrupted {
            let _ = writeln!(
                text,
                "stopped at step {} of {}; continue with\n  densecl pretrain --resume {}",
                self.steps,
                self.total_steps,
                run.path().display()
            );
        } else {
            let _ = writeln!(
                text,
                "try       densecl match A.jpg B.jpg --weights {} --out matches.png",
                self.weights.display()
            );
        }
        text
    }
}
