//! What is done to a convolution's output while it is still in the cache.

use std::ops::Range;

use crate::norm::{self, Activation};

/// What is applied to a convolution's output.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// Nothing: the output stays as it is.
    Identity,
    /// A bias `[C_out]`.
    Bias(&'a [f32]),
    /// y·scale + shift per channel, `[C_out]` each, then the activation: normalisation by known statistics.
    Affine([&'a [f32]; 2], Activation<'a>),
}

impl Epilogue<'_> {
    /// To the values of these pixels of the output.
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

    /// Panics when it is not for an output of this size.
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
