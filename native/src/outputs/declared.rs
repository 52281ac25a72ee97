//! Lists the files that each command reads and writes.

use std::path::Path;

use super::Files;
use crate::cli::{self, Command, eval};
use crate::commands::pretrain;
use crate::export::bundle_files;
use crate::mpi;
use densecl_eval::backbone::files_of;
use densecl_eval::compare;
use densecl_eval::embedding::side_file;
use densecl_train::config::{BoxSource, RunConfig, SCENES};
use densecl_train::run::{RunDir, settings_and_folder};
use densecl_train::settings;

/// The files that `command` reads and writes; without a command those of the quick start.
///
/// # Errors
/// When the settings of a run, which name its data and weights, cannot be read.
pub(crate) fn of(command: Option<&Command>) -> anyhow::Result<Files> {
    let mut files = Files::default();
    match command {
        None => run(&mut files, None)?,
        Some(Command::Pretrain(args)) => run(&mut files, Some(args))?,
        Some(Command::Match(args)) => {
            files
                .reads("", &args.a)
                .reads("", &args.b)
                .reads("--weights", Path::new(&args.weights))
                .writes("--out", &args.out)
                .may_write("--json", args.json.as_deref());
        }
        Some(Command::Plot(args)) => plot(&mut files, args),
        Some(Command::Synth(args)) => {
            files.writes("--out", &args.out);
        }
        Some(Command::Pack(args)) => {
            files
                .reads_pictures("", &args.data)
                .writes("", &args.out)
                .may_write("--json", args.json.as_deref());
        }
        Some(Command::Boxes(args)) => {
            files
                .reads_pictures("", &args.data)
                .writes("--out", &args.out)
                .may_write("--json", args.json.as_deref());
        }
        Some(Command::Embed(args)) => {
            files
                .reads_pictures("--images", &args.images)
                .reads("--weights", &args.weights)
                .writes("--out", &args.out)
                .may_write("--json", args.json.as_deref());
            if let Some(side) = side_file(&args.out) {
                files.writes_for("--out", &args.out, side);
            }
        }
        Some(Command::Search(args)) => {
            files
                .reads("", &args.query)
                .reads("--index", &args.index)
                .reads("--weights", &args.weights)
                .may_write("--out", args.out.as_deref())
                .may_write("--json", args.json.as_deref());
            // The pictures read are known only from the index; `search` compares them after opening it.
            if let Some(images) = &args.images {
                files.reads("--images", images);
            }
        }
        Some(Command::Import(args)) => {
            files
                .reads("", &args.file)
                .may_write("--out", args.out.as_deref())
                .may_write("--json", args.json.as_deref());
        }
        Some(Command::Export(args)) => {
            files.reads("", &args.weights);
            if args.web || args.to == Some(cli::ExportFormat::Web) {
                files.writes_folder("--out", &args.out, bundle_files(&args.out));
            } else {
                files.writes("--out", &args.out);
            }
        }
        Some(Command::Eval(args)) => evaluation(&mut files, &args.task),
        Some(Command::LoaderSpeed(args)) => {
            files
                .reads_pictures("--data", &args.data)
                .may_write("--json", args.json.as_deref());
        }
        // These commands write no files.
        Some(
            Command::Config(_)
            | Command::Devices
            | Command::SumSpeed(_)
            | Command::Completions { .. },
        ) => {}
    }
    Ok(files)
}

