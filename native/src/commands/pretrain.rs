//! `densecl pretrain`: runs a training and prints its results.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use densecl::device::{DeviceRequest, Selected, select};
use densecl::features::Feature;
use densecl::ops::choice::{self, Chosen};
use densecl::world::World;
use densecl_train::agree::TogetherFailed;
use densecl_train::config::RunConfig;
use densecl_train::events::Observer;
use densecl_train::files::write_atomically;
use densecl_train::run::{
    Finished, MemberRun, PreparedRun, RunDir, RunRequest, RunResult, prepare_together,
};

use crate::cli;
use crate::console;
use crate::mpi::{self, Member};
use crate::results::ensure_json;
use crate::serve::{self, Serving};
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
    if let Some(member) = mpi::join()? {
        return run_as(member, args, &stop);
    }
    let serving = Serving::start(args.map(|args| &args.serve))?;
    let finished = run_alone(args, serving.as_ref(), &stop);
    conclude(finished, args, serving)
}

/// The run of the only process.
fn run_alone(
    args: Option<&cli::Pretrain>,
    serving: Option<&Serving>,
    stop: &AtomicBool,
) -> anyhow::Result<Finished> {
    let prepared = PreparedRun::new(&request(args))?;
    let watching = prepare_results(&prepared, args, serving)?;
    let devices = DeviceRequest::list(&prepared.config().train.device)?;
    let devices = devices
        .into_iter()
        .map(|request| open(request, prepared.config()));
    let devices: Vec<Selected> = devices.collect::<anyhow::Result<_>>()?;
    prepared.run_on(&devices, watching, stop)
}

/// Checks that the results can be written, and returns what shows the run: the terminal, and whoever watches it.
fn prepare_results(
    prepared: &PreparedRun,
    args: Option<&cli::Pretrain>,
    serving: Option<&Serving>,
) -> anyhow::Result<Box<dyn Observer>> {
    if let Some(json) = args.and_then(|args| args.json.as_deref()) {
        ensure_json(json)?;
    }
    if let Some(serving) = serving {
        serving.describe(prepared.config());
    }
    let terminal = Box::new(Terminal::new());
    Ok(serve::also(serving, terminal, prepared.folder()))
}

/// Reports the results of a run, and tells those who watch it how it ended.
fn conclude(
    finished: anyhow::Result<Finished>,
    args: Option<&cli::Pretrain>,
    serving: Option<Serving>,
) -> anyhow::Result<bool> {
    let json = args.and_then(|args| args.json.as_deref());
    if let Some(serving) = &serving {
        serving.finish(&finished);
    }
    if finished.is_ok() && args.is_some_and(|args| args.verbose) {
        console::note(kernels(&choice::chosen()).trim_end());
    }
    let done = finished.and_then(|finished| report(finished, json));
    if let Some(serving) = serving {
        serving.close();
    }
    done
}

/// Opens a device for the precision of the settings.
fn open(request: DeviceRequest, config: &RunConfig) -> anyhow::Result<Selected> {
    let selected = pollster::block_on(select(request))?;
    selected.ensure_computes_in(config.optim.precision)?;
    Ok(selected)
}

/// The run of a process that is one of several. An error ends all of them.
fn run_as(
    mut member: Member,
    args: Option<&cli::Pretrain>,
    stop: &AtomicBool,
) -> anyhow::Result<bool> {
    let error = match member_run(&mut member, args, stop) {
        Ok(done) => {
            // Rank 0 still writes results when the others have taken their last step.
            member.leave();
            return Ok(done);
        }
        Err(error) => error,
    };
    let ranks = matches!(error.downcast_ref(), Some(densecl::Error::Ranks(_)));
    if member.rank() > 0 && (ranks || error.is::<TogetherFailed>()) {
        // Rank 0 reports it, saves what can be saved, and ends all processes.
        member.leave();
        return Ok(false);
    }
    let rank = match member.rank() {
        0 => String::new(),
        rank => format!("rank {rank}: "),
    };
    console::note(format_args!("error: {rank}{error:#}"));
    member.end_all()
}

fn member_run(
    member: &mut Member,
    args: Option<&cli::Pretrain>,
    stop: &AtomicBool,
) -> anyhow::Result<bool> {
    let serving = match member.rank() {
        0 => Serving::start(args.map(|args| &args.serve))?,
        _ => None,
    };
    let run = prepare_together(&request(args), member)?;
    let seat = member.seat();
    let config = match &run {
        MemberRun::First(prepared) => prepared.config(),
        MemberRun::Other(follower) => follower.config(),
    };
    let devices = DeviceRequest::list(&config.train.device)?;
    let selected = open(mpi::device_of(&devices, member.number())?, config)?;
    match run {
        MemberRun::First(prepared) => {
            let watching = prepare_results(&prepared, args, serving.as_ref())?;
            let finished = prepared.run_first(&selected, seat, member, watching, stop);
            conclude(finished, args, serving)
        }
        MemberRun::Other(follower) => {
            let interrupted = follower.run(&selected, seat, member, stop)?;
            Ok(!interrupted)
        }
    }
}

/// Writes and prints the results of a run. `Ok(false)` when it was interrupted.
fn report(finished: Finished, json: Option<&Path>) -> anyhow::Result<bool> {
    let Some((run, result)) = finished else {
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

/// The kernels that were chosen, one line for each convolution.
fn kernels(chosen: &[Chosen]) -> String {
    if chosen.is_empty() {
        return "kernels: none was chosen by measuring".to_string();
    }
    let mut text = String::from("kernels:\n");
    for chosen in chosen {
        let times = chosen.milliseconds.iter();
        let times: Vec<String> = times
            .map(|(kernel, ms)| format!("{kernel} {ms:.3} ms"))
            .collect();
        let _ = writeln!(
            text,
            "  {}: {} ({})",
            chosen.case,
            chosen.algorithm,
            times.join(", ")
        );
    }
    text
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
