//! `densecl completions SHELL`.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::console;

/// Prints the completion script.
///
/// # Errors
/// When standard output cannot be written to.
pub(crate) fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "densecl", &mut script);
    console::print(&String::from_utf8_lossy(&script))
}
