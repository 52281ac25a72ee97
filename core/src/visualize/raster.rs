//! Draws anti-aliased dots and lines by the exact distance to the shape.
//!
//! A pixel's coverage is a linear function of the signed distance of its centre from the outline, over a
//! transition of one pixel. For strokes at least a pixel thick it is close to the exact covered area, and
//! it costs one square root.

use image::{Rgb, RgbImage};

/// Blends `color` over the pixel with opacity `alpha` in [0, 1].
fn blend(pixel: &mut Rgb<u8>, color: Rgb<u8>, alpha: f32) {
    for (under, over) in pixel.0.iter_mut().zip(color.0) {
        let (old, new) = (f32::from(*under), f32::from(over));
        *under = (old + (new - old) * alpha).round() as u8;
    }
}

/// The indices of `0..limit` whose pixel centres lie in `[low, high]`, widened by one pixel.
fn covered(low: f32, high: f32, limit: u32) -> std::ops::Range<u32> {
    let start = (low - 1.0).floor().max(0.0) as u32;
    let end = (high + 1.0).ceil().clamp(0.0, limit as f32) as u32;
    start.min(end)..end
}

/// Draws a filled disc around `centre` [x, y] with this `radius` in pixels; `alpha` in [0, 1].
pub(super) fn disc(
    image: &mut RgbImage,
    centre: [f32; 2],
    radius: f32,
    color: Rgb<u8>,
    alpha: f32,
) {
    let [x, y] = centre;
    for row in covered(y - radius, y + radius, image.height()) {
        for col in covered(x - radius, x + radius, image.width()) {
            let distance = (col as f32 + 0.5 - x).hypot(row as f32 + 0.5 - y);
            let coverage = (radius + 0.5 - distance).clamp(0.0, 1.0);
            if coverage > 0.0 {
                blend(image.get_pixel_mut(col, row), color, coverage * alpha);
            }
        }
    }
}

/// Draws the segment from `a` to `b` [x, y], `width` pixels thick with round ends; `alpha` in [0, 1].
pub(super) fn line(
    image: &mut RgbImage,
    a: [f32; 2],
    b: [f32; 2],
    width: f32,
    color: Rgb<u8>,
    alpha: f32,
) {
    let radius = 0.5 * width;
    let delta = [b[0] - a[0], b[1] - a[1]];
    let length_squared = delta[0] * delta[0] + delta[1] * delta[1];
    // The loop runs along the longer axis and visits across it only the pixels that the stroke can touch, so
    // the cost of a long diagonal grows with its length instead of the area of its bounding box.
    let major = usize::from(delta[1].abs() > delta[0].abs());
    let minor = 1 - major;
    let slope = if delta[major] == 0.0 {
        0.0
    } else {
        delta[minor] / delta[major]
    };
    let reach = (radius + 1.0) * (1.0 + slope * slope).sqrt();
    let limits = [image.width(), image.height()];
    let ends = [a[major].min(b[major]), a[major].max(b[major])];

    for m in covered(ends[0] - radius, ends[1] + radius, limits[major]) {
        let along = m as f32 + 0.5;
        let across = a[minor] + slope * (along.clamp(ends[0], ends[1]) - a[major]);
        for n in covered(across - reach, across + reach, limits[minor]) {
            let mut point = [0.0; 2];
            point[major] = along;
            point[minor] = n as f32 + 0.5;
            let from_a = [point[0] - a[0], point[1] - a[1]];
            let t = if length_squared > 0.0 {
                ((from_a[0] * delta[0] + from_a[1] * delta[1]) / length_squared).clamp(0.0, 1.0)
            } else {
                0.0
            };
            let distance = (from_a[0] - t * delta[0]).hypot(from_a[1] - t * delta[1]);
            let coverage = (radius + 0.5 - distance).clamp(0.0, 1.0);
            if coverage > 0.0 {
                let (col, row) = if major == 0 { (m, n) } else { (n, m) };
                blend(image.get_pixel_mut(col, row), color, coverage * alpha);
            }
        }
    }
}

/// Marks a point (a query, a best match) with a white dot in a dark ring, visible on any picture. `at` is
/// [x, y] and `radius` the radius of the dot, both in pixels. Parts outside of the picture are not drawn.
pub fn mark_point(image: &mut RgbImage, at: [f32; 2], radius: f32) {
    disc(image, at, radius + 1.5, Rgb([20, 20, 20]), 0.9);
    disc(image, at, radius, Rgb([255, 255, 255]), 1.0);
}
