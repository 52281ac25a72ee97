//! 3×3 convolutions of stride 1 by minimal filtering F(2×2, 3×3) (Winograd 1980; Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", CVPR 2016): a tile of 2×2 results takes 16 multiplications per channel instead of 36.
//!
//! Tiles and weights are transformed to 16 values each, for which 16 matrix products take the place of the convolution,
//! and the products are transformed back. The transforms write and read four times the size of the maps, so this pays
//! only where there are many channels.

use burn::backend::{Cube, ops::FloatTensorOps};
use burn::tensor::DType;
use cubecl::prelude::*;

use super::Arranged;
use crate::ops::{
    choice::ConvShape,
    gpu::{
        tensor::{GpuTensor, argument, contiguous, count, dims, empty, reshaped, vector},
        threads::{each, in_map},
    },
};

/// Whether minimal filtering can compute a convolution and the gradient of its input.
pub(super) fn is_possible(shape: &ConvShape, half: bool) -> bool {
    !half && (shape.kernel, shape.stride, shape.dilation) == (3, 1, 1)
}

/// The sizes of a map and its tiles.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
#[expand(derive(Clone, Copy))]
struct Tiled {
    /// Rows of the map.
    height: usize,
    /// Pixels per row of the map.
    width: usize,
    /// Tiles of 2×2 pixels along the height.
    rows: usize,
    /// Tiles along the width.
    columns: usize,
    /// Vectors per pixel.
    depth: usize,
    /// Tiles of all pictures.
    tiles: usize,
}

/// Four values a row or column of a tile apart, transformed: (d₀ − d₂, d₁ + d₂, d₂ − d₁, d₁ − d₃).
#[cube]
fn transform<V: Size>(
    d: &mut Array<Vector<f32, V>>,
    #[comptime] first: usize,
    #[comptime] step: usize,
) {
    let [a, b, c, e] = comptime!([first, first + step, first + 2 * step, first + 3 * step]);
    let (d0, d1, d2, d3) = (d[a], d[b], d[c], d[e]);
    d[a] = d0 - d2;
    d[b] = d1 + d2;
    d[c] = d2 - d1;
    d[e] = d1 - d3;
}

/// The transforms of all tiles with their neighbourhoods of 4×4 pixels: `output` is [16, tiles, depth].
#[cube(launch)]
fn transform_tiles<V: Size>(map: &[Vector<f32, V>], output: &mut [Vector<f32, V>], sizes: Tiled) {
    if ABSOLUTE_POS >= sizes.tiles * sizes.depth {
        terminate!();
    }
    let place = in_map(ABSOLUTE_POS, sizes.rows, sizes.columns, sizes.depth);
    let (picture, row, column, channel) = (place.picture, place.row, place.column, place.channel);
    let tile = ABSOLUTE_POS / sizes.depth;
    let mut d = Array::<Vector<f32, V>>::new(16usize);
    #[unroll]
    for i in 0..16usize {
        let y = (row * 2 + comptime!(i / 4)) as i32 - 1;
        let x = (column * 2 + comptime!(i % 4)) as i32 - 1;
        let inside = y >= 0 && y < sizes.height as i32 && x >= 0 && x < sizes.width as i32;
        let pixel = (picture * sizes.height) as i32 + y;
        let at = (pixel * sizes.width as i32 + x) as usize * sizes.depth + channel;
        d[i] = select(inside, map[select(inside, at, 0)], Vector::zero());
    }
    #[unroll]
    for i in 0..4usize {
        transform(&mut d, i, 4usize);
    }
    #[unroll]
    for i in 0..4usize {
        transform(&mut d, comptime!(4 * i), 1usize);
    }
    #[unroll]
    for i in 0..16usize {
        output[(i * sizes.tiles + tile) * sizes.depth + channel] = d[i];
    }
}

