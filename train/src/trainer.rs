//! The training loop: takes batches, emits events.
//!
//! It uses no files, threads or clock: the caller supplies [`Batches`], and a [`Host`] with the time and a store for
//! checkpoints. So a browser can call [`Trainer::advance`] once per task and draw in between.
//!
//! Each rank of a run has its own loop. They take the same steps: whatever ends a loop is decided together. Rank 0
//! alone stores checkpoints.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use densecl::checkpoint;
use densecl::device;
use densecl::method::{Method, StepOutput, StepSettings};
use densecl::metrics::CorrespondenceAccuracy;
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
    fn keep(&mut self, step: u64, state: &[u8]) -> anyhow::Result<PathBuf>;
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

/// A run of the training loop, one step at a time.
pub struct Trainer<'a> {
    plan: &'a Plan,
    with: Services<'a>,
    learner: Box<dyn Method>,
    /// Steps taken, and the step of the last stored checkpoint.
    step: u64,
    saved: u64,
    stopping: bool,
    clock: Clock,
}

impl<'a> Trainer<'a> {
    /// Continues `learner` after `first_step` steps and `seconds` of training.
    ///
    /// # Errors
    /// When the observer fails, or another rank has ended.
    pub fn new(
        plan: &'a Plan,
        learner: Box<dyn Method>,
        (first_step, seconds): (u64, f64),
        with: Services<'a>,
    ) -> Result<Self, Failure> {
        let clock = Clock::start(seconds, first_step, with.host.seconds());
        let stopping = agree::any(with.world, with.stop.load(Ordering::SeqCst))?;
        with.observer.event(&TrainEvent::Started {
            step: first_step,
            total_steps: plan.total_steps,
            steps_per_epoch: plan.steps_per_epoch,
            figures: &learner.figures(),
        })?;
        let mut trainer = Self {
            plan,
            with,
            learner,
            step: first_step,
            saved: first_step,
            stopping,
            clock,
        };
        trainer.show_weights()?;
        Ok(trainer)
    }

    /// Takes all remaining steps.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn run(mut self) -> Result<Ended, Failure> {
        while !self.is_done() {
            self.advance()?;
        }
        Ok(self.end())
    }

    /// Whether the last step was taken or a stop was requested.
    pub fn is_done(&self) -> bool {
        self.step >= self.plan.total_steps || self.stopping
    }

    /// Ends the loop and returns its state.
    pub fn end(self) -> Ended {
        Ended {
            interrupted: self.step < self.plan.total_steps,
            seconds: self.clock.total(self.with.host.seconds()),
            learner: self.learner,
            step: self.step,
        }
    }

    /// Takes one step; emits its figures when they are logged, and stores a checkpoint when one is due.
    ///
    /// # Errors
    /// Too many unreadable files, a loss that is not finite, a failed device or disk. Earlier checkpoints stay
    /// unchanged.
    pub fn advance(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        let batch = match agree::all(self.with.world, self.with.batches.next())? {
            Ok(batch) => batch,
            Err(why) => {
                let unsaved = (self.step > self.saved).then(|| self.save().err());
                return Err(Failure::Data {
                    why,
                    unsaved: unsaved.flatten().map(Box::new),
                });
            }
        };
        let settings = plan.step_settings(self.step);
        let micro_batches = plan.micro_batches(&batch);
        let world = &mut *self.with.world;
        let output = self.learner.step(micro_batches, &settings, world)?;
        let scale = self.learner.loss_scale();
        if scale.is_some_and(|scale| scale.is_exhausted()) {
            return Err(Failure::NotFinite(self.step + 1));
        }
        self.step += 1;
        let step = self.step;
        self.with.observer.event(&TrainEvent::Stepped { step })?;
        self.show_weights()?;

        // The flag can be set at any time. It is read only once per step, so that the loop always logs and saves the
        // step after which it ends.
        let stop = self.with.stop.load(Ordering::SeqCst);
        self.stopping = agree::any(self.with.world, stop)?;
        let last = self.is_done();
        if last || step.is_multiple_of(plan.config.log.every_steps) {
            let row = self.row(&settings, &output, &batch)?;
            let finite = row.loss.is_finite() && row.grad_norm.is_finite();
            if !finite && !output.skipped {
                return Err(Failure::NotFinite(step));
            }
            self.with.observer.event(&TrainEvent::Row(&row))?;
        }
        let every = plan.config.checkpoint.every_steps;
        if last || (every > 0 && step.is_multiple_of(every)) {
            self.save()?;
            self.saved = step;
        }
        Ok(())
    }

    /// Gives the observer the opportunity to read the weights.
    fn show_weights(&mut self) -> anyhow::Result<()> {
        let (plan, learner, step) = (self.plan, &*self.learner, self.step);
        let file = || weights_file(plan, learner.encoder(), learner.published_name(), step);
        let event = TrainEvent::Weights { step, file: &file };
        self.with.observer.event(&event)
    }

    fn save(&mut self) -> Result<(), Failure> {
        if self.with.world.rank() > 0 {
            return Ok(());
        }
        let RunConfig { model, train, .. } = &self.plan.config;
        let images = self.plan.images;
        let state = match checkpoint::save(&mut *self.learner, model, train.seed, images, self.step)
        {
            // A state with NaN must not replace the last good checkpoint.
            Err(densecl::Error::NotFinite(_)) => return Err(Failure::NotFinite(self.step)),
            state => state?,
        };
        let path = self.with.host.keep(self.step, &state)?;
        Ok(self
            .with
            .observer
            .event(&TrainEvent::Saved { path: &path })?)
    }

    /// The figures of the last step, read back from the device; the same on all ranks except for times and memory.
    fn row(
        &mut self,
        settings: &StepSettings,
        output: &StepOutput,
        batch: &Batch,
    ) -> Result<MetricRow, Failure> {
        let (plan, step) = (self.plan, self.step);
        let (now, waited) = (self.with.host.seconds(), self.with.batches.seconds_waited());
        let lap = self.clock.lap(step, now, waited);
        let figures = output.figures()?;
        let correspondence = correspondence(output, &batch.views, self.with.world)?;
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
            resident_bytes: self.with.host.resident_bytes(),
        })
    }
}

/// Counts the matches of a step, on all ranks, that lie within one cell of the position given by the geometry of the
/// views.
fn correspondence(
    output: &StepOutput,
    views: &[ViewBytes],
    world: &mut dyn World,
) -> densecl::Result<CorrespondenceAccuracy> {
    let own = own_correspondence(output, views)?;
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

fn own_correspondence(
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
        let chosen: Vec<i32> = matches
            .try_to_vec_as()
            .map_err(|e| device::failure("when the matches were read", e))?;
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
