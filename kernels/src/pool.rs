//! Max pooling 3×3 with stride 2 and padding 1, as in a ResNet's stem.

use multiversion::multiversion;

use crate::parallel::{chunks, chunks2};

/// The sizes of a feature map [B, H, W, C].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Samples.
    pub batch: usize,
    /// Rows and columns.
    pub input: [usize; 2],
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        self.input.map(|side| side.div_ceil(2))
    }

    fn sample_in(&self) -> usize {
        self.input[0] * self.input[1] * self.channels
    }

    fn sample_out(&self) -> usize {
        let [rows, columns] = self.output();
        rows * columns * self.channels
    }

    /// The taps of the window at output row or column `at` that lie inside the input: (tap, input row or column).
    fn window(at: usize, side: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
        (0..3).filter_map(move |tap| {
            let place = (2 * at + tap).checked_sub(1)?;
            (place < side).then_some((tap, place))
        })
    }
}

/// The largest value of each window, and its tap, 0 to 8 (the first, if several are equal):
/// [B, H, W, C] → [B, ⌈H/2⌉, ⌈W/2⌉, C] each.
///
/// # Panics
/// When the length of `input` does not match `shape`.
pub fn forward(input: &[f32], shape: &Shape) -> (Vec<f32>, Vec<u8>) {
    let (size_in, size_out) = (shape.sample_in(), shape.sample_out());
    assert_eq!(input.len(), shape.batch * size_in, "{shape:?}");
    let [height, width] = shape.input;
    let [rows, columns] = shape.output();
    let c = shape.channels;
    let mut output = vec![f32::NEG_INFINITY; shape.batch * size_out];
    let mut taps = vec![0; shape.batch * size_out];
    let row = columns * c;
    chunks2(
        (&mut output, row),
        (&mut taps, row),
        |index, output, taps| {
            let (sample, y) = (index / rows, index % rows);
            let input = &input[sample * size_in..][..size_in];
            let cells = output.chunks_exact_mut(c).zip(taps.chunks_exact_mut(c));
            for (x, (best, tap)) in cells.enumerate() {
                for (ty, y) in Shape::window(y, height) {
                    for (tx, x) in Shape::window(x, width) {
                        let seen = &input[(y * width + x) * c..][..c];
                        keep_largest(best, tap, seen, (3 * ty + tx) as u8);
                    }
                }
            }
        },
    );
    (output, taps)
}

/// The gradient of the input, [B, H, W, C], from the gradient of the output and the taps that [`forward`] returned.
///
/// # Panics
/// When the length of a slice does not match `shape`.
pub fn gradient(gradient: &[f32], taps: &[u8], shape: &Shape) -> Vec<f32> {
    let (size_in, size_out) = (shape.sample_in(), shape.sample_out());
    assert_eq!(gradient.len(), shape.batch * size_out, "{shape:?}");
    assert_eq!(taps.len(), gradient.len(), "{shape:?}");
    let [height, width] = shape.input;
    let [_, columns] = shape.output();
    let c = shape.channels;
    let mut input = vec![0.0; shape.batch * size_in];
    chunks(&mut input, size_in, |sample, input| {
        let range = sample * size_out..(sample + 1) * size_out;
        let cells = gradient[range.clone()].chunks_exact(c);
        for (cell, (gradient, taps)) in cells.zip(taps[range].chunks_exact(c)).enumerate() {
            for (ty, y) in Shape::window(cell / columns, height) {
                for (tx, x) in Shape::window(cell % columns, width) {
                    let to = &mut input[(y * width + x) * c..][..c];
                    add_where(to, gradient, taps, (3 * ty + tx) as u8);
                }
            }
        }
    });
    input
}

#[multiversion(targets = "simd")]
fn keep_largest(best: &mut [f32], tap: &mut [u8], seen: &[f32], number: u8) {
    for ((best, tap), &seen) in best.iter_mut().zip(tap.iter_mut()).zip(seen) {
        // NaN counts as the largest value, so that a run that has diverged is noticed.
        let wins = seen > *best || seen.is_nan();
        *best = if wins { seen } else { *best };
        *tap = if wins { number } else { *tap };
    }
}

#[multiversion(targets = "simd")]
fn add_where(to: &mut [f32], gradient: &[f32], taps: &[u8], number: u8) {
    for ((to, gradient), tap) in to.iter_mut().zip(gradient).zip(taps) {
        *to += if *tap == number { *gradient } else { 0.0 };
    }
}
