//! `densecl eval compare`: runs the selected evaluations, each with its default settings.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use densecl::transfer::linear::LinearConfig;

use super::look::look;
use crate::cli::eval as cli;
use crate::console::{self, Bars};
use crate::device;
use densecl_eval::backbone::NamedWeights;
use densecl_eval::classify::{Classify, Method};
use densecl_eval::compare::{Task, compare};
use densecl_eval::correspondence::Correspondence;
use densecl_eval::detect::{self, Detect};
use densecl_eval::propagation::{Propagation, PropagationSettings};
use densecl_eval::segmentation::{
    FcnSettings, FineTuneSeg, KnnSeg, KnnSettings, LinearSeg, LinearSettings, Splits,
};
use densecl_eval::{Contest, Evaluation, Look};
use densecl_train::paths;

/// Runs the comparison.
///
/// # Errors
/// One line for the user.
pub(super) fn run(args: &cli::Compare) -> anyhow::Result<()> {
    let tasks = tasks(args)?;
    if tasks.is_empty() {
        bail!("nothing to compare: give --seg, --corr, --video, --det, --instances or --classify");
    }
    fs::create_dir_all(&args.out).with_context(|| {
        format!(
            "{} cannot be made, choose another --out",
            args.out.display()
        )
    })?;
    let selected = device::open(&args.device)?;
    let contest = Contest {
        weights: NamedWeights::parse_selected(
            &args.weights,
            &(&args.part).into(),
            args.seed,
            &selected.device,
        )?,
        seeds: (args.seed..).take(args.seeds as usize).collect(),
        device: selected.device,
        watch: Arc::new(Bars::Evaluation),
    };
    console::print(&compare(&tasks, &contest, &args.out)?)?;
    console::note(format_args!(
        "{}: compare.txt, compare.md, compare.json, compare.png",
        args.out.display()
    ));
    Ok(())
}

/// Makes the evaluations. All data is opened here, so that errors in it are reported before anything is measured.
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
    for data in &args.video {
        let settings = PropagationSettings::default();
        let evaluation = Propagation::new(data, look(Look::FOR_VIDEOS)?, settings, limit)?;
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
    let detected = args.det.iter().map(|data| (data, false));
    let with_masks = args.instances.iter().map(|data| (data, true));
    for (data, masks) in detected.chain(with_masks) {
        for fine_tune in [false, true] {
            if fine_tune && !args.fine_tune {
                continue;
            }
            let usual = detect::Settings::default();
            let settings = detect::Settings {
                look: look(usual.look)?,
                steps: args.steps.unwrap_or(usual.steps),
                fine_tune,
                masks,
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
