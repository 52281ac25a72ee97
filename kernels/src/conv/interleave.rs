//! Dilated convolution by undilated ones. With dilation d, a pixel interacts only with pixels at distances that are
//! multiples of d, so the map falls into d² interleaved grids, and each grid is convolved without dilation.

use super::{Epilogue, Shape};
use crate::parallel::pieces_of;

/// The undilated convolution on the grids, each of which is a sample of the batch. The padding of `shape` must
/// equal its dilation.
pub(super) fn of_grids(shape: &Shape) -> Shape {
    let d = shape.dilation;
    Shape {
        batch: shape.batch * d * d,
        input: shape.input.map(|side| side.div_ceil(d)),
        padding: 1,
        dilation: 1,
        ..*shape
    }
}

/// [B, H, W, C] → [B·d², ⌈H/d⌉, ⌈W/d⌉, C]; grids with fewer pixels are padded with zeros.
pub(super) fn split(map: &[f32], channels: usize, shape: &Shape) -> Vec<f32> {
    let (d, [height, width]) = (shape.dilation, shape.input);
    let [rows, columns] = of_grids(shape).input;
    let grid = rows * columns * channels;
    pieces_of(shape.batch * d * d * grid, grid, |index, to| {
        let (sample, top, left) = (index / (d * d), index / d % d, index % d);
        for (y, to) in (top..height)
            .step_by(d)
            .zip(to.chunks_exact_mut(columns * channels))
        {
            let line = &map[(sample * height + y) * width * channels..][..width * channels];
            for (x, to) in (left..width).step_by(d).zip(to.chunks_exact_mut(channels)) {
                to.copy_from_slice(&line[x * channels..][..channels]);
            }
        }
    })
}

/// The inverse of [`split`], followed by the epilogue.
pub(super) fn join(grids: &[f32], channels: usize, epilogue: Epilogue, shape: &Shape) -> Vec<f32> {
    let (d, [height, width]) = (shape.dilation, shape.input);
    let [rows, columns] = of_grids(shape).input;
    let len = shape.batch * height * width * channels;
    pieces_of(len, width * channels, |index, to| {
        let (sample, y) = (index / height, index % height);
        for (x, to) in to.chunks_exact_mut(channels).enumerate() {
            let grid = sample * d * d + y % d * d + x % d;
            let at = (grid * rows + y / d) * columns + x / d;
            to.copy_from_slice(&grids[at * channels..][..channels]);
        }
        epilogue.apply(to, index * width..(index + 1) * width);
    })
}
