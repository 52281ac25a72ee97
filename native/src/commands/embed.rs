//! `densecl embed`: computes features of a folder of pictures and writes them to a file.

use densecl_eval::embedding::{EmbedRequest, Recipe, embed};

use crate::cli::embed::Embed;
use crate::console::{self, Bars};
use crate::device;
use crate::results::write_json;
use crate::stop::stop_on_signal;

/// Writes the features; `Ok(false)` when the user stopped it, and nothing is written then.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &Embed) -> anyhow::Result<bool> {
    let stop = stop_on_signal("stopping: nothing is written")?;
    let selected = device::open(&args.device)?;
    let request = EmbedRequest {
        images: args.images.clone(),
        weights: args.weights.clone(),
        selection: (&args.part).into(),
        out: args.out.clone(),
        recipe: Recipe {
            features: args.feature.clone(),
            pool: args.pool.into(),
            unit_length: args.unit_length,
            size: args.size,
            fit: args.fit.into(),
            stride: args.stride.unwrap_or_default(),
        },
        stride: args.stride,
        batch_size: usize::from(args.batch_size),
        max_bad_share: args.max_bad_share,
    };
    let Some(written) = embed(&request, &selected, &Bars::Pictures, &stop)? else {
        return Ok(false);
    };
    let features = written.features.iter();
    let shown = features.map(|feature| format!("{} {:?}", feature.name, feature.shape));
    console::note(format_args!(
        "{} pictures, {} skipped; of each {}, in {:.1} s: {}",
        written.rows,
        written.skipped.len(),
        shown.collect::<Vec<_>>().join(", "),
        written.seconds,
        args.out.display(),
    ));
    if let Some(json) = &args.json {
        write_json(json, &written)?;
    }
    Ok(true)
}
