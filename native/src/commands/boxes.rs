//! `densecl boxes`: finds boxes in pictures by selective search.

use densecl::augment::InstanceConfig;
use densecl_train::data::find_boxes;

use crate::cli;
use crate::console::{self, Bars};
use crate::results::{ensure_json, write_json};
use crate::stop::stop_on_signal;

/// Writes the file of boxes; `Ok(false)` when the user stopped it, and the file then has what was found.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &cli::Boxes) -> anyhow::Result<bool> {
    let stop = stop_on_signal("stopping: the boxes found so far are written")?;
    if let Some(json) = &args.json {
        ensure_json(json)?;
    }
    let limits = InstanceConfig {
        min_side: args.min_side,
        max_ratio: args.max_ratio,
        max_iou: args.max_iou,
        ..InstanceConfig::default()
    };
    let found = find_boxes(&args.data, &args.out, &limits, &Bars::Pictures, &stop)?;
    let known = match found.known {
        0 => String::new(),
        known => format!(", {known} of them known before"),
    };
    console::note(format_args!(
        "{}: {:.1} boxes a picture in {} pictures{known}; {:.0} ms a picture on one core, {:.1} s in all",
        args.out.display(),
        found.mean,
        found.pictures,
        found.ms_per_picture,
        found.seconds
    ));
    if let Some(json) = &args.json {
        write_json(json, &found)?;
    }
    Ok(found.complete)
}
