//! PIL's Gaussian blur: three passes of an extended box filter along each axis.
//!
//! `ImageFilter.GaussianBlur` is not a Gaussian convolution. It follows Gwosdek et al., "Theoretical
//! foundations of Gaussian convolution by extended box filtering" (SSVM 2011): a box of fractional
//! length, in 8.24 fixed point, rounded to bytes after every pass. The same arithmetic here gives
//! the same bytes.

use image::RgbImage;

/// The largest standard deviation, in pixels: sums over the longest box still fit 16 bits.
pub const MAX_SIGMA: f64 = 100.0;

const PASSES: usize = 3;
const CHANNELS: usize = 3;

/// Blurs in place with the standard deviation `sigma` in pixels; edges repeat the last pixel.
///
/// # Panics
/// When `sigma` does not lie between 0 and [`MAX_SIGMA`].
pub fn gaussian_blur(image: &mut RgbImage, sigma: f64) {
    assert!(
        (0.0..=MAX_SIGMA).contains(&sigma),
        "blur sigma {sigma} px is out of range"
    );
    let line = image.width() as usize * CHANNELS;
    let Some(filter) = BoxFilter::new(sigma as f32).filter(|_| !image.is_empty()) else {
        return;
    };
    blur_rows(image, line, filter);
    blur_columns(image, line, filter);
}

/// A box of 2·`radius` + 1 pixels of weight `inner` and one more pixel at each end of weight
/// `outer`; weights are in units of 2⁻²⁴ and add up to at most 1.
#[derive(Clone, Copy)]
struct BoxFilter {
    radius: usize,
    inner: u32,
    outer: u32,
}

impl BoxFilter {
    /// The box whose threefold application has the standard deviation `sigma`; `None` when it is
    /// the identity. Numbers in brackets are the paper's equations; `f32` is PIL's precision.
    fn new(sigma: f32) -> Option<Self> {
        let variance = sigma * sigma / PASSES as f32;
        // [7] length, [11] whole part of the radius, [14] its fraction.
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let next = (whole + 1.0) * (whole + 1.0);
        let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
            / (6.0 * (variance - next));
        let radius = whole + fraction;
        if radius == 0.0 {
            return None;
        }
        const ONE: u32 = 1 << 24;
        let inner = (ONE as f32 / (radius * 2.0 + 1.0)) as u32;
        let radius = radius as usize;
        let outer = (ONE - (2 * radius as u32 + 1) * inner) / 2;
        Some(Self {
            radius,
            inner,
            outer,
        })
    }

    /// Filters one line: `tap(k)` is the line shifted by k − radius − 1 pixels along the filter's
    /// axis. `sums` is scratch space of the line's length.
    fn line<'a>(self, tap: impl Fn(usize) -> &'a [u8], sums: &mut [u16], out: &mut [u8]) {
        sums.fill(0);
        for k in 1..=2 * self.radius + 1 {
            for (sum, &value) in sums.iter_mut().zip(tap(k)) {
                *sum += u16::from(value);
            }
        }
        let ends = tap(0).iter().zip(tap(2 * self.radius + 2));
        for ((out, &sum), (&first, &last)) in out.iter_mut().zip(&*sums).zip(ends) {
            let outer = u32::from(first) + u32::from(last);
            let mean = u32::from(sum) * self.inner + outer * self.outer + (1 << 23);
            *out = (mean >> 24) as u8;
        }
    }
}

fn blur_rows(pixels: &mut [u8], line: usize, filter: BoxFilter) {
    let margin = (filter.radius + 1) * CHANNELS;
    let mut padded = vec![0; line + 2 * margin];
    let mut sums = vec![0; line];
    for row in pixels.chunks_exact_mut(line) {
        for _ in 0..PASSES {
            padded[margin..margin + line].copy_from_slice(row);
            for end in padded[..margin].chunks_exact_mut(CHANNELS) {
                end.copy_from_slice(&row[..CHANNELS]);
            }
            for end in padded[margin + line..].chunks_exact_mut(CHANNELS) {
                end.copy_from_slice(&row[line - CHANNELS..]);
            }
            filter.line(|k| &padded[k * CHANNELS..][..line], &mut sums, row);
        }
    }
}

fn blur_columns(pixels: &mut [u8], line: usize, filter: BoxFilter) {
    let rows = pixels.len() / line;
    let mut previous = vec![0; pixels.len()];
    let mut sums = vec![0; line];
    for _ in 0..PASSES {
        previous.copy_from_slice(pixels);
        for (y, row) in pixels.chunks_exact_mut(line).enumerate() {
            let tap = |k: usize| {
                let y = (y + k).saturating_sub(filter.radius + 1).min(rows - 1);
                &previous[y * line..][..line]
            };
            filter.line(tap, &mut sums, row);
        }
    }
}
