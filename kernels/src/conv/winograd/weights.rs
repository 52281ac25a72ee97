//! The transform of a kernel, and the transform of the gradient back to the untransformed kernel.

use multiversion::multiversion;

use super::{CHANNELS, PLACES, Places};
use crate::{
    conv::transpose::transposed,
    parallel::{each, map},
};

/// Channels that are transformed together, in one vector.
pub(super) const LANES: usize = 16;

/// The transformed kernel GgGᵀ of weights g, [C_out, C_in, 3, 3].
pub(in crate::conv) fn kernel_of(
    weights: &[f32],
    channels_in: usize,
    channels_out: usize,
) -> Places {
    in_places(PLACES, [channels_in, channels_out], |places, first| {
        kernel_block(places, weights, first, [channels_in, channels_out]);
    })
}

/// A matrix [C_in, C_out] for each place. `fill` fills the rows of some input channels in all of them; it is given
/// the first of these channels.
pub(super) fn in_places(
    count: usize,
    [channels_in, channels_out]: [usize; 2],
    fill: impl Fn(&mut [&mut [f32]], usize) + Sync + Send,
) -> Places {
    let mut kernel = vec![vec![0.0; channels_in * channels_out]; count];
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
    each(blocks, |(first, mut places)| fill(&mut places, first));
    kernel
}

/// [`kernel_of`] for the input channels from `first` on, as many as `places` has rows.
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
            // First G·g, then (G·g)·Gᵀ.
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

/// The transformed kernel that turns the gradient of the output into the gradient of the input: reversing the
/// taps swaps the first and the last place along each side; input and output channels are exchanged.
pub(in crate::conv) fn reversed(
    kernel: &Places,
    channels_in: usize,
    channels_out: usize,
) -> Places {
    map(PLACES, |place| {
        let swapped = |i: usize| [3, 1, 2, 0][i];
        let from = swapped(place / 4) * 4 + swapped(place % 4);
        transposed(&kernel[from], channels_in, channels_out)
    })
}
