//! The two gradients of a convolution.

use super::{
    After, Kernel, Shape, forward,
    kernel::{Form, transpose, unpack},
    patches::{add_patches, fill_patches, fill_tap},
    tile_rows, winograd,
};
use crate::{
    parallel::{chunks, map, with_scratch},
    product::{Into, Matrix, product},
};

/// The gradient of the input, [B, H, W, C_in], given the output's, [B, H', W', C_out].
///
/// # Panics
/// When the slices have not the sizes that `shape` says.
pub fn input_gradient(gradient: &[f32], kernel: &Kernel, shape: &Shape) -> Vec<f32> {
    assert_eq!(gradient.len(), shape.pixels_out() * shape.channels_out);
    assert_eq!(kernel.sizes, shape.kernel_sizes());
    let reach = shape.dilation * (shape.kernel - 1);
    if shape.stride == 1 && shape.padding <= reach {
        // A convolution itself, with the kernel reversed.
        let back = Shape {
            input: shape.output(),
            channels_in: shape.channels_out,
            channels_out: shape.channels_in,
            padding: reach - shape.padding,
            ..*shape
        };
        return forward(gradient, &kernel.reversed(), After::Nothing, &back);
    }

    let (patch, channels) = (shape.patch(), shape.channels_out);
    let [height, width] = shape.input;
    let [rows, columns] = shape.output();
    let mut input = vec![0.0; shape.pixels_in() * shape.channels_in];
    let Form::Taps(taps) = &kernel.form else {
        unreachable!("minimal filtering has stride 1")
    };
    // The products run along its rows: transposed once, not in each of them.
    let mut weights = vec![0.0; taps.len()];
    transpose(taps, &mut weights, patch, channels);
    let weights = Matrix::new(&weights, channels, patch);
    let most = tile_rows(patch);
    let sample = height * width * shape.channels_in;
    chunks(&mut input, sample, |index, input| {
        let pixels = rows * columns;
        let gradient = &gradient[index * pixels * channels..][..pixels * channels];
        for (tile, gradient) in gradient.chunks(most * channels).enumerate() {
            let count = gradient.len() / channels;
            with_scratch(count * patch, |patches| {
                let gradient = Matrix::new(gradient, count, channels);
                product(patches, Into::Fresh, gradient, weights);
                add_patches(patches, input, shape, tile * most);
            });
        }
    });
    input
}

/// Rows of a kernel's gradient that one task computes, at most.
const KERNEL_ROWS: usize = 128;
/// Fewer input channels than this make products too thin.
const FEW_CHANNELS: usize = 16;
/// Pixels of the output that a task takes at once.
const PIXELS: usize = 1024;

/// The gradient of the weights, [C_out, C_in, k, k], given the input and the output's gradient.
///
/// # Panics
/// When the slices have not the sizes that `shape` says.
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

/// Of the packed weights, tap by tap: each C_in × C_out block is a product of the input that the tap sees, transposed, with the gradient:
/// blocks are independent, so no sums over threads are needed.
fn by_taps(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let (c, channels, pixels) = (shape.channels_in, shape.channels_out, shape.pixels_out());
    let block = (1..=KERNEL_ROWS)
        .rev()
        .find(|rows| c.is_multiple_of(*rows))
        .expect("1 divides every number");
    let blocks = c / block;
    let mut packed = vec![0.0; shape.patch() * channels];
    chunks(&mut packed, block * channels, |index, out| {
        let (tap, begin) = (index / blocks, index % blocks * block);
        let tap = [tap / shape.kernel, tap % shape.kernel];
        for first in (0..pixels).step_by(PIXELS) {
            let count = PIXELS.min(pixels - first);
            let into = if first == 0 { Into::Fresh } else { Into::Sum };
            let gradient = &gradient[first * channels..][..count * channels];
            let gradient = Matrix::new(gradient, count, channels);
            if shape.is_pointwise() {
                let seen = Matrix::strided(&input[first * c + begin..], count, block, c, 1);
                product(out, into, seen.transposed(), gradient);
            } else {
                with_scratch(count * block, |tile| {
                    fill_tap(tile, input, shape, tap, begin..begin + block, first);
                    let seen = Matrix::new(tile, count, block);
                    product(out, into, seen.transposed(), gradient);
                });
            }
        }
    });
    packed
}

/// The gradient of the bias, `[C_out]`, given the output's.
pub fn bias_gradient(gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let channels = shape.channels_out;
    let mut sums = vec![0.0_f64; channels];
    for row in gradient.chunks_exact(channels) {
        let sums = sums.iter_mut().zip(row);
        sums.for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Parts of the batch whose shares of a kernel's gradient are computed apart, then added in order.
const PARTS: usize = 16;

/// The same for a kernel with many taps and few input channels, such as the stem's.
fn by_patches(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let (patch, channels, pixels) = (shape.patch(), shape.channels_out, shape.pixels_out());
    let (rows, share) = (tile_rows(patch), pixels.div_ceil(PARTS));
    let parts = map(pixels.div_ceil(share), |part| {
        let mut sum = vec![0.0; patch * channels];
        let end = ((part + 1) * share).min(pixels);
        for first in (part * share..end).step_by(rows) {
            let count = rows.min(end - first);
            let gradient = &gradient[first * channels..][..count * channels];
            with_scratch(count * patch, |tile| {
                fill_patches(tile, input, shape, first);
                let seen = Matrix::new(tile, count, patch).transposed();
                product(
                    &mut sum,
                    Into::Sum,
                    seen,
                    Matrix::new(gradient, count, channels),
                );
            });
        }
        sum
    });
    parts
        .into_iter()
        .reduce(|mut sum, part| {
            sum.iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
            sum
        })
        .expect("a batch has a pixel")
}
