//! Lines for the person who started the program, from the depth of a library that knows no terminal.

use std::fmt::Display;

/// The target of the log records that are such lines. A program that shows the log to people shows these as they
/// are, without a level.
pub const TARGET: &str = "densecl::notes";

/// Says one line.
pub fn note(line: impl Display) {
    log::info!(target: TARGET, "{line}");
}
