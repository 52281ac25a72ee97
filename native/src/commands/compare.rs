//! `densecl eval compare`: which evaluations were asked for, each with its usual settings.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use densecl::transfer::linear::LinearConfig;

use super::eval::look;
use crate::cli::eval as cli;
use crate::eval::backbone::Weights;
use crate::eval::classify::{Classify, Method};
use crate::eval::compare::{Task, compare};
use crate::eval::correspondence::Correspondence;
use crate::eval::detect::{self, Detect};
use crate::eval::segmentation::{
    FcnSettings, FineTuneSeg, KnnSeg, KnnSettings, LinearSeg, LinearSettings, Splits,
};
use crate::eval::{Contest, Evaluation, Look};
use crate::paths;

/// Runs the comparison asked for.
///
/// # Errors
/// One line for the user.
pub(super) fn run(args: &cli::Compare) -> anyhow::Result<()> {
    let tasks = tasks(args)?;
    if tasks.is_empty() {
        bail!("nothing to compare: give --seg, --corr, --det or --classify");
    }
    fs::create_dir_all(&args.out).with_context(|| {
        format!(
            "{} cannot be made, choose another --out",
            args.out.display()
        )
    })?;
    let selected = crate::open_device(&args.device)?;
    let contest = Contest {
        weights: Weights::parse(&args.weights, &selected.device)?,
        seeds: (args.seed..).take(args.seeds as usize).collect(),
        device: selected.device,
    };
    compare(&tasks, &contest, &args.out)
}

/// All data is opened before anything is measured: what is wrong with it is known at once.
fn tasks(args: &cli::Compare) -> anyhow::Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    let limit = args.limit.map(|n| n as usize);
    let look = |usual| look(&args.look, usual);
    let mut add = |data: &Path, evaluation: Box<dyn Evaluation>| {
        let data = paths::line(data.file_name().unwrap_or(data.as_os_str()));
        tasks.push(Task {
            title: format!("{} {data}", evaluation.name()),
            evaluation,
        });
    };
    for data in &args.corr {
        let evaluation = Correspondence::new(data, look(Look::FOR_MATCHES)?, limit)?;
        add(Path::new(data), Box::new(evaluation));
    }
    for data in &args.seg {
        let splits = Splits {
            limit,
            ..Splits::default()
        };
        let look = look(Look::AT_CELLS)?;
        let usual = LinearSettings::default();
        let linear = LinearSettings {
            steps: args.steps.unwrap_or(usual.steps),
            ..usual
        };
        add(data, Box::new(LinearSeg::new(data, &splits, look, linear)?));
        let knn = KnnSettings::default();
        add(data, Box::new(KnnSeg::new(data, &splits, look, knn)?));
        if args.fine_tune {
            let usual = FcnSettings::default();
            let fcn = FcnSettings {
                steps: args.steps.unwrap_or(usual.steps),
                ..usual
            };
            add(data, Box::new(FineTuneSeg::new(data, &splits, look, fcn)?));
        }
    }
    for data in &args.det {
        for fine_tune in [false, true] {
            if fine_tune && !args.fine_tune {
                continue;
            }
            let usual = detect::Settings::default();
            let settings = detect::Settings {
                look: look(usual.look)?,
                steps: args.steps.unwrap_or(usual.steps),
                fine_tune,
                ..usual
            };
            add(data, Box::new(Detect::open(data, limit, settings)?));
        }
    }
    for data in &args.classify {
        let look = look(Look::AT_PICTURES)?;
        for method in [Method::knn(), Method::Linear(LinearConfig::default())] {
            add(data, Box::new(Classify::open(data, limit, look, method)?));
        }
    }
    Ok(tasks)
}
