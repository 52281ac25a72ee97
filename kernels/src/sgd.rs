//! The updates of a training step for one parameter tensor, each in a single pass over it.

use multiversion::multiversion;

use crate::parallel::{chunks, map, map_chunks2};

/// Values per task.
const PART: usize = 1 << 15;

/// The settings of SGD.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Learning rate.
    pub learning_rate: f32,
    /// Momentum μ.
    pub momentum: f32,
    /// Weight decay w.
    pub weight_decay: f32,
}

/// v ← μ·v + (g + w·θ), θ ← θ − lr·v (`torch.optim.SGD`). Returns Σ g², as [`sum_of_squares`] does: here the gradient is
/// in the cache already.
///
/// # Panics
/// When the lengths differ.
pub fn step(theta: &mut [f32], velocity: &mut [f32], gradient: &[f32], settings: &Settings) -> f64 {
    assert_eq!(theta.len(), velocity.len());
    assert_eq!(theta.len(), gradient.len());
    let parts = map_chunks2(theta, velocity, PART, |index, theta, velocity| {
        let gradient = &gradient[index * PART..][..theta.len()];
        let sum = squares(gradient);
        move_along(theta, velocity, gradient, settings);
        sum
    });
    parts.into_iter().sum()
}

/// θk ← m·θk + (1−m)·θq (He et al. 2020, equation 2).
///
/// # Panics
/// When the lengths differ.
pub fn follow(key: &mut [f32], query: &[f32], m: f64) {
    assert_eq!(key.len(), query.len());
    let (old, new) = (m as f32, (1.0 - m) as f32);
    chunks(key, PART, |index, key| {
        mix(key, &query[index * PART..][..key.len()], old, new);
    });
}

/// Σ x², the squared norm.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let parts = map(values.len().div_ceil(PART), |index| {
        let end = ((index + 1) * PART).min(values.len());
        squares(&values[index * PART..end])
    });
    parts.into_iter().sum()
}

/// Sums in 32 lanes of `f32`, each over at most 1024 values, so that little precision is lost.
#[multiversion(targets = "simd")]
fn squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; 32];
    let (chunks, rest) = values.as_chunks::<32>();
    for chunk in chunks {
        for i in 0..32 {
            lanes[i] += chunk[i] * chunk[i];
        }
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>()
        + rest.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
}

#[multiversion(targets = "simd")]
fn move_along(theta: &mut [f32], velocity: &mut [f32], gradient: &[f32], settings: &Settings) {
    let Settings {
        learning_rate,
        momentum,
        weight_decay,
    } = *settings;
    for ((theta, velocity), gradient) in theta.iter_mut().zip(velocity.iter_mut()).zip(gradient) {
        *velocity = *velocity * momentum + (*gradient + *theta * weight_decay);
        *theta -= *velocity * learning_rate;
    }
}

#[multiversion(targets = "simd")]
fn mix(key: &mut [f32], query: &[f32], old: f32, new: f32) {
    for (key, query) in key.iter_mut().zip(query) {
        *key = *key * old + *query * new;
    }
}
