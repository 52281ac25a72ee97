//! The inner loops of normalisation. Each is compiled for several sets of vector instructions; the best one
//! that the CPU has is chosen at run time.

use multiversion::multiversion;

/// Adds x − `origin` to `first` and its square to `second`, for each channel.
#[multiversion(targets = "simd")]
pub(super) fn moments(x: &[f32], origin: &[f32], first: &mut [f32], second: &mut [f32]) {
    let channels = origin.len();
    let (first, second) = (&mut first[..channels], &mut second[..channels]);
    for row in x.chunks_exact(channels) {
        for c in 0..channels {
            let d = row[c] - origin[c];
            first[c] += d;
            second[c] += d * d;
        }
    }
}

/// Adds g to `plain` and g·(x − `mean`) to `with_x`, for each channel.
#[multiversion(targets = "simd")]
pub(super) fn sums(g: &[f32], x: &[f32], mean: &[f32], plain: &mut [f32], with_x: &mut [f32]) {
    let channels = mean.len();
    let (plain, with_x) = (&mut plain[..channels], &mut with_x[..channels]);
    for (g, x) in g.chunks_exact(channels).zip(x.chunks_exact(channels)) {
        for c in 0..channels {
            plain[c] += g[c];
            with_x[c] += g[c] * (x[c] - mean[c]);
        }
    }
}

#[multiversion(targets = "simd")]
pub(super) fn affine(y: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
    let channels = scale.len();
    let shift = &shift[..channels];
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for c in 0..channels {
            y[c] = x[c] * scale[c] + shift[c];
        }
    }
}

#[multiversion(targets = "simd")]
pub(super) fn affine_relu(y: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
    let channels = scale.len();
    let shift = &shift[..channels];
    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        for c in 0..channels {
            y[c] = relu(x[c] * scale[c] + shift[c]);
        }
    }
}

#[multiversion(targets = "simd")]
pub(super) fn affine_add_relu(
    y: &mut [f32],
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    shortcut: &[f32],
) {
    let channels = scale.len();
    let shift = &shift[..channels];
    let rows = y.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
    for ((y, x), shortcut) in rows.zip(shortcut.chunks_exact(channels)) {
        for c in 0..channels {
            y[c] = relu(x[c] * scale[c] + shift[c] + shortcut[c]);
        }
    }
}

#[multiversion(targets = "simd")]
pub(super) fn rescale(y: &mut [f32], scale: &[f32], shift: &[f32]) {
    let channels = scale.len();
    let shift = &shift[..channels];
    for y in y.chunks_exact_mut(channels) {
        for c in 0..channels {
            y[c] = y[c] * scale[c] + shift[c];
        }
    }
}

#[multiversion(targets = "simd")]
pub(super) fn rescale_relu(y: &mut [f32], scale: &[f32], shift: &[f32]) {
    let channels = scale.len();
    let shift = &shift[..channels];
    for y in y.chunks_exact_mut(channels) {
        for c in 0..channels {
            y[c] = relu(y[c] * scale[c] + shift[c]);
        }
    }
}

#[multiversion(targets = "simd")]
pub(super) fn rescale_add_relu(y: &mut [f32], scale: &[f32], shift: &[f32], shortcut: &[f32]) {
    let channels = scale.len();
    let shift = &shift[..channels];
    let rows = y
        .chunks_exact_mut(channels)
        .zip(shortcut.chunks_exact(channels));
    for (y, shortcut) in rows {
        for c in 0..channels {
            y[c] = relu(y[c] * scale[c] + shift[c] + shortcut[c]);
        }
    }
}

/// max(x, 0), but NaN for NaN, so that a run that has diverged is noticed.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[multiversion(targets = "simd")]
pub(super) fn mask(gradient: &mut [f32], y: &[f32]) {
    for (gradient, y) in gradient.iter_mut().zip(y) {
        *gradient = if *y == 0.0 { 0.0 } else { *gradient };
    }
}

/// `to` = a·g + b·x + c, with a, b and c per channel.
#[multiversion(targets = "simd")]
pub(super) fn combine(to: &mut [f32], g: &[f32], x: &[f32], [a, b, c]: [&[f32]; 3]) {
    let channels = a.len();
    let (b, c) = (&b[..channels], &c[..channels]);
    let rows = to.chunks_exact_mut(channels).zip(g.chunks_exact(channels));
    for ((to, g), x) in rows.zip(x.chunks_exact(channels)) {
        for i in 0..channels {
            to[i] = a[i] * g[i] + b[i] * x[i] + c[i];
        }
    }
}
