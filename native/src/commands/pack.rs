//! `densecl pack`: writes a folder of pictures as one file.

use densecl_train::data::pack_pictures;

use crate::cli;
use crate::console::{self, Bars};
use crate::results::{ensure_json, write_json};
use crate::stop::stop_on_signal;

/// Writes the pack; `Ok(false)` when the user stopped it, and nothing is written then.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &cli::Pack) -> anyhow::Result<bool> {
    let stop = stop_on_signal("stopping: nothing is written")?;
    if let Some(json) = &args.json {
        ensure_json(json)?;
    }
    let packed = pack_pictures(&args.data, &args.out, args.max_side, &Bars::Pictures, &stop)?;
    let Some(packed) = packed else {
        return Ok(false);
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let resized = match packed.resized {
        0 => String::new(),
        count => format!(", {count} of them made smaller"),
    };
    console::note(format_args!(
        "{}: {} pictures{resized}, {:.1} MB of {:.1} MB in {:.1} s",
        args.out.display(),
        packed.pictures,
        megabytes(packed.pack_bytes),
        megabytes(packed.source_bytes),
        packed.seconds
    ));
    if let Some(json) = &args.json {
        write_json(json, &packed)?;
    }
    Ok(true)
}
