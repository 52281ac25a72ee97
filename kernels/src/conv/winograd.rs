//! 3×3 convolutions of stride 1, dilated or not, by minimal filtering, F(2×2, 3×3) (Winograd 1980; Lavin and Gray 2016).
//!
//! A tile of 2×2 outputs sees 4×4 inputs d. With the kernel g its outputs are Aᵀ[(GgGᵀ) ⊙ (BᵀdB)]A: 16
//! products where the sums have 36. Each of the 16 places of the middle is one matrix product over all tiles,
//! [tiles, C_in]·[C_in, C_out]. Both gradients are the transposes of these maps. Sums of four with signs are
//! all that comes on top, so results are as exact as the plain sums'.

use std::ops::Range;

use multiversion::multiversion;

use super::{
    Shape,
    after::After,
    interleave::{join, of_grids, split},
    kernel::transposed,
};
use crate::{
    parallel::{each, map, pieces, pieces_of, with_scratch},
    product::{Into, Matrix, product},
};

/// Places of a transformed tile, row by row.
const PLACES: usize = 16;

/// One matrix [C_in, C_out] for each place. Each is an allocation of its own: larger ones go back to the
/// operating system when they are freed, which then has to clear them.
pub(super) type Places = Vec<Vec<f32>>;

/// A row of a transform: which two values it adds, with which signs.
type Row = [(usize, f32); 2];

/// Bᵀ: what a transformed tile has of the inputs.
const INPUT: [Row; 4] = [
    [(0, 1.0), (2, -1.0)],
    [(1, 1.0), (2, 1.0)],
    [(2, 1.0), (1, -1.0)],
    [(1, 1.0), (3, -1.0)],
];

/// A: what it has of the outputs' gradients.
const GRADIENT: [Row; 4] = [
    [(0, 1.0), (1, 0.0)],
    [(0, 1.0), (1, 1.0)],
    [(0, 1.0), (1, -1.0)],
    [(0, 0.0), (1, -1.0)],
];

/// Whether a convolution is of the kind, dilated or not, and has channels enough to be worth it.
pub(super) fn fits(shape: &Shape) -> bool {
    shape.kernel == 3
        && shape.stride == 1
        && shape.padding == shape.dilation
        && shape.channels_in >= 16
        && shape.channels_out >= 16
}

/// A feature map in tiles of 2×2 pixels.
#[derive(Clone, Copy)]
struct Tiles {
    batch: usize,
    sides: [usize; 2],
    rows: usize,
    columns: usize,
}

impl Tiles {
    fn of(shape: &Shape) -> Self {
        let [rows, columns] = shape.input.map(|side| side.div_ceil(2));
        Self {
            batch: shape.batch,
            sides: shape.input,
            rows,
            columns,
        }
    }

    fn count(&self) -> usize {
        self.batch * self.rows * self.columns
    }

    /// The first pixel of a row of tiles, rows counted over the batch.
    fn first_pixel(&self, row: usize) -> usize {
        let [height, width] = self.sides;
        (row / self.rows * height + row % self.rows * 2) * width
    }

    /// Blocks of about `tiles` tiles: whole rows of tiles.
    fn blocks(&self, tiles: usize) -> Vec<Block> {
        let (all, step) = (self.batch * self.rows, (tiles / self.columns).max(1));
        let block = |first: usize| {
            let end = (first + step).min(all);
            Block {
                tiles: first * self.columns..end * self.columns,
                pixels: self.first_pixel(first)..self.first_pixel(end),
            }
        };
        (0..all).step_by(step).map(block).collect()
    }
}

/// Some rows of tiles.
struct Block {
    tiles: Range<usize>,
    pixels: Range<usize>,
}

/// Up to so many tiles, each place is one product over all of them: weights are read once, and there is work
/// for 16 threads. More go in blocks that stay in a core's cache from one transform to the other.
const ONE_BLOCK: usize = 512;
/// Bytes of a block's products.
const BLOCK_BYTES: usize = 512 << 10;

