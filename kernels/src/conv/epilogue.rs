//! The element-wise operation that follows a convolution, applied to each tile of the output while it is in the
//! cache.

use std::ops::Range;

use crate::norm::{self, Activation};

/// The element-wise operation that follows a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// Nothing: the output stays as it is.
    Identity,
    /// A bias `[C_out]`.
    Bias(&'a [f32]),
    /// y·scale + shift per channel, `[C_out]` each, then the activation: batch normalisation with running
    /// statistics.
    Affine([&'a [f32]; 2], Activation<'a>),
}

impl Epilogue<'_> {
    /// Applies the operation to `values`, which are these pixels of the output.
    pub(super) fn apply(&self, values: &mut [f32], pixels: Range<usize>) {
        match *self {
            Epilogue::Identity => {}
            Epilogue::Bias(bias) => {
                for row in values.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
                }
            }
            Epilogue::Affine([scale, shift], activation) => {
                let channels = scale.len();
                let activation = match activation {
                    Activation::AddRelu(shortcut) => Activation::AddRelu(
                        &shortcut[pixels.start * channels..pixels.end * channels],
                    ),
                    other => other,
                };
                norm::apply_in_place(values, [scale, shift], activation);
            }
        }
    }

    /// Panics when the operation's slices do not fit an output of this many pixels and channels.
    pub(super) fn check(&self, pixels: usize, channels: usize) {
        match self {
            Epilogue::Identity => {}
            Epilogue::Bias(bias) => assert_eq!(bias.len(), channels),
            Epilogue::Affine([scale, shift], activation) => {
                assert_eq!([scale.len(), shift.len()], [channels; 2]);
                if let Activation::AddRelu(shortcut) = activation {
                    assert_eq!(shortcut.len(), pixels * channels);
                }
            }
        }
    }
}
