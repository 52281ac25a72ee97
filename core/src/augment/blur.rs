//! PIL's Gaussian blur: three passes of an extended box filter along each axis.
//!
//! `ImageFilter.GaussianBlur` is not a Gaussian convolution. It follows Gwosdek et al., "Theoretical
//! foundations of Gaussian convolution by extended box filtering" (SSVM 2011): a box of fractional
//! length, in 8.24 fixed point, rounded to bytes after every pass. The same arithmetic here gives
//! the same bytes.
//!
//! Each plane is first copied into a buffer (a `Field`) with a margin on every side that repeats the
//! plane's edge pixels. A pass along either axis is then one loop over the whole buffer without special
//! cases at the edges, because the taps of every value lie a fixed number of bytes apart.

use multiversion::multiversion;

use super::planes::Planes;

/// The largest standard deviation, in pixels: sums over the longest box still fit 16 bits.
pub const MAX_SIGMA: f64 = 100.0;

const PASSES: usize = 3;

/// Number of values that the inner loops of [`pass`] filter together, so that they become vector instructions.
const BLOCK: usize = 64;

/// Blurs in place with the standard deviation `sigma` in pixels; edges repeat the last pixel.
///
/// # Panics
/// When `sigma` does not lie between 0 and [`MAX_SIGMA`].
pub fn gaussian_blur(planes: &mut Planes, sigma: f64) {
    Blur::default().apply(planes, sigma);
}

/// [`gaussian_blur`] with buffers that are reused from one picture to the next.
#[derive(Debug, Default)]
pub(super) struct Blur {
    field: Vec<u8>,
    filtered: Vec<u8>,
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
    /// The box whose threefold application has the standard deviation `sigma`; `None` when that box is
    /// the identity. Numbers in brackets are the paper's equations. Intermediate values are `f32` where PIL's are.
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
}

/// A plane of `width` × `height` bytes with `margin` more on every side.
#[derive(Clone, Copy)]
struct Field {
    width: usize,
    height: usize,
    margin: usize,
}

impl Field {
    /// Number of bytes from one row to the next.
    fn stride(self) -> usize {
        self.width + 2 * self.margin
    }

    /// The bytes of row `y` of the plane, without its margins.
    fn row(self, y: usize) -> std::ops::Range<usize> {
        let start = (self.margin + y) * self.stride() + self.margin;
        start..start + self.width
    }

    fn repeat_first_and_last_column(self, field: &mut [u8]) {
        for y in 0..self.height {
            let row = self.row(y);
            let (first, last) = (field[row.start], field[row.end - 1]);
            field[row.start - self.margin..row.start].fill(first);
            field[row.end..row.end + self.margin].fill(last);
        }
    }

    fn repeat_first_and_last_row(self, field: &mut [u8]) {
        let (first, last) = (self.row(0), self.row(self.height - 1));
        for distance in 1..=self.margin {
            let step = distance * self.stride();
            field.copy_within(first.clone(), first.start - step);
            field.copy_within(last.clone(), last.start + step);
        }
    }
}

impl Blur {
    /// Blurs as [`gaussian_blur`] does.
    pub(super) fn apply(&mut self, planes: &mut Planes, sigma: f64) {
        assert!(
            (0.0..=MAX_SIGMA).contains(&sigma),
            "blur sigma {sigma} px is out of range"
        );
        let empty = planes.as_bytes().is_empty();
        let Some(filter) = BoxFilter::new(sigma as f32).filter(|_| !empty) else {
            return;
        };
        let field = Field {
            width: planes.width() as usize,
            height: planes.height() as usize,
            margin: filter.radius + 1,
        };
        for plane in planes.channels_mut() {
            self.plane(plane, field, filter);
        }
    }

    fn plane(&mut self, plane: &mut [u8], field: Field, filter: BoxFilter) {
        let stride = field.stride();
        // The last block may extend past the end of the field.
        let size = stride * (field.height + 2 * field.margin) + BLOCK;
        self.field.resize(size, 0);
        self.filtered.resize(size, 0);
        for (y, row) in plane.chunks_exact(field.width).enumerate() {
            self.field[field.row(y)].copy_from_slice(row);
        }
        let inside = field.row(0).start..field.row(field.height - 1).end;
        for step in [1, stride] {
            for _ in 0..PASSES {
                if step == 1 {
                    field.repeat_first_and_last_column(&mut self.field);
                } else {
                    field.repeat_first_and_last_row(&mut self.field);
                }
                // `from` begins at the first tap of the first result, so that result i has its taps at i, i + step, …
                let first_tap = inside.start - field.margin * step;
                let from = &self.field[first_tap..];
                pass(
                    from,
                    step,
                    filter,
                    &mut self.filtered[inside.start..],
                    inside.len(),
                );
                std::mem::swap(&mut self.field, &mut self.filtered);
            }
        }
        for (y, row) in plane.chunks_exact_mut(field.width).enumerate() {
            row.copy_from_slice(&self.field[field.row(y)]);
        }
    }
}

/// Filters `count` values, rounded up to whole blocks. Value i of `to` is the weighted sum of the values
/// i + k·`step` of `from` for k from 0 to 2·radius + 2.
#[multiversion(targets = "simd")]
fn pass(from: &[u8], step: usize, filter: BoxFilter, to: &mut [u8], count: usize) {
    let last = 2 * filter.radius + 2;
    let blocks = to.as_chunks_mut::<BLOCK>().0.iter_mut();
    for (block, to) in blocks.take(count.div_ceil(BLOCK)).enumerate() {
        let from = &from[block * BLOCK..];
        let tap = |k: usize| {
            let values = from[k * step..].first_chunk::<BLOCK>();
            values.expect("a block follows the field")
        };
        let mut sums = [0u16; BLOCK];
        for k in 1..last {
            for (sum, &value) in sums.iter_mut().zip(tap(k)) {
                *sum += u16::from(value);
            }
        }
        let (first, last) = (tap(0), tap(last));
        for i in 0..BLOCK {
            let outer = u32::from(first[i]) + u32::from(last[i]);
            let mean = u32::from(sums[i]) * filter.inner + outer * filter.outer + (1 << 23);
            to[i] = (mean >> 24) as u8;
        }
    }
}
