//! `densecl export`: writes weights for another program.

use crate::cli;
use crate::console;
use crate::export::{Format, Request, export};

/// Exports, and prints what was written.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: cli::Export) -> anyhow::Result<()> {
    let request = Request {
        selection: (&args.part).into(),
        weights: args.weights,
        format: args.to.map(Into::into).or(args.web.then_some(Format::Web)),
        out: args.out,
        heads: args.heads,
        stride: args.stride,
    };
    console::note(export(&request)?);
    Ok(())
}
