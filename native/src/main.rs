//! The program `densecl`: converts arguments to calls of the libraries.

mod cli;
mod commands;
mod console;
mod device;
mod export;
mod mpi;
mod outputs;
mod panics;
mod results;
mod serve;
mod stop;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    densecl_kernels::allocator::keep_freed_memory();
    panics::install_hook();
    console::show_log();
    let cli = cli::parse();
    let done = outputs::declared::of(cli.command.as_ref())
        .and_then(|files| files.check())
        .and_then(|()| commands::run(cli.command));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // The usual exit code after SIGINT: 128 + 2.
        Ok(false) => ExitCode::from(130),
        Err(error) => {
            console::note(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