/// The convolution with a transformed kernel.
pub(super) fn forward(input: &[f32], kernel: &Places, after: After, shape: &Shape) -> Vec<f32> {
    let (c, channels) = (shape.channels_in, shape.channels_out);
    if shape.dilation > 1 {
        let grids = split(input, c, shape);
        let grids = forward(&grids, kernel, After::Nothing, &of_grids(shape));
        return join(&grids, channels, after, shape);
    }
    let tiles = Tiles::of(shape);
    let source = Source::input(input, tiles, c);
    let multiply = |place: usize, tiles_of: Range<usize>, seen: &mut [f32], out: &mut [f32]| {
        let count = tiles_of.len();
        transform(seen, &source, place, 0..c, tiles_of);
        let weights = Matrix::new(&kernel[place], c, channels);
        product(out, Into::Fresh, Matrix::new(seen, count, c), weights);
    };
    if tiles.count() <= ONE_BLOCK {
        let products = map(PLACES, |place| {
            let mut out = vec![0.0; tiles.count() * channels];
            with_scratch(tiles.count() * c, |seen| {
                multiply(place, 0..tiles.count(), seen, &mut out);
            });
            out
        });
        let blocks = tiles.blocks(tiles.count() / PLACES);
        pieces(&sizes(&blocks, channels), |index, out| {
            let Block { tiles: own, pixels } = &blocks[index];
            let products = std::array::from_fn(|place| {
                &products[place][own.start * channels..own.end * channels]
            });
            outputs(out, products, &tiles, channels, own.start);
            after.apply(out, pixels.clone());
        })
    } else {
        let blocks = tiles.blocks((BLOCK_BYTES / 4 / PLACES / channels).clamp(32, 128));
        pieces(&sizes(&blocks, channels), |index, out| {
            let Block { tiles: own, pixels } = &blocks[index];
            let (of_input, of_output) = (own.len() * c, own.len() * channels);
            with_scratch(of_input + PLACES * of_output, |scratch| {
                let (seen, products) = scratch.split_at_mut(of_input);
                for (place, out) in products.chunks_exact_mut(of_output).enumerate() {
                    multiply(place, own.clone(), seen, out);
                }
                let products =
                    std::array::from_fn(|place| &products[place * of_output..][..of_output]);
                outputs(out, products, &tiles, channels, own.start);
            });
            after.apply(out, pixels.clone());
        })
    }
}

/// Values of each block's pixels.
fn sizes(blocks: &[Block], channels: usize) -> Vec<usize> {
    let size = |block: &Block| block.pixels.len() * channels;
    blocks.iter().map(size).collect()
}

/// Input channels whose gradients one task computes, at most.
const CHANNELS: usize = 128;
/// Tiles that a task takes at once.
const TILES: usize = 512;

/// The gradient of the transformed kernel: for each place blocks of [up to `CHANNELS`, C_out], in order.
fn places_gradient(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<Vec<f32>> {
    let (c, channels) = (shape.channels_in, shape.channels_out);
    let tiles = Tiles::of(shape);
    let source = Source::input(input, tiles, c);
    let above = Source::gradient(gradient, tiles, channels);
    let blocks = c.div_ceil(CHANNELS);
    map(PLACES * blocks, |task| {
        let (place, first) = (task / blocks, task % blocks * CHANNELS);
        let own = first..(first + CHANNELS).min(c);
        let mut sums = vec![0.0; own.len() * channels];
        for first in (0..tiles.count()).step_by(TILES) {
            let some = first..(first + TILES).min(tiles.count());
            let count = some.len();
            with_scratch(count * (own.len() + channels), |scratch| {
                let (seen, slopes) = scratch.split_at_mut(count * own.len());
                transform(seen, &source, place, own.clone(), some.clone());
                transform(slopes, &above, place, 0..channels, some);
                let into = if first == 0 { Into::Fresh } else { Into::Sum };
                let seen = Matrix::new(seen, count, own.len()).transposed();
                product(&mut sums, into, seen, Matrix::new(slopes, count, channels));
            });
        }
        sums
    })
}

/// A feature map to be transformed tile by tile.
struct Source<'a> {
    values: &'a [f32],
    channels: usize,
    tiles: Tiles,
    rows: &'static [Row; 4],
    /// A tile begins so many pixels above and to the left of its outputs.
    before: usize,
    /// What lies outside the map.
    zeros: Vec<f32>,
}

