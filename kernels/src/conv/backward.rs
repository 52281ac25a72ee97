//! The gradients of a convolution: of its input, its weights and its bias.

use std::ops::Range;

use super::{
    Epilogue, Kernel, Shape, forward,
    kernel::{Form, unpack},
    patches::{add_patches, fill_patches, fill_tap},
    tile_rows,
    transpose::transposed,
    winograd,
};
use crate::{
    parallel::{map, pieces_of, with_scratch},
    product::{Matrix, Write, product},
};

/// The gradient of the input, [B, H, W, C_in], from the gradient of the output, [B, H', W', C_out].
///
/// # Panics
/// When the length of a slice does not match `shape`.
pub fn input_gradient(gradient: &[f32], kernel: &Kernel, shape: &Shape) -> Vec<f32> {
    assert_eq!(gradient.len(), shape.pixels_out() * shape.channels_out);
    assert_eq!(kernel.sizes, shape.kernel_sizes());
    let reach = shape.dilation * (shape.kernel - 1);
    if shape.stride == 1 && shape.padding <= reach {
        // At stride 1 this gradient is a convolution of the output's gradient with the reversed kernel.
        let back = Shape {
            input: shape.output(),
            channels_in: shape.channels_out,
            channels_out: shape.channels_in,
            padding: reach - shape.padding,
            ..*shape
        };
        return forward(gradient, &kernel.reversed(), Epilogue::Identity, &back);
    }

    let (patch, channels) = (shape.patch(), shape.channels_out);
    let [height, width] = shape.input;
    let [rows, columns] = shape.output();
    let Form::Taps(panels) = &kernel.form else {
        unreachable!("minimal filtering has stride 1")
    };
    // The products below need the weights as [C_out, k·k·C_in]: transpose them once, for all tiles.
    let weights = panels
        .iter()
        .map(|panel| transposed(panel, patch, panel.len() / patch))
        .collect::<Vec<_>>()
        .concat();
    let weights = Matrix::new(&weights, channels, patch);
    let most = tile_rows(patch);
    let sample = height * width * shape.channels_in;
    pieces_of(shape.batch * sample, sample, |index, input| {
        let pixels = rows * columns;
        let gradient = &gradient[index * pixels * channels..][..pixels * channels];
        for (tile, gradient) in gradient.chunks(most * channels).enumerate() {
            let count = gradient.len() / channels;
            with_scratch(count * patch, |patches| {
                let gradient = Matrix::new(gradient, count, channels);
                product(patches, Write::Replace, gradient, weights);
                add_patches(patches, input, shape, tile * most);
            });
        }
    })
}

/// The most rows of the weights' gradient that one task computes.
const KERNEL_ROWS: usize = 64;
/// The most values that the partial gradients of all parts of the batch may have together ([`by_taps`]).
const SHARES: usize = 1 << 18;
/// With fewer input channels than this, the matrix of one tap is too narrow for an efficient product.
const FEW_CHANNELS: usize = 16;
/// Output pixels per matrix product.
const PIXELS: usize = 1024;

/// The gradient of the weights, [C_out, C_in, k, k], from the input and the gradient of the output.
///
/// # Panics
/// When the length of a slice does not match `shape`.
pub fn weight_gradient(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let (c, channels) = (shape.channels_in, shape.channels_out);
    assert_eq!(input.len(), shape.pixels_in() * c);
    assert_eq!(gradient.len(), shape.pixels_out() * channels);
    if winograd::fits(shape) {
        return winograd::weight_gradient(input, gradient, shape);
    }
    let taps = if c < FEW_CHANNELS && shape.kernel > 1 {
        by_patches(input, gradient, shape)
    } else {
        by_taps(input, gradient, shape)
    };
    unpack(&taps, shape.kernel_sizes())
}

