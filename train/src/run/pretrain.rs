//! A pre-training run from settings to results.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use densecl::checkpoint::{self, Checkpoint, TrainingState};
use densecl::config::Precision;
use densecl::device::Selected;
use densecl::method::{Method, Shows};
use densecl::world::{Alone, World};

use super::boxes;
use super::describe::describe;
use super::folder::RunDir;
use super::images::{self, Images};
use super::kernels;
use super::ranks::{Others, side_by_side};
use super::request::{Resumed, RunRequest, prepare};
use super::result::{self, RunResult};
use super::start;
use super::training::Rank;
use crate::agree;
use crate::config::RunConfig;
use crate::events::{Observer, Observers, TrainEvent};
use crate::files::write_atomically;
use crate::held_out;
use crate::memory;
use crate::plan::{Plan, Seat};
use crate::report::{JsonlWriter, TensorBoardWriter};
use crate::settings;

/// A run with validated settings, ready to start or resume.
pub struct PreparedRun {
    pub(super) config: RunConfig,
    pub(super) out: PathBuf,
    pub(super) overwrite: bool,
    pub(super) resumed: Option<Resumed>,
    /// A training state of another program to continue.
    pub(super) state: Option<TrainingState>,
    /// Makes the learner at step 0.
    pub(super) method: MakeMethod,
}

/// Makes a method at step 0 from the plan of the run. With several ranks it is called once for each.
pub type MakeMethod = Box<dyn Fn(&Plan) -> Box<dyn Method> + Send + Sync>;

/// The folder of a run and its results; `None` when the run was stopped before its first step.
pub type Finished = Option<(RunDir, RunResult)>;

impl PreparedRun {
    /// Reads and validates the settings and the training state to continue, if any. Locks the folder of a run that
    /// is resumed.
    ///
    /// # Errors
    /// One line for the user.
    pub fn new(request: &RunRequest) -> anyhow::Result<Self> {
        let mut prepared = prepare(request)?;
        if prepared.resumed.is_none() {
            prepared.state = start::training_state(&prepared.config)?;
        }
        // Where the settings leave the queue length open, it is that of the training state.
        if let Some(state) = &prepared.state
            && prepared.config.method.queue == 0
        {
            prepared.config.method.queue = state.queue_len();
        }
        Ok(prepared)
    }

    /// A new run of the settings' own method in the folder `out`.
    pub(super) fn of(config: RunConfig, out: PathBuf) -> Self {
        Self {
            config,
            out,
            overwrite: false,
            resumed: None,
            state: None,
            method: Box::new(Plan::learner),
        }
    }

    /// Trains this method instead of the one in the settings. Backbone, views, data and optimizer still come from
    /// the settings.
    #[must_use]
    pub fn with_method(mut self, method: MakeMethod) -> Self {
        self.method = method;
        self
    }