impl<'a> Source<'a> {
    fn input(values: &'a [f32], tiles: Tiles, channels: usize) -> Self {
        Self {
            values,
            channels,
            tiles,
            rows: &INPUT,
            before: 1,
            zeros: vec![0.0; channels],
        }
    }

    fn gradient(values: &'a [f32], tiles: Tiles, channels: usize) -> Self {
        Self {
            rows: &GRADIENT,
            before: 0,
            ..Self::input(values, tiles, channels)
        }
    }
}

/// One place of some tiles' transforms, rows of as many values as `own` has channels.
#[multiversion(targets = "simd")]
fn transform(to: &mut [f32], source: &Source, place: usize, own: Range<usize>, some: Range<usize>) {
    let [height, width] = source.tiles.sides;
    let columns = source.tiles.columns;
    let channels = own.len();
    let [up, down] = source.rows[place / 4];
    let [left, right] = source.rows[place % 4];
    let signs = [
        up.1 * left.1,
        up.1 * right.1,
        down.1 * left.1,
        down.1 * right.1,
    ];
    let line = width * source.channels;
    let mut to = to.chunks_exact_mut(channels);
    let mut tile = some.start;
    while tile < some.end {
        // Tiles side by side.
        let (row, column) = (tile / columns, tile % columns);
        let run = (columns - column).min(some.end - tile);
        let (sample, top) = (row / source.tiles.rows, row % source.tiles.rows * 2);
        let lines = [up.0, down.0].map(|y| {
            let y = (top + y).wrapping_sub(source.before);
            (y < height).then(|| &source.values[(sample * height + y) * line..][..line])
        });
        for (column, to) in (column..column + run).zip(&mut to) {
            let [x, z] = [left.0, right.0].map(|x| (2 * column + x).wrapping_sub(source.before));
            let a = corner(source, lines[0], x, &own);
            let b = corner(source, lines[0], z, &own);
            let c = corner(source, lines[1], x, &own);
            let d = corner(source, lines[1], z, &own);
            let to = &mut to[..channels];
            for i in 0..channels {
                to[i] = signs[0] * a[i] + signs[1] * b[i] + signs[2] * c[i] + signs[3] * d[i];
            }
        }
        tile += run;
    }
}

/// Channels of pixel `x` in a line of the map; zeros outside.
#[inline(always)]
fn corner<'a>(
    source: &'a Source,
    line: Option<&'a [f32]>,
    x: usize,
    own: &Range<usize>,
) -> &'a [f32] {
    match line {
        Some(line) if x < source.tiles.sides[1] => {
            &line[x * source.channels + own.start..][..own.len()]
        }
        _ => &source.zeros[..own.len()],
    }
}

