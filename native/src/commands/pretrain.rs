//! `densecl pretrain`: a run from its settings to its pictures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use densecl::checkpoint;
use densecl::config::Precision;
use densecl::device::{DeviceChoice, Selected, select};

use crate::cli;
use crate::config::{PRESETS, RunConfig};
use crate::console;
use crate::events::{Observer, Observers, TrainEvent};
use crate::files::{ensure_json, write_atomically};
use crate::memory;
use crate::observers::Terminal;
use crate::outcome;
use crate::probe;
use crate::report::{JsonlWriter, TensorBoardWriter};
use crate::run_data;
use crate::run_dir::RunDir;
use crate::settings;
use crate::start;
use crate::trainer::{self, Plan};

/// What the command line asked for.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// A preset's name or a TOML file.
    pub(crate) config: Option<String>,
    /// `section.key=value`, in order.
    pub(crate) sets: Vec<String>,
    /// The folder of the run; `None` = `runs/<name of the config>`.
    pub(crate) out: Option<PathBuf>,
    /// The folder of a run to continue.
    pub(crate) resume: Option<PathBuf>,
    /// Also write the result here; `-` = standard output.
    pub(crate) json: Option<PathBuf>,
    /// Replace an earlier run in the same folder.
    pub(crate) overwrite: bool,
}

/// What a signal to stop means for a training run.
pub(crate) const STOPPING: &str = "stopping after this step, with a checkpoint";

impl Request {
    /// What was typed.
    pub(crate) fn of(args: &cli::Pretrain) -> Self {
        Self {
            sets: args.assignments(),
            config: args.config.clone(),
            out: args.out.clone(),
            resume: args.resume.clone(),
            json: args.json.clone(),
            overwrite: args.overwrite,
        }
    }

    /// What `densecl` does without a command.
    pub(crate) fn quick_start() -> Self {
        Self {
            config: Some("quickstart".to_string()),
            // The first thing a newcomer does, twice perhaps: it may not fail the second time.
            overwrite: true,
            ..Self::default()
        }
    }
}

/// Runs. `Ok(false)` when the run was interrupted.
///
/// # Errors
/// One line for the user.
pub(crate) fn pretrain(request: &Request, stop: &Arc<AtomicBool>) -> anyhow::Result<bool> {
    let Prepared {
        mut config,
        out,
        resumed,
    } = prepare(request)?;
    // What it says of its queue decides the run's, where that is left open.
    let state = match &resumed {
        Some(_) => None,
        None => start::training_state(&config)?,
    };
    if let Some(state) = state.as_ref().filter(|_| config.method.queue == 0) {
        config.method.queue = state.queue_len();
    }
    if let Some(json) = &request.json {
        ensure_json(json)?;
    }
    let choice: DeviceChoice = config.train.device.parse()?;
    let selected = pollster::block_on(select(choice))?;
    selected.ensure_computes_in(config.optim.precision)?;
    let (run, resumed) = match resumed {
        Some(Resumed { run, step, path }) => (run, Some((step, path))),
        None => (RunDir::create(&out, request.overwrite)?, None),
    };

    let mut terminal = Terminal::new();
    terminal.event(&TrainEvent::Note(format!("device: {}", selected.reason)))?;
    if config.optim.precision != Precision::F32 && selected.name == "cpu" {
        terminal.event(&TrainEvent::Note(format!(
            "{}: slower than f32 on a CPU, which converts every number; worth it on a GPU",
            config.optim.precision.name()
        )))?;
    }
    let data = run_data::open(&config, &mut terminal)?;
    let (pairs, bad_pairs) = (data.pairs, data.bad_pairs);
    let plan = Plan::new(config, selected.device.clone(), data.source)?;
    terminal.event(&TrainEvent::Note(describe(&plan, data.held_out)))?;
    terminal.event(&TrainEvent::Note(memory::check(&plan, &selected)?))?;

    let (learner, first_step) = match &resumed {
        Some((step, path)) => {
            data.listing.ensure_same(&run)?;
            (load_checkpoint(&plan, *step, path, &selected)?, *step)
        }
        None => {
            let (learner, first_step, notes) = start::learner(&plan, state)?;
            for note in notes {
                terminal.event(&TrainEvent::Note(note))?;
            }
            // Not before: what can be refused has been, and the earlier run was still there.
            run.clear()?;
            data.listing.save(&run)?;
            (learner, first_step)
        }
    };
    // When resumed, too: its length may be another now, and holds for the next time.
    let text = settings::to_toml(&plan.config)?;
    write_atomically(&run.config(), text.as_bytes())?;
    let mut observers = Observers(vec![Box::new(terminal)]);
    let keep = resumed.is_some().then_some(first_step);
    observers
        .0
        .push(Box::new(JsonlWriter::open(&run.metrics(), keep)?));
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
        // An older program may have measured by another feature, which is not to be compared with.
        let known = outcome::untrained(&run)?;
        match known.filter(|before| before.feature == probe::FEATURE) {
            Some(before) => Some(before),
            None => outcome::measure_untrained(&plan, &pairs, &run, &mut observers, stop)?,
        }
    };

    let mut ended = trainer::train(&plan, learner, first_step, &run, &mut observers, stop)?;
    if ended.interrupted && ended.step == 0 {
        run.clear()?;
        console::note("stopped before the first step: there is nothing to continue");
        return Ok(false);
    }
    ended.bad_files.extend(bad_pairs);
    let result = outcome::conclude(
        &plan,
        &run,
        &selected.name,
        &pairs,
        before,
        &ended,
        &mut observers,
    )?;
    match request.json.as_deref() {
        Some(path) if path == Path::new("-") => console::print(&format!("{}\n", result.json()?))?,
        Some(path) => write_atomically(path, result.json()?.as_bytes())?,
        None => {}
    }
    console::note(result.closing(&run).trim_end());
    Ok(!result.interrupted)
}

