//! What segments look like: histograms of colours and of textures, sizes, bounding boxes and neighbours (Uijlings et al.
//! 2013, section 3.2).

use image::RgbImage;

use super::segment::{Planes, Segments, smooth};

/// Bins of a colour histogram, for each channel.
const COLOUR_BINS: usize = 25;
/// Bins of a texture histogram, for each channel and orientation.
const TEXTURE_BINS: usize = 10;
/// Orientations of the derivatives.
const ORIENTATIONS: usize = 8;
/// Numbers of the colour histogram of a region; those of the texture histogram follow.
pub(super) const COLOURS: usize = 3 * COLOUR_BINS;
/// Numbers of both histograms.
const NUMBERS: usize = COLOURS + 3 * ORIENTATIONS * TEXTURE_BINS;
/// Standard deviation of the Gaussian whose derivatives are textures, in pixels.
const TEXTURE_SIGMA: f32 = 1.0;

/// A region: a segment, or several that were joined.
#[derive(Debug, Clone)]
pub(super) struct Region {
    /// Pixels.
    pub(super) size: f32,
    /// First column, first row, one past the last column, one past the last row.
    pub(super) bounds: [u32; 4],
    /// Colours, then textures; each part sums to 1.
    pub(super) histogram: Vec<f32>,
    /// Numbers of the regions that touch it, ascending.
    pub(super) neighbours: Vec<u32>,
}

/// The colours in which pictures are segmented: hue, saturation, value.
pub(super) fn hsv(picture: &RgbImage) -> Planes {
    planes(picture, |[r, g, b]| {
        let (low, high) = (r.min(g).min(b), r.max(g).max(b));
        let span = high - low;
        let sector = if span == 0.0 {
            0.0
        } else if high == r {
            ((g - b) / span).rem_euclid(6.0)
        } else if high == g {
            (b - r) / span + 2.0
        } else {
            (r - g) / span + 4.0
        };
        let saturation = if high == 0.0 { 0.0 } else { span / high };
        [sector / 6.0 * 255.0, saturation * 255.0, high]
    })
}

/// The same: CIE L*a*b* of sRGB under D65, each shifted and scaled to bytes.
pub(super) fn lab(picture: &RgbImage) -> Planes {
    let linear: Vec<f32> = (0..256)
        .map(|level| {
            let level = level as f32 / 255.0;
            if level <= 0.04045 {
                level / 12.92
            } else {
                ((level + 0.055) / 1.055).powf(2.4)
            }
        })
        .collect();
    let root = |t: f32| {
        if t > 0.008_856 {
            t.cbrt()
        } else {
            7.787 * t + 16.0 / 116.0
        }
    };
    planes(picture, |rgb| {
        let [r, g, b] = rgb.map(|level| linear[level as usize]);
        let x = root((0.412_453 * r + 0.357_58 * g + 0.180_423 * b) / 0.950_456);
        let y = root(0.212_671 * r + 0.715_16 * g + 0.072_169 * b);
        let z = root((0.019_334 * r + 0.119_193 * g + 0.950_227 * b) / 1.088_754);
        let lightness = 116.0 * y - 16.0;
        [
            lightness * 2.55,
            500.0 * (x - y) + 128.0,
            200.0 * (y - z) + 128.0,
        ]
    })
}

fn planes(picture: &RgbImage, convert: impl Fn([f32; 3]) -> [f32; 3]) -> Planes {
    let (width, height) = picture.dimensions();
    let mut channels = [(); 3].map(|()| Vec::with_capacity((width * height) as usize));
    for pixel in picture.pixels() {
        let converted = convert(pixel.0.map(f32::from));
        for (plane, value) in channels.iter_mut().zip(converted) {
            plane.push(value);
        }
    }
    Planes {
        width: width as usize,
        height: height as usize,
        channels,
    }
}

/// The bins of the histograms that each pixel counts in: indices into [`Region::histogram`], in ascending order.
pub(super) struct Bins(Vec<u16>);

/// Bins counted per pixel.
const PER_PIXEL: usize = 3 + 3 * ORIENTATIONS;

impl Bins {
    /// The bins of a picture. A texture is the part above 0 of the derivative in one of eight directions, in ten bins up
    /// to the greatest in the picture.
    pub(super) fn of(planes: &Planes) -> Self {
        let pixels = planes.width * planes.height;
        let mut bins = vec![0; pixels * PER_PIXEL];
        let bin = |share: f32, count: usize| ((share * count as f32) as usize).min(count - 1);
        for (channel, plane) in planes.channels.iter().enumerate() {
            for (pixel, value) in plane.iter().enumerate() {
                let found = channel * COLOUR_BINS + bin(value / 255.0, COLOUR_BINS);
                bins[pixel * PER_PIXEL + channel] = found as u16;
            }
        }
        let smooth = smooth(planes, TEXTURE_SIGMA);
        let directions: Vec<[f32; 2]> = (0..ORIENTATIONS)
            .map(|number| {
                let angle = std::f32::consts::TAU * number as f32 / ORIENTATIONS as f32;
                [angle.cos(), angle.sin()]
            })
            .collect();
        for (channel, plane) in smooth.channels.iter().enumerate() {
            let gradients = gradients(plane, planes.width);
            for (number, [right, down]) in directions.iter().enumerate() {
                let slopes = || {
                    gradients
                        .iter()
                        .map(|[x, y]| (right * x + down * y).max(0.0))
                };
                let greatest = slopes().fold(f32::MIN_POSITIVE, f32::max);
                let place = channel * ORIENTATIONS + number;
                let first = COLOURS + place * TEXTURE_BINS;
                for (pixel, slope) in slopes().enumerate() {
                    let found = first + bin(slope / greatest, TEXTURE_BINS);
                    bins[pixel * PER_PIXEL + 3 + place] = found as u16;
                }
            }
        }
        Self(bins)
    }
}