/// AᵀmA for whole rows of tiles, the first of which is `first`: their pixels.
#[multiversion(targets = "simd")]
fn outputs(
    mut out: &mut [f32],
    products: [&[f32]; PLACES],
    tiles: &Tiles,
    channels: usize,
    first: usize,
) {
    let [height, width] = tiles.sides;
    let rows = products[0].len() / channels / tiles.columns;
    for row in 0..rows {
        let top = (first / tiles.columns + row) % tiles.rows * 2;
        let (upper, rest) = out.split_at_mut(width * channels);
        let has_lower = top + 1 < height;
        let (lower, rest) = rest.split_at_mut(if has_lower { width * channels } else { 0 });
        out = rest;
        for column in 0..tiles.columns {
            let at = (row * tiles.columns + column) * channels;
            let m: [&[f32]; PLACES] =
                std::array::from_fn(|place| &products[place][at..][..channels]);
            let left = column * 2 * channels;
            if has_lower && column * 2 + 1 < width {
                // The common case in one pass.
                let (a, b) = upper[left..][..2 * channels].split_at_mut(channels);
                let (c, d) = lower[left..][..2 * channels].split_at_mut(channels);
                for i in 0..channels {
                    let sums = |place: usize| {
                        let [p, q, r] = [m[place][i], m[place + 4][i], m[place + 8][i]];
                        (p + q + r, q - r - m[place + 12][i])
                    };
                    let [s, t, u, v] = [sums(0), sums(1), sums(2), sums(3)];
                    a[i] = s.0 + t.0 + u.0;
                    b[i] = t.0 - u.0 - v.0;
                    c[i] = s.1 + t.1 + u.1;
                    d[i] = t.1 - u.1 - v.1;
                }
                continue;
            }
            for (down, line) in [&mut *upper, &mut *lower].into_iter().enumerate() {
                let from = left.min(line.len());
                let pixels = line[from..].chunks_exact_mut(channels);
                for (right, pixel) in pixels.take(2).enumerate() {
                    for (i, value) in pixel.iter_mut().enumerate() {
                        let sum = |place: usize| match down {
                            0 => m[place][i] + m[place + 4][i] + m[place + 8][i],
                            _ => m[place + 4][i] - m[place + 8][i] - m[place + 12][i],
                        };
                        *value = match right {
                            0 => sum(0) + sum(1) + sum(2),
                            _ => sum(1) - sum(2) - sum(3),
                        };
                    }
                }
            }
        }
    }
}

/// Channels moved together.
const LANES: usize = 16;

/// GgGᵀ of weights [C_out, C_in, 3, 3].
pub(super) fn kernel_of(weights: &[f32], channels_in: usize, channels_out: usize) -> Places {
    let mut kernel = vec![vec![0.0; channels_in * channels_out]; PLACES];
    let mut places: Vec<_> = kernel
        .iter_mut()
        .map(|place| place.chunks_mut(LANES * channels_out))
        .collect();
    let blocks: Vec<(usize, Vec<&mut [f32]>)> = (0..channels_in.div_ceil(LANES))
        .map(|block| {
            let rows = places.iter_mut().filter_map(Iterator::next);
            (block * LANES, rows.collect())
        })
        .collect();
    each(blocks, |(first, mut places)| {
        kernel_block(&mut places, weights, first, [channels_in, channels_out]);
    });
    kernel
}

/// The same for the input channels from `first` on, as many as `places` has rows.
#[multiversion(targets = "simd")]
fn kernel_block(
    places: &mut [&mut [f32]],
    weights: &[f32],
    first: usize,
    [channels_in, channels_out]: [usize; 2],
) {
    let rows = places[0].len() / channels_out;
    for left in (0..channels_out).step_by(LANES) {
        let lanes = LANES.min(channels_out - left);
        for row in 0..rows {
            let mut taps = [[0.0; LANES]; 9];
            for lane in 0..lanes {
                let at = ((left + lane) * channels_in + first + row) * 9;
                let source = &weights[at..][..9];
                for (tap, value) in taps.iter_mut().zip(source) {
                    tap[lane] = *value;
                }
            }
            // Rows, then columns.
            let mut half = [[0.0; LANES]; 12];
            for x in 0..3 {
                for lane in 0..LANES {
                    let [a, b, c] = [taps[x][lane], taps[3 + x][lane], taps[6 + x][lane]];
                    half[x][lane] = a;
                    half[3 + x][lane] = 0.5 * (a + c + b);
                    half[6 + x][lane] = 0.5 * (a + c - b);
                    half[9 + x][lane] = c;
                }
            }
            for y in 0..4 {
                let mut four = [[0.0; LANES]; 4];
                for lane in 0..LANES {
                    let [a, b, c] = [
                        half[3 * y][lane],
                        half[3 * y + 1][lane],
                        half[3 * y + 2][lane],
                    ];
                    four[0][lane] = a;
                    four[1][lane] = 0.5 * (a + c + b);
                    four[2][lane] = 0.5 * (a + c - b);
                    four[3][lane] = c;
                }
                for (x, values) in four.iter().enumerate() {
                    places[4 * y + x][row * channels_out + left..][..lanes]
                        .copy_from_slice(&values[..lanes]);
                }
            }
        }
    }
}

