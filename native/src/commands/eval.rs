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
use densecl_eval::report::Report;
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
        cli::Task::Detect(args) => judge(&detect(&args)?, &args.common),
        cli::Task::Compare(args) => super::compare::run(&args),
        cli::Task::Knn(args) => judge(
            &classify(&args.classes, &args.look, knn(&args))?,
            &args.common,
        ),
        cli::Task::Linear(args) => judge(
            &classify(&args.classes, &args.look, linear(&args))?,
            &args.common,
        ),
    }
}

fn knn_seg(args: &cli::KnnSeg) -> anyhow::Result<KnnSettings> {
    if !(args.temperature > 0.0 && args.temperature.is_finite()) {
        bail!("--temperature {}: must be above 0", args.temperature);
    }
    Ok(KnnSettings {
        k: args.k as usize,
        temperature: args.temperature,
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

fn detect(args: &cli::Detect) -> anyhow::Result<Detect> {
    let limit = args.limit.map(|n| n as usize);
    Detect::open(&args.data, limit, detect_settings(args)?)
}

fn detect_settings(args: &cli::Detect) -> anyhow::Result<detect::Settings> {
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
mod tests {
    use std::collections::BTreeMap;

    use clap::{CommandFactory, Parser};
    use densecl::augment::ViewConfig;
    use densecl::features::Feature;
    use densecl::synthetic::SceneConfig;

    use super::*;
    use crate::cli::{Cli, Command};
    use densecl_eval::classify::{NEIGHBOURS, TEMPERATURE};
    use densecl_train::config::DataConfig;

    fn task(line: &str) -> cli::Task {
        let line = format!("densecl eval {line} --weights w --data d");
        let parsed = Cli::try_parse_from(line.split(' ')).expect("a command");
        let Some(Command::Eval(cli::Eval { task })) = parsed.command else {
            panic!("another command")
        };
        task
    }

    #[test]
    fn an_evaluation_without_options_has_the_settings_that_are_the_defaults() {
        let cli::Task::KnnSeg(args) = task("knn-seg") else {
            panic!("another task")
        };
        assert_eq!(knn_seg(&args).expect("valid"), KnnSettings::default());
        assert_eq!(
            look(&args.look, Look::AT_CELLS).expect("valid"),
            Look::AT_CELLS
        );
        let cli::Task::LinearSeg(args) = task("linear-seg") else {
            panic!("another task")
        };
        assert_eq!(
            linear_settings(&args).expect("valid"),
            LinearSettings::default()
        );
        assert_eq!(fcn_settings(&args).expect("valid"), FcnSettings::default());
        let cli::Task::Detect(args) = task("detect") else {
            panic!("another task")
        };
        assert_eq!(
            detect_settings(&args).expect("valid"),
            detect::Settings::default()
        );
        let cli::Task::Knn(args) = task("knn") else {
            panic!("another task")
        };
        assert_eq!(knn(&args), Method::knn());
        assert_eq!(
            look(&args.look, Look::AT_PICTURES).expect("valid"),
            Look::AT_PICTURES
        );
        let cli::Task::Linear(args) = task("linear") else {
            panic!("another task")
        };
        assert_eq!(linear(&args), Method::Linear(LinearConfig::default()));
    }

    /// Collects the default of every option of every command below `command`, keyed by command and option.
    fn defaults(command: &clap::Command, path: &str, found: &mut BTreeMap<String, String>) {
        for arg in command.get_arguments() {
            let values: Vec<_> = arg
                .get_default_values()
                .iter()
                .map(|v| v.to_string_lossy())
                .collect();
            if !values.is_empty() && arg.get_action().takes_values() {
                found.insert(format!("{path} --{}", arg.get_id()), values.join(","));
            }
        }
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            defaults(below, path.trim(), found);
        }
    }

    /// If this fails for a new option: take its default from the settings and list it here, or add it to the options
    /// that only the command line has.
    #[test]
    fn every_default_of_the_command_line_is_that_of_the_settings() {
        let (knn, linear, fcn) = (
            KnnSettings::default(),
            LinearSettings::default(),
            FcnSettings::default(),
        );
        let (found, head) = (detect::Settings::default(), LinearConfig::default());
        let scene = SceneConfig::default();
        assert_eq!(linear.weight_decay, fcn.weight_decay);
        let settings = [
            (
                "embed --max_bad_share",
                DataConfig::default().max_bad_share.to_string(),
            ),
            ("eval detect --batch_size", found.batch.to_string()),
            ("eval detect --lr", found.lr.to_string()),
            ("eval detect --steps", found.steps.to_string()),
            ("eval knn --k", NEIGHBOURS.to_string()),
            ("eval knn --temperature", TEMPERATURE.to_string()),
            ("eval knn-seg --bank", knn.bank.to_string()),
            ("eval knn-seg --k", knn.k.to_string()),
            ("eval knn-seg --temperature", knn.temperature.to_string()),
            ("eval linear --epochs", head.epochs.to_string()),
            ("eval linear --lr", head.lr.to_string()),
            ("eval linear-seg --crop", fcn.crop.to_string()),
            ("eval linear-seg --pixels", linear.pixels.to_string()),
            (
                "eval linear-seg --weight_decay",
                linear.weight_decay.to_string(),
            ),
            (
                "loader-speed --size",
                ViewConfig::default().size.to_string(),
            ),
            ("synth --baseline", scene.baseline.to_string()),
            ("synth --size", scene.size.to_string()),
        ];
        let only_here = [
            "embed --batch_size",
            "embed --feature",
            "embed --fit",
            "embed --pool",
            "embed --size",
            "loader-speed --seconds",
            "loader-speed --threads",
            "match --feature",
            "match --max_lines",
            "match --out",
            "match --size",
            "match --threshold",
            "match --weights",
            "search --k",
            "synth --seed",
        ];
        let of_every_evaluation = ["--feature", "--seed", "--seeds"];
        let mut given = BTreeMap::new();
        defaults(&Cli::command(), "", &mut given);
        for (option, value) in settings {
            assert_eq!(given.remove(option), Some(value), "{option}");
        }
        for option in only_here {
            assert!(
                given.remove(option).is_some(),
                "{option} has no default any more"
            );
        }
        given.retain(|option, value| {
            let feature = option.ends_with("--feature") && value != Feature::MATCHING.name();
            assert!(!feature, "{option}: Look has {}", Feature::MATCHING.name());
            !(option.starts_with("eval ")
                && of_every_evaluation.iter().any(|end| option.ends_with(end)))
        });
        assert!(given.is_empty(), "{given:?}");
    }

    #[test]
    fn the_help_says_the_defaults_of_both_kinds_of_segmentation() {
        let (linear, fcn) = (LinearSettings::default(), FcnSettings::default());
        let command = Cli::command();
        let eval = command.find_subcommand("eval").expect("eval");
        let command = eval.find_subcommand("linear-seg").expect("linear-seg");
        for (option, [frozen, fine_tuned]) in [
            ("steps", [linear.steps.to_string(), fcn.steps.to_string()]),
            (
                "batch_size",
                [linear.batch.to_string(), fcn.batch.to_string()],
            ),
            ("lr", [linear.lr.to_string(), fcn.lr.to_string()]),
        ] {
            let option = command
                .get_arguments()
                .find(|arg| arg.get_id() == option)
                .expect("there");
            let help = option.get_help().expect("help").to_string();
            let expected = format!("[default: {frozen}; {fine_tuned} with --fine-tune]");
            assert!(help.contains(&expected), "{help}");
        }
    }
}
