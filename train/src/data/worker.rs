//! The worker threads of the loader. A sample depends on its [`Job`] alone.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, Sender};
use densecl::augment::{Stage, ViewGeometry};

use super::boxes::Boxes;
use super::decode::{DecodeError, DecodeLimits, Decoder};
use super::loader::LoaderConfig;
use super::source::Source;
use crate::panics;
use crate::sample::Sampler;

/// One sample to make.
pub(super) struct Job {
    /// Training step of the batch.
    pub(super) step: u64,
    /// What the curriculum says about that step.
    pub(super) stage: Stage,
    /// Its position in the batch.
    pub(super) place: usize,
    /// Its position in the order of the epoch.
    pub(super) position: usize,
    /// Its number in the run, which seeds its augmentation.
    pub(super) index: u64,
    /// The order of images in the epoch.
    pub(super) order: Arc<Vec<usize>>,
}

/// A finished sample: one row of a batch.
pub(super) struct Sample {
    /// The views one after the other, each [3, S, S] with its own side S.
    pub(super) views: Vec<u8>,
    /// The crop of each view in the image.
    pub(super) geometry: Vec<ViewGeometry>,
    /// Index of the image in the data set.
    pub(super) image: usize,
    /// Images that were tried before it and did not decode.
    pub(super) skipped: Vec<(usize, DecodeError)>,
}

/// Why a sample could not be made.
pub(super) enum SampleError {
    /// So many files in a row do not decode that the share of bad files is certainly too large.
    NoneDecodes(Vec<(usize, DecodeError)>),
    /// The boxes of this image were made for another picture.
    WrongBoxes {
        /// Index of the image in the data set.
        image: usize,
        /// How the pictures differ.
        why: String,
    },
    /// The thread panicked; the panic's message.
    Panicked(String),
}

/// A job and its result.
type Done = (Job, Result<Sample, SampleError>);

/// The worker threads; dropping this ends them.
pub(super) struct WorkerPool {
    stop: Arc<AtomicBool>,
    /// `None` while the threads are being ended.
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    /// Buffers of views for reuse by the threads.
    spent: Sender<Vec<u8>>,
    threads: Vec<JoinHandle<()>>,
}

impl WorkerPool {
    /// Starts `count` threads that turn jobs into samples. A thread gives up after `longest_search` files in a row that
    /// do not decode.
    pub(super) fn start(
        count: usize,
        source: &Arc<Source>,
        config: &LoaderConfig,
        longest_search: usize,
    ) -> anyhow::Result<Self> {
        // The channel is unbounded; the loader bounds the number of jobs.
        let (jobs, queue) = crossbeam_channel::unbounded();
        let (results, done) = crossbeam_channel::unbounded();
        let (spent, spare) = crossbeam_channel::unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let mut pool = Self {
            stop,
            jobs: Some(jobs),
            done,
            spent,
            threads: Vec::new(),
        };
        for number in 1..=count {
            let mut worker = Worker {
                source: Arc::clone(source),
                boxes: Arc::clone(&config.boxes),
                sampler: Sampler::new(config.views.clone(), config.wanted.clone(), config.seed),
                decoder: Decoder::new(DecodeLimits::default()),
                spare: spare.clone(),
                longest_search,
                stop: Arc::clone(&pool.stop),
            };
            let (queue, results) = (queue.clone(), results.clone());
            let thread = std::thread::Builder::new()
                .name(format!("loader {number}"))
                .spawn(move || worker.work(&queue, &results))
                .with_context(|| format!("cannot start data loading thread {number} of {count}"))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues a job; jobs are started in this order.
    pub(super) fn submit(&self, job: Job) -> anyhow::Result<()> {
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        ensure!(sent, THREADS_ENDED);
        Ok(())
    }

    /// Takes the buffer of a sample's views for reuse.
    pub(super) fn reuse(&self, views: Vec<u8>) {
        // Fails only when all threads have ended, and then no buffer is needed.
        let _ = self.spent.send(views);
    }

    /// A finished job, in no particular order, and the time spent waiting for it.
    pub(super) fn receive(&self) -> anyhow::Result<(Done, Duration)> {
        if let Ok(done) = self.done.try_recv() {
            return Ok((done, Duration::ZERO));
        }
        let start = Instant::now();
        let done = self.done.recv().context(THREADS_ENDED)?;
        Ok((done, start.elapsed()))
    }
}

const THREADS_ENDED: &str = "all data loading threads have ended";

impl Drop for WorkerPool {
    /// Waits for the samples in work and discards those that are queued.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was already returned as the result of its sample.
            let _ = thread.join();
        }
    }
}

/// The inputs and buffers of one thread.
struct Worker {
    source: Arc<Source>,
    boxes: Arc<Boxes>,
    sampler: Sampler,
    decoder: Decoder,
    spare: Receiver<Vec<u8>>,
    longest_search: usize,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn work(&mut self, jobs: &Receiver<Job>, results: &Sender<Done>) {
        while let Ok(job) = jobs.recv() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // Without a result for this job the loader would wait forever. After a panic the thread can go on: every
            // sample refills its buffers.
            let sample = panics::catch(|| self.sample(&job))
                .unwrap_or_else(|panic| Err(SampleError::Panicked(panic)));
            if results.send((job, sample)).is_err() {
                return;
            }
        }
    }

    /// The sample of the job, from its image or the first one after it that decodes.
    fn sample(&mut self, job: &Job) -> Result<Sample, SampleError> {
        let source = Arc::clone(&self.source);
        let mut skipped = Vec::new();
        let (before, from) = job.order.split_at(job.position);
        for &image in from.iter().chain(before) {
            match source.picture(image, &mut self.decoder) {
                Ok(pixels) => {
                    let boxes = (self.boxes.of(image, &pixels))
                        .map_err(|why| SampleError::WrongBoxes { image, why })?;
                    let mut views = self.spare.try_recv().unwrap_or_default();
                    let (index, stage) = (job.index, job.stage);
                    let geometry = (self.sampler).make(&pixels, boxes, index, stage, &mut views);
                    if let Cow::Owned(pixels) = pixels {
                        self.decoder.reuse(pixels);
                    }
                    return Ok(Sample {
                        views,
                        geometry,
                        image,
                        skipped,
                    });
                }
                Err(error) => skipped.push((image, error)),
            }
            if skipped.len() >= self.longest_search || self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Err(SampleError::NoneDecodes(skipped))
    }
}
