//! The updates of parameters in a training step, each in a single pass over them.

use multiversion::multiversion;

use crate::parallel::{chunks, map, map_each};

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

/// A parameter with its state.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// Its values θ.
    pub theta: &'a mut [f32],
    /// Their velocity v.
    pub velocity: &'a mut [f32],
    /// Their gradient g.
    pub gradient: &'a [f32],
}

/// v ← μ·v + (g + w·θ), θ ← θ − lr·v (`torch.optim.SGD`) for all parameters. Returns Σ g², the sum of what
/// [`sum_of_squares`] gives for each: here the gradients are in the cache already.
///
/// # Panics
/// When the lengths of a parameter's slices differ.
pub fn step(parameters: Vec<Parameter>, settings: &Settings) -> f64 {
    // The parts of all parameters are shared out at once, because most parameters are small.
    let parts = parameters.into_iter().enumerate().flat_map(|(index, one)| {
        let Parameter {
            theta,
            velocity,
            gradient,
        } = one;
        assert_eq!(theta.len(), velocity.len());
        assert_eq!(theta.len(), gradient.len());
        let parts = theta.chunks_mut(PART).zip(velocity.chunks_mut(PART));
        parts
            .zip(gradient.chunks(PART))
            .map(move |((theta, velocity), gradient)| (index, theta, velocity, gradient))
    });
    let squares = map_each(parts.collect(), |(index, theta, velocity, gradient)| {
        (index, move_along(theta, velocity, gradient, settings))
    });
    let of_each = squares.chunk_by(|(a, _), (b, _)| a == b);
    of_each
        .map(|parts| parts.iter().map(|(_, sum)| sum).sum::<f64>())
        .sum()
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

/// Squares are summed in this many lanes of `f32`, each over at most 1024 values, so that little precision is lost.
const LANES: usize = 32;

#[multiversion(targets = "simd")]
fn squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i] * chunk[i];
        }
    }
    total(&lanes, rest)
}

fn total(lanes: &[f32; LANES], rest: &[f32]) -> f64 {
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>()
        + rest.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
}

/// The step of a part; returns [`squares`] of its gradient.
#[multiversion(targets = "simd")]
fn move_along(
    theta: &mut [f32],
    velocity: &mut [f32],
    gradient: &[f32],
    settings: &Settings,
) -> f64 {
    let Settings {
        learning_rate,
        momentum,
        weight_decay,
    } = *settings;
    let one = |theta: &mut f32, velocity: &mut f32, gradient: f32| {
        *velocity = *velocity * momentum + (gradient + *theta * weight_decay);
        *theta -= *velocity * learning_rate;
    };
    let mut lanes = [0.0_f32; LANES];
    let (thetas, last_theta) = theta.as_chunks_mut::<LANES>();
    let (velocities, last_velocity) = velocity.as_chunks_mut::<LANES>();
    let (gradients, last_gradient) = gradient.as_chunks::<LANES>();
    for ((theta, velocity), gradient) in thetas.iter_mut().zip(velocities).zip(gradients) {
        for i in 0..LANES {
            lanes[i] += gradient[i] * gradient[i];
            one(&mut theta[i], &mut velocity[i], gradient[i]);
        }
    }
    let last = last_theta.iter_mut().zip(last_velocity);
    for ((theta, velocity), gradient) in last.zip(last_gradient) {
        one(theta, velocity, *gradient);
    }
    total(&lanes, last_gradient)
}

#[multiversion(targets = "simd")]
fn mix(key: &mut [f32], query: &[f32], old: f32, new: f32) {
    for (key, query) in key.iter_mut().zip(query) {
        *key = *key * old + *query * new;
    }
}
