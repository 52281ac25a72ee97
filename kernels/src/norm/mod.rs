//! Batch normalisation in groups, fused with what follows it in a residual network: the sum with the shortcut,
//! and ReLU.
//!
//! Feature maps are [B, P, C], with P pixels per sample. Sample i of the batch belongs to group i mod G; each
//! group is normalised by its own statistics (split batch normalisation). Statistics are [G, C].

mod loops;

use self::loops::{
    affine, affine_add_relu, affine_relu, combine, mask, moments, rescale, rescale_add_relu,
    rescale_relu, sums,
};
use crate::parallel::{chunks, map, pieces_of};

/// The sizes of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Samples in the batch, a multiple of `groups`.
    pub batch: usize,
    /// Pixels of a sample.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Groups of samples that are normalised together.
    pub groups: usize,
}

impl Shape {
    fn sample(&self) -> usize {
        self.pixels * self.channels
    }

    /// The number of values of one channel in one group.
    fn count(&self) -> f64 {
        (self.batch / self.groups * self.pixels) as f64
    }

    /// The number of tasks per sample, for work in which pixels are independent. Each has equally many whole pixels.
    fn parts(&self) -> usize {
        let wanted = (self.sample() / PART).max(1);
        (1..=wanted)
            .rev()
            .find(|parts| self.pixels.is_multiple_of(*parts))
            .expect("1 divides every number")
    }

    fn check(&self, values: &[f32]) {
        assert_eq!(values.len(), self.batch * self.sample(), "{self:?}");
        assert!(
            self.groups > 0 && self.batch.is_multiple_of(self.groups),
            "{self:?}"
        );
    }

    /// The row of a [G, C] array for the group of this sample.
    fn of_sample<'a>(&self, values: &'a [f32], sample: usize) -> &'a [f32] {
        &values[sample % self.groups * self.channels..][..self.channels]
    }
}

/// Mean and biased variance of every channel in every group, [G, C] each.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Means, [G, C].
    pub mean: Vec<f32>,
    /// Biased variances (divided by the number of values), [G, C].
    pub variance: Vec<f32>,
}

/// The statistics of a batch x, [B, P, C].
///
/// # Panics
/// When the length of `x` does not match `shape`, or the batch does not divide into the groups.
pub fn statistics(x: &[f32], shape: &Shape) -> Statistics {
    shape.check(x);
    // Moments are taken about a value of the channel, so that no digits are lost when the mean is far from 0.
    let origin: Vec<f32> = (0..shape.groups)
        .flat_map(|group| &x[group * shape.sample()..][..shape.channels])
        .copied()
        .collect();
    let moments = map(shape.batch, |sample| {
        let x = &x[sample * shape.sample()..][..shape.sample()];
        let origin = shape.of_sample(&origin, sample);
        in_double(x, x, shape.channels, |x, _, first, second| {
            moments(x, origin, first, second);
        })
    });
    let [first, second] = by_group(&moments, shape);
    let count = shape.count();
    let mean = first.iter().zip(&origin);
    Statistics {
        mean: mean
            .map(|(sum, origin)| (sum / count + f64::from(*origin)) as f32)
            .collect(),
        variance: first
            .iter()
            .zip(&second)
            .map(|(sum, square)| (square / count - (sum / count).powi(2)).max(0.0) as f32)
            .collect(),
    }
}

/// Normalisation as an affine map a·x + b: a = γ/√(σ²+ε) and b = β − μ·a, [G, C] each.
pub fn scale_and_shift(
    statistics: &Statistics,
    gamma: &[f32],
    beta: &[f32],
    epsilon: f64,
) -> [Vec<f32>; 2] {
    let channels = gamma.len();
    let scale: Vec<f32> = statistics
        .variance
        .iter()
        .enumerate()
        .map(|(i, variance)| {
            (f64::from(gamma[i % channels]) * inverse_deviation(*variance, epsilon)) as f32
        })
        .collect();
    let shift = scale.iter().zip(&statistics.mean).enumerate();
    let shift = shift
        .map(|(i, (scale, mean))| beta[i % channels] - mean * scale)
        .collect();
    [scale, shift]
}

/// What follows a normalisation in a residual network.
#[derive(Debug, Clone, Copy)]
pub enum Activation<'a> {
    /// Nothing: the output stays as it is.
    Identity,
    /// ReLU.
    Relu,
    /// The sum with a shortcut of the same size, then ReLU.
    AddRelu(&'a [f32]),
}

/// a·x + b, [B, P, C], followed by the activation; a and b are [G, C].
///
/// # Panics
/// When the length of a slice does not match `shape`.
pub fn apply(
    x: &[f32],
    [scale, shift]: [&[f32]; 2],
    activation: Activation,
    shape: &Shape,
) -> Vec<f32> {
    shape.check(x);
    // Split within samples, so that a batch of one image uses several threads too.
    let parts = shape.parts();
    let part = shape.sample() / parts;
    pieces_of(x.len(), part, |index, y| {
        let range = index * part..(index + 1) * part;
        let (scale, shift) = (
            shape.of_sample(scale, index / parts),
            shape.of_sample(shift, index / parts),
        );
        let x = &x[range.clone()];
        match activation {
            Activation::Identity => affine(y, x, scale, shift),
            Activation::Relu => affine_relu(y, x, scale, shift),
            Activation::AddRelu(shortcut) => affine_add_relu(y, x, scale, shift, &shortcut[range]),
        }
    })
}

