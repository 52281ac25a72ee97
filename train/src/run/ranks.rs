//! A run of several ranks: threads of this process, or processes on one or more machines.
//!
//! Rank 0 leads: it owns the run's folder, shows progress and measures. The others follow: they get settings and state
//! from rank 0, take their part of every step, and write nothing. Before the first step processes compare what must
//! not differ between them; threads share it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, bail};
use densecl::checkpoint;
use densecl::device::{AUTOTUNES, Selected};
use densecl::world::World;
use serde::{Deserialize, Serialize};

use super::images::{self, Listing};
use super::pretrain::{Finished, MakeMethod, PreparedRun, ensure_shared};
use super::request::{RunRequest, settings_and_folder};
use super::training::{Rank, Silent};
use crate::agree::{self, TogetherFailed};
use crate::config::RunConfig;
use crate::data::Source;
use crate::events::Observer;
use crate::memory;
use crate::plan::{Plan, Seat};
use crate::settings;
use crate::threads::Threads;
use crate::trainer::Ended;

/// The stack of a rank's thread in bytes: that of a program's main thread on Linux.
const STACK: usize = 8 << 20;

/// What a thread needs from rank 0 to begin.
type Task = (RunConfig, Arc<Source>);

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

    /// Lets the threads begin.
    pub(super) fn begin(&self, config: &RunConfig, source: &Arc<Source>) {
        if let Self::Threads(threads) = self {
            for thread in threads {
                // A thread that has ended is noticed in the first exchange.
                let _ = thread.send((config.clone(), Arc::clone(source)));
            }
        }
    }
}

/// Refuses kernels that are chosen by timing: ranks could choose differently.
fn ensure_same_kernels(devices: &[&Selected]) -> anyhow::Result<()> {
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
    let Ok((config, source)) = told.recv() else {
        return Ok(());
    };
    let plan = Plan::new(config, selected.device.clone(), source.count())?;
    follow(&plan, &source, seat, world, method, stop).map(|_| ())
}

/// The steps of a rank other than 0, with the state that rank 0 begins with.
fn follow(
    plan: &Plan,
    source: &Arc<Source>,
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
        source,
        seat,
        world,
        stop,
    };
    rank.follow(learner, first_step)
}

/// The run of a process that is one of several ranks.
pub enum MemberRun {
    /// Rank 0.
    First(Box<PreparedRun>),
    /// Any other rank.
    Other(Follower),
}

/// The run of a process other than rank 0.
pub struct Follower {
    config: RunConfig,
    resumed: bool,
}

/// What processes compare before anything else.
#[derive(Serialize, Deserialize)]
struct Greeting {
    version: String,
    /// The settings as TOML. Of a run that is resumed only rank 0 has them, as it alone needs the folder.
    settings: Option<String>,
    resumed: bool,
}

/// Prepares the run of each process of `world`, which all call it with their request. The settings are rank 0's.
///
/// # Errors
/// One line for the user, on all ranks: when a process cannot read its settings, or versions or settings differ.
pub fn prepare_together(request: &RunRequest, world: &mut dyn World) -> anyhow::Result<MemberRun> {
    let resumed = request.resume.is_some();
    let own = if world.rank() == 0 {
        let prepared = PreparedRun::new(request);
        prepared.map(|prepared| MemberRun::First(Box::new(prepared)))
    } else {
        let config = if resumed {
            Ok(RunConfig::default())
        } else {
            settings_and_folder(request).map(|(config, _)| config)
        };
        config.map(|config| MemberRun::Other(Follower { config, resumed }))
    };
    let own = agree::all(world, own)??;
    let config = match &own {
        MemberRun::First(prepared) => Some(prepared.config()),
        MemberRun::Other(_) if resumed => None,
        MemberRun::Other(follower) => Some(&follower.config),
    };
    let greeting = Greeting {
        version: env!("CARGO_PKG_VERSION").to_string(),
        settings: config.map(settings::to_toml).transpose()?,
        resumed,
    };
    let all = world.gather(serde_json::to_vec(&greeting)?)?;
    let all = all.iter().map(|text| serde_json::from_slice(text));
    let all: Vec<Greeting> = all
        .collect::<Result<_, _>>()
        .context("the ranks have different versions of densecl")?;
    let first = compare(&all).map_err(|why| TogetherFailed(format!("{why:#}")))?;
    Ok(match own {
        MemberRun::First(prepared) => MemberRun::First(prepared),
        MemberRun::Other(follower) => {
            let mut config = first;
            if !resumed {
                free(&mut config, &follower.config);
            }
            MemberRun::Other(Follower { config, resumed })
        }
    })
}

