//! The training loop of a rank, with files, a clock and threads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, bail};
use densecl::device::block_on;
use densecl::method::Method;
use densecl::world::World;
use log::Level;

use super::failure::{device_failure, explain};
use super::folder::RunDir;
use super::images::Images;
use crate::agree::TogetherFailed;
use crate::data::BadFile;
use crate::data::loader::{Loader, LoaderConfig};
use crate::events::{Observer, TrainEvent};
use crate::memory;
use crate::paths;
use crate::plan::{Plan, Seat};
use crate::report::read_jsonl;
use crate::trainer::{Ended, Failure, Host, Services, Trainer};

/// The clock and memory of this machine, and the run's folder for checkpoints.
struct Machine<'a> {
    started: Instant,
    run: &'a RunDir,
    /// Number of checkpoints kept.
    keep: usize,
}

impl Host for Machine<'_> {
    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn resident_bytes(&self) -> Option<u64> {
        memory::resident()
    }

    fn keep(&mut self, step: u64, state: Vec<u8>) -> anyhow::Result<PathBuf> {
        self.run.save_checkpoint(step, &state, self.keep)
    }
}

/// The clock and memory of a machine whose rank stores nothing.
struct Follows(Instant);

impl Host for Follows {
    fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    fn resident_bytes(&self) -> Option<u64> {
        None
    }

    fn keep(&mut self, _: u64, _: Vec<u8>) -> anyhow::Result<PathBuf> {
        bail!("only rank 0 stores checkpoints")
    }
}

/// Receives the events of a rank that shows nothing.
pub(super) struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &TrainEvent) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A rank of a run, ready to train.
pub(super) struct Rank<'a> {
    pub(super) plan: &'a Plan,
    pub(super) images: &'a Images,
    pub(super) seat: Seat,
    pub(super) world: &'a mut dyn World,
    pub(super) stop: &'a AtomicBool,
}

impl Rank<'_> {
    /// Rank 0: trains `learner` from `first_step` to the end, or until a stop is requested. Also returns the files that
    /// did not decode on any rank.
    ///
    /// # Errors
    /// Too many unreadable files, a loss that is not finite, a failed device or disk, another rank that has ended.
    /// Earlier checkpoints stay unchanged.
    pub(super) fn lead(
        &mut self,
        learner: Box<dyn Method>,
        first_step: u64,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<(Ended, Vec<BadFile>)> {
        let begun = (first_step, seconds_before(run, first_step)?);
        let mut machine = Machine {
            started: Instant::now(),
            run,
            keep: self.plan.config.checkpoint.keep,
        };
        let ended = self.train(learner, begun, &mut machine, observer)?;
        let (plan, seat) = (self.plan, self.seat);
        let (ended, bad_files) = ended.map_err(|failure| explain(failure, plan, seat, run))?;
        Ok((ended, all_bad_files(self.world, bad_files)?))
    }

    /// Another rank: takes the same steps, and stores and shows nothing.
    ///
    /// # Errors
    /// As [`Self::lead`]. A failure that rank 0 reports is a [`TogetherFailed`] or a [`densecl::Error::Ranks`].
    pub(super) fn follow(
        &mut self,
        learner: Box<dyn Method>,
        first_step: u64,
    ) -> anyhow::Result<Ended> {
        let mut host = Follows(Instant::now());
        let ended = self.train(learner, (first_step, 0.0), &mut host, &mut Silent)?;
        let (ended, bad_files) = ended.map_err(|failure| match failure {
            Failure::NotFinite(_) => TogetherFailed("the loss is not finite".to_string()).into(),
            Failure::Data { why, .. } => why,
            Failure::Rank(why) => densecl::Error::Ranks(why).into(),
            Failure::Device(noticed) => device_failure(self.plan, self.seat, &noticed),
            Failure::Other(error) => error,
        })?;
        all_bad_files(self.world, bad_files)?;
        Ok(ended)
    }

    fn train(
        &mut self,
        learner: Box<dyn Method>,
        begun: (u64, f64),
        host: &mut dyn Host,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Result<(Ended, Vec<BadFile>), Failure>> {
        let level = if self.seat.rank == 0 {
            Level::Warn
        } else {
            // Rank 0 lists the files of all ranks at the end.
            Level::Debug
        };
        let config = LoaderConfig::of(self.plan, &learner.views(), &self.images.boxes, level)
            .of_rank(self.seat);
        let mut loader = Loader::start(Arc::clone(&self.images.source), config, begun.0)?;
        let mut services = Services {
            plan: self.plan,
            batches: &mut loader,
            host,
            observer,
            world: self.world,
            stop: self.stop,
        };
        let trainer = Trainer::new(learner, begun, &mut services);
        let ended = trainer.and_then(|trainer| block_on(trainer.run(&mut services)));
        Ok(ended.map(|ended| (ended, loader.bad_files())))
    }
}

/// The files that did not decode on any rank.
fn all_bad_files(world: &mut dyn World, own: Vec<BadFile>) -> anyhow::Result<Vec<BadFile>> {
    if world.size() == 1 {
        return Ok(own);
    }
    let as_text = |bad: &BadFile| (paths::text(&bad.path), bad.reason.clone());
    let own: Vec<(String, String)> = own.iter().map(as_text).collect();
    let mut all = BTreeSet::new();
    for list in world.gather(serde_json::to_vec(&own)?)? {
        let list: Vec<(String, String)> = serde_json::from_slice(&list)?;
        all.extend(list.into_iter().map(|(path, reason)| BadFile {
            path: paths::path_of(&path),
            reason,
        }));
    }
    Ok(all.into_iter().collect())
}

/// Training time in seconds up to `step`, read from the log.
fn seconds_before(run: &RunDir, step: u64) -> anyhow::Result<f64> {
    let path = run.metrics();
    if step == 0 || !path.exists() {
        return Ok(0.0);
    }
    let rows = read_jsonl(&path).with_context(|| format!("reading {}", path.display()))?;
    let before = rows.iter().rfind(|row| row.step <= step);
    Ok(before.map_or(0.0, |row| row.seconds))
}
