//! 2-D convolution as matrix products of patches, forward and backward.
//!
//! Feature maps are [B, H, W, C]. Kernels are [k, k, C_in, C_out]; [`Kernel::pack`] reorders
//! [C_out, C_in, k, k], the order of Burn and PyTorch. A patch is the k·k·C_in input values under the kernel at
//! one output pixel, in the kernel's order. A matrix with one patch in each row, times the kernel, is the output
//! at these pixels. 3×3 convolutions of stride 1 use minimal filtering, which needs fewer multiplications
//! (`winograd`).

mod backward;
mod epilogue;
mod interleave;
mod kernel;
mod patches;
mod transpose;
mod winograd;

pub use backward::{bias_gradient, input_gradient, weight_gradient};
pub use epilogue::Epilogue;
pub use kernel::{Kernel, Packing};

use crate::{
    parallel::{map, pieces_of, with_scratch},
    product::{Matrix, Write, product, product_in},
};
use kernel::Form;
use patches::fill_patches;

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Samples in the batch, B.
    pub batch: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Side of the square kernel, k.
    pub kernel: usize,
    /// Step between neighbouring output pixels, in input pixels.
    pub stride: usize,
    /// Rows and columns of zeros added on each side of the input.
    pub padding: usize,
    /// Distance between neighbouring taps of the kernel, in input pixels.
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

    /// Pixels of the input, over the whole batch.
    fn pixels_in(&self) -> usize {
        self.batch * self.input[0] * self.input[1]
    }

    /// Pixels of the output, over the whole batch.
    fn pixels_out(&self) -> usize {
        let [rows, columns] = self.output();
        self.batch * rows * columns
    }

    /// Whether the matrix of patches is the input itself, so that none has to be built.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    fn kernel_sizes(&self) -> [usize; 3] {
        [self.kernel, self.channels_in, self.channels_out]
    }
}

/// Bytes of a tile of patches. A tile, and the parts of kernel and output that it needs, fit a core's L2 cache.
const TILE_BYTES: usize = 512 << 10;
/// The fewest pixels of a tile. Each tile reads the whole kernel, mostly from outside the L2 cache; smaller tiles
/// would read it too often.
const FEWEST: usize = 48;
/// A small map is cut into this many tiles, so that several threads have work.
const TILES: usize = 8;
/// Output channels per task, where there are too few pixels to split the work by pixels.
const COLUMNS: usize = 128;
/// Pixels per task when the output channels of such tasks are put side by side.
const SIDE_BY_SIDE: usize = 8;

/// Pixels in a tile whose patches have `row` values.
fn tile_rows(row: usize) -> usize {
    (TILE_BYTES / 4 / row).clamp(FEWEST, 512) / 8 * 8
}

/// The convolution `[B, H, W, C_in] → [B, H', W', C_out]`, followed by the epilogue.
///
/// # Panics
/// When the length of a slice does not match `shape`.
pub fn forward(input: &[f32], kernel: &Kernel, epilogue: Epilogue, shape: &Shape) -> Vec<f32> {
    assert_eq!(
        input.len(),
        shape.pixels_in() * shape.channels_in,
        "{shape:?}"
    );
    assert_eq!(kernel.sizes, shape.kernel_sizes(), "{shape:?}");
    epilogue.check(shape.pixels_out(), shape.channels_out);
    match &kernel.form {
        Form::Winograd(kernel) => {
            assert!(winograd::fits(shape), "{shape:?}");
            winograd::forward(input, kernel, epilogue, shape)
        }
        Form::Taps(panels) if shape.pixels_out() < 2 * FEWEST => {
            by_columns(input, panels, epilogue, shape)
        }
        Form::Taps(panels) => by_rows(input, panels, epilogue, shape),
    }
}

/// The convolution with one task for each tile of patches.
fn by_rows(input: &[f32], panels: &[Vec<f32>], epilogue: Epilogue, shape: &Shape) -> Vec<f32> {
    let (patch, channels) = (shape.patch(), shape.channels_out);
    let pixels = shape.pixels_out();
    let rows = tile_rows(patch).min(pixels.div_ceil(TILES).max(FEWEST));
    pieces_of(pixels * channels, rows * channels, |index, out| {
        let (first, count) = (index * rows, out.len() / channels);
        if shape.is_pointwise() {
            let tile = &input[first * patch..][..count * patch];
            multiply(out, Matrix::new(tile, count, patch), panels, channels);
        } else {
            with_scratch(count * patch, |tile| {
                fill_patches(tile, input, shape, first);
                multiply(out, Matrix::new(tile, count, patch), panels, channels);
            });
        }
        epilogue.apply(out, first..first + count);
    })
}

/// Patches times the weights: [pixels, C_out].
fn multiply(out: &mut [f32], patches: Matrix, panels: &[Vec<f32>], channels: usize) {
    let mut first = 0;
    for panel in panels {
        let width = panel.len() / patches.columns;
        let weights = Matrix::new(panel, patches.columns, width);
        product_in(
            &mut out[first..],
            channels,
            Write::Replace,
            patches,
            weights,
        );
        first += width;
    }
}

/// The convolution with one task for each block of output channels, over all patches.
fn by_columns(input: &[f32], panels: &[Vec<f32>], epilogue: Epilogue, shape: &Shape) -> Vec<f32> {
    let (patch, channels, pixels) = (shape.patch(), shape.channels_out, shape.pixels_out());
    let mut own = Vec::new();
    let patches = if shape.is_pointwise() {
        input
    } else {
        own.resize(pixels * patch, 0.0);
        fill_patches(&mut own, input, shape, 0);
        &own
    };
    let patches = Matrix::new(patches, pixels, patch);
    let tasks = panels.iter().flat_map(|panel| {
        let width = panel.len() / patch;
        let firsts = (0..width).step_by(COLUMNS);
        firsts.map(move |first| {
            let count = COLUMNS.min(width - first);
            Matrix::strided(&panel[first..], patch, count, width, 1)
        })
    });
    let tasks: Vec<Matrix> = tasks.collect();
    let blocks = map(tasks.len(), |index| {
        let weights = tasks[index];
        let mut out = vec![0.0; pixels * weights.columns];
        product(&mut out, Write::Replace, patches, weights);
        out
    });
    pieces_of(pixels * channels, SIDE_BY_SIDE * channels, |index, out| {
        let first = index * SIDE_BY_SIDE;
        for (pixel, out) in out.chunks_exact_mut(channels).enumerate() {
            let mut left = 0;
            for block in &blocks {
                let count = block.len() / pixels;
                let from = &block[(first + pixel) * count..][..count];
                out[left..left + count].copy_from_slice(from);
                left += count;
            }
        }
        let count = out.len() / channels;
        epilogue.apply(out, first..first + count);
    })
}
