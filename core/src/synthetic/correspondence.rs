//! The exact dense correspondence of two views.

use super::scene::{Hit, Surface, View};

/// A point counts as visible when the ray to it first meets the point's own surface, at a distance that differs
/// from the point's distance by at most this share. The tolerance corresponds to some hundredths of a pixel,
/// well above the rounding of `f32` and well below the thickness of any object.
const DEPTH_TOLERANCE: f32 = 1e-3;

/// On a smooth surface the targets of neighbouring pixels are about one pixel apart. If they are more than this
/// many pixels apart along an axis, an edge of a surface lies between the two pixels.
const SMOOTH_STEP: f32 = 2.0;

/// Where the surface point seen at each pixel of one picture (A) lies in another (B).
///
/// Positions are in pixels, x to the right and y down; the centre of the pixel in column `i` of
/// row `j` is (i + 0.5, j + 0.5).
#[derive(Debug, Clone, PartialEq)]
pub struct Correspondence {
    /// Width of A in pixels.
    pub width: u32,
    /// Height of A in pixels.
    pub height: u32,
    /// For each pixel of A, row by row: the projection into B of the surface point that is seen at the
    /// pixel's centre, whether the point is visible in B or not. It may lie outside of B's frame; a point
    /// behind B's camera has the target (-1, -1).
    pub target: Vec<[f32; 2]>,
    /// For each pixel of A, row by row: whether that point lies inside B's frame and is not occluded there.
    pub visible: Vec<bool>,
}

impl Correspondence {
    /// Computes the correspondence from `hits`, what the ray through each pixel of A meets. `size` is the
    /// width and height of both pictures in pixels.
    pub(super) fn between(a: &View<'_>, hits: &[Hit], b: &View<'_>, size: u32) -> Correspondence {
        let (mut target, mut visible) = (
            Vec::with_capacity(hits.len()),
            Vec::with_capacity(hits.len()),
        );
        for (pixel, hit) in (0..size * size).zip(hits) {
            let (x, y) = (pixel % size, pixel / size);
            let direction = a.camera.ray(x as f32 + 0.5, y as f32 + 0.5);
            // The sky is infinitely far away, so only the direction decides where it is seen.
            let (offset, distance) = match hit.surface {
                Surface::Sky => (direction, f32::INFINITY),
                _ => {
                    let offset = a.camera.origin + direction * hit.t - b.camera.origin;
                    (offset, offset.length())
                }
            };
            let projected = b.camera.project(offset);
            let seen = projected.is_some_and(|[x, y]| {
                let frame = 0.0..size as f32;
                frame.contains(&x) && frame.contains(&y) && {
                    let first = b.hit(x, y, b.camera.ray(x, y));
                    let gap = if distance.is_finite() {
                        first.t - distance
                    } else {
                        0.0
                    };
                    first.surface == hit.surface && gap.abs() <= DEPTH_TOLERANCE * distance
                }
            });
            target.push(projected.unwrap_or([-1.0; 2]));
            visible.push(seen);
        }
        Correspondence {
            width: size,
            height: size,
            target,
            visible,
        }
    }

    /// The true point in B of the image position (`x`, `y`) of A, in pixels; `None` outside of A's
    /// frame and where A's point is hidden in B or outside of its frame.
    ///
    /// The result is exact at the centres of pixels and interpolated between four visible centres of one
    /// smooth surface. Elsewhere it is the target of the nearest centre, shifted by the distance from that
    /// centre.
    pub fn at(&self, x: f32, y: f32) -> Option<[f32; 2]> {
        if !(x >= 0.0 && x < self.width as f32 && y >= 0.0 && y < self.height as f32) {
            return None;
        }
        let index = |column: u32, row: u32| (row * self.width + column) as usize;
        let (column, row) = (x as u32, y as u32);
        let nearest = index(column, row);
        if !self.visible[nearest] {
            return None;
        }
        let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
        let (dx, dy) = (x - 0.5 - left, y - 0.5 - top);
        let fits = left >= 0.0
            && top >= 0.0
            && left as u32 + 1 < self.width
            && top as u32 + 1 < self.height;
        if fits {
            let (upper, lower) = (
                index(left as u32, top as u32),
                index(left as u32, top as u32 + 1),
            );
            let corners = [upper, upper + 1, lower, lower + 1];
            let [a, b, c, d] = corners.map(|corner| self.target[corner]);
            let near = |p: [f32; 2], q: [f32; 2]| {
                (p[0] - q[0]).abs() <= SMOOTH_STEP && (p[1] - q[1]).abs() <= SMOOTH_STEP
            };
            if corners.iter().all(|&corner| self.visible[corner])
                && near(a, b)
                && near(a, c)
                && near(b, d)
                && near(c, d)
            {
                let mix = |axis: usize| {
                    let upper = a[axis] + (b[axis] - a[axis]) * dx;
                    let lower = c[axis] + (d[axis] - c[axis]) * dx;
                    upper + (lower - upper) * dy
                };
                return Some([mix(0), mix(1)]);
            }
        }
        let [tx, ty] = self.target[nearest];
        Some([tx + x - (column as f32 + 0.5), ty + y - (row as f32 + 0.5)])
    }
}
