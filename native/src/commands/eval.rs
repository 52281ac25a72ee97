//! `densecl eval TASK`: makes an evaluation from its arguments and runs it.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use densecl::transfer::linear::LinearConfig;

use super::look::look;
use crate::cli::eval as cli;
use crate::console::{self, Bars};
use crate::device;
use crate::results::ensure_png;
use densecl_eval::backbone::NamedWeights;
use densecl_eval::classify::{Classify, Method};
use densecl_eval::correspondence::Correspondence;
use densecl_eval::detect::{self, Detect};
use densecl_eval::propagation::{Propagation, PropagationSettings};
use densecl_eval::report::Report;
use densecl_eval::robust::Robust;
use densecl_eval::segmentation::{
    FcnSettings, FineTuneSeg, KnnSeg, KnnSettings, LinearSeg, LinearSettings, Splits,
};
use densecl_eval::{Contest, Evaluation, Look, evaluate};
use densecl_train::files::{write_atomically, write_png};

/// Runs the evaluation and writes its report.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: cli::Eval) -> anyhow::Result<()> {
    match args.task {
        cli::Task::Correspondence(args) => {
            let look = look(&args.look, Look::FOR_MATCHES)?;
            let limit = args.limit.map(|n| n as usize);
            judge(&Correspondence::new(&args.data, look, limit)?, &args.common)
        }
        cli::Task::LinearSeg(args) => linear_seg(&args),
        cli::Task::KnnSeg(args) => {
            let settings = knn_seg(&args)?;
            let look = look(&args.look, Look::AT_CELLS)?;
            let task = KnnSeg::new(&args.data.data, &splits(&args.data), look, settings)?;
            judge(&task, &args.common)
        }
        cli::Task::Propagation(args) => {
            let look = look(&args.look, Look::FOR_VIDEOS)?;
            let limit = args.limit.map(|n| n as usize);
            let settings = propagation_settings(&args)?;
            let task = Propagation::new(&args.data, look, settings, limit)?;
            judge(&task, &args.common)
        }
        cli::Task::Detect(cli::Detect { detector, .. }) => {
            judge(&detect(&detector, false)?, &detector.common)
        }
        cli::Task::Instances(cli::Instances { detector, .. }) => {
            judge(&detect(&detector, true)?, &detector.common)
        }
        cli::Task::Compare(args) => super::compare::run(&args),
        cli::Task::Knn(args) => judge(
            &classify(&args.classes, &args.look, knn(&args))?,
            &args.common,
        ),
        cli::Task::Robust(args) => {
            let limit = args.classes.limit.map(|n| n as usize);
            let task = Robust::open(&args.classes.data, limit, args.settings())?;
            judge(&task, &args.common)
        }
        cli::Task::Linear(args) => judge(
            &classify(&args.classes, &args.look, linear(&args))?,
            &args.common,
        ),
    }
}

/// The temperature of a vote.
fn temperature(given: f32) -> anyhow::Result<f32> {
    if !(given > 0.0 && given.is_finite()) {
        bail!("--temperature {given}: must be above 0");
    }
    Ok(given)
}

fn propagation_settings(args: &cli::Propagation) -> anyhow::Result<PropagationSettings> {
    Ok(PropagationSettings {
        context: args.context as usize,
        k: args.k as usize,
        radius: args.radius as usize,
        temperature: temperature(args.temperature)?,
    })
}

fn knn_seg(args: &cli::KnnSeg) -> anyhow::Result<KnnSettings> {
    Ok(KnnSettings {
        k: args.k as usize,
        temperature: temperature(args.temperature)?,
        bank: args.bank as usize,
    })
}

fn knn(args: &cli::Knn) -> Method {
    Method::Knn {
        k: args.k,
        temperature: args.temperature,
    }
}

fn linear(args: &cli::Linear) -> Method {
    Method::Linear(LinearConfig {
        epochs: args.epochs,
        lr: args.lr,
        ..LinearConfig::default()
    })
}

fn linear_seg(args: &cli::LinearSeg) -> anyhow::Result<()> {
    let (data, splits) = (&args.data.data, splits(&args.data));
    let look = look(&args.look, Look::AT_CELLS)?;
    if args.fine_tune {
        let task = FineTuneSeg::new(data, &splits, look, fcn_settings(args)?)?;
        judge(&task, &args.common)
    } else {
        let task = LinearSeg::new(data, &splits, look, linear_settings(args)?)?;
        judge(&task, &args.common)
    }
}

