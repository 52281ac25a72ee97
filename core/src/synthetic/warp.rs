//! Warps a picture by a known random homography and changes its exposure.
//!
//! A pair with an exactly known correspondence can thus be made from any single picture of a user (DeTone et al.
//! 2018, "homographic adaptation"). As in the scenes, no transcendental function is used, so that the bytes are
//! the same on every platform.

use image::{Rgb, RgbImage};
use rand::RngExt;

use crate::augment::{Planes, brightness, contrast};
use crate::rng::{Purpose, stream};

/// How far a corner of the warp's frame may move into the picture, as a share of the side's length. Below
/// one half the corners span a convex quadrilateral inside the picture, so the picture fills the frame.
const REACH: f64 = 0.28;

/// Smallest and largest factor of brightness and of contrast.
const EXPOSURE: [f64; 2] = [0.7, 1.3];

/// A projective map of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Homography([[f64; 3]; 3]);

impl Homography {
    /// The map that takes (0, 0), (width, 0), (width, height) and (0, height), in this order, to `corners`,
    /// which must span a convex quadrilateral (Heckbert 1989, section 2.2.3).
    fn of_frame([width, height]: [f64; 2], corners: [[f64; 2]; 4]) -> Self {
        let [p0, p1, p2, p3] = corners;
        let sum = [0, 1].map(|k| p0[k] - p1[k] + p2[k] - p3[k]);
        let d1 = [0, 1].map(|k| p1[k] - p2[k]);
        let d2 = [0, 1].map(|k| p3[k] - p2[k]);
        let cross = |a: [f64; 2], b: [f64; 2]| a[0] * b[1] - a[1] * b[0];
        let area = cross(d1, d2);
        let (g, h) = (cross(sum, d2) / area, cross(d1, sum) / area);
        let row = |k: usize| {
            [
                (p1[k] - p0[k] + g * p1[k]) / width,
                (p3[k] - p0[k] + h * p3[k]) / height,
                p0[k],
            ]
        };
        Self([row(0), row(1), [g / width, h / height, 1.0]])
    }

    /// The image of a point under the map.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [u, v, w] = self.0.map(|[a, b, c]| a * x + b * y + c);
        [u / w, v / w]
    }

    /// The inverse map, by the adjugate matrix: a homography does not depend on the scale of its matrix.
    pub fn inverse(&self) -> Self {
        let m = &self.0;
        Self(std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let (a, b) = ((column + 1) % 3, (column + 2) % 3);
                let (c, d) = ((row + 1) % 3, (row + 2) % 3);
                m[a][c] * m[b][d] - m[a][d] * m[b][c]
            })
        }))
    }
}

/// A warped picture and the correspondence with its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Warp {
    /// The warped picture, of the source's size.
    pub image: RgbImage,
    /// The true correspondence.
    pub map: WarpMap,
}

/// The true position in the warped picture of the points of its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarpMap {
    /// From the warp to its source.
    back: Homography,
    /// From the source to its warp.
    forth: Homography,
    /// Width and height of both pictures in pixels.
    size: [f64; 2],
}

impl WarpMap {
    /// The correspondence of the warp that [`warp`] makes with this `seed` of a picture of `width` × `height`
    /// pixels.
    pub fn new(seed: u64, width: u32, height: u32) -> Self {
        let size = [f64::from(width), f64::from(height)];
        let mut rng = stream(seed, Purpose::Warp, 0);
        let mut inward = |side: f64| side * REACH * rng.random::<f64>();
        let [w, h] = size;
        let corners = [
            [inward(w), inward(h)],
            [w - inward(w), inward(h)],
            [w - inward(w), h - inward(h)],
            [inward(w), h - inward(h)],
        ];
        let back = Homography::of_frame(size, corners);
        Self {
            back,
            forth: back.inverse(),
            size,
        }
    }

    /// The position in the warped picture of the source's point (`x`, `y`), in pixels; `None` when either
    /// lies outside its frame.
    pub fn at(&self, x: f32, y: f32) -> Option<[f32; 2]> {
        let inside =
            |[x, y]: [f64; 2]| (0.0..self.size[0]).contains(&x) && (0.0..self.size[1]).contains(&y);
        let point = [f64::from(x), f64::from(y)];
        let there = self.forth.apply(point);
        (inside(point) && inside(there)).then(|| there.map(|value| value as f32))
    }
}