fn run(files: &mut Files, args: Option<&cli::Pretrain>) -> anyhow::Result<()> {
    // Of several processes only the first writes, and perhaps only its machine has the folder.
    if mpi::launched().is_some_and(|launched| launched.rank > 0) {
        return Ok(());
    }
    let request = pretrain::request(args);
    let (config, folder) = settings_and_folder(&request)?;
    if let Some(config) = &request.config {
        files.reads("--config", Path::new(config));
    }
    if let Some(page) = args.and_then(|args| args.serve.serve_page.as_deref()) {
        files.reads_data("--serve-page", page);
    }
    let option = match &request.resume {
        // The settings of a resumed run name the weights or state it began with, but it does not read them again.
        Some(_) => "--resume",
        None => {
            for (option, path) in [
                ("--init", &config.train.init),
                ("--continue-from", &config.train.continue_from),
            ] {
                files.reads(option, Path::new(path));
            }
            files.keeps_pictures_apart("--out", &folder);
            "--out"
        }
    };
    data_of_run(files, &config);
    files
        .writes_folder(option, &folder, RunDir::outputs(&folder))
        .may_write("--json", args.and_then(|args| args.json.as_deref()));
    Ok(())
}

fn data_of_run(files: &mut Files, config: &RunConfig) {
    let source = &config.data.source;
    if source != SCENES {
        files.reads_pictures("--data", Path::new(source));
    }
    if let BoxSource::File(boxes) = config.data.box_source() {
        files.reads("data.boxes", &boxes);
    }
}

fn plot(files: &mut Files, args: &cli::Plot) {
    let run = RunDir::at(&args.run);
    files.reads("", &args.run);
    let drawn = [run.curves(), run.matches()];
    for file in RunDir::outputs(&args.run) {
        if !drawn.contains(&file) {
            files.reads("", &file);
        }
    }
    // The run's data is read for the held-out pictures. Errors in its settings are reported by `plot`.
    if let Ok(config) = settings::resolve_file(&run.config(), &[]) {
        data_of_run(files, &config);
    }
    match &args.out {
        Some(out) => files.writes("--out", out),
        None => files.writes_for("", &args.run, run.curves()),
    };
    files.writes_for("", &args.run, run.matches());
}

fn evaluation(files: &mut Files, task: &eval::Task) {
    use eval::Task;
    fn of_detector<'a>(
        name: &'static str,
        args: &'a eval::Detector,
    ) -> (&'static str, &'a Path, &'a eval::Common) {
        (name, args.data.as_path(), &args.common)
    }
    let (name, data, common) = match task {
        Task::Correspondence(args) => ("correspondence", Path::new(&args.data), &args.common),
        Task::LinearSeg(args) => ("linear-seg", args.data.data.as_path(), &args.common),
        Task::KnnSeg(args) => ("knn-seg", args.data.data.as_path(), &args.common),
        Task::Propagation(args) => ("propagation", Path::new(&args.data), &args.common),
        Task::Detect(args) => of_detector("detect", &args.detector),
        Task::Instances(args) => of_detector("instances", &args.detector),
        Task::Knn(args) => ("knn", args.classes.data.as_path(), &args.common),
        Task::Linear(args) => ("linear", args.classes.data.as_path(), &args.common),
        Task::Robust(args) => ("robust", args.classes.data.as_path(), &args.common),
        Task::Compare(args) => return comparison(files, args),
    };
    for weights in files_of(&common.weights, common.seed, common.seeds) {
        files.reads("--weights", &weights);
    }
    let out = eval::picture_of(name, common.out.as_deref());
    files
        .reads_data("--data", data)
        .writes("--out", &out)
        .may_write("--json", common.json.as_deref());
}

fn comparison(files: &mut Files, args: &eval::Compare) {
    for weights in files_of(&args.weights, args.seed, args.seeds) {
        files.reads("--weights", &weights);
    }
    let folders = [
        ("--seg", &args.seg),
        ("--det", &args.det),
        ("--instances", &args.instances),
        ("--classify", &args.classify),
    ];
    for (option, paths) in folders {
        for path in paths {
            files.reads_data(option, path);
        }
    }
    for (option, paths) in [("--corr", &args.corr), ("--video", &args.video)] {
        for path in paths {
            files.reads_data(option, Path::new(path));
        }
    }
    files.writes_folder("--out", &args.out, compare::outputs(&args.out));
}