/// The settings and the folder of the run, and what to continue from.
struct Prepared {
    config: RunConfig,
    out: PathBuf,
    resumed: Option<Resumed>,
}

/// An earlier run, locked, and its newest checkpoint.
struct Resumed {
    run: RunDir,
    step: u64,
    path: PathBuf,
}

fn prepare(request: &Request) -> anyhow::Result<Prepared> {
    if let Some(path) = &request.resume {
        return prepare_resume(request, path);
    }
    let (config, out) = settings_and_folder(request)?;
    config.validate()?;
    Ok(Prepared {
        config,
        out,
        resumed: None,
    })
}

/// The settings, not yet validated, and the folder that a request asks for.
///
/// # Errors
/// When the settings cannot be read, or nothing says what to train on.
pub(crate) fn settings_and_folder(request: &Request) -> anyhow::Result<(RunConfig, PathBuf)> {
    if let Some(path) = &request.resume {
        let run = RunDir::open(path)?;
        let config = settings::resolve(Some(&run.config()), None, &request.sets)?;
        return Ok((config, path.clone()));
    }
    if request.config.is_none() && request.sets.is_empty() {
        bail!(
            "nothing says what to train on: give --data PATH, or --config with a preset or a file \
             (`densecl config` lists the presets)"
        );
    }
    let (name, config) = resolve(request.config.as_deref(), &request.sets)?;
    let out = request
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(name));
    Ok((config, out))
}

fn prepare_resume(request: &Request, path: &Path) -> anyhow::Result<Prepared> {
    if request.config.is_some() || request.out.is_some() {
        bail!("--resume continues a run with its own settings: leave out --config and --out");
    }
    let mut run = RunDir::open(path)?;
    // Before anything is read that a run still going on may change.
    run.lock("wait for it, or stop it; it can be continued then")?;
    let saved: RunConfig = settings::resolve(Some(&run.config()), None, &[])?;
    let config: RunConfig = settings::resolve(Some(&run.config()), None, &request.sets)?;
    config.validate()?;
    // What may change without changing what the remaining steps compute, and the length of the run.
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
    Ok(Prepared {
        config,
        out: path.to_path_buf(),
        resumed: Some(Resumed {
            run,
            step,
            path: newest,
        }),
    })
}

/// A preset or a file, with overrides: the name for the run's folder and the settings.
pub(crate) fn resolve(
    config: Option<&str>,
    sets: &[String],
) -> anyhow::Result<(String, RunConfig)> {
    let Some(wanted) = config else {
        return Ok(("pretrain".to_string(), settings::resolve(None, None, sets)?));
    };
    if let Some(preset) = PRESETS.iter().find(|(name, _)| *name == wanted) {
        return Ok((
            wanted.to_string(),
            settings::resolve(None, Some(*preset), sets)?,
        ));
    }
    let path = Path::new(wanted);
    if !path.exists() {
        let names = PRESETS.map(|(name, _)| name).join(", ");
        bail!("{wanted} is neither a file nor a preset; the presets are {names}");
    }
    let name = path
        .file_stem()
        .map_or("pretrain".into(), |stem| stem.to_string_lossy());
    Ok((
        name.into_owned(),
        settings::resolve(Some(path), None, sets)?,
    ))
}

fn describe(plan: &Plan, held_out: usize) -> String {
    let images = plan.source.len();
    let config = &plan.config;
    let grid = match config.model.num_grid {
        0 => config.views.size as usize / config.model.output_stride,
        grid => grid,
    };
    let held_out = match held_out {
        0 => String::new(),
        held_out => format!(" ({held_out} more are held out for the measurement)"),
    };
    format!(
        "{}: {} images from {}{held_out}, {} steps of {} images, {} with a {grid} x {grid} grid, queue {} \
         (chance loss {:.2}; an early rise of the loss is normal)",
        config.objective(),
        images,
        config.data.source,
        plan.total_steps,
        config.train.batch_size,
        config.model.backbone.name(),
        plan.queue_len,
        densecl::loss::chance(plan.queue_len),
    )
}

fn load_checkpoint(
    plan: &Plan,
    step: u64,
    path: &Path,
    selected: &Selected,
) -> anyhow::Result<densecl::densecl::DenseCl> {
    if step > plan.total_steps {
        bail!(
            "the run is at step {step} already, more than the {} steps asked for: give more with \
             --steps or --epochs",
            plan.total_steps
        );
    }
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let RunConfig {
        model,
        method,
        optim,
        ..
    } = &plan.config;
    let (learner, info) = checkpoint::load(
        &bytes,
        model,
        method,
        optim,
        plan.queue_len,
        &selected.device,
    )
    .with_context(|| {
        format!(
            "{} cannot be continued from; delete it to continue from the one before",
            path.display()
        )
    })?;
    let images = plan.source.len();
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
