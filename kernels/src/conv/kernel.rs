//! A convolution's weights in the order the matrix products want.

use crate::parallel::{chunks, each};

/// Weights [k, k, C_in, C_out].
#[derive(Debug, Clone)]
pub struct Kernel {
    packed: Vec<f32>,
    sizes: [usize; 3],
}

/// Input channels moved together: their taps make whole cache lines of the source.
const BLOCK: usize = 16;

impl Kernel {
    /// Of weights [C_out, C_in, k, k].
    ///
    /// # Panics
    /// When `weights` has another size.
    pub fn pack(weights: &[f32], [k, channels_in, channels_out]: [usize; 3]) -> Self {
        let taps = k * k;
        assert_eq!(weights.len(), taps * channels_in * channels_out);
        let mut packed = vec![0.0; weights.len()];
        // Ordered so that the taps of the same input channels, which share their cache lines, come together.
        let mut blocks: Vec<(usize, usize, &mut [f32])> = packed
            .chunks_mut(channels_in * channels_out)
            .enumerate()
            .flat_map(|(tap, rows)| {
                rows.chunks_mut(BLOCK * channels_out)
                    .enumerate()
                    .map(move |(block, rows)| (block, tap, rows))
            })
            .collect();
        blocks.sort_by_key(|&(block, tap, _)| (block, tap));
        let row = channels_in * taps;
        each(blocks, |(block, tap, rows)| {
            // Squares of a transposition: a few lines of the source, read whole.
            for left in (0..channels_out).step_by(BLOCK) {
                let right = (left + BLOCK).min(channels_out);
                for (i, to) in rows.chunks_exact_mut(channels_out).enumerate() {
                    let source = &weights[left * row + (block * BLOCK + i) * taps + tap..];
                    for (o, to) in to[left..right].iter_mut().enumerate() {
                        *to = source[o * row];
                    }
                }
            }
        });
        Self {
            packed,
            sizes: [k, channels_in, channels_out],
        }
    }

    /// Weights that are packed already, [k, k, C_in, C_out].
    pub(super) fn from_packed(packed: Vec<f32>, sizes: [usize; 3]) -> Self {
        Self { packed, sizes }
    }

    /// The weights [C_out, C_in, k, k].
    pub fn unpack(&self) -> Vec<f32> {
        let [k, channels_in, channels_out] = self.sizes;
        let taps = k * k;
        let mut weights = vec![0.0; self.packed.len()];
        // As many outputs at once as fill a cache line of the source.
        chunks(&mut weights, BLOCK * channels_in * taps, |block, out| {
            let first = block * BLOCK;
            let count = out.len() / (channels_in * taps);
            for left in (0..channels_in).step_by(BLOCK) {
                for tap in 0..taps {
                    for i in left..(left + BLOCK).min(channels_in) {
                        let source = &self.packed[(tap * channels_in + i) * channels_out + first..];
                        for (o, value) in source[..count].iter().enumerate() {
                            out[(o * channels_in + i) * taps + tap] = *value;
                        }
                    }
                }
            }
        });
        weights
    }

    /// The kernel that takes an output's gradient to the input's, for stride 1: taps in reverse, inputs for
    /// outputs.
    pub(super) fn reversed(&self) -> Self {
        let [k, channels_in, channels_out] = self.sizes;
        let taps = k * k;
        let plane = channels_in * channels_out;
        let mut packed = vec![0.0; self.packed.len()];
        chunks(&mut packed, plane, |tap, to| {
            let from = &self.packed[(taps - 1 - tap) * plane..][..plane];
            transpose(from, to, channels_in, channels_out);
        });
        Self {
            packed,
            sizes: [k, channels_out, channels_in],
        }
    }

    /// [k, k, C_in, C_out], row major.
    pub(super) fn packed(&self) -> &[f32] {
        &self.packed
    }

    /// k, C_in, C_out.
    pub fn sizes(&self) -> [usize; 3] {
        self.sizes
    }
}

/// [rows, columns] → [columns, rows], in blocks that fit into the L1 cache.
fn transpose(from: &[f32], to: &mut [f32], rows: usize, columns: usize) {
    for top in (0..rows).step_by(BLOCK) {
        let bottom = (top + BLOCK).min(rows);
        for left in (0..columns).step_by(BLOCK) {
            for column in left..(left + BLOCK).min(columns) {
                for row in top..bottom {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
}
