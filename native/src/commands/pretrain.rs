//! `densecl pretrain`: a run from its settings to its pictures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use densecl::checkpoint;
use densecl::device::{DeviceChoice, Selected, select};
use densecl::model::{Encoder, Phase};
use densecl::visualize::{DrawOptions, draw_matches, stack_vertical};
use densecl::weights::{self, FORMAT_VERSION, WeightsInfo};
use image::{Rgb, RgbImage};
use serde::Serialize;

use crate::config::{PRESETS, RunConfig};
use crate::console;
use crate::events::{Observer, Observers, TrainEvent};
use crate::observers::Terminal;
use crate::probe::{self, Measured, Pair};
use crate::report::{JsonlWriter, TensorBoardWriter, curves_png, read_jsonl};
use crate::run_data;
use crate::run_dir::{RunDir, write_atomically, write_png};
use crate::settings;
use crate::trainer::{self, Ended, Plan};

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

/// The figures of a run: `result.json`.
#[derive(Debug, Serialize)]
struct RunResult {
    densecl_version: &'static str,
    correspondence_accuracy_before: Option<f64>,
    correspondence_accuracy_after: Option<f64>,
    correspondence_chance: Option<f64>,
    pairs: usize,
    cells: u64,
    data: String,
    images: usize,
    steps: u64,
    total_steps: u64,
    interrupted: bool,
    loss: Option<f64>,
    seed: u64,
    seconds: f64,
    images_per_second: f64,
    device: String,
    bad_files: usize,
    weights: PathBuf,
}

/// Batches by whose statistics the untrained network's batch normalisation is calibrated. The
/// statistics of a fresh network are mean 0 and variance 1, which would make it look worse than it
/// is; 0.9⁴⁰ of that is left.
const CALIBRATION_BATCHES: usize = 40;

/// Runs. `Ok(false)` when the run was interrupted.
///
/// # Errors
/// One line for the user.
pub(crate) fn pretrain(request: &Request, stop: &Arc<AtomicBool>) -> anyhow::Result<bool> {
    let (config, out, resumed) = prepare(request)?;
    if let Some(json) = &request.json {
        ensure_folder(json)?;
    }
    let choice: DeviceChoice = config.train.device.parse()?;
    let selected = pollster::block_on(select(choice))?;
    let run = match &resumed {
        Some(_) => RunDir::open(&out)?,
        None => RunDir::create(&out, request.overwrite)?,
    };

    let mut terminal = Terminal::new();
    terminal.event(&TrainEvent::Note(format!("device: {}", selected.reason)))?;
    let data = run_data::open(&config, &mut terminal)?;
    let (pairs, bad_pairs) = (data.pairs, data.bad_pairs);
    let plan = Plan::new(config, selected.device.clone(), data.source)?;
    terminal.event(&TrainEvent::Note(describe(&plan)))?;

    let (learner, first_step) = match &resumed {
        Some((step, path)) => {
            data.listing.ensure_same(&run)?;
            (load_checkpoint(&plan, *step, path, &selected)?, *step)
        }
        None => {
            // Not before: what can be refused has been, and the earlier run was still there.
            run.clear()?;
            data.listing.save(&run)?;
            (plan.learner(), 0)
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
    } else if run.before().exists() {
        Some(read_json(&run.before())?)
    } else {
        measure_untrained(&plan, &pairs, &run, &mut observers, stop)?
    };

    let mut ended = trainer::train(&plan, learner, first_step, &run, &mut observers, stop)?;
    if ended.interrupted && ended.step == 0 {
        run.clear()?;
        console::note("stopped before the first step: there is nothing to continue");
        return Ok(false);
    }
    ended.bad_files.extend(bad_pairs);
    finish(
        &plan,
        &run,
        &selected,
        &pairs,
        before,
        ended,
        &mut observers,
        request,
    )
}

/// The settings and the folder of the run, and the checkpoint to continue from.
type Prepared = (RunConfig, PathBuf, Option<(u64, PathBuf)>);

fn prepare(request: &Request) -> anyhow::Result<Prepared> {
    if let Some(path) = &request.resume {
        return prepare_resume(request, path);
    }
    let (name, config) = resolve(request.config.as_deref(), &request.sets)?;
    config.validate()?;
    let out = request
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(name));
    Ok((config, out, None))
}

