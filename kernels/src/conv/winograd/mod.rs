//! 3×3 convolutions of stride 1, with any dilation, by minimal filtering F(2×2, 3×3) (Winograd 1980; Lavin and
//! Gray 2016).
//!
//! A tile of 2×2 outputs depends on 4×4 inputs d. With the kernel g, the outputs are Aᵀ[(GgGᵀ) ⊙ (BᵀdB)]A: 16
//! multiplications, where the definition has 36. Each of the 16 places of the 4×4 element-wise product ⊙, taken
//! over all tiles and channels, is one matrix product [tiles, C_in]·[C_in, C_out]. Both gradients use the
//! transposed transforms. The transforms of the maps only add and subtract a few values, so rounding errors are
//! as small as without them.
//!
//! Where there are few channels, larger tiles save more ([`large`]), except for the gradient of the weights.

mod lanes;
mod large;
mod tiles;
mod weights;

use std::{borrow::Cow, ops::Range};

use self::{
    lanes::LANES,
    tiles::{Block, Source, Tiles, outputs, transform},
    weights::{kernel_of, reversed, reversed_weights, weights_block},
};
use super::{
    Shape,
    epilogue::Epilogue,
    interleave::{join, of_grids, split},
};
use crate::{
    parallel::{map, pieces, pieces_of, with_scratch},
    product::{Matrix, Write, product},
};

/// Values (places) of a transformed 4×4 tile, in row-major order.
const PLACES: usize = 16;

/// One matrix [C_in, C_out] for each place, each in its own allocation. A single large allocation would be returned
/// to the operating system when it is freed, and the memory of the next one would have to be cleared again.
type Places = Vec<Vec<f32>>;

/// A transformed kernel. Only the numbers of channels decide for which tiles, so that the result for a picture does not
/// depend on its batch, nor on what the kernel was used for before.
#[derive(Debug, Clone)]
pub(super) enum Transformed {
    /// For tiles of 2×2 outputs.
    Small(Places),
    /// For tiles of 4×4 outputs; and the weights themselves, from which the reversed kernel is made.
    Large(Places, Vec<f32>),
}

impl Transformed {
    /// The transform of weights [C_out, C_in, 3, 3]; `channels` are C_in and C_out.
    pub(super) fn of(weights: Cow<'_, [f32]>, channels: [usize; 2]) -> Self {
        if large::fits(channels) {
            let places = kernel_of(&weights, channels, large::of_kernel);
            Self::Large(places, weights.into_owned())
        } else {
            Self::Small(kernel_of(&weights, channels, weights::of_kernel))
        }
    }

    /// The kernel that turns the gradient of the output into the gradient of the input: the taps are in reverse order,
    /// input and output channels are exchanged.
    pub(super) fn reversed(&self, channels: [usize; 2]) -> Self {
        match self {
            Self::Small(places) => Self::Small(reversed(places, channels)),
            Self::Large(_, weights) => {
                let [channels_in, channels_out] = channels;
                let weights = reversed_weights(weights, channels);
                Self::of(weights.into(), [channels_out, channels_in])
            }
        }
    }
}

/// Whether a convolution is 3×3 with stride 1 and "same" padding, and has enough channels for this to be faster.
pub(super) fn fits(shape: &Shape) -> bool {
    shape.kernel == 3
        && shape.stride == 1
        && shape.padding == shape.dilation
        && shape.channels_in >= 16
        && shape.channels_out >= 16
}

/// Whether the transformed kernel is larger than a core's L2 cache by far.
pub(super) fn is_large(shape: &Shape) -> bool {
    shape.channels_in * shape.channels_out >= 1 << 18
}

/// Up to this many tiles, each of the 16 places is one task over all tiles, which reads its weights once. More
/// tiles are computed in blocks, small enough to stay in a core's cache from the first transform to the last.
const ONE_BLOCK: usize = 512;
/// Bytes of the matrix products of a block.
const BLOCK_BYTES: usize = 512 << 10;

/// The convolution, followed by the epilogue.
pub(super) fn forward(
    input: &[f32],
    kernel: &Transformed,
    epilogue: Epilogue,
    shape: &Shape,
) -> Vec<f32> {
    if shape.dilation > 1 {
        let grids = split(input, shape.channels_in, shape);
        let grids = forward(&grids, kernel, Epilogue::Identity, &of_grids(shape));
        return join(&grids, shape.channels_out, epilogue, shape);
    }
    match kernel {
        Transformed::Small(places) => by_small_tiles(input, places, epilogue, shape),
        Transformed::Large(places, _) => large::forward(input, places, epilogue, shape),
    }
}

/// The convolution without dilation by tiles of 2×2 outputs.
fn by_small_tiles(input: &[f32], kernel: &Places, epilogue: Epilogue, shape: &Shape) -> Vec<f32> {
    let (c, channels) = (shape.channels_in, shape.channels_out);
    let tiles = Tiles::of(shape, 2);
    let source = Source::input(input, tiles, c);
    let multiply = |place: usize, tiles_of: Range<usize>, seen: &mut [f32], out: &mut [f32]| {
        let count = tiles_of.len();
        transform(seen, &source, place, 0..c, tiles_of);
        let weights = Matrix::new(&kernel[place], c, channels);
        product(out, Write::Replace, Matrix::new(seen, count, c), weights);
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
            epilogue.apply(out, pixels.clone());
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
            epilogue.apply(out, pixels.clone());
        })
    }
}

/// The number of output values of each block.
fn sizes(blocks: &[Block], channels: usize) -> Vec<usize> {
    let size = |block: &Block| block.pixels.len() * channels;
    blocks.iter().map(size).collect()
}

/// The most input channels for which one task computes the gradient of the transformed kernel.
const CHANNELS: usize = 128;
/// Tiles per matrix product of the gradient.
const TILES: usize = 512;

/// The gradient of the transformed kernel. For each place in turn: one matrix [up to `CHANNELS`, C_out] for
/// each block of input channels.
fn places_gradient(input: &[f32], gradient: &[f32], shape: &Shape) -> Vec<Vec<f32>> {
    let (c, channels) = (shape.channels_in, shape.channels_out);
    let tiles = Tiles::of(shape, 2);
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
                let write = if first == 0 {
                    Write::Replace
                } else {
                    Write::Add
                };
                let seen = Matrix::new(seen, count, own.len()).transposed();
                product(&mut sums, write, seen, Matrix::new(slopes, count, channels));
            });
        }
        sums
    })
}
/// The gradient of the weights, [C_out, C_in, 3, 3]: GᵀuG, where u is the gradient of the transformed kernel.
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
