//! Patches: for each output pixel, the input values under the kernel (im2col).

use std::ops::Range;

use super::Shape;

/// The taps of output row or column `out` along a side of the input: the position of the first tap, which may be
/// negative, and the range of taps that lie inside.
fn taps(shape: &Shape, out: usize, side: usize) -> (isize, Range<usize>) {
    let start = (out * shape.stride) as isize - shape.padding as isize;
    let step = shape.dilation as isize;
    let before = (-start).max(0) as usize;
    let first = before.div_ceil(shape.dilation).min(shape.kernel);
    let room = side as isize - start; // taps at distances below this are inside
    let end = if room <= 0 {
        0
    } else {
        (room as usize).div_ceil(step as usize).min(shape.kernel)
    };
    (start, first..end.max(first))
}

/// Fills `tile`, rows of k·k·C_in, with the patches of the output pixels from `first` on.
pub(super) fn fill_patches(tile: &mut [f32], input: &[f32], shape: &Shape, first: usize) {
    let [height, width] = shape.input;
    let [rows, columns] = shape.output();
    let (k, c) = (shape.kernel, shape.channels_in);
    let line = k * c;
    for (pixel, patch) in tile.chunks_exact_mut(k * line).enumerate() {
        let pixel = first + pixel;
        let (sample, y, x) = (
            pixel / (rows * columns),
            pixel / columns % rows,
            pixel % columns,
        );
        let (top, inside_y) = taps(shape, y, height);
        let (left, inside_x) = taps(shape, x, width);
        for (ky, patch) in patch.chunks_exact_mut(line).enumerate() {
            if !inside_y.contains(&ky) || inside_x.is_empty() {
                patch.fill(0.0);
                continue;
            }
            let row = (top + (ky * shape.dilation) as isize) as usize;
            let row = &input[(sample * height + row) * width * c..][..width * c];
            patch[..inside_x.start * c].fill(0.0);
            patch[inside_x.end * c..].fill(0.0);
            let at = |kx: usize| (left + (kx * shape.dilation) as isize) as usize * c;
            if shape.dilation == 1 {
                let source = &row[at(inside_x.start)..][..inside_x.len() * c];
                patch[inside_x.start * c..inside_x.end * c].copy_from_slice(source);
            } else {
                for kx in inside_x.clone() {
                    patch[kx * c..][..c].copy_from_slice(&row[at(kx)..][..c]);
                }
            }
        }
    }
}

/// The transpose of [`fill_patches`] for one sample (col2im): adds each value of `tile`, the patches of the
/// output pixels from `first` on, to its place in `input`, [H, W, C_in].
pub(super) fn add_patches(tile: &[f32], input: &mut [f32], shape: &Shape, first: usize) {
    let [height, width] = shape.input;
    let [_, columns] = shape.output();
    let (k, c) = (shape.kernel, shape.channels_in);
    for (pixel, patch) in tile.chunks_exact(k * k * c).enumerate() {
        let pixel = first + pixel;
        let (top, inside_y) = taps(shape, pixel / columns, height);
        let (left, inside_x) = taps(shape, pixel % columns, width);
        for ky in inside_y {
            let row = (top + (ky * shape.dilation) as isize) as usize;
            for kx in inside_x.clone() {
                let column = (left + (kx * shape.dilation) as isize) as usize;
                let to = &mut input[(row * width + column) * c..][..c];
                let from = &patch[(ky * k + kx) * c..][..c];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }
}

/// Fills `tile` with the input under one tap (`ky`, `kx`) of the kernel: a row for each output pixel from
/// `first` on, with the input channels `channels`.
pub(super) fn fill_tap(
    tile: &mut [f32],
    input: &[f32],
    shape: &Shape,
    [ky, kx]: [usize; 2],
    channels: Range<usize>,
    first: usize,
) {
    let [height, width] = shape.input;
    let [rows, columns] = shape.output();
    let c = shape.channels_in;
    let source = |out: usize, tap: usize, side: usize| {
        let at = out * shape.stride + tap * shape.dilation;
        at.checked_sub(shape.padding).filter(|&at| at < side)
    };
    for (pixel, to) in tile.chunks_exact_mut(channels.len()).enumerate() {
        let pixel = first + pixel;
        let (sample, y, x) = (
            pixel / (rows * columns),
            pixel / columns % rows,
            pixel % columns,
        );
        match (source(y, ky, height), source(x, kx, width)) {
            (Some(y), Some(x)) => {
                let pixel = &input[((sample * height + y) * width + x) * c..][..c];
                to.copy_from_slice(&pixel[channels.clone()]);
            }
            _ => to.fill(0.0),
        }
    }
}
