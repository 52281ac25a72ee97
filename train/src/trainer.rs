//! The training loop: takes batches, emits events.
//!
//! It uses no files, threads or clock: the caller supplies [`Batches`], and a [`Host`] with the time and a store for
//! checkpoints. So a browser can call [`Trainer::advance`] once per task and draw in between. The functions that read
//! from the device are asynchronous, because a browser cannot block on a GPU; a program waits for them with
//! [`block_on`](densecl::device::block_on).
//!
//! Each rank of a run has its own loop. They take the same steps: whatever ends a loop is decided together. Rank 0
//! alone stores checkpoints.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use densecl::checkpoint;
use densecl::device;
use densecl::method::{Method, StepOutput, StepSettings};
use densecl::metrics::CorrespondenceAccuracy;
use densecl::ops;
use densecl::world::World;

use crate::agree;
use crate::batch::{Batch, Batches, ViewBytes};
use crate::config::RunConfig;
use crate::events::{Observer, TrainEvent};
use crate::plan::Plan;
use crate::published::weights_file;
use crate::row::{MetricRow, ROW_FIELDS};

/// The services of the surrounding program that the loop uses.
pub trait Host {
    /// Seconds since a fixed moment.
    fn seconds(&self) -> f64;

    /// Resident memory of the process in bytes; `None` where the system does not report it.
    fn resident_bytes(&self) -> Option<u64>;

    /// Stores the checkpoint `state` after `step`; returns where.
    ///
    /// # Errors
    /// When it cannot be stored; earlier checkpoints are then unchanged.
    fn keep(&mut self, step: u64, state: Vec<u8>) -> anyhow::Result<PathBuf>;
}

/// Why a run cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// After this step the loss, a gradient or a number of the learner's state is NaN or infinite.
    NotFinite(u64),
    /// The device was lost or ran out of memory; the message of the read that failed.
    Device(String),
    /// Another rank has ended; its number and why.
    Rank(String),
    /// There is no next batch, for instance because too many files are unreadable.
    Data {
        /// Why.
        why: anyhow::Error,
        /// Why the last checkpoint could not be stored, if that failed.
        unsaved: Option<Box<Failure>>,
    },
    /// Any other error, such as a full disk or a failed observer.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<densecl::Error>() {
            Some(densecl::Error::Device(why)) => Self::Device(why.clone()),
            Some(densecl::Error::Ranks(why)) => Self::Rank(why.clone()),
            _ => Self::Other(error),
        }
    }
}

impl From<densecl::Error> for Failure {
    fn from(error: densecl::Error) -> Self {
        Self::from(anyhow::Error::from(error))
    }
}

/// The state at the end of the loop.
pub struct Ended {
    /// The networks, queues and optimizer after the last step.
    pub learner: Box<dyn Method>,
    /// Steps taken.
    pub step: u64,
    /// Whether the run was stopped before its last step.
    pub interrupted: bool,
    /// Seconds of training, earlier parts of the run included.
    pub seconds: f64,
}

/// What the loop works with.
pub struct Services<'a> {
    /// The settings, the device, and what follows from them.
    pub plan: &'a Plan,
    /// The batches, or the rank's part of each.
    pub batches: &'a mut dyn Batches,
    /// Clock and store of this machine.
    pub host: &'a mut dyn Host,
    /// Receives the events.
    pub observer: &'a mut dyn Observer,
    /// The ranks; [`Alone`](densecl::world::Alone) for one.
    pub world: &'a mut dyn World,
    /// Setting it ends the run after the current step. With several ranks it is enough to set it for one.
    pub stop: &'a AtomicBool,
}

/// A run of the training loop, one step at a time. Each call is given the [`Services`], always the same.
pub struct Trainer {
    learner: Box<dyn Method>,
    /// Steps taken, and the step of the last stored checkpoint.
    step: u64,
    saved: u64,
    stopping: bool,
    clock: Clock,
}

impl Trainer {
    /// Continues `learner` after `first_step` steps and `seconds` of training.
    ///
    /// # Errors
    /// When the observer fails, or another rank has ended.
    pub fn new(
        learner: Box<dyn Method>,
        (first_step, seconds): (u64, f64),
        with: &mut Services<'_>,
    ) -> Result<Self, Failure> {
        let clock = Clock::start(seconds, first_step, with.host.seconds());
        let stopping = agree::any(with.world, with.stop.load(Ordering::SeqCst))?;
        with.observer.event(&TrainEvent::Started {
            step: first_step,
            total_steps: with.plan.total_steps,
            steps_per_epoch: with.plan.steps_per_epoch,
            figures: &learner.figures(),
        })?;
        let trainer = Self {
            learner,
            step: first_step,
            saved: first_step,
            stopping,
            clock,
        };
        trainer.show_weights(with)?;
        Ok(trainer)
    }

