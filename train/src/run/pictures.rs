//! The pictures of a run: its curves, and matches before and after training.

use std::path::Path;

use burn::tensor::Device;
use densecl::features::Feature;
use densecl::method::Figure;
use densecl::model::Encoder;
use densecl::visualize::{DrawOptions, draw_matches, side_by_side, stack_vertical};
use image::{Rgb, RgbImage};

use crate::config::RunConfig;
use crate::files::write_png;
use crate::held_out::{self, Pair};
use crate::report::curves_png;
use crate::row::MetricRow;
use crate::run::folder::RunDir;
use crate::run::images::EXAMPLES;

/// Approximate width in pixels to which small pictures are enlarged.
const WIDTH: u32 = 300;
/// Pixels of space between pairs.
const GAP: u32 = 12;

/// Draws the curves of `rows`; `figures` are those that the method measures.
///
/// # Errors
/// When the picture cannot be written.
pub(crate) fn curves(
    config: &RunConfig,
    figures: &[Figure],
    rows: &[MetricRow],
    path: &Path,
) -> anyhow::Result<()> {
    let title = format!("{} · {}", config.method.objective(), config.data.source);
    curves_png(rows, figures, &title, path)
}

/// Draws the most distinct matches, right and wrong ones, of the first held-out pairs, side by side.
///
/// # Errors
/// When the device fails.
pub(crate) fn matches(
    encoder: &Encoder,
    pairs: &[Pair],
    feature: Feature,
    device: &Device,
) -> anyhow::Result<RgbImage> {
    let drawn = pairs.iter().take(EXAMPLES).map(|pair| {
        let lines = held_out::lines(encoder, pair, feature, device)?;
        let options = DrawOptions {
            scale: (WIDTH / pair.a.width()).max(1),
            ..DrawOptions::default()
        };
        anyhow::Ok(draw_matches(&pair.a, &pair.b, &lines, &options))
    });
    let drawn: Vec<RgbImage> = drawn.collect::<anyhow::Result<_>>()?;
    let joined = drawn
        .into_iter()
        .reduce(|left, right| side_by_side(&left, &right, GAP).0);
    Ok(joined.unwrap_or_default())
}

/// Writes `matches.png`: `after` below the picture of the untrained network, where that exists.
///
/// # Errors
/// When the picture cannot be written.
pub(crate) fn save_before_and_after(run: &RunDir, after: RgbImage) -> anyhow::Result<()> {
    let both = match image::open(run.matches_before()) {
        Ok(before) => stack_vertical(&[&before.to_rgb8(), &after], GAP, Rgb([255; 3])),
        Err(_) => after,
    };
    write_png(&run.matches(), &both)
}
