//! Minimal filtering with tiles of 4×4 outputs, F(4×4, 3×3): 36 multiplications for 16 outputs, where F(2×2, 3×3) has
//! 64 and the definition 144. The transformed kernel has 36 values for each pair of channels instead of 16, so this is
//! faster only with few channels.
//!
//! The transforms are those for the points 0, ±1, ±2 and ∞ (Lavin and Gray 2016, section 4.3). They multiply by up to
//! 8, so that rounding errors are about four times those of the definition.

use std::ops::Range;

use multiversion::multiversion;

use super::{
    Places,
    lanes::{LANES, Lanes, across, lanes, store},
    sizes,
    tiles::{Block, Tiles},
};
use crate::{
    conv::{Epilogue, Shape},
    parallel::{pieces, with_scratch},
    product::{Matrix, Write, product},
};

/// Side of a transformed tile.
const SIDE: usize = 6;
/// Values (places) of a transformed tile, in row-major order.
const PLACES: usize = SIDE * SIDE;
/// Side of the outputs of a tile.
const OUTPUTS: usize = 4;
/// Tiles that are computed together: their transformed inputs and products stay in a core's cache.
const TILES: usize = 28;
/// With more channels the transformed kernel does not stay in the cache, and to transform it for each step of a
/// training takes longer than what is saved.
const MOST_CHANNELS: usize = 128;

/// Whether this is faster than tiles of 2×2 outputs for these numbers of channels.
pub(super) fn fits(channels: [usize; 2]) -> bool {
    let fits = |channels: usize| channels <= MOST_CHANNELS && channels.is_multiple_of(LANES);
    channels.into_iter().all(fits)
}

/// Bᵀd for one column d of a tile.
#[inline(always)]
fn of_input([a, b, c, d, e, f]: [f32; SIDE]) -> [f32; SIDE] {
    let (even, odd) = (e - 4.0 * c, d - 4.0 * b);
    let (twice, once) = (2.0 * (d - b), e - c);
    [
        4.0 * a - 5.0 * c + e,
        even + odd,
        even - odd,
        once + twice,
        once - twice,
        4.0 * b - 5.0 * d + f,
    ]
}

/// Gg for one column g of a kernel.
#[inline(always)]
pub(super) fn of_kernel([a, b, c]: [f32; 3]) -> [f32; SIDE] {
    let (ends, outer) = ((a + c) * (-1.0 / 6.0), a * (1.0 / 24.0) + c * (1.0 / 6.0));
    [
        0.25 * a,
        ends - b * (1.0 / 6.0),
        ends + b * (1.0 / 6.0),
        outer + b * (1.0 / 12.0),
        outer - b * (1.0 / 12.0),
        c,
    ]
}

/// Aᵀm for one column m of products.
#[inline(always)]
fn of_products([a, b, c, d, e, f]: [f32; SIDE]) -> [f32; OUTPUTS] {
    let (sum, difference, outer, odd) = (b + c, b - c, d + e, d - e);
    [
        a + sum + outer,
        difference + 2.0 * odd,
        sum + 4.0 * outer,
        difference + 8.0 * odd + f,
    ]
}

/// The lanes that begin at `at`.
#[inline(always)]
fn load(from: &[f32], at: usize) -> &Lanes {
    from[at..]
        .first_chunk()
        .expect("channels are a multiple of the lanes")
}

/// The convolution without dilation, with a kernel transformed by [`of_kernel`], followed by the epilogue.
pub(super) fn forward(
    input: &[f32],
    kernel: &Places,
    epilogue: Epilogue,
    shape: &Shape,
) -> Vec<f32> {
    let (c, channels) = (shape.channels_in, shape.channels_out);
    let tiles = Tiles::of(shape, OUTPUTS);
    let blocks = tiles.blocks(TILES);
    pieces(&sizes(&blocks, channels), |index, out| {
        let Block { tiles: own, pixels } = &blocks[index];
        // A row of tiles may have more tiles than are computed together; its parts are equally long.
        let step = own.len().div_ceil(own.len().div_ceil(TILES));
        for first in own.clone().step_by(step) {
            let some = first..(first + step).min(own.end);
            let [of_input, of_output] = [c, channels].map(|channels| some.len() * channels);
            with_scratch(PLACES * (of_input + of_output), |scratch| {
                let (seen, products) = scratch.split_at_mut(PLACES * of_input);
                transform(seen, input, &tiles, c, some.clone());
                let of_places = seen
                    .chunks_exact(of_input)
                    .zip(products.chunks_exact_mut(of_output));
                for ((seen, out), kernel) in of_places.zip(kernel) {
                    let seen = Matrix::new(seen, some.len(), c);
                    product(out, Write::Replace, seen, Matrix::new(kernel, c, channels));
                }
                outputs(out, products, &tiles, channels, some, pixels.start);
            });
        }
        epilogue.apply(out, pixels.clone());
    })
}

/// BᵀdB for the tiles `some`: for each place, a row of channels for each tile.
#[multiversion(targets = "simd")]
fn transform(seen: &mut [f32], input: &[f32], tiles: &Tiles, channels: usize, some: Range<usize>) {
    let [height, width] = tiles.sides;
    let place = some.len() * channels;
    let mut half = [[[0.0; LANES]; SIDE]; SIDE];
    let mut line = [[0.0; LANES]; SIDE];
    for (index, tile) in some.enumerate() {
        let [sample, top, left] = tiles.place(tile);
        for first in (0..channels).step_by(LANES) {
            for (x, half) in half.iter_mut().enumerate() {
                let x = (left + x).wrapping_sub(1);
                let column = std::array::from_fn(|y| {
                    let y = (top + y).wrapping_sub(1);
                    if x < width && y < height {
                        let pixel = (sample * height + y) * width + x;
                        load(input, pixel * channels + first)
                    } else {
                        &[0.0; LANES]
                    }
                });
                lanes(column, half, of_input);
            }
            for y in 0..SIDE {
                lanes(across(&half, y), &mut line, of_input);
                for (x, values) in line.iter().enumerate() {
                    let at = (SIDE * y + x) * place + index * channels + first;
                    store(&mut seen[at..][..LANES], values);
                }
            }
        }
    }
}

/// AᵀmA for the tiles `some`, in `out`, which begins at pixel `begin`; m are the products of the places.
#[multiversion(targets = "simd")]
fn outputs(
    out: &mut [f32],
    products: &[f32],
    tiles: &Tiles,
    channels: usize,
    some: Range<usize>,
    begin: usize,
) {
    let [height, width] = tiles.sides;
    let place = some.len() * channels;
    let mut half = [[[0.0; LANES]; OUTPUTS]; SIDE];
    let mut line = [[0.0; LANES]; OUTPUTS];
    for (index, tile) in some.enumerate() {
        let [sample, top, left] = tiles.place(tile);
        for first in (0..channels).step_by(LANES) {
            for (x, half) in half.iter_mut().enumerate() {
                let column = std::array::from_fn(|y| {
                    let at = (SIDE * y + x) * place + index * channels + first;
                    load(products, at)
                });
                lanes(column, half, of_products);
            }
            for y in (0..OUTPUTS).take_while(|y| top + y < height) {
                lanes(across(&half, y), &mut line, of_products);
                let pixel = (sample * height + top + y) * width + left - begin;
                for (x, values) in line.iter().enumerate().take(width - left) {
                    let at = (pixel + x) * channels + first;
                    store(&mut out[at..][..LANES], values);
                }
            }
        }
    }
}
