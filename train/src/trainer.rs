//! The training loop: batches in, events out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use burn::tensor::Device;
use densecl::augment::{ViewGeometry, upload};
use densecl::checkpoint;
use densecl::densecl::{DenseCl, StepOutput, StepSettings, Views, key_order};
use densecl::device;
use densecl::loss;
use densecl::metrics::CorrespondenceAccuracy;
use densecl::schedule::{self, Progress};
use log::Level;

use crate::config::RunConfig;
use crate::data::loader::{Batch, Loader, LoaderConfig};
use crate::data::{BadFile, Source};
use crate::events::{Observer, TrainEvent};
use crate::memory;
use crate::report::read_jsonl;
use crate::row::MetricRow;
use crate::run::failure;
use crate::run::folder::RunDir;

/// What a run needs that is settled before its first step.
pub struct Plan {
    pub config: RunConfig,
    pub device: Device,
    pub source: Arc<Source>,
    pub queue_len: usize,
    pub steps_per_epoch: u64,
    pub total_steps: u64,
}

impl Plan {
    /// # Errors
    /// When data and settings do not fit together.
    pub fn new(config: RunConfig, device: Device, source: Source) -> anyhow::Result<Self> {
        let images = source.len();
        let batch = config.train.batch_size;
        if images < batch {
            bail!(
                "{images} images are fewer than the batch of {batch}: add images, or set \
                 train.batch_size to at most {images}"
            );
        }
        let queue_len = config.method.queue_len(images, batch)?;
        let steps_per_epoch = (images / batch) as u64;
        let total_steps = match config.train.steps {
            0 => config.train.epochs.saturating_mul(steps_per_epoch),
            steps => steps,
        };
        let source = Arc::new(source);
        Ok(Self {
            config,
            device,
            source,
            queue_len,
            steps_per_epoch,
            total_steps,
        })
    }

    /// A learner at step 0.
    pub fn learner(&self) -> DenseCl {
        let RunConfig {
            model,
            method,
            optim,
            train,
            ..
        } = &self.config;
        DenseCl::new(
            model,
            method,
            optim,
            self.queue_len,
            train.seed,
            &self.device,
        )
    }

    /// The batches from `first_step` on; files that do not decode are named at this log level.
    pub fn loader(&self, first_step: u64, bad_file_level: Level) -> anyhow::Result<Loader> {
        let RunConfig {
            data, train, views, ..
        } = &self.config;
        let config = LoaderConfig {
            batch_size: train.batch_size,
            seed: train.seed,
            threads: data.threads,
            prefetch: data.prefetch,
            views: views.clone(),
            max_bad_share: data.max_bad_share,
            bad_file_level,
        };
        Loader::start(Arc::clone(&self.source), config, first_step)
    }

    /// The views of a batch on the device, in as many parts as go through the network one by one.
    pub(crate) fn micro_batches(&self, batch: &Batch) -> Vec<Views> {
        let RunConfig {
            optim,
            train,
            method,
            ..
        } = &self.config;
        let count = optim.accumulate;
        let images = train.batch_size / count;
        let side = self.config.views.size as usize;
        let bytes = batch.query.len() / count;
        let parts = batch
            .query
            .chunks_exact(bytes)
            .zip(batch.key.chunks_exact(bytes));
        parts
            .enumerate()
            .map(|(i, (query, key))| Views {
                query: upload(query, side, &self.device),
                key: upload(key, side, &self.device),
                key_order: if method.shuffle_keys {
                    key_order(images, train.seed, batch.step * count as u64 + i as u64)
                } else {
                    (0..images).collect()
                },
                geometry: Some(batch.geometry[i * images..(i + 1) * images].to_vec()),
            })
            .collect()
    }
}

/// How the loop ended.
pub struct Ended {
    pub learner: DenseCl,
    /// Steps taken.
    pub step: u64,
    /// Whether someone asked to stop before the last step.
    pub interrupted: bool,
    /// Seconds of training, earlier parts of the run included.
    pub seconds: f64,
    pub bad_files: Vec<BadFile>,
}

