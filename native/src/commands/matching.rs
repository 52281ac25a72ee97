//! `densecl match A B`: matches the cells of two pictures.

use anyhow::bail;
use densecl_eval::backbone::NamedWeights;
use densecl_eval::ensure_stride;
use densecl_eval::matching::{MatchSettings, match_files};
use densecl_train::files::write_png;

use crate::cli;
use crate::console;
use crate::device;
use crate::results::{ensure_png, write_json};

/// Of an untrained network's weights, and of the file where the path of the weights contains `{seed}`.
const SEED: u64 = 0;

/// Matches two pictures and draws the matches.
///
/// # Errors
/// One line for the user.
pub(crate) fn run(args: &cli::Match) -> anyhow::Result<()> {
    let selected = device::open(&args.device)?;
    let threshold = args.threshold;
    if !(-1.0..=1.0).contains(&threshold) {
        bail!("--threshold {threshold}: a cosine similarity is between -1 and 1");
    }
    ensure_stride(args.stride)?;
    ensure_png(&args.out)?;
    let weights = NamedWeights::parse_selected(
        std::slice::from_ref(&args.weights),
        &(&args.part).into(),
        SEED,
        &selected.device,
    )?;
    let network = weights[0].load(args.stride, SEED, &selected.device)?;
    let settings = MatchSettings {
        feature: args.feature,
        size: args.size,
        threshold,
        max_lines: args.max_lines,
        border_matches: args.border_matches,
        at: args.at.clone(),
    };
    let files = [args.a.as_path(), &args.b];
    let found = match_files(files, &network, &args.weights, &settings, &selected)?;
    write_png(&args.out, &found.picture)?;
    if let Some(json) = &args.json {
        write_json(json, &found)?;
    }
    let trained = network.training.as_ref().map_or_else(
        || "untrained".to_owned(),
        |training| format!("trained {} steps on {}", training.steps, training.data),
    );
    let cells = |[rows, columns]: [usize; 2]| rows * columns;
    let left_out = match found.left_out_at_border {
        0 => String::new(),
        count => format!(", without {count} at the border"),
    };
    console::note(format_args!(
        "{} mutual matches of {} and {} cells of {} x {} px{left_out} ({} {trained}): {}",
        found.matches.len(),
        cells(found.grid_a),
        cells(found.grid_b),
        found.cell_a[0],
        found.cell_a[1],
        network.model.backbone.name(),
        args.out.display()
    ));
    Ok(())
}