    /// Takes all remaining steps.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn run(mut self, with: &mut Services<'_>) -> Result<Ended, Failure> {
        while !self.is_done(with.plan) {
            self.advance(with).await?;
        }
        Ok(self.end(with))
    }

    /// Whether the last step was taken or a stop was requested.
    pub fn is_done(&self, plan: &Plan) -> bool {
        self.step >= plan.total_steps || self.stopping
    }

    /// The networks, queues and optimizer as they are now.
    pub fn learner(&self) -> &dyn Method {
        &*self.learner
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Ends the loop and returns its state.
    pub fn end(self, with: &Services<'_>) -> Ended {
        Ended {
            interrupted: self.step < with.plan.total_steps,
            seconds: self.clock.total(with.host.seconds()),
            learner: self.learner,
            step: self.step,
        }
    }

    /// Takes one step; emits its figures when they are logged, and stores a checkpoint when one is due.
    ///
    /// # Errors
    /// Too many unreadable files, a loss that is not finite, a failed device or disk. Earlier checkpoints stay
    /// unchanged.
    pub async fn advance(&mut self, with: &mut Services<'_>) -> Result<(), Failure> {
        let plan = with.plan;
        let batch = match agree::all(with.world, with.batches.next())? {
            Ok(batch) => batch,
            Err(why) => {
                let unsaved = if self.step > self.saved {
                    self.save(with).await.err()
                } else {
                    None
                };
                return Err(Failure::Data {
                    why,
                    unsaved: unsaved.map(Box::new),
                });
            }
        };
        let settings = plan.step_settings(self.step);
        let micro_batches = plan.micro_batches(&batch);
        let output = ops::together(&plan.device, || {
            self.learner.step(micro_batches, &settings, with.world)
        })?;
        let scale = self.learner.loss_scale();
        if scale.is_some_and(|scale| scale.is_exhausted()) {
            return Err(Failure::NotFinite(self.step + 1));
        }
        self.step += 1;
        let step = self.step;
        with.observer.event(&TrainEvent::Stepped { step })?;
        self.show_weights(with)?;

        // The flag can be set at any time. It is read only once per step, so that the loop always logs and saves the
        // step after which it ends.
        let stop = with.stop.load(Ordering::SeqCst);
        self.stopping = agree::any(with.world, stop)?;
        let last = self.is_done(plan);
        if last || step.is_multiple_of(plan.config.log.every_steps) {
            let row = self.row(&settings, &output, &batch, with).await?;
            let finite = row.loss.is_finite() && row.grad_norm.is_finite();
            if !finite && !output.skipped {
                return Err(Failure::NotFinite(step));
            }
            with.observer.event(&TrainEvent::Row(&row))?;
        }
        let every = plan.config.checkpoint.every_steps;
        if last || (every > 0 && step.is_multiple_of(every)) {
            self.save(with).await?;
        }
        Ok(())
    }

    /// Gives the observer the opportunity to read the weights.
    fn show_weights(&self, with: &mut Services<'_>) -> anyhow::Result<()> {
        let (plan, learner, step) = (with.plan, &*self.learner, self.step);
        let file = || weights_file(plan, learner.encoder(), learner.published_name(), step);
        let event = TrainEvent::Weights { step, file: &file };
        with.observer.event(&event)
    }

    /// Stores a checkpoint of the present state; only rank 0 does.
    ///
    /// # Errors
    /// A state that is not finite, a failed device or disk. Earlier checkpoints stay unchanged.
    pub async fn save(&mut self, with: &mut Services<'_>) -> Result<(), Failure> {
        let step = self.step;
        if with.world.rank() == 0 {
            let (plan, learner) = (with.plan, &mut *self.learner);
            let RunConfig { model, train, .. } = &plan.config;
            let saved = checkpoint::save_async(learner, model, train.seed, plan.images, step);
            let state = match saved.await {
                // A state with NaN must not replace the last good checkpoint.
                Err(densecl::Error::NotFinite(_)) => return Err(Failure::NotFinite(step)),
                state => state?,
            };
            let path = with.host.keep(step, state)?;
            with.observer.event(&TrainEvent::Saved { path: &path })?;
        }
        self.saved = step;
        Ok(())
    }

    /// The figures of the last step, read back from the device; the same on all ranks except for times and memory.
    async fn row(
        &mut self,
        settings: &StepSettings,
        output: &StepOutput,
        batch: &Batch,
        with: &mut Services<'_>,
    ) -> Result<MetricRow, Failure> {
        let (plan, step) = (with.plan, self.step);
        let figures = output.figures_async().await?;
        let correspondence = correspondence(output, &batch.views, with.world).await?;
        // The clock is read after the device has computed the step; before, its work is only queued.
        let (now, waited) = (with.host.seconds(), with.batches.seconds_waited());
        let lap = self.clock.lap(step, now, waited);
        let images = lap.steps as f64 * plan.config.train.batch_size as f64;
        let scale = self.learner.loss_scale();
        let of_the_method = figures
            .iter()
            .filter(|(name, _)| !ROW_FIELDS.contains(name));
        Ok(MetricRow {
            step,
            epoch: step as f64 / plan.steps_per_epoch as f64,
            loss: figures["loss"],
            figures: of_the_method
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            overlap: correspondence.overlap(),
            correspondence_accuracy: correspondence.accuracy(),
            correspondence_chance: correspondence.chance(),
            correspondence_same_place: correspondence.same_place(),
            grad_norm: figures["grad_norm"],
            learning_rate: settings.learning_rate,
            images_per_second: images / lap.seconds,
            data_wait_share: (lap.waited / lap.seconds).min(1.0),
            seconds: lap.total,
            loss_scale: scale.map(|scale| scale.factor),
            skipped_steps: scale.map(|scale| scale.skipped),
            resident_bytes: with.host.resident_bytes(),
        })
    }
}