/// Warps `source` by a random homography and changes its brightness and contrast by random factors. The
/// result is a pure function of both arguments.
///
/// The four corners of the warped picture show points up to 28 % of a side inside the source, so that all
/// of it is filled; its middle shows the source enlarged.
///
/// # Panics
/// When the picture is empty.
pub fn warp(source: &RgbImage, seed: u64) -> Warp {
    let (width, height) = source.dimensions();
    assert!(width > 0 && height > 0, "an empty picture");
    let map = WarpMap::new(seed, width, height);
    let image = RgbImage::from_fn(width, height, |x, y| {
        let centre = [f64::from(x) + 0.5, f64::from(y) + 0.5];
        bilinear(source, map.back.apply(centre))
    });
    let mut rng = stream(seed, Purpose::Warp, 1);
    let mut factor = || EXPOSURE[0] + (EXPOSURE[1] - EXPOSURE[0]) * rng.random::<f64>();
    let mut planes = Planes::from_rgb(&image);
    brightness(&mut planes, factor());
    contrast(&mut planes, factor());
    let image = planes.to_rgb();
    Warp { image, map }
}

/// The bilinearly interpolated colour at a continuous position; beyond the outermost pixel centres it is
/// constant.
fn bilinear(image: &RgbImage, [x, y]: [f64; 2]) -> Rgb<u8> {
    let axis = |at: f64, length: u32| {
        let at = (at - 0.5).clamp(0.0, f64::from(length - 1));
        let low = at as u32;
        (low, (low + 1).min(length - 1), at - f64::from(low))
    };
    let (left, right, dx) = axis(x, image.width());
    let (top, bottom, dy) = axis(y, image.height());
    let mix = |a: f64, b: f64, share: f64| a + (b - a) * share;
    let row = |y: u32| {
        let (a, b) = (image.get_pixel(left, y), image.get_pixel(right, y));
        std::array::from_fn::<f64, 3, _>(|k| mix(f64::from(a[k]), f64::from(b[k]), dx))
    };
    let (upper, lower) = (row(top), row(bottom));
    Rgb(std::array::from_fn(|k| {
        (mix(upper[k], lower[k], dy) + 0.5) as u8
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_of_the_frame_go_where_they_are_sent_and_come_back() {
        let corners = [[3.0, 1.0], [58.0, 4.0], [50.0, 30.0], [9.0, 28.0]];
        let map = Homography::of_frame([64.0, 32.0], corners);
        let frame = [[0.0, 0.0], [64.0, 0.0], [64.0, 32.0], [0.0, 32.0]];
        for (from, to) in frame.into_iter().zip(corners) {
            let there = map.apply(from);
            let back = map.inverse().apply(to);
            for k in 0..2 {
                assert!((there[k] - to[k]).abs() < 1e-9, "{there:?} {to:?}");
                assert!((back[k] - from[k]).abs() < 1e-9, "{back:?} {from:?}");
            }
        }
    }

    #[test]
    fn the_truth_is_where_the_pixel_went() {
        // A smooth picture whose colours encode the position: red = 2x, green = 3y.
        let source = RgbImage::from_fn(96, 64, |x, y| Rgb([2 * x as u8, 3 * y as u8, 0]));
        for seed in 0..5 {
            let map = WarpMap::new(seed, 96, 64);
            assert_eq!(warp(&source, seed).map, map);
            let plain = RgbImage::from_fn(96, 64, |x, y| {
                let at = [f64::from(x) + 0.5, f64::from(y) + 0.5];
                bilinear(&source, map.back.apply(at))
            });
            let mut seen = 0;
            for (x, y) in [(48.0, 32.0), (40.5, 20.5), (60.0, 40.0), (30.0, 35.0)] {
                let Some([u, v]) = map.at(x, y) else { continue };
                seen += 1;
                let Rgb([red, green, _]) = bilinear(&plain, [f64::from(u), f64::from(v)]);
                assert!(
                    (f32::from(red) - 2.0 * (x - 0.5)).abs() <= 1.5,
                    "{red} at {x}"
                );
                assert!(
                    (f32::from(green) - 3.0 * (y - 0.5)).abs() <= 1.5,
                    "{green} at {y}"
                );
            }
            assert!(seen >= 2, "the middle stays in the frame");
        }
    }

    #[test]
    fn other_seeds_give_other_warps_and_points_outside_have_none() {
        let map = WarpMap::new(1, 64, 64);
        assert_ne!(map, WarpMap::new(2, 64, 64));
        assert_eq!(map.at(-1.0, 5.0), None);
        assert_eq!(map.at(64.0, 5.0), None);
        // A warp enlarges the picture, so the source's corners lie outside its frame.
        assert_eq!(map.at(0.1, 0.1), None);
    }
}