/// Takes over from `own` the settings that may differ between machines.
fn free(config: &mut RunConfig, own: &RunConfig) {
    config.train.device.clone_from(&own.train.device);
    config.train.exceeds_memory = own.train.exceeds_memory;
    config.data.threads = own.data.threads;
    config.data.prefetch = own.data.prefetch;
}

/// The settings of rank 0, if the others agree with it.
fn compare(all: &[Greeting]) -> anyhow::Result<RunConfig> {
    let read = |text: &str| settings::resolve::<RunConfig>(&[("rank", text)], &[]);
    let [first, others @ ..] = all else {
        bail!("there are no ranks");
    };
    let settings = read(first.settings.as_deref().unwrap_or_default())?;
    for (rank, other) in (1..).zip(others) {
        if other.version != first.version {
            bail!(
                "rank {rank} is densecl {}, rank 0 is {}: all machines need the same version",
                other.version,
                first.version
            );
        }
        if other.resumed != first.resumed {
            bail!(
                "rank {rank} and rank 0 were started with different arguments: one resumes a run"
            );
        }
        let Some(own) = &other.settings else { continue };
        let mut own = read(own)?;
        free(&mut own, &settings);
        if own != settings {
            bail!(
                "rank {rank} was started with other settings than rank 0: {}",
                settings::differences(&settings, &own)?.join(", ")
            );
        }
    }
    Ok(settings)
}

impl PreparedRun {
    /// Rank 0 of several processes: as [`PreparedRun::run`].
    ///
    /// # Errors
    /// One line for the user. The other processes must be ended then.
    pub fn run_first(
        self,
        selected: &Selected,
        seat: Seat,
        world: &mut dyn World,
        watching: Box<dyn Observer>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Finished> {
        ensure_same_kernels(&[selected])?;
        self.lead(selected, seat, world, Others::Processes, watching, stop)
    }
}

impl Follower {
    /// The settings, which are rank 0's except for those of this machine.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Trains as a rank other than 0 and writes nothing. Returns whether the run was stopped before its end.
    ///
    /// # Errors
    /// One line for the user. Rank 0 reports those that are a [`TogetherFailed`] or a [`densecl::Error::Ranks`]. After
    /// any other error the other processes must be ended.
    pub fn run(
        self,
        selected: &Selected,
        seat: Seat,
        world: &mut dyn World,
        stop: &AtomicBool,
    ) -> anyhow::Result<bool> {
        ensure_same_kernels(&[selected])?;
        let Self {
            mut config,
            resumed,
        } = self;
        let others = Others::Processes;
        let mut silent = Silent;
        let data = images::open_source(&config, &mut silent);
        let (source, _, _) = others.same_data(world, data, |(_, _, listing)| *listing)?;
        let source = Arc::new(source);
        config.optim.accumulate =
            others.accumulate(world, &config, source.count(), selected, seat)?;
        // Rank 0 reports what these refuse.
        let together = |error: anyhow::Error| TogetherFailed(format!("{error:#}"));
        ensure_shared(&config, seat.ranks, resumed).map_err(together)?;
        config.validate().map_err(together)?;
        let device = selected.device.clone();
        let plan = Plan::new(config, device, source.count()).map_err(together)?;
        memory::check(&plan, selected, seat)?;
        let method: MakeMethod = Box::new(Plan::learner);
        Ok(follow(&plan, &source, seat, world, &method, stop)?.interrupted)
    }
}