/// [`apply`] in place and on one thread, with a single group: scale and shift are `[C]`.
pub(crate) fn apply_in_place(y: &mut [f32], [scale, shift]: [&[f32]; 2], activation: Activation) {
    match activation {
        Activation::Identity => rescale(y, scale, shift),
        Activation::Relu => rescale_relu(y, scale, shift),
        Activation::AddRelu(shortcut) => rescale_add_relu(y, scale, shift, shortcut),
    }
}

/// The backward pass of ReLU: sets `gradient` to 0 where its output `y` is 0.
///
/// # Panics
/// When the sizes differ.
pub fn through_relu(gradient: &mut [f32], y: &[f32]) {
    assert_eq!(gradient.len(), y.len());
    chunks(gradient, PART, |index, gradient| {
        mask(gradient, &y[index * PART..][..gradient.len()]);
    });
}

/// Values per task, for work in which values are independent.
const PART: usize = 1 << 15;

/// The gradients of a normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// The gradient of x, [B, P, C].
    pub x: Vec<f32>,
    /// The gradient of γ, `[C]`.
    pub gamma: Vec<f32>,
    /// The gradient of β, `[C]`.
    pub beta: Vec<f32>,
}

/// The gradients of a normalisation of `x` with these batch statistics, from the gradient of its output, [B, P, C].
///
/// # Panics
/// When the length of a slice does not match `shape`.
pub fn gradients(
    gradient: &[f32],
    x: &[f32],
    statistics: &Statistics,
    (gamma, epsilon): (&[f32], f64),
    shape: &Shape,
) -> Gradients {
    shape.check(x);
    shape.check(gradient);
    let range = |sample: usize| sample * shape.sample()..(sample + 1) * shape.sample();
    let sums = map(shape.batch, |sample| {
        let mean = shape.of_sample(&statistics.mean, sample);
        let (g, x) = (&gradient[range(sample)], &x[range(sample)]);
        in_double(g, x, shape.channels, |g, x, plain, with_x| {
            sums(g, x, mean, plain, with_x);
        })
    });
    let [plain, with_x] = by_group(&sums, shape);

    // dx = γ/σ · (g − mean(g) − x̂·mean(g·x̂)) = a·g + b·x + c, with x̂ = (x − μ)/σ.
    let count = shape.count();
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_gamma = vec![0.0; shape.channels];
    let mut of_beta = vec![0.0; shape.channels];
    for (i, (plain, with_x)) in plain.iter().zip(&with_x).enumerate() {
        let channel = i % shape.channels;
        let inverse = inverse_deviation(statistics.variance[i], epsilon);
        let along = with_x * inverse; // Σ g·x̂
        of_gamma[channel] += along;
        of_beta[channel] += plain;
        let scale = f64::from(gamma[channel]) * inverse;
        let slope = -scale * inverse * along / count;
        a.push(scale as f32);
        b.push(slope as f32);
        c.push((-scale * plain / count - slope * f64::from(statistics.mean[i])) as f32);
    }
    let parts = shape.parts();
    let part = shape.sample() / parts;
    let of_x = pieces_of(x.len(), part, |index, of_x| {
        let range = index * part..(index + 1) * part;
        let coefficients = [&a, &b, &c].map(|values| shape.of_sample(values, index / parts));
        combine(of_x, &gradient[range.clone()], &x[range], coefficients);
    });
    let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
    Gradients {
        x: of_x,
        gamma: single(of_gamma),
        beta: single(of_beta),
    }
}

fn inverse_deviation(variance: f32, epsilon: f64) -> f64 {
    1.0 / (f64::from(variance) + epsilon).sqrt()
}

/// Rows that are summed in `f32` before their sum is added to the `f64` total.
const ROWS: usize = 64;

/// Two sums for each channel over all rows, in `f64`. `add` receives some rows of `a`, the same rows of `b`, and the
/// two `f32` sums to which it adds them.
fn in_double(
    a: &[f32],
    b: &[f32],
    channels: usize,
    add: impl Fn(&[f32], &[f32], &mut [f32], &mut [f32]),
) -> [Vec<f64>; 2] {
    let mut totals = [vec![0.0; channels], vec![0.0; channels]];
    let mut parts = [vec![0.0; channels], vec![0.0; channels]];
    let rows = ROWS * channels;
    for (a, b) in a.chunks(rows).zip(b.chunks(rows)) {
        parts.iter_mut().for_each(|part| part.fill(0.0));
        let [first, second] = &mut parts;
        add(a, b, first, second);
        for (total, part) in totals.iter_mut().zip(&parts) {
            let sums = total.iter_mut().zip(part);
            sums.for_each(|(total, part)| *total += f64::from(*part));
        }
    }
    totals
}

/// Adds up the sums `[C]` of the samples of each group, in order: [G, C].
fn by_group(samples: &[[Vec<f64>; 2]], shape: &Shape) -> [Vec<f64>; 2] {
    let mut totals = [0, 1].map(|_| vec![0.0; shape.groups * shape.channels]);
    for (sample, sums) in samples.iter().enumerate() {
        let at = sample % shape.groups * shape.channels;
        for (total, sum) in totals.iter_mut().zip(sums) {
            let total = total[at..].iter_mut().zip(sum);
            total.for_each(|(total, sum)| *total += sum);
        }
    }
    totals
}
