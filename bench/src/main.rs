//! `densecl-bench` compares the speed of densecl and PyTorch on this machine.
//!
//! `rows` lists what is timed, and `work` describes one piece of work. densecl and PyTorch do it in processes
//! of their own (`contender`): densecl in `worker`, PyTorch in `pytorch.py`, or both as whole programs.
//! `measure` runs them in turn, and `report` writes the results. `gpu` is a command of its own for a first look at a card.

mod cli;
mod contender;
mod gpu;
mod inputs;
mod machine;
mod measure;
mod protocol;
mod report;
mod rows;
mod run;
mod statistics;
mod work;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    densecl_kernels::allocator::keep_freed_memory();
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Worker { device }) => worker::serve(&device).map(|()| true),
        Some(Command::Gpu(options)) => gpu::run(&options),
        None => run::run(cli.bench),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // densecl failed in at least one row; the table shows which.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
