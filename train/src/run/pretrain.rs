//! A pre-training run from settings to results.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use densecl::checkpoint::{Checkpoint, TrainingState};
use densecl::config::Precision;
use densecl::device::Selected;
use densecl::method::{Method, Shows};

use super::boxes;
use super::describe::describe;
use super::folder::RunDir;
use super::images::{self, Images};
use super::result::{self, RunResult};
use super::start;
use super::training::train;
use crate::config::RunConfig;
use crate::events::{Observer, Observers, TrainEvent};
use crate::files::write_atomically;
use crate::held_out;
use crate::memory;
use crate::plan::Plan;
use crate::presets::PRESETS;
use crate::report::{JsonlWriter, TensorBoardWriter};
use crate::settings;

/// Describes the run to start or to resume.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// A preset's name or a TOML file.
    pub config: Option<String>,
    /// Overrides `section.key=value`, applied in order.
    pub sets: Vec<String>,
    /// The folder of the run; `None` = `runs/<name of the config>`.
    pub out: Option<PathBuf>,
    /// The folder of a run to resume.
    pub resume: Option<PathBuf>,
    /// Replace an earlier run in the same folder.
    pub overwrite: bool,
}

impl RunRequest {
    /// The quick start: embedded scenes, a small network, minutes on a CPU.
    pub fn quick_start() -> Self {
        Self {
            config: Some("quickstart".to_string()),
            // Newcomers may repeat the quick start; the second time must not fail because of the first.
            overwrite: true,
            ..Self::default()
        }
    }
}

/// A run with validated settings, ready to start or resume.
pub struct PreparedRun {
    config: RunConfig,
    out: PathBuf,
    overwrite: bool,
    resumed: Option<Resumed>,
    /// A training state of another program to continue.
    state: Option<TrainingState>,
    /// Makes the learner at step 0.
    method: MakeMethod,
}

/// Makes a method at step 0 from the plan of the run.
pub type MakeMethod = Box<dyn FnOnce(&Plan) -> Box<dyn Method>>;

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

    /// Trains on the device `selected` until the end or until `stop` is set. `watching` receives all events;
    /// `metrics.jsonl` and TensorBoard's files are written too. `None` when the run was stopped before its first
    /// step.
    ///
    /// # Errors
    /// One line for the user.
    pub fn run(
        self,
        selected: &Selected,
        mut watching: Box<dyn Observer>,
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<(RunDir, RunResult)>> {
        let Self {
            config,
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
        let data = images::open(&config, &mut *watching)?;
        let (pairs, bad_pairs) = (data.pairs, data.bad_pairs);
        let plan = Plan::new(config, selected.device.clone(), data.source.count())?;
        let source = Arc::new(data.source);
        let mut note = |text: String| watching.event(&TrainEvent::Note(text));
        note(describe(&plan, data.held_out))?;
        note(memory::check(&plan, selected)?)?;

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
        let Some(boxes) = found else {
            watching.event(&TrainEvent::Note(NOTHING_TO_CONTINUE.to_string()))?;
            return Ok(None);
        };
        let note = |text: String| watching.event(&TrainEvent::Note(text));
        let (learner, first_step) = match &resumed {
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
        // A resumed run saves its settings too: the number of steps may have been changed, and later resumes use it.
        let text = settings::to_toml(&plan.config)?;
        write_atomically(&run.config(), text.as_bytes())?;
        let images = Images {
            source,
            boxes: Arc::new(boxes),
        };
        let mut observers = Observers(vec![watching]);
        let keep = resumed.is_some().then_some(first_step);
        let metrics = JsonlWriter::open(&run.metrics(), keep)?;
        observers.0.push(Box::new(metrics));
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
                    &learner.views(),
                    &pairs,
                    &run,
                    &mut observers,
                    stop,
                )?,
            }
        };

        let (ended, mut bad_files) = train(
            &plan,
            &images,
            learner,
            first_step,
            &run,
            &mut observers,
            stop,
        )?;
        if ended.interrupted && ended.step == 0 {
            run.clear()?;
            observers.event(&TrainEvent::Note(NOTHING_TO_CONTINUE.to_string()))?;
            return Ok(None);
        }
        bad_files.extend(bad_pairs);
        let result = result::conclude(
            &plan,
            &run,
            &selected.name,
            &pairs,
            before,
            (&ended, &bad_files),
            &mut observers,
        )?;
        Ok(Some((run, result)))
    }
}