fn prepare_resume(request: &Request, path: &Path) -> anyhow::Result<Prepared> {
    if request.config.is_some() || request.out.is_some() {
        bail!("--resume continues a run with its own settings: leave out --config and --out");
    }
    let run = RunDir::open(path)?;
    let saved: RunConfig = settings::resolve(Some(&run.config()), None, &[])?;
    let config: RunConfig = settings::resolve(Some(&run.config()), None, &request.sets)?;
    config.validate()?;
    // What may change without changing what the remaining steps compute, and the length of the run.
    let comparable = |config: &RunConfig| {
        let mut config = config.clone();
        config.train.device.clear();
        (config.train.steps, config.train.epochs) = (0, 0);
        (config.data.threads, config.data.prefetch) = (0, 1);
        config.log = Default::default();
        config.checkpoint = Default::default();
        config
    };
    if comparable(&saved) != comparable(&config) {
        bail!(
            "--resume continues the same run: only train.steps, train.epochs, train.device, \
             data.threads, data.prefetch, log.* and checkpoint.* may be changed"
        );
    }
    let newest = run.checkpoints()?.pop().with_context(|| {
        format!(
            "{} holds no checkpoint yet: start it again with --overwrite",
            path.display()
        )
    })?;
    Ok((config, path.to_path_buf(), Some(newest)))
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

/// Found out now rather than when the run is over.
fn ensure_folder(json: &Path) -> anyhow::Result<()> {
    let folder = json.parent().filter(|folder| *folder != Path::new(""));
    match folder {
        Some(folder) if !folder.is_dir() => bail!(
            "--json {}: there is no folder {}",
            json.display(),
            folder.display()
        ),
        _ => Ok(()),
    }
}

fn describe(plan: &Plan) -> String {
    let images = plan.source.len();
    let config = &plan.config;
    let grid = match config.model.num_grid {
        0 => config.views.size as usize / config.model.output_stride,
        grid => grid,
    };
    format!(
        "{}: {} images from {}, {} steps of {} images, {} with a {grid} x {grid} grid, queue {} \
         (chance loss {:.2}; an early rise of the loss is normal)",
        config.method_name(),
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

/// What the network can do before it has learned anything; `None` when asked to stop.
fn measure_untrained(
    plan: &Plan,
    pairs: &[Pair],
    run: &RunDir,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Measured>> {
    let RunConfig {
        model,
        train,
        method,
        ..
    } = &plan.config;
    let mut encoder = Encoder::new(model, train.seed, &plan.device);
    let phase = Phase::Train {
        groups: method.bn_groups,
    };
    // Training meets the same files again, and names them then.
    let mut loader = plan.loader(0, log::Level::Debug)?;
    for _ in 0..CALIBRATION_BATCHES {
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        encoder
            .backbone
            .forward(plan.query_views(&loader.next()?), phase);
    }
    let measured = probe::measure(&encoder, pairs, model.output_stride, &plan.device)?;
    observer.event(&TrainEvent::Measured {
        step: 0,
        measured: &measured,
    })?;
    let picture = match_picture(plan, &encoder, &pairs[0])?;
    observer.event(&TrainEvent::Picture {
        tag: "matches",
        step: 0,
        image: &picture,
    })?;
    write_png(&run.matches_before(), &picture)?;
    write_atomically(
        &run.before(),
        serde_json::to_string_pretty(&measured)?.as_bytes(),
    )?;
    Ok(Some(measured))
}

fn match_picture(plan: &Plan, encoder: &Encoder, pair: &Pair) -> anyhow::Result<RgbImage> {
    let lines = probe::lines(encoder, pair, plan.config.model.output_stride, &plan.device)?;
    let scale = (480 / pair.a.width()).max(1);
    Ok(draw_matches(
        &pair.a,
        &pair.b,
        &lines,
        &DrawOptions {
            scale,
            ..DrawOptions::default()
        },
    ))
}

/// Everything that a run leaves behind.
#[allow(clippy::too_many_arguments)]
fn finish(
    plan: &Plan,
    run: &RunDir,
    selected: &Selected,
    pairs: &[Pair],
    before: Option<Measured>,
    ended: Ended,
    observer: &mut Observers,
    request: &Request,
) -> anyhow::Result<bool> {
    let config = &plan.config;
    let encoder = ended.learner.query.clone().inference();
    let info = WeightsInfo {
        format_version: FORMAT_VERSION,
        method: config.method_name().to_string(),
        model: config.model.clone(),
        steps: ended.step,
        data: config.data.source.clone(),
        config: settings::to_toml(config)?,
    };
    write_atomically(&run.weights(), &weights::save(&encoder, &info)?)?;

    let after = if pairs.is_empty() {
        None
    } else {
        let measured = probe::measure(&encoder, pairs, config.model.output_stride, &plan.device)?;
        observer.event(&TrainEvent::Measured {
            step: ended.step,
            measured: &measured,
        })?;
        let picture = match_picture(plan, &encoder, &pairs[0])?;
        observer.event(&TrainEvent::Picture {
            tag: "matches",
            step: ended.step,
            image: &picture,
        })?;
        let both = match image::open(run.matches_before()) {
            Ok(before) => stack_vertical(&[&before.to_rgb8(), &picture], 12, Rgb([255; 3])),
            Err(_) => picture,
        };
        write_png(&run.matches(), &both)?;
        Some(measured)
    };
    observer.event(&TrainEvent::Ended)?;

    let rows = read_jsonl(&run.metrics())?;
    curves_png(
        &rows,
        &format!("{} · {}", config.method_name(), config.data.source),
        &run.curves(),
    )?;
    let bad_files = run_data::list_bad_files(run, &ended.bad_files)?;
    if bad_files > 0 {
        let list = run.bad_files();
        console::note(format_args!(
            "{bad_files} files did not decode and were skipped; they are listed in {}",
            list.display()
        ));
    }

    let result = RunResult {
        densecl_version: env!("CARGO_PKG_VERSION"),
        correspondence_accuracy_before: before.as_ref().map(|m| m.accuracy),
        correspondence_accuracy_after: after.as_ref().map(|m| m.accuracy),
        correspondence_chance: after.as_ref().map(|m| m.chance),
        pairs: pairs.len(),
        cells: after.as_ref().map_or(0, |m| m.cells),
        data: config.data.source.clone(),
        images: plan.source.len(),
        steps: ended.step,
        total_steps: plan.total_steps,
        interrupted: ended.interrupted,
        loss: rows.last().map(|row| row.loss),
        seed: config.train.seed,
        seconds: ended.seconds,
        images_per_second: (ended.step * config.train.batch_size as u64) as f64 / ended.seconds,
        device: selected.name.clone(),
        bad_files,
        weights: run.weights(),
    };
    let json = serde_json::to_string_pretty(&result)?;
    write_atomically(&run.result(), json.as_bytes())?;
    match request.json.as_deref() {
        Some(path) if path == Path::new("-") => console::print(&format!("{json}\n"))?,
        Some(path) => write_atomically(path, json.as_bytes())?,
        None => {}
    }
    console::note(closing(&result, run).trim_end());
    Ok(!ended.interrupted)
}

/// The last words to the user.
fn closing(result: &RunResult, run: &RunDir) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let percent = |share: Option<f64>| share.map_or(f64::NAN, |share| 100.0 * share);
    if result.correspondence_accuracy_after.is_some() {
        let _ = writeln!(
            text,
            "\nCells matched within one cell of the truth, {} held-out pairs ({} cells):\n  \
             random matches     {:5.1} %\n  untrained network  {:5.1} %\n  after {:6} steps {:5.1} %\n",
            result.pairs,
            result.cells,
            percent(result.correspondence_chance),
            percent(result.correspondence_accuracy_before),
            result.steps,
            percent(result.correspondence_accuracy_after),
        );
    }
    let _ = writeln!(text, "weights   {}", result.weights.display());
    let _ = writeln!(
        text,
        "pictures  {}, {}",
        run.matches().display(),
        run.curves().display()
    );
    let _ = writeln!(
        text,
        "figures   {}, {}",
        run.result().display(),
        run.metrics().display()
    );
    if result.interrupted {
        let _ = writeln!(
            text,
            "stopped at step {} of {}; continue with\n  densecl pretrain --resume {}",
            result.steps,
            result.total_steps,
            run.path().display()
        );
    } else {
        let _ = writeln!(
            text,
            "try       densecl match A.jpg B.jpg --weights {} --out matches.png",
            result.weights.display()
        );
    }
    text
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Sets `stop` at the first Ctrl-C; the second one ends the program at once.
///
/// # Errors
/// When the handler cannot be installed.
pub(crate) fn stop_on_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        console::note(
            "\nstopping after this step, with a checkpoint; press Ctrl-C again to stop at once",
        );
    })
    .context("installing the Ctrl-C handler")?;
    Ok(stop)
}
