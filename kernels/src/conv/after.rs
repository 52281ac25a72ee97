//! What is done to a convolution's output while it is still in the cache.

use std::ops::Range;

use crate::norm::{self, Then};

/// What follows a convolution.
#[derive(Debug, Clone, Copy)]
pub enum After<'a> {
    /// Nothing.
    Nothing,
    /// A bias `[C_out]`.
    Bias(&'a [f32]),
    /// y·scale + shift per channel, `[C_out]` each, and what follows that: normalisation by known statistics.
    Affine([&'a [f32]; 2], Then<'a>),
}

impl After<'_> {
    /// To the values of these pixels of the output.
    pub(super) fn apply(&self, values: &mut [f32], pixels: Range<usize>) {
        match *self {
            After::Nothing => {}
            After::Bias(bias) => {
                for row in values.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
                }
            }
            After::Affine([scale, shift], then) => {
                let channels = scale.len();
                let then = match then {
                    Then::AddRelu(shortcut) => {
                        Then::AddRelu(&shortcut[pixels.start * channels..pixels.end * channels])
                    }
                    other => other,
                };
                norm::apply_in_place(values, [scale, shift], then);
            }
        }
    }

    /// Panics when it is not for an output of this size.
    pub(super) fn check(&self, pixels: usize, channels: usize) {
        match self {
            After::Nothing => {}
            After::Bias(bias) => assert_eq!(bias.len(), channels),
            After::Affine([scale, shift], then) => {
                assert_eq!([scale.len(), shift.len()], [channels; 2]);
                if let Then::AddRelu(shortcut) = then {
                    assert_eq!(shortcut.len(), pixels * channels);
                }
            }
        }
    }
}
