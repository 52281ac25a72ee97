//! The weights of a convolution, in the order in which the matrix products read them.

use super::{
    Shape,
    transpose::{BLOCK, transposed},
    winograd::{self, Transformed},
};
use crate::parallel::{each, pieces_of};

/// The packed weights of a convolution.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub(super) form: Form,
    /// k, C_in, C_out.
    pub(super) sizes: [usize; 3],
}

/// Kinds of packed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// The weights in another order.
    Taps,
    /// Their transform for minimal filtering.
    Transformed,
}

/// A picture with so few output pixels takes longer to read the transformed kernel of a layer with many channels, 16/9
/// of the weights, than it saves by fewer multiplications.
const FEW_PIXELS: usize = 49;

/// The two packed forms.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// The weights of [`panel`] output channels each, reordered to [k, k, C_in, channels].
    Taps(Vec<Vec<f32>>),
    /// The weights transformed for minimal filtering.
    Winograd(Transformed),
}

/// Output channels for which packed weights lie together.
///
/// A matrix product reads all rows of the weights, a few channels of each at a time. Rows of 64 channels without gaps
/// are then one stream of memory, which the processor reads ahead; and longer rows may fall on the same places of the
/// cache, with 1,024 channels and more all of them.
fn panel(channels_out: usize) -> usize {
    if channels_out < 128 { channels_out } else { 64 }
}

impl Kernel {
    /// Packs weights [C_out, C_in, k, k] for convolutions of this shape with any batch size and any height and
    /// width. Pictures of this size take the least time, and those of all sizes with the same [`Self::packing`].
    ///
    /// # Panics
    /// When the length of `weights` does not match `shape`.
    pub fn pack(weights: &[f32], shape: &Shape) -> Self {
        let sizes = shape.kernel_sizes();
        let [k, channels_in, channels_out] = sizes;
        assert_eq!(
            weights.len(),
            k * k * channels_in * channels_out,
            "{shape:?}"
        );
        let form = match Self::packing(shape) {
            Packing::Transformed => {
                Form::Winograd(Transformed::of(weights.into(), [channels_in, channels_out]))
            }
            Packing::Taps => {
                let row = k * k * channels_in;
                let panels = weights.chunks(panel(channels_out) * row);
                let packed =
                    panels.map(|weights| pack(weights, [k, channels_in, weights.len() / row]));
                Form::Taps(packed.collect())
            }
        };
        Self { form, sizes }
    }

    /// How [`Self::pack`] packs the weights for this shape. The batch size does not matter, so that the result for a
    /// picture does not depend on its batch.
    pub fn packing(shape: &Shape) -> Packing {
        let [height, width] = shape.output();
        let few_pixels = height * width <= FEW_PIXELS;
        if winograd::fits(shape) && !(few_pixels && winograd::is_large(shape)) {
            Packing::Transformed
        } else {
            Packing::Taps
        }
    }

    /// The kernel that turns the gradient of the output into the gradient of the input, at stride 1: the taps
    /// are in reverse order, input and output channels are exchanged.
    pub(super) fn reversed(&self) -> Self {
        let [k, channels_in, channels_out] = self.sizes;
        let form = match &self.form {
            Form::Taps(panels) => {
                let width = panel(channels_in);
                let firsts = (0..channels_in).step_by(width);
                let reversed = firsts.map(|first| {
                    let count = width.min(channels_in - first);
                    let taps = (0..k * k).rev();
                    let mut parts = taps.flat_map(|tap| {
                        panels.iter().map(move |panel| {
                            let own = panel.len() / (k * k * channels_in);
                            let rows = &panel[(tap * channels_in + first) * own..][..count * own];
                            transposed(rows, count, own)
                        })
                    });
                    let whole = parts.next().expect("a kernel has a tap");
                    parts.fold(whole, |mut whole, part| {
                        whole.extend_from_slice(&part);
                        whole
                    })
                });
                Form::Taps(reversed.collect())
            }
            Form::Winograd(kernel) => Form::Winograd(kernel.reversed([channels_in, channels_out])),
        };
        Self {
            form,
            sizes: [k, channels_out, channels_in],
        }
    }
}

/// [C_out, C_in, k, k] → [k, k, C_in, C_out].
fn pack(weights: &[f32], [k, channels_in, channels_out]: [usize; 3]) -> Vec<f32> {
    let taps = k * k;
    let mut packed = vec![0.0; weights.len()];
    // The taps of one input channel share cache lines of `weights`, so they are packed one after the other.
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
        // Transpose in squares of BLOCK × BLOCK, so that each cache line of the source is read once.
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
    packed
}

/// [k, k, C_in, C_out] → [C_out, C_in, k, k].
pub(super) fn unpack(packed: &[f32], [k, channels_in, channels_out]: [usize; 3]) -> Vec<f32> {
    let taps = k * k;
    // A task takes BLOCK output channels, because they fill one cache line of the source.
    pieces_of(packed.len(), BLOCK * channels_in * taps, |block, out| {
        let first = block * BLOCK;
        let count = out.len() / (channels_in * taps);
        for left in (0..channels_in).step_by(BLOCK) {
            for tap in 0..taps {
                for i in left..(left + BLOCK).min(channels_in) {
                    let source = &packed[(tap * channels_in + i) * channels_out + first..];
                    for (o, value) in source[..count].iter().enumerate() {
                        out[(o * channels_in + i) * taps + tap] = *value;
                    }
                }
            }
        }
    })
}
