//! Batches of augmented views, decoded and augmented on other threads while the device trains.
//!
//! Batch `step` is a pure function of (images, seed, step), and where the views follow a curriculum, of the
//! length of the run. So a resumed run gets the same batches as an uninterrupted one, and they are equal to the
//! bit for any number of threads.
//!
//! A rank makes only its part of each batch; the samples do not depend on the number of ranks.
//!
//! The unit of work is one sample. Workers take samples in the order in which batches need them and return them
//! in any order; [`Batches::next`] sorts them into their batch. Only the `prefetch` batches after the one last
//! returned are queued, which bounds the memory: at most `prefetch` batches are in work or waiting, and one is
//! being assembled.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use densecl::augment::ViewConfig;
use densecl::method::ViewSpec;
use densecl::world::part_of;
use log::Level;

use super::bad_files::{BadFile, BadFiles, proof};
use super::boxes::Boxes;
use super::source::Source;
use super::worker::{Job, Sample, SampleError, WorkerPool};
use crate::batch::{Batch, Batches};
use crate::config::RunConfig;
use crate::order::epoch_order;
use crate::plan::{Plan, Seat};
use crate::sample::{Place, sides, stage};

const STOPPED: &str = "the data loader has stopped after an earlier error";

/// How images become batches. Only `batch_size`, `seed`, `views`, `wanted`, `boxes` and, with a curriculum,
/// `total_steps` affect their content.
#[derive(Debug, Clone)]
pub(crate) struct LoaderConfig {
    /// B: images per batch.
    pub batch_size: usize,
    /// The places in each batch of the samples that are made: all, or the part of a rank.
    pub places: Range<usize>,
    /// The seed of the run.
    pub seed: u64,
    /// Worker threads; 0 = as many as cores.
    pub threads: usize,
    /// Batches prepared ahead of the one in use, at least 1.
    pub prefetch: usize,
    /// The augmentations.
    pub views: ViewConfig,
    /// The views of each image.
    pub wanted: Vec<ViewSpec>,
    /// The boxes of the images, for views of instances.
    pub boxes: Arc<Boxes>,
    /// Steps of the whole run, over which the curriculum goes.
    pub total_steps: u64,
    /// The share of files, in [0, 1], that may fail to decode before the run is stopped.
    pub max_bad_share: f64,
    /// The log level of the message for each file that does not decode.
    pub bad_file_level: Level,
}

impl LoaderConfig {
    /// The settings for a run whose method takes these views; bad files are logged at `bad_file_level`. The batches are
    /// whole: [`Self::of_rank`] restricts them.
    pub(crate) fn of(
        plan: &Plan,
        wanted: &[ViewSpec],
        boxes: &Arc<Boxes>,
        bad_file_level: Level,
    ) -> Self {
        let RunConfig {
            data, train, views, ..
        } = &plan.config;
        Self {
            batch_size: train.batch_size,
            places: 0..train.batch_size,
            seed: train.seed,
            threads: data.threads,
            prefetch: data.prefetch,
            views: views.clone(),
            wanted: wanted.to_vec(),
            boxes: Arc::clone(boxes),
            total_steps: plan.total_steps,
            max_bad_share: data.max_bad_share,
            bad_file_level,
        }
    }

