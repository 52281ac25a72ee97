//! The run of a process that is one of several ranks: settings, comparison with the others, and its part of the steps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use densecl::device::Selected;
use densecl::world::World;
use serde::{Deserialize, Serialize};

use super::images::{self, Images};
use super::kernels;
use super::pretrain::{Finished, MakeMethod, PreparedRun, ensure_shared};
use super::ranks::{Others, ensure_same_kernels, follow};
use super::request::{RunRequest, settings_and_folder};
use super::training::Silent;
use crate::agree::{self, TogetherFailed};
use crate::config::RunConfig;
use crate::events::Observer;
use crate::memory;
use crate::plan::{Plan, Seat};
use crate::settings;

/// The run of a process that is one of several ranks.
pub enum MemberRun {
    /// Rank 0.
    First(Box<PreparedRun>),
    /// Any other rank.
    Other(Box<Follower>),
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
        config.map(|config| MemberRun::Other(Box::new(Follower { config, resumed })))
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
            MemberRun::Other(Box::new(Follower { config, resumed }))
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
        kernels::set_mode(&plan.config, seat.ranks)?;
        let method: MakeMethod = Box::new(Plan::learner);
        let Some(boxes) = others.same_boxes(world, None)? else {
            return Ok(true);
        };
        let images = Images {
            source,
            boxes: Arc::new(boxes),
        };
        Ok(follow(&plan, &images, seat, world, &method, stop)?.interrupted)
    }
}