/// The transforms of 3×3 weights [outer, inner, 3, 3]: `output` is [16, inner, outer], or for the gradient of the input,
/// with reversed taps, [16, outer, inner].
#[cube(launch)]
fn transform_weights(
    weights: &[f32],
    output: &mut [f32],
    outer: usize,
    inner: usize,
    #[comptime] transposed: bool,
) {
    let count = outer * inner;
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let (o, i) = if comptime!(transposed) {
        (ABSOLUTE_POS / inner, ABSOLUTE_POS % inner)
    } else {
        (ABSOLUTE_POS % outer, ABSOLUTE_POS / outer)
    };
    let mut g = Array::<f32>::new(9usize);
    #[unroll]
    for tap in 0..9usize {
        let from = comptime!(if transposed { 8 - tap } else { tap });
        g[tap] = weights[(o * inner + i) * 9 + from];
    }
    // Along columns: 4 × 3 values.
    let mut half = Array::<f32>::new(12usize);
    #[unroll]
    for c in 0..3usize {
        let (g0, g1, g2) = (g[c], g[comptime!(c + 3)], g[comptime!(c + 6)]);
        half[c] = g0;
        half[comptime!(c + 3)] = (g0 + g1 + g2) * 0.5;
        half[comptime!(c + 6)] = (g0 - g1 + g2) * 0.5;
        half[comptime!(c + 9)] = g2;
    }
    #[unroll]
    for r in 0..4usize {
        let (g0, g1, g2) = (
            half[comptime!(3 * r)],
            half[comptime!(3 * r + 1)],
            half[comptime!(3 * r + 2)],
        );
        output[comptime!(4 * r) * count + ABSOLUTE_POS] = g0;
        output[comptime!(4 * r + 1) * count + ABSOLUTE_POS] = (g0 + g1 + g2) * 0.5;
        output[comptime!(4 * r + 2) * count + ABSOLUTE_POS] = (g0 - g1 + g2) * 0.5;
        output[comptime!(4 * r + 3) * count + ABSOLUTE_POS] = g2;
    }
}

/// The results of all tiles from their products [16, tiles, depth].
#[cube(launch)]
fn transform_back<V: Size>(
    products: &[Vector<f32, V>],
    output: &mut [Vector<f32, V>],
    sizes: Tiled,
) {
    if ABSOLUTE_POS >= sizes.tiles * sizes.depth {
        terminate!();
    }
    let place = in_map(ABSOLUTE_POS, sizes.rows, sizes.columns, sizes.depth);
    let (picture, row, column, channel) = (place.picture, place.row, place.column, place.channel);
    let tile = ABSOLUTE_POS / sizes.depth;
    let mut half = Array::<Vector<f32, V>>::new(8usize);
    #[unroll]
    for c in 0..4usize {
        let m0 = products[(c * sizes.tiles + tile) * sizes.depth + channel];
        let m1 = products[(comptime!(c + 4) * sizes.tiles + tile) * sizes.depth + channel];
        let m2 = products[(comptime!(c + 8) * sizes.tiles + tile) * sizes.depth + channel];
        let m3 = products[(comptime!(c + 12) * sizes.tiles + tile) * sizes.depth + channel];
        half[c] = m0 + m1 + m2;
        half[comptime!(c + 4)] = m1 - m2 - m3;
    }
    #[unroll]
    for r in 0..2usize {
        let y = row * 2 + r;
        let (h0, h1, h2, h3) = (
            half[comptime!(4 * r)],
            half[comptime!(4 * r + 1)],
            half[comptime!(4 * r + 2)],
            half[comptime!(4 * r + 3)],
        );
        let pixel = (picture * sizes.height + y) * sizes.width + column * 2;
        if y < sizes.height {
            output[pixel * sizes.depth + channel] = h0 + h1 + h2;
            if column * 2 + 1 < sizes.width {
                output[(pixel + 1) * sizes.depth + channel] = h1 - h2 - h3;
            }
        }
    }
}

/// The convolution of `map` [B, H, W, in], or with `transposed` the gradient of its input from that of its output.
pub(super) fn convolve(map: &GpuTensor, weights: &Arranged, transposed: bool) -> GpuTensor {
    let [batch, height, width, channels] = dims(map);
    let [outer, inner, _, _] = dims::<4>(&weights.parameter);
    let results = if transposed { inner } else { outer };
    let client = &map.client;
    let [rows, columns] = [height, width].map(|side| side.div_ceil(2));
    let tiles = batch * rows * columns;
    let tiled = |depth| TiledLaunch::new(height, width, rows, columns, depth, tiles);

    let of_tiles = empty(map, [16, tiles, channels], DType::F32);
    let depth = channels / vector(channels);
    let (cubes, threads) = each(client, tiles * depth);
    transform_tiles::launch(
        client,
        cubes,
        threads,
        vector(channels),
        argument(map),
        argument(&of_tiles),
        tiled(depth),
    );
    let of_weights = empty(map, [16, channels, results], DType::F32);
    let (cubes, threads) = each(client, count(&weights.parameter) / 9);
    transform_weights::launch(
        client,
        cubes,
        threads,
        argument(&weights.parameter),
        argument(&of_weights),
        outer,
        inner,
        transposed,
    );
    let products = contiguous(Cube::float_matmul(of_tiles, of_weights));
    let output = empty(map, [batch, height, width, results], DType::F32);
    let depth = results / vector(results);
    let (cubes, threads) = each(client, tiles * depth);
    transform_back::launch(
        client,
        cubes,
        threads,
        vector(results),
        argument(&reshaped(products, [16 * tiles, results])),
        argument(&output),
        tiled(depth),
    );
    output
}