/// The gradient of the packed weights, [k, k, C_in, C_out], tap by tap: the C_in × C_out block of a tap is
/// Xᵀ·G, where X has the input pixels under that tap and G the gradient of the output. A kernel with few values
/// has too few blocks for all threads. Its gradient is then computed separately for parts of the batch, and the
/// results are added in a fixed order.
fn by_taps(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let (c, channels, pixels) = (shape.channels_in, shape.channels_out, shape.pixels_out());
    let taps = shape.kernel * shape.kernel;
    let rows = |out: &mut [f32], row: usize, some: Range<usize>| {
        let own = row % c..row % c + out.len() / channels;
        let tap = [row / c / shape.kernel, row / c % shape.kernel];
        for first in some.clone().step_by(PIXELS) {
            let count = PIXELS.min(some.end - first);
            let into = if first == some.start {
                Write::Replace
            } else {
                Write::Add
            };
            let gradient = &gradient[first * channels..][..count * channels];
            let gradient = Matrix::new(gradient, count, channels);
            if shape.is_pointwise() {
                let seen = &input[first * c + own.start..];
                let seen = Matrix::strided(seen, count, own.len(), c, 1);
                product(out, into, seen.transposed(), gradient);
            } else {
                with_scratch(count * own.len(), |tile| {
                    fill_tap(tile, input, shape, tap, own.clone(), first);
                    let seen = Matrix::new(tile, count, own.len());
                    product(out, into, seen.transposed(), gradient);
                });
            }
        }
    };
    let parts = (SHARES / (taps * c * channels)).clamp(1, PARTS);
    if parts > 1 {
        return in_parts(pixels, parts, |some| {
            let mut share = vec![0.0; taps * c * channels];
            for (tap, out) in share.chunks_mut(c * channels).enumerate() {
                rows(out, tap * c, some.clone());
            }
            share
        });
    }
    let block = (1..=KERNEL_ROWS)
        .rev()
        .find(|rows| c.is_multiple_of(*rows))
        .expect("1 divides every number");
    pieces_of(taps * c * channels, block * channels, |index, out| {
        rows(out, index * block, 0..pixels);
    })
}

/// The gradient of the bias, `[C_out]`, from the gradient of the output, [B, H', W', C_out].
pub fn bias_gradient(gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let channels = shape.channels_out;
    let mut sums = vec![0.0_f64; channels];
    for row in gradient.chunks_exact(channels) {
        let sums = sums.iter_mut().zip(row);
        sums.for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// The most parts into which a batch is cut to compute the gradient of the weights.
const PARTS: usize = 16;

/// Cuts the pixels into up to `parts` ranges, computes `share` for each of them, and adds the results in order.
fn in_parts(
    pixels: usize,
    parts: usize,
    share: impl Fn(Range<usize>) -> Vec<f32> + Sync + Send,
) -> Vec<f32> {
    let size = pixels.div_ceil(parts);
    let shares = map(pixels.div_ceil(size), |part| {
        share(part * size..((part + 1) * size).min(pixels))
    });
    let add = |mut sum: Vec<f32>, share: Vec<f32>| {
        let values = sum.iter_mut().zip(share);
        values.for_each(|(sum, share)| *sum += share);
        sum
    };
    shares.into_iter().reduce(add).expect("a batch has a pixel")
}

/// The gradient of the packed weights for kernels with many taps and few input channels, such as the stem's
/// 7×7: one product over whole patches.
fn by_patches(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let (patch, channels) = (shape.patch(), shape.channels_out);
    let rows = tile_rows(patch);
    in_parts(shape.pixels_out(), PARTS, |some| {
        let mut sum = vec![0.0; patch * channels];
        for first in some.clone().step_by(rows) {
            let count = rows.min(some.end - first);
            let gradient = &gradient[first * channels..][..count * channels];
            let gradient = Matrix::new(gradient, count, channels);
            with_scratch(count * patch, |tile| {
                fill_patches(tile, input, shape, first);
                let seen = Matrix::new(tile, count, patch).transposed();
                product(&mut sum, Write::Add, seen, gradient);
            });
        }
        sum
    })
}
