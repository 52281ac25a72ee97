//! `densecl eval TASK`: from what was typed to an evaluation and its contest.

use std::path::Path;

use anyhow::bail;
use densecl::features::SIDES;
use densecl::transfer::linear::LinearConfig;

use crate::cli::eval as cli;
use crate::eval::backbone::Weights;
use crate::eval::classify::{Classify, Method};
use crate::eval::correspondence::Correspondence;
use crate::eval::detect::{self, Detect};
use crate::eval::segmentation::{
    FcnSettings, FineTuneSeg, KnnSeg, KnnSettings, LinearSeg, LinearSettings, Splits,
};
use crate::eval::{Contest, Evaluation, Look, evaluate};
use crate::files::ensure_png;

/// Runs the evaluation asked for and delivers its report.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: cli::Eval) -> anyhow::Result<()> {
    match args.task {
        cli::Task::Correspondence(args) => {
            let look = look(&args.look, Some(16), 320)?;
            let limit = args.limit.map(|n| n as usize);
            judge(&Correspondence::new(&args.data, look, limit)?, &args.common)
        }
        cli::Task::LinearSeg(args) => linear_seg(&args),
        cli::Task::KnnSeg(args) => {
            if !(args.temperature > 0.0 && args.temperature.is_finite()) {
                bail!("--temperature {}: must be above 0", args.temperature);
            }
            let settings = KnnSettings {
                k: args.k as usize,
                temperature: args.temperature,
                bank: args.bank as usize,
            };
            let look = look(&args.look, Some(16), 320)?;
            let task = KnnSeg::new(&args.data.data, &splits(&args.data), look, settings)?;
            judge(&task, &args.common)
        }
        cli::Task::Detect(args) => judge(&detect(&args)?, &args.common),
        cli::Task::Compare(args) => super::compare::run(&args),
        cli::Task::Knn(args) => {
            let method = Method::Knn {
                k: args.k,
                temperature: args.temperature,
            };
            judge(&classify(&args.classes, &args.look, method)?, &args.common)
        }
        cli::Task::Linear(args) => {
            let method = Method::Linear(LinearConfig {
                epochs: args.epochs,
                lr: args.lr,
                ..LinearConfig::default()
            });
            judge(&classify(&args.classes, &args.look, method)?, &args.common)
        }
    }
}

fn linear_seg(args: &cli::LinearSeg) -> anyhow::Result<()> {
    let lr = args.lr.unwrap_or(if args.fine_tune { 0.01 } else { 0.1 });
    for (name, value) in [("lr", lr), ("weight-decay", args.weight_decay)] {
        if !(value >= 0.0 && value.is_finite()) {
            bail!("--{name} {value}: must be 0 or more");
        }
    }
    let (data, splits) = (&args.data.data, splits(&args.data));
    let look = look(&args.look, Some(16), 320)?;
    if args.fine_tune {
        let usual = FcnSettings::default();
        let settings = FcnSettings {
            steps: args.steps.unwrap_or(usual.steps),
            batch: args.batch_size.map_or(usual.batch, |n| n as usize),
            crop: args.crop,
            lr,
            weight_decay: args.weight_decay,
        };
        judge(
            &FineTuneSeg::new(data, &splits, look, settings)?,
            &args.common,
        )
    } else {
        let usual = LinearSettings::default();
        let settings = LinearSettings {
            steps: args.steps.unwrap_or(usual.steps),
            batch: args.batch_size.map_or(usual.batch, |n| n as usize),
            pixels: args.pixels as usize,
            lr,
            weight_decay: args.weight_decay,
        };
        judge(
            &LinearSeg::new(data, &splits, look, settings)?,
            &args.common,
        )
    }
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
    Classify::open(&data.data, limit, look(args, None, 224)?, method)
}

fn detect(args: &cli::Detect) -> anyhow::Result<Detect> {
    let settings = detect::Settings {
        look: look(&args.look, Some(16), 256)?,
        fine_tune: args.fine_tune,
        steps: args.steps,
        batch: args.batch_size,
        lr: args.lr,
        ..detect::Settings::default()
    };
    Detect::open(&args.data, args.limit.map(|n| n as usize), settings)
}

fn judge(task: &dyn Evaluation, common: &cli::Common) -> anyhow::Result<()> {
    let out = cli::picture_of(task.name(), common.out.as_deref());
    ensure_png(&out)?;
    writable(&out)?;
    let selected = crate::open_device(&common.device)?;
    let contest = Contest {
        weights: Weights::parse(&common.weights, &selected.device)?,
        seeds: (common.seed..).take(common.seeds as usize).collect(),
        device: selected.device,
    };
    evaluate(task, &contest)?.deliver(&out, common.json.as_deref())
}

/// Where to look, with the evaluation's own stride and size unless others were asked for.
pub(super) fn look(args: &cli::Look, stride: Option<usize>, size: u32) -> anyhow::Result<Look> {
    let stride = args.stride.or(stride);
    if let Some(stride) = stride
        && !matches!(stride, 8 | 16 | 32)
    {
        bail!("--stride {stride}: must be 8, 16 or 32");
    }
    let size = args.size.unwrap_or(size);
    if !SIDES.contains(&size) {
        bail!(
            "--size {size}: must be between {} and {} pixels",
            SIDES.start(),
            SIDES.end()
        );
    }
    Ok(Look {
        feature: args.feature.into(),
        stride,
        size,
    })
}

/// An evaluation takes minutes: a result that cannot be written is found out before.
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