    /// The settings.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.out
    }

    /// Trains on the device `selected` until the end or until `stop` is set. `watching` receives all events;
    /// `metrics.jsonl` and TensorBoard's files are written too. `None` when the run was stopped before its first
    /// step.
    ///
    /// # Errors
    /// One line for the user.
    pub fn run(
        self,
        selected: &Selected,
        watching: Box<dyn Observer>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Finished> {
        let others = Others::None;
        self.lead(selected, Seat::ALONE, &mut Alone, others, watching, stop)
    }

    /// The same on several devices: a rank for each, as threads of this process. A device may be named twice.
    ///
    /// # Errors
    /// One line for the user.
    pub fn run_on(
        self,
        devices: &[Selected],
        watching: Box<dyn Observer>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Finished> {
        match devices {
            [] => bail!("no device is given to train on"),
            [only] => self.run(only, watching, stop),
            _ => side_by_side(self, devices, watching, stop),
        }
    }

    /// Rank 0 of a run: everything but the steps of the others.
    pub(super) fn lead(
        self,
        selected: &Selected,
        seat: Seat,
        world: &mut dyn World,
        others: Others,
        mut watching: Box<dyn Observer>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Finished> {
        let Self {
            mut config,
            out,
            overwrite,
            resumed,
            state,
            method,
        } = self;
        let (run, resumed) = match resumed {
            Some(Resumed { run, step, path }) => (run, Some((step, path))),
            None => (RunDir::create(&out, overwrite)?, None),
        };

        let mut note = |text: String| watching.event(&TrainEvent::Note(text));
        note(format!("device: {}", selected.reason))?;
        if config.optim.precision != Precision::F32 && selected.name == "cpu" {
            note(format!(
                "{}: slower than f32 on a CPU, which converts every number; worth it on a GPU",
                config.optim.precision.name()
            ))?;
        }
        let data = others.same_data(world, images::open(&config, &mut *watching), |data| {
            data.listing
        })?;
        let (pairs, bad_pairs) = (data.pairs, data.bad_pairs);
        let source = Arc::new(data.source);
        let open = config.optim.accumulate == 0;
        config.optim.accumulate =
            others.accumulate(world, &config, source.count(), selected, seat)?;
        ensure_shared(&config, seat.ranks, resumed.is_some())?;
        config.validate()?;
        let plan = Plan::new(config, selected.device.clone(), source.count())?;
        let mut note = |text: String| watching.event(&TrainEvent::Note(text));
        note(describe(&plan, data.held_out))?;
        if seat.ranks > 1 {
            note(describe_ranks(&plan, seat))?;
        } else if open && plan.config.optim.accumulate > 1 {
            note(format!(
                "optim.accumulate = {}: a step would not fit in memory with fewer parts",
                plan.config.optim.accumulate
            ))?;
        }
        note(memory::check(&plan, selected, seat)?)?;

        kernels::begin(&plan.config, seat.ranks, &run, resumed.is_some())?;
        let fresh = method(&plan);
        let instances = Shows::instances(&fresh.views());
        let began = resumed.as_ref().map(|_| &run);
        let found = boxes::of_run(
            &plan.config,
            &source,
            instances,
            began,
            &mut *watching,
            stop,
        )?;
        let found = others.same_boxes(world, found)?;
        let Some(boxes) = found else {
            watching.event(&TrainEvent::Note(NOTHING_TO_CONTINUE.to_string()))?;
            return Ok(None);
        };
        let note = |text: String| watching.event(&TrainEvent::Note(text));
        let (mut learner, first_step) = match &resumed {
            Some((step, path)) => {
                data.listing.ensure_same(&run)?;
                (load_checkpoint(&plan, fresh, *step, path)?, *step)
            }
            None => {
                let (learner, first_step, notes) = start::learner(&plan, fresh, state)?;
                notes.into_iter().try_for_each(note)?;
                // The earlier run is deleted only after all checks, because a refused run must leave it in place.
                run.clear()?;
                data.listing.save(&run)?;
                boxes::save(&boxes, &source, &plan.config, &run)?;
                (learner, first_step)
            }
        };
        // A resumed run saves its settings too: the number of steps may have been changed, and later resumes
        // use it.
        let text = settings::to_toml(&plan.config)?;
        write_atomically(&run.config(), text.as_bytes())?;
        let images = Images {
            source,
            boxes: Arc::new(boxes),
        };
        others.begin(&plan.config, &images);
        agree::of_first(world, first_step)?;
        checkpoint::share(&mut *learner, world)?;
        let mut observers = Observers(vec![watching]);
        let keep = resumed.is_some().then_some(first_step);
        let metrics = JsonlWriter::open(&run.metrics(), keep)?;
        observers.0.push(Box::new(metrics));
        observers.0.push(Box::new(kernels::KernelFile::of(&run)));
        if plan.config.log.tensorboard {
            let mut writer = TensorBoardWriter::create(&run.tensorboard())?;
            if first_step > 0 {
                writer.purge_from(first_step + 1)?;
            }
            observers.0.push(Box::new(writer));
        }

        let before = if pairs.is_empty() {
            None
        } else {
            // An older version may have measured by another feature; those figures cannot be compared.
            let known = result::untrained(&run)?;
            match known.filter(|before| before.feature == held_out::FEATURE) {
                Some(before) => Some(before),
                None => result::measure_untrained(
                    &plan,
                    &images,
                    &*learner,
                    &pairs,
                    &run,
                    &mut observers,
                    stop,
                )?,
            }
        };

        let mut rank = Rank {
            plan: &plan,
            images: &images,
            seat,
            world,
            stop,
        };
        let (ended, mut bad_files) = rank.lead(learner, first_step, &run, &mut observers)?;
        if ended.interrupted && ended.step == 0 {
            run.clear()?;
            observers.event(&TrainEvent::Note(NOTHING_TO_CONTINUE.to_string()))?;
            return Ok(None);
        }
        bad_files.extend(bad_pairs);
        let result = result::conclude(
            &plan,
            &run,
            (&selected.name, seat.ranks),
            &pairs,
            before,
            (&ended, &bad_files),
            &mut observers,
        )?;
        Ok(Some((run, result)))
    }
}

const NOTHING_TO_CONTINUE: &str = "stopped before the first step: there is nothing to continue";

/// Refuses a number of ranks that cannot share the micro-batches of the settings.
///
/// # Errors
/// One line with what fits: for a run that is resumed a number of ranks, otherwise a number of micro-batches.
pub(super) fn ensure_shared(config: &RunConfig, ranks: usize, resumed: bool) -> anyhow::Result<()> {
    match config.ensure_divides(ranks) {
        Err(_) if resumed => {
            let fit = config.ranks_that_fit();
            let fit: Vec<String> = fit.iter().map(ToString::to_string).collect();
            bail!(
                "{ranks} ranks cannot continue this run, whose optim.accumulate is {}: the numbers of ranks that can are {}",
                config.optim.accumulate,
                fit.join(", ")
            )
        }
        done => done,
    }
}

fn describe_ranks(plan: &Plan, seat: Seat) -> String {
    let accumulate = plan.config.optim.accumulate;
    let images = plan.config.train.batch_size;
    format!(
        "{} ranks, each with {} images of a step in {} parts (optim.accumulate = {accumulate})",
        seat.ranks,
        images / seat.ranks,
        accumulate / seat.ranks
    )
}

/// Loads the checkpoint at `path`, taken after `step` steps, into `learner`.
fn load_checkpoint(
    plan: &Plan,
    mut learner: Box<dyn Method>,
    step: u64,
    path: &Path,
) -> anyhow::Result<Box<dyn Method>> {
    if step > plan.total_steps {
        bail!(
            "the run is at step {step} already, more than the {} steps asked for: give more with \
             --steps or --epochs",
            plan.total_steps
        );
    }
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let refused = || {
        format!(
            "{} cannot be continued from; delete it to continue from the one before",
            path.display()
        )
    };
    let saved = Checkpoint::read(&bytes, &plan.config.model).with_context(refused)?;
    let info = saved.restore(&mut *learner).with_context(refused)?;
    let images = plan.images;
    if info.images != images {
        bail!(
            "the run was on {} images, {} holds {images} now: to continue exactly the data must be the \
             same",
            info.images,
            plan.config.data.source
        );
    }
    Ok(learner)
}
