//! A run of several ranks. Rank 0 leads: it owns the run's folder, shows progress and measures. The others follow: they
//! get settings and state from rank 0, take their part of every step, and write nothing.
//!
//! The ranks are threads of this process, which share settings and data, or processes ([`super::together`]), which
//! compare them before the first step.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, bail};
use densecl::checkpoint;
use densecl::device::{AUTOTUNES, Selected};
use densecl::world::World;

use super::images::{Images, Listing};
use super::pretrain::{Finished, MakeMethod, PreparedRun};
use super::training::Rank;
use crate::agree::{self, TogetherFailed};
use crate::config::RunConfig;
use crate::data::boxes::Boxes;
use crate::events::Observer;
use crate::memory;
use crate::plan::{Plan, Seat};
use crate::threads::Threads;
use crate::trainer::Ended;

/// The stack of a rank's thread in bytes: that of a program's main thread on Linux.
const STACK: usize = 8 << 20;

/// What a thread needs from rank 0 to begin.
type Task = (RunConfig, Images);

/// The other ranks, as rank 0 sees them.
pub(super) enum Others {
    /// There are none.
    None,
    /// Threads that wait for their task.
    Threads(Vec<Sender<Task>>),
    /// Processes that take the same steps towards their first one.
    Processes,
}

impl Others {
    /// `data`, if this process and all others could open it and opened the same.
    ///
    /// # Errors
    /// When the data cannot be opened, or differs between processes.
    pub(super) fn same_data<T>(
        &self,
        world: &mut dyn World,
        data: anyhow::Result<T>,
        listing: impl Fn(&T) -> Listing,
    ) -> anyhow::Result<T> {
        let Self::Processes = self else { return data };
        let data = agree::all(world, data)??;
        let own = serde_json::to_vec(&listing(&data))?;
        let all = world.gather(own)?.into_iter();
        let all: Vec<Listing> = all
            .map(|text| serde_json::from_slice(&text))
            .collect::<Result<_, _>>()?;
        for (rank, other) in all.iter().enumerate() {
            if let Some(difference) = other.difference(&all[0]) {
                let why = format!(
                    "rank {rank} sees other data than rank 0, {difference}: all machines need the same files under \
                     the same path"
                );
                return Err(TogetherFailed(why).into());
            }
        }
        Ok(data)
    }

    /// `optim.accumulate`, chosen where the settings leave it open; the same for all processes.
    ///
    /// # Errors
    /// When another rank has ended.
    pub(super) fn accumulate(
        &self,
        world: &mut dyn World,
        config: &RunConfig,
        images: usize,
        selected: &Selected,
        seat: Seat,
    ) -> anyhow::Result<usize> {
        let own = memory::accumulate(config, images, selected, seat);
        match self {
            Self::Processes => Ok(agree::largest(world, own)?),
            _ => Ok(own),
        }
    }

    /// The boxes of rank 0; `None` where it was stopped while it searched for them. Threads get them with their task.
    ///
    /// # Errors
    /// When another rank has ended.
    pub(super) fn same_boxes(
        &self,
        world: &mut dyn World,
        own: Option<Boxes>,
    ) -> anyhow::Result<Option<Boxes>> {
        let Self::Processes = self else {
            return Ok(own);
        };
        let said = match world.rank() {
            0 => serde_json::to_vec(&own)?,
            _ => Vec::new(),
        };
        let all = world.gather(said)?;
        let first = all.first().context("a run has at least one rank")?;
        Ok(serde_json::from_slice(first)?)
    }

    /// Lets the threads begin.
    pub(super) fn begin(&self, config: &RunConfig, images: &Images) {
        if let Self::Threads(threads) = self {
            for thread in threads {
                // A thread that has ended is noticed in the first exchange.
                let _ = thread.send((config.clone(), images.clone()));
            }
        }
    }
}

/// Refuses kernels that are chosen by timing: ranks could choose differently.
pub(super) fn ensure_same_kernels(devices: &[&Selected]) -> anyhow::Result<()> {
    if AUTOTUNES && devices.iter().any(|selected| selected.name != "cpu") {
        bail!(
            "this build has the feature autotune, by which every rank times its kernels and may choose others than the \
             next: several ranks need a build without it"
        );
    }
    Ok(())
}

/// Trains on several devices, a thread for each; this thread is rank 0.
///
/// # Errors
/// As [`PreparedRun::run_on`].
pub(super) fn side_by_side(
    prepared: PreparedRun,
    devices: &[Selected],
    watching: Box<dyn Observer>,
    stop: &AtomicBool,
) -> anyhow::Result<Finished> {
    ensure_same_kernels(&devices.iter().collect::<Vec<_>>())?;
    let ranks = devices.len();
    let seat = |rank| Seat {
        rank,
        ranks,
        neighbours: ranks,
    };
    let mut worlds = Threads::worlds(ranks).into_iter();
    let mut first = worlds.next().context("a run has at least one rank")?;
    let mut prepared = prepared;
    let method: Arc<MakeMethod> = Arc::new(prepared.method);
    let of_first = Arc::clone(&method);
    prepared.method = Box::new(move |plan| of_first(plan));
    thread::scope(|scope| {
        let (mut tell, mut threads) = (Vec::new(), Vec::new());
        // Begun before the threads, so that a failure to start one ends those that are waiting.
        let guard = first.guard();
        for (rank, (mut world, selected)) in (1..).zip(worlds.zip(&devices[1..])) {
            let (sender, told) = channel();
            let method = Arc::clone(&method);
            let work = move || {
                let guard = world.guard();
                match wait_and_follow(&told, selected, seat(rank), &mut world, &method, stop) {
                    Ok(()) => guard.finished(),
                    Err(error) => guard.failed(&format!("{error:#}")),
                }
            };
            let named = thread::Builder::new()
                .name(format!("rank {rank}"))
                .stack_size(STACK);
            let thread = named.spawn_scoped(scope, work);
            threads.push(thread.context("cannot start a thread for each device")?);
            tell.push(sender);
        }
        let others = Others::Threads(tell);
        let done = prepared.lead(&devices[0], seat(0), &mut first, others, watching, stop);
        match &done {
            Ok(_) => guard.finished(),
            Err(error) => guard.failed(&format!("{error:#}")),
        }
        for thread in threads {
            // A panic has been printed, and has ended rank 0 with an error.
            let _ = thread.join();
        }
        done
    })
}

/// A thread other than rank 0's: waits for its task and trains.
fn wait_and_follow(
    told: &Receiver<Task>,
    selected: &Selected,
    seat: Seat,
    world: &mut Threads,
    method: &MakeMethod,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    // Without a task, rank 0 has ended before the first step.
    let Ok((config, images)) = told.recv() else {
        return Ok(());
    };
    let plan = Plan::new(config, selected.device.clone(), images.source.count())?;
    follow(&plan, &images, seat, world, method, stop).map(|_| ())
}

/// The steps of a rank other than 0, with the state that rank 0 begins with.
pub(super) fn follow(
    plan: &Plan,
    images: &Images,
    seat: Seat,
    world: &mut dyn World,
    method: &MakeMethod,
    stop: &AtomicBool,
) -> anyhow::Result<Ended> {
    let mut learner = method(plan);
    let first_step = agree::of_first(world, 0)?;
    checkpoint::share(&mut *learner, world)?;
    let mut rank = Rank {
        plan,
        images,
        seat,
        world,
        stop,
    };
    rank.follow(learner, first_step)
}
