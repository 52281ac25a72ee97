//! `densecl pretrain`: runs a training and prints its results.

use std::fmt::Write as _;
use std::path::Path;

use densecl::device::{DeviceChoice, select};
use densecl::features::Feature;
use densecl_train::files::write_atomically;
use densecl_train::run::{PreparedRun, RunDir, RunRequest, RunResult};

use crate::cli;
use crate::console;
use crate::results::ensure_json;
use crate::stop::stop_on_signal;
use crate::terminal::Terminal;

/// The run described by the arguments; without arguments the quick start.
pub(crate) fn request(args: Option<&cli::Pretrain>) -> RunRequest {
    args.map_or_else(RunRequest::quick_start, |args| RunRequest {
        sets: args.assignments(),
        config: args.config.clone(),
        out: args.out.clone(),
        resume: args.resume.clone(),
        overwrite: args.overwrite,
    })
}

/// Trains. `Ok(false)` when the run was interrupted.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: Option<&cli::Pretrain>) -> anyhow::Result<bool> {
    let stop = stop_on_signal("stopping after this step, with a checkpoint")?;
    let prepared = PreparedRun::new(&request(args))?;
    let json = args.and_then(|args| args.json.as_deref());
    if let Some(json) = json {
        ensure_json(json)?;
    }
    let choice: DeviceChoice = prepared.config().train.device.parse()?;
    let selected = pollster::block_on(select(choice))?;
    selected.ensure_computes_in(prepared.config().optim.precision)?;
    let Some((run, result)) = prepared.run(&selected, Box::new(Terminal::new()), &stop)? else {
        return Ok(false);
    };
    match json {
        Some(path) if path == Path::new("-") => console::print(&format!("{}\n", result.json()?))?,
        Some(path) => write_atomically(path, result.json()?.as_bytes())?,
        None => {}
    }
    console::note(closing(&result, &run).trim_end());
    Ok(!result.interrupted)
}

/// The message at the end of a run.
fn closing(result: &RunResult, run: &RunDir) -> String {
    let mut text = String::new();
    let percent = |share: Option<f64>| share.map_or(f64::NAN, |share| 100.0 * share);
    if result.correspondence_accuracy_after.is_some() {
        let _ = writeln!(
            text,
            "\nCells matched within one cell of the truth by {}, {} held-out pairs ({} cells):\n\
         \x20                      as it is   second picture mirrored\n\
         \x20 untrained network   {:6.1} %   {:6.1} %\n\
         \x20 after {:6} steps  {:6.1} %   {:6.1} %\n\
         \x20 (random matches {:.1} %, the same place in both pictures {:.1} %)\n",
            result.correspondence_feature.map_or("", Feature::name),
            result.pairs,
            result.cells,
            percent(result.correspondence_accuracy_before),
            percent(result.correspondence_accuracy_mirrored_before),
            result.steps,
            percent(result.correspondence_accuracy_after),
            percent(result.correspondence_accuracy_mirrored_after),
            percent(result.correspondence_chance),
            percent(result.correspondence_same_place),
        );
    }
    let _ = writeln!(text, "weights   {}", result.weights.display());
    let _ = write!(text, "pictures  {}", run.curves().display());
    if result.pairs > 0 {
        let _ = write!(text, ", {}", run.matches().display());
    }
    text.push('\n');
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
