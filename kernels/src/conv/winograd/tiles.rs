//! Feature maps cut into tiles of 2×2 pixels, and the transforms of these tiles. The formula is in the documentation
//! of the parent module.

use std::ops::Range;

use multiversion::multiversion;

use super::PLACES;
use crate::conv::Shape;

/// A row of a transform matrix: the columns and values of its two entries; the others are 0.
type Row = [(usize, f32); 2];

/// Bᵀ, the transform of the input.
const INPUT: [Row; 4] = [
    [(0, 1.0), (2, -1.0)],
    [(1, 1.0), (2, 1.0)],
    [(2, 1.0), (1, -1.0)],
    [(1, 1.0), (3, -1.0)],
];

/// A, the transform of the output's gradient.
const GRADIENT: [Row; 4] = [
    [(0, 1.0), (1, 0.0)],
    [(0, 1.0), (1, 1.0)],
    [(0, 1.0), (1, -1.0)],
    [(0, 0.0), (1, -1.0)],
];

/// A feature map cut into square tiles.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    batch: usize,
    pub(super) sides: [usize; 2],
    /// Pixels along the side of a tile.
    side: usize,
    rows: usize,
    columns: usize,
}

impl Tiles {
    /// The tiles of a map, `side` pixels along each of their sides.
    pub(super) fn of(shape: &Shape, side: usize) -> Self {
        let [rows, columns] = shape.input.map(|pixels| pixels.div_ceil(side));
        Self {
            batch: shape.batch,
            sides: shape.input,
            side,
            rows,
            columns,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.batch * self.rows * self.columns
    }

    /// The first pixel of a row of tiles; rows are counted over the whole batch.
    pub(super) fn first_pixel(&self, row: usize) -> usize {
        let [height, width] = self.sides;
        (row / self.rows * height + row % self.rows * self.side) * width
    }

    /// The sample of a tile, and the row and column of its first pixel.
    pub(super) fn place(&self, tile: usize) -> [usize; 3] {
        let (row, column) = (tile / self.columns, tile % self.columns);
        [
            row / self.rows,
            row % self.rows * self.side,
            column * self.side,
        ]
    }

    /// Cuts the map into blocks of whole rows of tiles, about `tiles` tiles each.
    pub(super) fn blocks(&self, tiles: usize) -> Vec<Block> {
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

/// Consecutive rows of tiles, and the pixels that they cover.
pub(super) struct Block {
    pub(super) tiles: Range<usize>,
    pub(super) pixels: Range<usize>,
}

/// A feature map to be transformed tile by tile.
pub(super) struct Source<'a> {
    values: &'a [f32],
    channels: usize,
    tiles: Tiles,
    rows: &'static [Row; 4],
    /// How many pixels above and to the left of its 2×2 pixels a transformed tile begins.
    before: usize,
    /// The channels of a pixel outside the map.
    zeros: Vec<f32>,
}

impl<'a> Source<'a> {
    pub(super) fn input(values: &'a [f32], tiles: Tiles, channels: usize) -> Self {
        Self {
            values,
            channels,
            tiles,
            rows: &INPUT,
            before: 1,
            zeros: vec![0.0; channels],
        }
    }

    pub(super) fn gradient(values: &'a [f32], tiles: Tiles, channels: usize) -> Self {
        Self {
            rows: &GRADIENT,
            before: 0,
            ..Self::input(values, tiles, channels)
        }
    }
}

/// One place of the transform, for the tiles `some` and the channels `own`: `to` has a row of channels for each
/// tile.
#[multiversion(targets = "simd")]
pub(super) fn transform(
    to: &mut [f32],
    source: &Source,
    place: usize,
    own: Range<usize>,
    some: Range<usize>,
) {
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
        // The tiles of one row, which share their lines of the map.
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
            // With indices the loop is four times as slow if the crate is compiled as one unit.
            let corners = a.iter().zip(b).zip(c).zip(d);
            for (to, (((a, b), c), d)) in to.iter_mut().zip(corners) {
                *to = signs[0] * a + signs[1] * b + signs[2] * c + signs[3] * d;
            }
        }
        tile += run;
    }
}

/// The channels `own` of pixel `x` in a line of the map; zeros outside the map.
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

/// The output pixels AᵀmA of whole rows of tiles that begin at tile `first`; m are the `products`, one slice
/// for each place.
#[multiversion(targets = "simd")]
pub(super) fn outputs(
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
                // The common case, a whole tile inside the map: all four pixels in one pass.
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