    /// The same for the part of a rank. Where the number of threads is left open, the ranks of a machine share its cores.
    pub(crate) fn of_rank(mut self, seat: Seat) -> Self {
        self.places = part_of(self.batch_size, seat.rank, seat.ranks);
        if self.threads == 0 {
            self.threads = (cores() / seat.neighbours).max(1);
        }
        self
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Prepares batches on worker threads, which end when this is dropped.
pub(crate) struct Loader {
    config: LoaderConfig,
    source: Arc<Source>,
    images: usize,
    /// The step that [`Batches::next`] returns next, and the first step that is not queued yet.
    next_step: u64,
    next_queued: u64,
    /// The epoch of the last queued samples, and its order of images.
    order: (u64, Arc<Vec<usize>>),
    /// `None` after an error, which stops the loader.
    workers: Option<WorkerPool>,
    /// Samples finished before they are needed, by step and position in the batch.
    early: BTreeMap<(u64, usize), Result<Sample, SampleError>>,
    bad_files: BadFiles,
    waited: Duration,
}

impl Loader {
    /// Starts preparing the batches from `first_step` on.
    ///
    /// # Errors
    /// When there are fewer images than a batch holds, or a setting is out of range.
    pub(crate) fn start(
        source: Arc<Source>,
        config: LoaderConfig,
        first_step: u64,
    ) -> anyhow::Result<Self> {
        let images = source.count();
        let batch_size = config.batch_size;
        ensure!(
            batch_size >= 1,
            "the batch size is 0: it must be at least 1"
        );
        ensure!(
            config.prefetch >= 1,
            "0 batches are to be made ahead: it must be at least 1"
        );
        ensure!(
            (0.0..=1.0).contains(&config.max_bad_share),
            "the largest share of bad files is {}: it must be between 0 and 1",
            config.max_bad_share
        );
        ensure!(
            images >= batch_size,
            "{images} images are fewer than the batch size of {batch_size}: add images, or choose \
             a batch size of at most {images}"
        );

        let bad_files = BadFiles::new(
            Arc::clone(&source),
            config.max_bad_share,
            "data.max_bad_share",
            config.bad_file_level,
        );
        let most_useful = config.places.len().saturating_mul(config.prefetch);
        let threads = match config.threads {
            0 => cores(),
            threads => threads,
        };
        let longest_search = proof(config.max_bad_share, images);
        let workers =
            WorkerPool::start(threads.min(most_useful), &source, &config, longest_search)?;

        let first_epoch = Place::of(first_step, 0, images, batch_size).epoch;
        let mut loader = Self {
            order: (
                first_epoch,
                Arc::new(epoch_order(config.seed, first_epoch, images)),
            ),
            config,
            source,
            images,
            next_step: first_step,
            next_queued: first_step,
            workers: Some(workers),
            early: BTreeMap::new(),
            bad_files,
            waited: Duration::ZERO,
        };
        loader.give_out_work()?;
        Ok(loader)
    }

    /// The files met so far that do not decode, sorted by path.
    pub(crate) fn bad_files(&self) -> Vec<BadFile> {
        self.bad_files.list()
    }

    fn assemble(&mut self) -> anyhow::Result<Batch> {
        let places = self.config.places.clone();
        let step = self.next_step;
        let stage = stage(&self.config.views, step, self.config.total_steps);
        let epoch = Place::of(step, 0, self.images, self.config.batch_size).epoch;
        let mut batch = Batch::empty(step, epoch, sides(&self.config.wanted, stage), places.len());
        // Samples are taken in the order of the batch, so that bad files are reported and counted in the same
        // order on every machine.
        for place in places {
            let sample = match self.wait_for(step, place)? {
                Ok(sample) => sample,
                Err(SampleError::NoneDecodes(skipped)) => {
                    return Err(self.bad_files.all_bad(skipped));
                }
                Err(SampleError::WrongBoxes { image, why }) => bail!(
                    "{}: {why}; make the file of boxes again for these pictures",
                    self.source.name(image).display()
                ),
                Err(SampleError::Panicked(text)) => bail!("a data loading thread panicked: {text}"),
            };
            self.bad_files.record(sample.image, sample.skipped)?;
            batch.push(sample.image, &sample.views, sample.geometry);
            if let Some(workers) = &self.workers {
                workers.reuse(sample.views);
            }
        }
        self.next_step += 1;
        self.give_out_work()?;
        Ok(batch)
    }

    fn wait_for(&mut self, step: u64, place: usize) -> anyhow::Result<Result<Sample, SampleError>> {
        loop {
            if let Some(sample) = self.early.remove(&(step, place)) {
                return Ok(sample);
            }
            let workers = self.workers.as_ref().context(STOPPED)?;
            let ((job, sample), waited) = workers.receive()?;
            self.waited += waited;
            self.early.insert((job.step, job.place), sample);
        }
    }

    /// Queues the samples of the `prefetch` batches from `next_step` on, where they are not queued yet.
    fn give_out_work(&mut self) -> anyhow::Result<()> {
        let (images, batch_size) = (self.images, self.config.batch_size);
        let workers = self.workers.as_ref().context(STOPPED)?;
        while self.next_queued < self.next_step.saturating_add(self.config.prefetch as u64) {
            let step = self.next_queued;
            let stage = stage(&self.config.views, step, self.config.total_steps);
            for place in self.config.places.clone() {
                let Place {
                    epoch,
                    position,
                    index,
                } = Place::of(step, place, images, batch_size);
                if self.order.0 != epoch {
                    let order = epoch_order(self.config.seed, epoch, images);
                    self.order = (epoch, Arc::new(order));
                }
                let order = Arc::clone(&self.order.1);
                workers.submit(Job {
                    step,
                    stage,
                    place,
                    position,
                    index,
                    order,
                })?;
            }
            self.next_queued += 1;
        }
        Ok(())
    }
}

impl Batches for Loader {
    /// The next batch; blocks until it is complete.
    ///
    /// A file that does not decode is replaced by the next one in the order of the epoch (after the last, by the
    /// first), and logged once.
    ///
    /// # Errors
    /// When too many files do not decode, or a worker thread panicked. Every later call then fails too.
    fn next(&mut self) -> anyhow::Result<Batch> {
        let batch = self.assemble();
        if batch.is_err() {
            self.workers = None;
            self.early.clear();
        }
        batch
    }

    fn seconds_waited(&self) -> f64 {
        self.waited.as_secs_f64()
    }
}

#[cfg(test)]
mod tests;
