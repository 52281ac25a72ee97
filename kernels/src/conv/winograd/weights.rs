//! The transform of a kernel, and the transform of the gradient back to the untransformed kernel.

use multiversion::multiversion;

use super::{
    CHANNELS, PLACES, Places,
    lanes::{LANES, across, lanes, store},
};
use crate::{
    conv::transpose::transposed,
    parallel::{each, map, pieces_of},
};

/// Gg for one column g of a kernel, for tiles of 2×2 outputs.
#[inline(always)]
pub(super) fn of_kernel([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + c + b), 0.5 * (a + c - b), c]
}

/// The transformed kernel GgGᵀ of weights g, [C_out, C_in, 3, 3]. `transform` is Gg for one column g.
pub(super) fn kernel_of<const SIDE: usize>(
    weights: &[f32],
    [channels_in, channels_out]: [usize; 2],
    transform: impl Fn([f32; 3]) -> [f32; SIDE] + Copy + Sync + Send,
) -> Places {
    let mut kernel = vec![vec![0.0; channels_in * channels_out]; SIDE * SIDE];
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
        kernel_block(
            &mut places,
            weights,
            first,
            [channels_in, channels_out],
            transform,
        );
    });
    kernel
}

/// [`kernel_of`] for the input channels from `first` on, as many as `places` has rows.
#[multiversion(targets = "simd")]
fn kernel_block<const SIDE: usize, T: Fn([f32; 3]) -> [f32; SIDE] + Copy>(
    places: &mut [&mut [f32]],
    weights: &[f32],
    first: usize,
    [channels_in, channels_out]: [usize; 2],
    transform: T,
) {
    let rows = places[0].len() / channels_out;
    let mut half = [[[0.0; LANES]; SIDE]; 3];
    let mut line = [[0.0; LANES]; SIDE];
    for left in (0..channels_out).step_by(LANES) {
        let count = LANES.min(channels_out - left);
        for row in 0..rows {
            let mut taps = [[0.0; LANES]; 9];
            for lane in 0..count {
                let at = ((left + lane) * channels_in + first + row) * 9;
                for (tap, value) in taps.iter_mut().zip(&weights[at..][..9]) {
                    tap[lane] = *value;
                }
            }
            // First G·g, then (G·g)·Gᵀ.
            for (x, half) in half.iter_mut().enumerate() {
                lanes([0, 3, 6].map(|y| &taps[y + x]), half, transform);
            }
            for y in 0..SIDE {
                lanes(across(&half, y), &mut line, transform);
                for (x, values) in line.iter().enumerate() {
                    let to = &mut places[SIDE * y + x][row * channels_out + left..];
                    store(&mut to[..count], values);
                }
            }
        }
    }
}

/// GᵀuG for the output channels from `first` on: the gradient of the weights, from the gradient u of the
/// transformed kernel.
#[multiversion(targets = "simd")]
pub(super) fn weights_block(
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

/// The weights [C_out, C_in, 3, 3] that turn the gradient of the output into the gradient of the input, [C_in, C_out, 3, 3]
/// with the taps in reverse order.
pub(super) fn reversed_weights(
    weights: &[f32],
    [channels_in, channels_out]: [usize; 2],
) -> Vec<f32> {
    pieces_of(weights.len(), channels_out * 9, |input, to| {
        for (output, to) in to.chunks_exact_mut(9).enumerate() {
            to.copy_from_slice(&weights[(output * channels_in + input) * 9..][..9]);
            to.reverse();
        }
    })
}

/// The transformed kernel that turns the gradient of the output into the gradient of the input: reversing the
/// taps swaps the first and the last place along each side; input and output channels are exchanged.
pub(super) fn reversed(kernel: &Places, [channels_in, channels_out]: [usize; 2]) -> Places {
    map(PLACES, |place| {
        let swapped = |i: usize| [3, 1, 2, 0][i];
        let from = swapped(place / 4) * 4 + swapped(place % 4);
        transposed(&kernel[from], channels_in, channels_out)
    })
}
