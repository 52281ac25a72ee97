//! The pictures of a run: its curves, and matches before and after training.

use std::path::Path;

use burn::tensor::Device;
use densecl::features::Feature;
use densecl::method::Figure;
use densecl::model::Encoder;
use densecl::visualize::{DrawOptions, draw_matches, stack_vertical};
use image::{Rgb, RgbImage};

use crate::config::RunConfig;
use crate::files::write_png;
use crate::held_out::{self, Pair};
use crate::report::curves_png;
use crate::row::MetricRow;
use crate::run::folder::RunDir;

/// Pixels to which small pictures are enlarged, roughly.
const WIDTH: u32 = 480;

/// The curves of `rows`, whose method measures these figures.
///
/// # Errors
/// When the picture cannot be written.
pub(crate) fn curves(
    config: &RunConfig,
    figures: &[Figure],
    rows: &[MetricRow],
    path: &Path,
) -> anyhow::Result<()> {
    let title = format!("{} · {}", config.objective(), config.data.source);
    curves_png(rows, figures, &title, path)
}

/// Cells of a held-out pair that choose each other, right ones and wrong ones.
///
/// # Errors
/// When the device fails.
pub(crate) fn matches(
    encoder: &Encoder,
    pair: &Pair,
    feature: Feature,
    device: &Device,
) -> anyhow::Result<RgbImage> {
    let lines = held_out::lines(encoder, pair, feature, device)?;
    let options = DrawOptions {
        scale: (WIDTH / pair.a.width()).max(1),
        ..DrawOptions::default()
    };
    Ok(draw_matches(&pair.a, &pair.b, &lines, &options))
}

/// Writes `after` below the picture of the untrained network, where there is one.
///
/// # Errors
/// When the picture cannot be written.
pub(crate) fn save_before_and_after(run: &RunDir, after: RgbImage) -> anyhow::Result<()> {
    let both = match image::open(run.matches_before()) {
        Ok(before) => stack_vertical(&[&before.to_rgb8(), &after], 12, Rgb([255; 3])),
        Err(_) => after,
    };
    write_png(&run.matches(), &both)
}