/// The gradient of the weights, [C_out, C_in, 3, 3]: GᵀuG of the transformed kernel's gradient u.
pub(super) fn weight_gradient(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<f32> {
    let sizes = [shape.channels_in, shape.channels_out];
    let places = if shape.dilation > 1 {
        let [input, gradient] =
            [(input, sizes[0]), (gradient, sizes[1])].map(|(map, c)| split(map, c, shape));
        places_gradient(&input, &gradient, &of_grids(shape))
    } else {
        places_gradient(input, gradient, shape)
    };
    pieces_of(
        9 * sizes[0] * sizes[1],
        LANES * sizes[0] * 9,
        |block, out| {
            weights_block(out, &places, block * LANES, sizes);
        },
    )
}

/// The same for the output channels from `first` on.
#[multiversion(targets = "simd")]
fn weights_block(
    out: &mut [f32],
    gradient: &[Vec<f32>],
    first: usize,
    [channels_in, channels_out]: [usize; 2],
) {
    let blocks = gradient.len() / PLACES;
    let lanes = out.len() / (channels_in * 9);
    for input in 0..channels_in {
        let mut places = [[0.0; LANES]; PLACES];
        for (place, values) in places.iter_mut().enumerate() {
            let rows = &gradient[place * blocks + input / CHANNELS];
            let row = &rows[input % CHANNELS * channels_out..];
            values[..lanes].copy_from_slice(&row[first..][..lanes]);
        }
        let mut half = [[0.0; LANES]; 12];
        for x in 0..4 {
            for lane in 0..LANES {
                let [a, b, c, d] = [0, 4, 8, 12].map(|row| places[row + x][lane]);
                half[x][lane] = a + 0.5 * (b + c);
                half[4 + x][lane] = 0.5 * (b - c);
                half[8 + x][lane] = 0.5 * (b + c) + d;
            }
        }
        let mut taps = [[0.0; LANES]; 9];
        for y in 0..3 {
            for lane in 0..LANES {
                let [a, b, c, d] = [0, 1, 2, 3].map(|x| half[4 * y + x][lane]);
                taps[3 * y][lane] = a + 0.5 * (b + c);
                taps[3 * y + 1][lane] = 0.5 * (b - c);
                taps[3 * y + 2][lane] = 0.5 * (b + c) + d;
            }
        }
        for lane in 0..lanes {
            let to = &mut out[(lane * channels_in + input) * 9..][..9];
            for (to, tap) in to.iter_mut().zip(&taps) {
                *to = tap[lane];
            }
        }
    }
}

/// The transformed kernel that takes an output's gradient to the input's: taps in reverse, which swaps the
/// first and the last place along each side; inputs for outputs.
pub(super) fn reversed(kernel: &Places, channels_in: usize, channels_out: usize) -> Places {
    map(PLACES, |place| {
        let swapped = |i: usize| [3, 1, 2, 0][i];
        let from = swapped(place / 4) * 4 + swapped(place % 4);
        transposed(&kernel[from], channels_in, channels_out)
    })
}
