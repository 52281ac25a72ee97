//! `densecl-bench`: how fast densecl is beside PyTorch, on this machine, in one run.
//!
//! The rows say what is timed (`rows`, `work`); each side does it in processes of its own (`contender`:
//! our `worker`, `pytorch.py`, whole programs), in turn (`measure`); `report` shows what came of it.

mod cli;
mod contender;
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
        None => run::run(cli.bench),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // A row of ours failed; the table says which.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