fn fcn_settings(args: &cli::LinearSeg) -> anyhow::Result<FcnSettings> {
    let usual = FcnSettings::default();
    Ok(FcnSettings {
        steps: args.steps.unwrap_or(usual.steps),
        batch: args.batch_size.map_or(usual.batch, |n| n as usize),
        crop: args.crop,
        lr: not_negative("lr", args.lr.unwrap_or(usual.lr))?,
        weight_decay: not_negative("weight-decay", args.weight_decay)?,
    })
}

fn linear_settings(args: &cli::LinearSeg) -> anyhow::Result<LinearSettings> {
    let usual = LinearSettings::default();
    Ok(LinearSettings {
        steps: args.steps.unwrap_or(usual.steps),
        batch: args.batch_size.map_or(usual.batch, |n| n as usize),
        pixels: args.pixels as usize,
        lr: not_negative("lr", args.lr.unwrap_or(usual.lr))?,
        weight_decay: not_negative("weight-decay", args.weight_decay)?,
    })
}

fn not_negative(name: &str, value: f64) -> anyhow::Result<f64> {
    if !(value >= 0.0 && value.is_finite()) {
        bail!("--{name} {value}: must be 0 or more");
    }
    Ok(value)
}

fn splits(args: &cli::Labelled) -> Splits {
    Splits {
        train: args.train_split.clone(),
        test: args.test_split.clone(),
        limit: args.limit.map(|n| n as usize),
    }
}

fn classify(data: &cli::Classes, args: &cli::Look, method: Method) -> anyhow::Result<Classify> {
    let limit = data.limit.map(|n| n as usize);
    Classify::open(&data.data, limit, look(args, Look::AT_PICTURES)?, method)
}

fn detect(args: &cli::Detector, masks: bool) -> anyhow::Result<Detect> {
    let limit = args.limit.map(|n| n as usize);
    let settings = detect::Settings {
        masks,
        ..detect_settings(args)?
    };
    Detect::open(&args.data, limit, settings)
}

fn detect_settings(args: &cli::Detector) -> anyhow::Result<detect::Settings> {
    let usual = detect::Settings::default();
    Ok(detect::Settings {
        look: look(&args.look, usual.look)?,
        fine_tune: args.fine_tune,
        steps: args.steps,
        batch: args.batch_size,
        lr: args.lr,
        ..usual
    })
}

fn judge(task: &dyn Evaluation, common: &cli::Common) -> anyhow::Result<()> {
    let out = cli::picture_of(task.name(), common.out.as_deref());
    ensure_png(&out)?;
    writable(&out)?;
    let selected = device::open(&common.device)?;
    let contest = Contest {
        weights: NamedWeights::parse_selected(
            &common.weights,
            &(&common.part).into(),
            common.seed,
            &selected.device,
        )?,
        seeds: (common.seed..).take(common.seeds as usize).collect(),
        device: selected.device,
        watch: Arc::new(Bars::Evaluation),
    };
    deliver(&evaluate(task, &contest)?, &out, common.json.as_deref())
}

/// Prints the table, and writes the picture to `out` and the JSON to `json`. With `-` the JSON goes to standard
/// output in place of the table.
fn deliver(report: &Report, out: &Path, json: Option<&Path>) -> anyhow::Result<()> {
    if let Some(picture) = report.picture()? {
        write_png(out, &picture)?;
        console::note(format_args!("picture: {}", out.display()));
    }
    if let Some(path) = json.filter(|path| *path != Path::new("-")) {
        write_atomically(path, report.json()?.as_bytes())?;
    }
    if json == Some(Path::new("-")) {
        console::print(&format!("{}\n", report.json()?))
    } else {
        console::print(&report.table())
    }
}

/// Checks that the folder of a result exists, because the evaluation itself takes minutes.
fn writable(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|parent| *parent != Path::new(""));
    match folder {
        Some(folder) if !folder.is_dir() => {
            bail!(
                "{}: there is no such folder; make it first",
                folder.display()
            )
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