/// Half the difference of each pixel's neighbours, [to the right, downwards]; 0 across the border.
fn gradients(plane: &[f32], width: usize) -> Vec<[f32; 2]> {
    let height = plane.len() / width;
    let mut out = Vec::with_capacity(plane.len());
    for y in 0..height {
        for x in 0..width {
            let at = |x: usize, y: usize| plane[y * width + x];
            let right = at((x + 1).min(width - 1), y) - at(x.saturating_sub(1), y);
            let down = at(x, (y + 1).min(height - 1)) - at(x, y.saturating_sub(1));
            out.push([0.5 * right, 0.5 * down]);
        }
    }
    out
}

/// The regions that the segments are.
pub(super) fn regions(segments: &Segments, bins: &Bins, width: usize) -> Vec<Region> {
    let mut regions = vec![
        Region {
            size: 0.0,
            bounds: [u32::MAX, u32::MAX, 0, 0],
            histogram: vec![0.0; NUMBERS],
            neighbours: Vec::new(),
        };
        segments.count
    ];
    let height = segments.of_pixel.len() / width;
    for (pixel, (&segment, bins)) in segments
        .of_pixel
        .iter()
        .zip(bins.0.chunks_exact(PER_PIXEL))
        .enumerate()
    {
        let (x, y) = (pixel % width, pixel / width);
        let region = &mut regions[segment as usize];
        region.size += 1.0;
        let [left, top, right, bottom] = region.bounds;
        let (column, row) = (x as u32, y as u32);
        region.bounds = [
            left.min(column),
            top.min(row),
            right.max(column + 1),
            bottom.max(row + 1),
        ];
        for &bin in bins {
            region.histogram[usize::from(bin)] += 1.0;
        }
        let next = [
            (x + 1 < width).then_some(pixel + 1),
            (y + 1 < height).then_some(pixel + width),
        ];
        for other in next.into_iter().flatten() {
            let other = segments.of_pixel[other];
            if other != segment {
                touch(&mut regions, segment, other);
            }
        }
    }
    for region in &mut regions {
        region.neighbours.sort_unstable();
        region.neighbours.dedup();
        let (colours, textures) = region.histogram.split_at_mut(COLOURS);
        for part in [colours, textures] {
            let sum: f32 = part.iter().sum();
            part.iter_mut().for_each(|value| *value /= sum);
        }
    }
    regions
}

/// Notes that two regions touch; most pairs are noted many times in a row.
fn touch(regions: &mut [Region], a: u32, b: u32) {
    for (a, b) in [(a, b), (b, a)] {
        let neighbours = &mut regions[a as usize].neighbours;
        if neighbours.last() != Some(&b) {
            neighbours.push(b);
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::data::boxes::search::segment::segment;

    #[test]
    fn colours_are_converted() {
        let picture = RgbImage::from_fn(2, 1, |x, _| {
            [Rgb([255, 128, 0]), Rgb([255, 255, 255])][x as usize]
        });
        let channel = |planes: &Planes, pixel: usize| [0, 1, 2].map(|c| planes.channels[c][pixel]);
        // Orange: hue 30°, full saturation and value.
        let orange = channel(&hsv(&picture), 0);
        for (found, expected) in orange
            .into_iter()
            .zip([30.12 / 360.0 * 255.0, 255.0, 255.0])
        {
            assert!((found - expected).abs() < 0.1, "{orange:?}");
        }
        // White: L* = 100, a* = b* = 0. Orange: L* 67.0, a* 43.0, b* 74.1.
        for (pixel, expected) in [[67.05, 42.83, 74.03], [100.0, 0.0, 0.0]]
            .into_iter()
            .enumerate()
        {
            let [lightness, a, b] = channel(&lab(&picture), pixel);
            let found = [lightness / 2.55, a - 128.0, b - 128.0];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 0.5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn regions_have_size_box_neighbours_and_histograms_that_sum_to_one() {
        let color = |x: u32, y: u32| match (x < 10, y < 10) {
            (true, true) => Rgb([250, 0, 0]),
            (false, true) => Rgb([0, 250, 0]),
            _ => Rgb([0, 0, 250]),
        };
        let planes = hsv(&RgbImage::from_fn(30, 20, color));
        let segments = segment(&planes, 10.0, 1);
        let regions = regions(&segments, &Bins::of(&planes), 30);
        let seen: Vec<_> = regions
            .iter()
            .map(|region| (region.size, region.bounds, region.neighbours.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                (100.0, [0, 0, 10, 10], vec![1, 2]),
                (200.0, [10, 0, 30, 10], vec![0, 2]),
                (300.0, [0, 10, 30, 20], vec![0, 1]),
            ]
        );
        for region in &regions {
            let (colours, textures) = region.histogram.split_at(COLOURS);
            for part in [colours, textures] {
                assert!((part.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            // One colour fills one bin of each channel.
            assert_eq!(colours.iter().filter(|share| **share > 0.0).count(), 3);
        }
    }
}
