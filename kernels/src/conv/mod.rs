//! 2-D convolution as matrix products of patches, forward and backward.
//!
//! Feature maps are [B, H, W, C], kernels [k, k, C_in, C_out] ([`Kernel::pack`] makes them of Burn's and
//! PyTorch's [C_out, C_in, k, k]). A patch is a pixel's k·k·C_in inputs in the kernel's order, so a tile of
//! patches times the kernel is a tile of the output.

mod backward;
mod kernel;
mod patches;

pub use backward::{bias_gradient, input_gradient, kernel_gradient};
pub use kernel::Kernel;

use crate::{
    parallel::{chunks, with_scratch},
    product::{Into, Matrix, product},
};
use patches::fill_patches;

/// The sizes of a convolution: what is called a shape everywhere below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Samples.
    pub batch: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Pixels of the input per pixel of the output.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: usize,
    /// Distance between the taps of the kernel.
    pub dilation: usize,
}

impl Shape {
    /// Rows and columns of the output.
    pub fn output(&self) -> [usize; 2] {
        let reach = self.dilation * (self.kernel - 1) + 1;
        self.input
            .map(|side| (side + 2 * self.padding - reach) / self.stride + 1)
    }

    /// Values in a patch: k·k·C_in.
    fn patch(&self) -> usize {
        self.kernel * self.kernel * self.channels_in
    }

    /// Pixels of the whole input.
    fn pixels_in(&self) -> usize {
        self.batch * self.input[0] * self.input[1]
    }

    /// Pixels of the whole output.
    fn pixels_out(&self) -> usize {
        let [rows, columns] = self.output();
        self.batch * rows * columns
    }

    /// Whether patches are the input itself.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    fn check(&self, input: &[f32], kernel: &Kernel) {
        assert_eq!(input.len(), self.pixels_in() * self.channels_in, "{self:?}");
        assert_eq!(kernel.sizes(), self.kernel_sizes(), "{self:?}");
    }

    fn kernel_sizes(&self) -> [usize; 3] {
        [self.kernel, self.channels_in, self.channels_out]
    }
}

/// Bytes of a tile of patches: with its share of the kernel and the output it stays in a core's L2 cache.
const TILE_BYTES: usize = 512 << 10;

/// Pixels in a tile whose rows have `row` values.
fn tile_rows(row: usize) -> usize {
    (TILE_BYTES / 4 / row).clamp(48, 512) / 8 * 8
}

/// `[B, H, W, C_in] → [B, H', W', C_out]`, plus the bias `[C_out]` if there is one.
///
/// # Panics
/// When the slices have not the sizes that `shape` says.
pub fn forward(input: &[f32], kernel: &Kernel, bias: Option<&[f32]>, shape: &Shape) -> Vec<f32> {
    shape.check(input, kernel);
    assert!(bias.is_none_or(|bias| bias.len() == shape.channels_out));
    let (patch, channels) = (shape.patch(), shape.channels_out);
    let mut output = vec![0.0; shape.pixels_out() * channels];
    let weights = Matrix::new(kernel.packed(), patch, channels);
    let rows = tile_rows(patch);
    chunks(&mut output, rows * channels, |index, out| {
        let (first, count) = (index * rows, out.len() / channels);
        if shape.is_pointwise() {
            let tile = &input[first * patch..][..count * patch];
            product(out, Into::Fresh, Matrix::new(tile, count, patch), weights);
        } else {
            with_scratch(count * patch, |tile| {
                fill_patches(tile, input, shape, first);
                product(out, Into::Fresh, Matrix::new(tile, count, patch), weights);
            });
        }
        if let Some(bias) = bias {
            for row in out.chunks_exact_mut(channels) {
                row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
        }
    });
    output
}
