//! Draws a similarity map over its picture.

use image::RgbImage;

use super::layout::{bilinear, enlarge};

/// Options of [`heat_map`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatOptions {
    /// Whole factor by which the picture is enlarged before drawing; 1 leaves its size. For small pictures of
    /// about 100 pixels.
    pub scale: u32,
    /// Opacity of the colours over the grey picture, 0 (picture only) to 1 (colours only).
    pub opacity: f32,
    /// The similarities at the two ends of the colour map; `None` takes the smallest and the largest of the
    /// drawn map. Two maps are comparable only with the same range.
    pub range: Option<[f32; 2]>,
}

impl Default for HeatOptions {
    fn default() -> Self {
        Self {
            scale: 1,
            opacity: 0.65,
            range: None,
        }
    }
}

/// Draws the similarity of every cell in the colours of [`viridis`], interpolated bilinearly and blended
/// over a grey version of the picture, whose own colours could be mistaken for similarities.
///
/// `similarity` is row-major over `grid` = `[rows, cols]`, which covers the picture. Values that are
/// not finite count as the smallest. The result has `image`'s size times `options.scale`.
///
/// # Panics
/// If the number of values is not rows · cols, or the grid is empty.
pub fn heat_map(
    image: &RgbImage,
    similarity: &[f32],
    grid: [usize; 2],
    options: &HeatOptions,
) -> RgbImage {
    let [rows, cols] = grid;
    assert_eq!(
        similarity.len(),
        rows * cols,
        "one similarity per cell of a {rows} × {cols} grid"
    );
    assert!(!similarity.is_empty(), "a grid needs at least one cell");
    let [low, high] = options.range.unwrap_or_else(|| finite_range(similarity));
    let span = high - low;
    // A constant map has no contrast, so it gets the middle of the colour map, neither its high nor its low end.
    let level = |cell: usize| match similarity[cell] {
        s if !s.is_finite() => 0.0,
        s if span > 0.0 => ((s - low) / span).clamp(0.0, 1.0),
        _ => 0.5,
    };

    let mut picture = enlarge(image, options.scale);
    let size = [picture.width(), picture.height()];
    let opacity = options.opacity.clamp(0.0, 1.0);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let [r, g, b] = pixel.0.map(f32::from);
        let grey = 0.299 * r + 0.587 * g + 0.114 * b;
        let color = viridis(bilinear(level, grid, size, [x, y]));
        pixel.0 = color.map(|c| (grey + (f32::from(c) - grey) * opacity).round() as u8);
    }
    picture
}

/// The smallest and the largest finite value; [0, 0] when there is none.
fn finite_range(values: &[f32]) -> [f32; 2] {
    let mut range = [f32::INFINITY, f32::NEG_INFINITY];
    for &value in values.iter().filter(|v| v.is_finite()) {
        range = [range[0].min(value), range[1].max(value)];
    }
    if range[0] <= range[1] {
        range
    } else {
        [0.0; 2]
    }
}

/// The colour at `t` in [0, 1] (clamped; NaN counts as 0) of viridis, the colour map of Smith and van
/// der Walt (matplotlib). It is perceptually uniform and legible with colour-blindness and in greys. The
/// colour is interpolated between eleven evenly spaced samples.
pub fn viridis(t: f32) -> [u8; 3] {
    const SAMPLES: [[u8; 3]; 11] = [
        [0x44, 0x01, 0x54],
        [0x48, 0x25, 0x76],
        [0x41, 0x44, 0x87],
        [0x35, 0x60, 0x8d],
        [0x2a, 0x78, 0x8e],
        [0x21, 0x90, 0x8c],
        [0x22, 0xa8, 0x84],
        [0x43, 0xbf, 0x71],
        [0x7a, 0xd1, 0x51],
        [0xbb, 0xdf, 0x27],
        [0xfd, 0xe7, 0x25],
    ];
    let last = SAMPLES.len() - 1;
    let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
    let position = t * last as f32;
    let first = (position as usize).min(last - 1);
    let weight = position - first as f32;
    std::array::from_fn(|k| {
        let (from, to) = (
            f32::from(SAMPLES[first][k]),
            f32::from(SAMPLES[first + 1][k]),
        );
        (from + (to - from) * weight).round() as u8
    })
}
