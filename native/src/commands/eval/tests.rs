//! The defaults of the command line are those of the settings.

use std::collections::BTreeMap;

use clap::{CommandFactory, Parser};
use densecl::augment::{InstanceConfig, ViewConfig};
use densecl::features::Feature;
use densecl::synthetic::SceneConfig;

use super::*;
use crate::cli::{Cli, Command};
use densecl_eval::classify::{NEIGHBOURS, TEMPERATURE};
use densecl_eval::robust;
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
    let cli::Task::Propagation(args) = task("propagation") else {
        panic!("another task")
    };
    assert_eq!(
        propagation_settings(&args).expect("valid"),
        PropagationSettings::default()
    );
    assert_eq!(
        look(&args.look, Look::FOR_VIDEOS).expect("valid"),
        Look::FOR_VIDEOS
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
        detect_settings(&args.detector).expect("valid"),
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
    let (scene, follow) = (SceneConfig::default(), PropagationSettings::default());
    let (boxes, tuned) = (InstanceConfig::default(), robust::FineTuneConfig::default());
    assert_eq!(linear.weight_decay, fcn.weight_decay);
    let settings = [
        (
            "embed --max_bad_share",
            DataConfig::default().max_bad_share.to_string(),
        ),
        ("eval detect --batch_size", found.batch.to_string()),
        ("eval detect --lr", found.lr.to_string()),
        ("eval detect --steps", found.steps.to_string()),
        ("eval instances --batch_size", found.batch.to_string()),
        ("eval instances --lr", found.lr.to_string()),
        ("eval instances --steps", found.steps.to_string()),
        ("eval knn --k", NEIGHBOURS.to_string()),
        ("eval knn --temperature", TEMPERATURE.to_string()),
        ("eval knn-seg --bank", knn.bank.to_string()),
        ("eval knn-seg --k", knn.k.to_string()),
        ("eval knn-seg --temperature", knn.temperature.to_string()),
        ("eval linear --epochs", head.epochs.to_string()),
        ("eval linear --lr", head.lr.to_string()),
        ("eval robust --attack_steps", robust::STEPS.to_string()),
        ("eval robust --epochs", head.epochs.to_string()),
        ("eval robust --fine_tune_epochs", tuned.epochs.to_string()),
        ("eval robust --fine_tune_lr", tuned.lr.to_string()),
        ("eval robust --lr", head.lr.to_string()),
        (
            "eval robust --size",
            robust::Settings::default().size.to_string(),
        ),
        ("eval propagation --context", follow.context.to_string()),
        ("eval propagation --k", follow.k.to_string()),
        ("eval propagation --radius", follow.radius.to_string()),
        (
            "eval propagation --temperature",
            follow.temperature.to_string(),
        ),
        ("eval linear-seg --crop", fcn.crop.to_string()),
        ("eval linear-seg --pixels", linear.pixels.to_string()),
        (
            "eval linear-seg --weight_decay",
            linear.weight_decay.to_string(),
        ),
        ("boxes --max_iou", boxes.max_iou.to_string()),
        ("boxes --max_ratio", boxes.max_ratio.to_string()),
        ("boxes --min_side", boxes.min_side.to_string()),
        (
            "loader-speed --size",
            ViewConfig::default().size.to_string(),
        ),
        ("synth --baseline", scene.baseline.to_string()),
        ("synth --size", scene.size.to_string()),
    ];
    let only_here = [
        "boxes --out",
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
        "sum-speed --numbers",
        "sum-speed --repeat",
        "sum-speed --threads",
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