const NOTHING_TO_CONTINUE: &str = "stopped before the first step: there is nothing to continue";

/// An earlier run, locked, with the step and path of its newest checkpoint.
struct Resumed {
    run: RunDir,
    step: u64,
    path: PathBuf,
}

fn prepare(request: &RunRequest) -> anyhow::Result<PreparedRun> {
    if let Some(path) = &request.resume {
        return prepare_resume(request, path);
    }
    let (config, out) = settings_and_folder(request)?;
    config.validate()?;
    Ok(PreparedRun {
        config,
        out,
        overwrite: request.overwrite,
        resumed: None,
        state: None,
        method: Box::new(Plan::learner),
    })
}

/// The settings, not yet validated, and the folder of a request.
///
/// # Errors
/// When the settings cannot be read, or neither a config nor a setting is given.
pub fn settings_and_folder(request: &RunRequest) -> anyhow::Result<(RunConfig, PathBuf)> {
    if let Some(path) = &request.resume {
        let run = RunDir::open(path)?;
        let config = settings::resolve_file(&run.config(), &request.sets)?;
        return Ok((config, path.clone()));
    }
    if request.config.is_none() && request.sets.is_empty() {
        bail!(
            "nothing says what to train on: give --data PATH, or --config with a preset or a file \
             (`densecl config` lists the presets)"
        );
    }
    let (name, config) = preset_or_file(request.config.as_deref(), &request.sets)?;
    let out = request
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(name));
    Ok((config, out))
}

fn prepare_resume(request: &RunRequest, path: &Path) -> anyhow::Result<PreparedRun> {
    if request.config.is_some() || request.out.is_some() {
        bail!("--resume continues a run with its own settings: leave out --config and --out");
    }
    let mut run = RunDir::open(path)?;
    // Locked before reading, because a run that is still training could change the files.
    run.lock("wait for it, or stop it; it can be continued then")?;
    let saved: RunConfig = settings::resolve_file(&run.config(), &[])?;
    let config: RunConfig = settings::resolve_file(&run.config(), &request.sets)?;
    config.validate()?;
    // Resets the settings that do not affect the result of the remaining steps, and the number of steps.
    let comparable = |config: &RunConfig| {
        let mut config = config.clone();
        config.train.device.clear();
        config.train.exceeds_memory = false;
        (config.train.steps, config.train.epochs) = (0, 0);
        (config.data.threads, config.data.prefetch) = (0, 1);
        config.log = Default::default();
        config.checkpoint = Default::default();
        config
    };
    let (saved, asked) = (comparable(&saved), comparable(&config));
    if saved != asked {
        bail!(
            "--resume continues the same run, {}: only train.steps, train.epochs, train.device, \
             train.exceeds_memory, data.threads, data.prefetch, log.* and checkpoint.* may be changed",
            settings::differences(&saved, &asked)?.join(", ")
        );
    }
    let (step, newest) = run.checkpoints()?.pop().with_context(|| {
        format!(
            "{} holds no checkpoint yet: start it again with --overwrite",
            path.display()
        )
    })?;
    Ok(PreparedRun {
        config,
        out: path.to_path_buf(),
        overwrite: false,
        state: None,
        method: Box::new(Plan::learner),
        resumed: Some(Resumed {
            run,
            step,
            path: newest,
        }),
    })
}

/// Loads a preset or a file, with overrides; returns the name for the run's folder and the settings.
pub fn preset_or_file(
    config: Option<&str>,
    sets: &[String],
) -> anyhow::Result<(String, RunConfig)> {
    let Some(wanted) = config else {
        return Ok(("pretrain".to_string(), settings::resolve(&[], sets)?));
    };
    if let Some(preset) = PRESETS.iter().find(|(name, _)| *name == wanted) {
        return Ok((wanted.to_string(), settings::resolve(&[*preset], sets)?));
    }
    let path = Path::new(wanted);
    if !path.exists() {
        let names = PRESETS.map(|(name, _)| name).join(", ");
        bail!("{wanted} is neither a file nor a preset; the presets are {names}");
    }
    let name = path
        .file_stem()
        .map_or("pretrain".into(), |stem| stem.to_string_lossy());
    Ok((name.into_owned(), settings::resolve_file(path, sets)?))
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