/// Counts the matches of a step, on all ranks, that lie within one cell of the position given by the geometry of the
/// views.
async fn correspondence(
    output: &StepOutput,
    views: &[ViewBytes],
    world: &mut dyn World,
) -> densecl::Result<CorrespondenceAccuracy> {
    let own = own_correspondence(output, views).await?;
    if world.size() == 1 {
        return Ok(own);
    }
    let mut all = CorrespondenceAccuracy::default();
    for counts in world.gather(own.to_bytes().to_vec())? {
        let counts = CorrespondenceAccuracy::from_bytes(&counts);
        all.merge(&counts.unwrap_or_default());
    }
    Ok(all)
}

async fn own_correspondence(
    output: &StepOutput,
    views: &[ViewBytes],
) -> densecl::Result<CorrespondenceAccuracy> {
    let mut accuracy = CorrespondenceAccuracy::default();
    // Only the first two views are matched; a method with one view has no correspondence accuracy.
    let [first, second, ..] = views else {
        return Ok(accuracy);
    };
    let mut geometry = first.geometry.iter().zip(&second.geometry);
    for matches in &output.matches {
        let [_, cells] = matches.dims();
        let grid = cells.isqrt();
        let chosen: Vec<i32> =
            device::read(matches.to_data_async(), "when the matches were read").await?;
        for (chosen, (query, key)) in chosen.chunks_exact(cells).zip(&mut geometry) {
            let chosen: Vec<usize> = chosen.iter().map(|&cell| cell as usize).collect();
            accuracy.add(&chosen, &query.true_matches(key, grid), [grid, grid]);
        }
    }
    Ok(accuracy)
}

/// Measures the time since the last logged row and over the whole run, in seconds.
struct Clock {
    started: f64,
    before: f64,
    last: f64,
    last_step: u64,
    last_waited: f64,
}

/// The interval between two logged rows.
struct Lap {
    steps: u64,
    seconds: f64,
    waited: f64,
    total: f64,
}

impl Clock {
    fn start(before: f64, step: u64, now: f64) -> Self {
        Self {
            started: now,
            before,
            last: now,
            last_step: step,
            last_waited: 0.0,
        }
    }

    fn total(&self, now: f64) -> f64 {
        self.before + (now - self.started)
    }

    fn lap(&mut self, step: u64, now: f64, waited: f64) -> Lap {
        let lap = Lap {
            steps: step - self.last_step,
            seconds: (now - self.last).max(1e-9),
            waited: waited - self.last_waited,
            total: self.total(now),
        };
        (self.last, self.last_step, self.last_waited) = (now, step, waited);
        lap
    }
}

#[cfg(all(test, feature = "files"))]
mod tests;
