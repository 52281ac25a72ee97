//! Measures the held-out pairs before and after training, and writes the results of a run.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use densecl::features::Feature;
use densecl::method::Method;
use densecl::model::{Encoder, Tensors};
use image::RgbImage;
use log::Level;
use serde::Serialize;

use crate::data::BadFile;
use crate::data::loader::{Loader, LoaderConfig};
use crate::events::{Observer, TrainEvent};
use crate::files::{write_atomically, write_png};
use crate::held_out::{self, HeldOutFigures, Pair};
use crate::paths;
use crate::plan::Plan;
use crate::published::weights_file;
use crate::report::{read_jsonl, resident_by_hour};
use crate::run::folder::RunDir;
use crate::run::images::{self, Images};
use crate::run::pictures;
use crate::trainer::Ended;

/// The figures of a run: `result.json`.
#[derive(Debug, Serialize)]
pub struct RunResult {
    /// The version of the program.
    pub densecl_version: &'static str,
    /// The feature by which cells are matched; null without pairs.
    pub correspondence_feature: Option<Feature>,
    /// Share of cells of held-out pairs matched within one cell of the truth before training, in [0, 1].
    pub correspondence_accuracy_before: Option<f64>,
    /// The accuracy after training.
    pub correspondence_accuracy_after: Option<f64>,
    /// The accuracy before training with the second picture of each pair mirrored.
    pub correspondence_accuracy_mirrored_before: Option<f64>,
    /// The accuracy after training with the second picture of each pair mirrored.
    pub correspondence_accuracy_mirrored_after: Option<f64>,
    /// The accuracy of random matches.
    pub correspondence_chance: Option<f64>,
    /// The accuracy of matching each cell with the cell at the same position.
    pub correspondence_same_place: Option<f64>,
    /// Number of held-out pairs.
    pub pairs: usize,
    /// Number of cells in these pairs that have a true match.
    pub cells: u64,
    /// The training data, as in the settings.
    pub data: String,
    /// Number of training images.
    pub images: usize,
    /// Steps taken.
    pub steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// The loss of the last logged step.
    pub loss: Option<f64>,
    /// The seed of the run.
    pub seed: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Images per second of training.
    pub images_per_second: f64,
    /// Hour of training → the largest memory of the process during it, in bytes.
    pub resident_bytes_by_hour: BTreeMap<u64, u64>,
    /// The device; that of rank 0.
    pub device: String,
    /// Number of ranks in the last part of the run.
    pub ranks: usize,
    /// Number of files that did not decode.
    pub bad_files: usize,
    /// The weight file.
    #[serde(serialize_with = "paths::serialize")]
    pub weights: PathBuf,
}

/// Measures the untrained network of the method `learner` on the held-out pairs; `None` when a stop was requested.
///
/// # Errors
/// When the device or the disk fails, or too many files are bad.
pub(crate) fn measure_untrained(
    plan: &Plan,
    images: &Images,
    learner: &dyn Method,
    pairs: &[Pair],
    run: &RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<Option<HeldOutFigures>> {
    observer.event(&TrainEvent::Note(
        "measuring the untrained network".to_string(),
    ))?;
    // Bad files are logged at debug level only, because training reads the same files and reports them.
    let config = LoaderConfig::of(plan, &learner.views(), &images.boxes, Level::Debug);
    let mut loader = Loader::start(Arc::clone(&images.source), config, 0)?;
    let Some(encoder) = held_out::untrained_network(plan, &mut loader, stop)? else {
        return Ok(None);
    };
    drop(loader);
    let file = || weights_file(plan, &encoder, learner.published_name(), 0);
    let event = TrainEvent::Weights {
        step: 0,
        file: &file,
    };
    observer.event(&event)?;
    let (measured, picture) = measure(plan, &encoder, pairs, 0, observer)?;
    write_png(&run.matches_before(), &picture)?;
    let json = serde_json::to_string_pretty(&measured).context("writing the figures as JSON")?;
    write_atomically(&run.before(), json.as_bytes())?;
    Ok(Some(measured))
}

/// The figures written by [`measure_untrained`]; `None` if there are none.
///
/// # Errors
/// When its file cannot be read.
pub(crate) fn untrained(run: &RunDir) -> anyhow::Result<Option<HeldOutFigures>> {
    let path = run.before();
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let measured = serde_json::from_str(&text);
    measured.with_context(|| format!("{} is damaged", path.display()))
}

/// Measures all pairs, draws the first ones, and sends both as events.
fn measure(
    plan: &Plan,
    encoder: &Encoder,
    pairs: &[Pair],
    step: u64,
    observer: &mut dyn Observer,
) -> anyhow::Result<(HeldOutFigures, RgbImage)> {
    let measured = held_out::measure(encoder, pairs, held_out::FEATURE, &plan.device)?;
    observer.event(&TrainEvent::Measured {
        step,
        measured: &measured,
    })?;
    let image = pictures::matches(encoder, pairs, held_out::FEATURE, &plan.device)?;
    observer.event(&TrainEvent::Picture {
        tag: "matches",
        step,
        image: &image,
    })?;
    Ok((measured, image))
}

/// Writes the weights, figures and pictures at the end of a run.
///
/// # Errors
/// When the device or the disk fails.
pub(crate) fn conclude(
    plan: &Plan,
    run: &RunDir,
    (device, ranks): (&str, usize),
    pairs: &[Pair],
    before: Option<HeldOutFigures>,
    (ended, bad_files): (&Ended, &[BadFile]),
    observer: &mut dyn Observer,
) -> anyhow::Result<RunResult> {
    let config = &plan.config;
    let encoder = ended.learner.encoder().clone().inference();
    let method = ended.learner.published_name();
    let file = weights_file(plan, ended.learner.encoder(), method, ended.step)?;
    write_atomically(&run.weights(), &file)?;

    let mut after = None;
    if !pairs.is_empty() {
        let (measured, picture) = measure(plan, &encoder, pairs, ended.step, observer)?;
        pictures::save_before_and_after(run, picture)?;
        after = Some(measured);
    }
    observer.event(&TrainEvent::Ended)?;

    let rows = read_jsonl(&run.metrics())?;
    pictures::curves(config, &ended.learner.figures(), &rows, &run.curves())?;
    let bad_files = images::list_bad_files(run, bad_files)?;
    if bad_files > 0 {
        let list = run.bad_files();
        observer.event(&TrainEvent::Note(format!(
            "files that did not decode and were skipped: {bad_files}, listed in {}",
            list.display()
        )))?;
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
        images: plan.images,
        steps: ended.step,
        total_steps: plan.total_steps,
        interrupted: ended.interrupted,
        loss: rows.last().map(|row| row.loss),
        seed: config.train.seed,
        seconds: ended.seconds,
        images_per_second: (ended.step * config.train.batch_size as u64) as f64 / ended.seconds,
        resident_bytes_by_hour: resident_by_hour(&rows),
        device: device.to_string(),
        ranks,
        bad_files,
        weights: run.weights(),
    };
    write_atomically(&run.result(), result.json()?.as_bytes())?;
    Ok(result)
}

impl RunResult {
    /// The content of `result.json`.
    ///
    /// # Errors
    /// When a figure has no JSON form.
    pub fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(self).context("writing the figures as JSON")
    }
}
