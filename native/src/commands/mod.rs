//! The commands of the program, one file each: convert arguments to a call of a library and print its result.

mod boxes;
mod compare;
mod completions;
mod config;
mod devices;
mod embed;
mod eval;
mod export;
mod import;
mod loader_speed;
mod look;
mod matching;
mod pack;
mod plot;
pub(crate) mod pretrain;
mod search;
mod sum_speed;
mod synth;

use crate::cli::Command;

/// Runs a command; without one the quick start. `Ok(false)` when the user interrupted it.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(command: Option<Command>) -> anyhow::Result<bool> {
    let done = match command {
        None => return pretrain::run(None),
        Some(Command::Pretrain(args)) => return pretrain::run(Some(&args)),
        Some(Command::Pack(args)) => return pack::run(&args),
        Some(Command::Boxes(args)) => return boxes::run(&args),
        Some(Command::Embed(args)) => return embed::run(&args),
        Some(Command::Match(args)) => matching::run(&args),
        Some(Command::Plot(args)) => plot::run(&args),
        Some(Command::Synth(args)) => synth::run(&args),
        Some(Command::Search(args)) => search::run(&args),
        Some(Command::Import(args)) => import::run(&args),
        Some(Command::Export(args)) => export::run(args),
        Some(Command::Eval(args)) => eval::run(args),
        Some(Command::LoaderSpeed(args)) => loader_speed::run(&args),
        Some(Command::Config(args)) => config::run(&args),
        Some(Command::Devices) => devices::run(),
        Some(Command::SumSpeed(args)) => sum_speed::run(&args),
        Some(Command::Completions { shell }) => completions::run(shell),
    };
    done.map(|()| true)
}
