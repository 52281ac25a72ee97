//! What is derived from the settings of a run before its first step.

use anyhow::bail;
use burn::tensor::Device;
use densecl::augment::upload;
use densecl::method::{self, Method, MicroBatch, StepSettings, ViewBatch};
use densecl::schedule::{self, Progress};

use crate::batch::Batch;
use crate::config::RunConfig;

/// The settings of a run, its device, and the values derived from them and from the number of images.
pub struct Plan {
    /// The settings.
    pub config: RunConfig,
    /// The device on which it trains.
    pub device: Device,
    /// Images to train on.
    pub images: usize,
    /// Keys in each queue.
    pub queue_len: usize,
    /// Steps of one pass over the images.
    pub steps_per_epoch: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
}

/// The place of a rank among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Its number, from 0.
    pub rank: usize,
    /// The number of ranks.
    pub ranks: usize,
    /// The number of ranks on its machine, itself included: they share cores and memory.
    pub neighbours: usize,
}

impl Seat {
    /// The place of a rank that is alone.
    pub const ALONE: Self = Self {
        rank: 0,
        ranks: 1,
        neighbours: 1,
    };
}

impl Plan {
    /// The plan for a number of images. An `optim.accumulate` of 0 becomes 1.
    ///
    /// # Errors
    /// When there are fewer images than a batch holds, or the queue does not fit the settings.
    pub fn new(mut config: RunConfig, device: Device, images: usize) -> anyhow::Result<Self> {
        config.optim.accumulate = config.optim.accumulate.max(1);
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
        let warmup = warmup(&config, steps_per_epoch);
        if warmup > 0 && warmup >= total_steps {
            bail!(
                "optim.warmup_epochs = {}: the warm-up takes {warmup} steps, and the run has {total_steps}; shorten it, or \
                 give the run more steps",
                config.optim.warmup_epochs
            );
        }
        Ok(Self {
            config,
            device,
            images,
            queue_len,
            steps_per_epoch,
            total_steps,
        })
    }

    /// A new learner, at step 0.
    pub fn learner(&self) -> Box<dyn Method> {
        let RunConfig {
            model,
            method,
            optim,
            train,
            ..
        } = &self.config;
        method::new(
            model,
            method,
            optim,
            self.queue_len,
            train.seed,
            &self.device,
        )
    }

    /// Uploads the views of a batch, or of the part of it that belongs to a rank, as micro-batches for one forward and
    /// backward pass each. A whole batch has `optim.accumulate` of them.
    pub fn micro_batches(&self, batch: &Batch) -> Vec<MicroBatch> {
        let images = self.config.train.batch_size / self.config.optim.accumulate;
        let count = batch.images.len() / images;
        let part = |number: usize| {
            let views = batch.views.iter().map(|view| {
                let bytes = view.pixels.len() / count;
                let pixels = &view.pixels[number * bytes..][..bytes];
                ViewBatch {
                    pixels: upload(pixels, view.size, &self.device),
                    geometry: Some(view.geometry[number * images..][..images].to_vec()),
                }
            });
            MicroBatch {
                views: views.collect(),
            }
        };
        (0..count).map(part).collect()
    }

    /// The scheduled values, such as the learning rate, for the step that follows `step` completed steps.
    pub fn step_settings(&self, step: u64) -> StepSettings {
        let RunConfig { optim, train, .. } = &self.config;
        let scale = if optim.scale_lr {
            train.batch_size as f64 / 256.0
        } else {
            1.0
        };
        let progress = Progress {
            step,
            total_steps: self.total_steps,
            steps_per_epoch: self.steps_per_epoch,
        };
        let warmup = warmup(&self.config, self.steps_per_epoch);
        let rate = schedule::warmed_up(optim.lr * scale, optim.schedule, warmup, progress);
        StepSettings {
            step,
            total_steps: self.total_steps,
            learning_rate: rate,
        }
    }
}

/// Steps over which the learning rate rises.
fn warmup(config: &RunConfig, steps_per_epoch: u64) -> u64 {
    (config.optim.warmup_epochs * steps_per_epoch as f64).round() as u64
}

/// Settings with which a training step takes milliseconds, for tests; `sets` override them.
#[cfg(all(test, feature = "files"))]
pub(crate) fn tiny_settings(sets: &[&str]) -> RunConfig {
    let tiny = [
        "train.batch_size=4",
        "model.backbone=resnet10",
        "model.width=8",
        "model.dim=16",
        "views.size=32",
        "method.bn_groups=1",
        "method.queue=4",
        "scenes.size=32",
        "checkpoint.every_steps=2",
    ];
    let sets: Vec<String> = tiny.iter().chain(sets).map(ToString::to_string).collect();
    crate::settings::resolve(&[], &sets).expect("settings")
}
