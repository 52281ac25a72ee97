//! Messages of the libraries for the user. They go through the `log` crate, because the libraries have no terminal.

use std::fmt::Display;

/// The log target of such messages. A program should show records of this target without a level.
pub const TARGET: &str = "densecl::notes";

/// Logs one message for the user.
pub fn note(line: impl Display) {
    log::info!(target: TARGET, "{line}");
}