/// Takes `learner` from `first_step` to the end, or until `stop` is set.
///
/// # Errors
/// Too many bad files, a loss that is not finite, a device or disk that fails. Checkpoints written
/// before stay as they are.
pub fn train(
    plan: &Plan,
    learner: DenseCl,
    first_step: u64,
    run: &RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<Ended> {
    steps(plan, learner, first_step, run, observer, stop).map_err(|error| {
        match error.downcast_ref::<densecl::Error>() {
            Some(densecl::Error::Device(why)) => failure::of_device(plan, run, why),
            _ => error,
        }
    })
}

fn steps(
    plan: &Plan,
    mut learner: DenseCl,
    first_step: u64,
    run: &RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<Ended> {
    let config = &plan.config;
    let mut loader = plan.loader(first_step, Level::Warn)?;
    let mut clock = Clock::start(seconds_before(run, first_step)?, first_step);
    let mut step = first_step;
    let mut saved = first_step;
    let mut stopping = stop.load(Ordering::SeqCst);

    observer.event(&TrainEvent::Started {
        step,
        total_steps: plan.total_steps,
        steps_per_epoch: plan.steps_per_epoch,
    })?;
    while step < plan.total_steps && !stopping {
        let batch = match loader.next() {
            Ok(batch) => batch,
            Err(error) => {
                let kept = if step > saved {
                    save(plan, &learner, step, run, observer)
                } else {
                    Ok(())
                };
                return Err(failure::of_data(&error, kept, run));
            }
        };
        let settings = settings(plan, step);
        let output = learner.step(plan.micro_batches(&batch), &settings)?;
        if learner.loss_scale.is_some_and(|scale| scale.is_exhausted()) {
            return Err(failure::not_finite(step + 1, run));
        }
        step += 1;
        observer.event(&TrainEvent::Stepped { step })?;

        // Asked once per step: the step that is seen to be the last is also saved.
        stopping = stop.load(Ordering::SeqCst);
        let last = step == plan.total_steps || stopping;
        if last || step.is_multiple_of(config.log.every_steps) {
            let mut row = row(
                plan,
                step,
                &settings,
                &output,
                &batch,
                clock.lap(step, &loader),
            )?;
            row.loss_scale = learner.loss_scale.map(|scale| scale.factor);
            row.skipped_steps = learner.loss_scale.map(|scale| scale.skipped);
            if !output.skipped {
                check_finite(&row, run)?;
            }
            observer.event(&TrainEvent::Row(&row))?;
        }
        let every = config.checkpoint.every_steps;
        if last || (every > 0 && step.is_multiple_of(every)) {
            save(plan, &learner, step, run, observer)?;
            saved = step;
        }
    }
    Ok(Ended {
        learner,
        step,
        interrupted: step < plan.total_steps,
        seconds: clock.seconds(),
        bad_files: loader.bad_files(),
    })
}

fn settings(plan: &Plan, step: u64) -> StepSettings {
    let RunConfig {
        optim,
        method,
        train,
        ..
    } = &plan.config;
    let scale = if optim.scale_lr {
        train.batch_size as f64 / 256.0
    } else {
        1.0
    };
    let progress = Progress {
        step,
        total_steps: plan.total_steps,
        steps_per_epoch: plan.steps_per_epoch,
    };
    StepSettings {
        step,
        learning_rate: schedule::learning_rate(optim.lr * scale, optim.schedule, progress),
        lambda: schedule::lambda(method.lambda, method.lambda_warmup_steps, step),
    }
}

fn save(
    plan: &Plan,
    learner: &DenseCl,
    step: u64,
    run: &RunDir,
    observer: &mut dyn Observer,
) -> anyhow::Result<()> {
    let RunConfig {
        model,
        train,
        checkpoint,
        ..
    } = &plan.config;
    let bytes = match checkpoint::save(learner, model, train.seed, plan.source.len(), step) {
        // The last good checkpoint must not be pushed out by one with NaN in it.
        Err(densecl::Error::NotFinite(_)) => return Err(failure::not_finite(step, run)),
        bytes => bytes?,
    };
    let path = run.save_checkpoint(step, &bytes, checkpoint.keep)?;
    observer.event(&TrainEvent::Saved { path: &path })
}

fn check_finite(row: &MetricRow, run: &RunDir) -> anyhow::Result<()> {
    if row.loss.is_finite() && row.grad_norm.is_finite() {
        Ok(())
    } else {
        Err(failure::not_finite(row.step, run))
    }
}

/// Seconds that the run took up to `step`, from its log.
fn seconds_before(run: &RunDir, step: u64) -> anyhow::Result<f64> {
    let path = run.metrics();
    if step == 0 || !path.exists() {
        return Ok(0.0);
    }
    let rows = read_jsonl(&path).with_context(|| format!("reading {}", path.display()))?;
    let before = rows.iter().rfind(|row| row.step <= step);
    Ok(before.map_or(0.0, |row| row.seconds))
}

/// The figures of one step, read back from the device.
fn row(
    plan: &Plan,
    step: u64,
    settings: &StepSettings,
    output: &StepOutput,
    batch: &Batch,
    lap: Lap,
) -> anyhow::Result<MetricRow> {
    let figures = output.figures()?;
    let correspondence = correspondence(output, &batch.geometry)?;
    let images = lap.steps as f64 * plan.config.train.batch_size as f64;
    Ok(MetricRow {
        step,
        epoch: step as f64 / plan.steps_per_epoch as f64,
        loss: figures.loss.into(),
        loss_global: figures.loss_global.into(),
        loss_dense: figures.loss_dense.into(),
        accuracy_global: figures.accuracy_global.into(),
        accuracy_dense: figures.accuracy_dense.into(),
        loss_in_view: figures.in_view.map(|figures| figures.loss.into()),
        accuracy_in_view: figures.in_view.map(|figures| figures.accuracy.into()),
        overlap: correspondence.overlap(),
        correspondence_accuracy: correspondence.accuracy(),
        correspondence_chance: correspondence.chance(),
        correspondence_same_place: correspondence.same_place(),
        feature_std: figures.feature_std.into(),
        grad_norm: figures.grad_norm.into(),
        learning_rate: settings.learning_rate,
        lambda: settings.lambda,
        images_per_second: images / lap.seconds,
        data_wait_share: (lap.waited / lap.seconds).min(1.0),
        chance_loss: loss::chance(plan.queue_len),
        seconds: lap.total,
        loss_scale: None,
        skipped_steps: None,
        resident_bytes: memory::resident(),
    })
}

/// How many of the step's matches lie within one cell of where the views' geometry puts them.
fn correspondence(
    output: &StepOutput,
    geometry: &[[ViewGeometry; 2]],
) -> anyhow::Result<CorrespondenceAccuracy> {
    let mut accuracy = CorrespondenceAccuracy::default();
    let mut geometry = geometry.iter();
    for matches in &output.matches {
        let [_, cells] = matches.dims();
        let grid = cells.isqrt();
        let chosen: Vec<i32> = matches
            .try_to_vec_as()
            .map_err(|e| device::failure("when the matches were read", e))?;
        for (chosen, [query, key]) in chosen.chunks_exact(cells).zip(&mut geometry) {
            let chosen: Vec<usize> = chosen.iter().map(|&cell| cell as usize).collect();
            accuracy.add(&chosen, &query.true_matches(key, grid), [grid, grid]);
        }
    }
    Ok(accuracy)
}

/// Time since the last row, and over the whole run.
struct Clock {
    started: Instant,
    before: f64,
    last: Instant,
    last_step: u64,
    last_waited: f64,
}

/// One interval between two rows.
struct Lap {
    steps: u64,
    seconds: f64,
    waited: f64,
    total: f64,
}

impl Clock {
    fn start(before: f64, step: u64) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            before,
            last: now,
            last_step: step,
            last_waited: 0.0,
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    fn lap(&mut self, step: u64, loader: &Loader) -> Lap {
        let now = Instant::now();
        let waited = loader.waited().as_secs_f64();
        let lap = Lap {
            steps: step - self.last_step,
            seconds: (now - self.last).as_secs_f64().max(1e-9),
            waited: waited - self.last_waited,
            total: self.seconds(),
        };
        (self.last, self.last_step, self.last_waited) = (now, step, waited);
        lap
    }
}
