//! Kernels of batch normalisation in groups, fused with what follows it in a residual network.
//!
//! Forward, a map is read twice and written once: for its statistics, and to be normalised, added to the shortcut and
//! rectified. Backward, the gradient is read twice too, because the gradient of each value depends on two sums over its
//! channel. ReLU's mask is computed again from the map, so that the output need not be read; with a shortcut, it is
//! read once, and the rectified gradient is written, because it is the gradient of the shortcut.
//!
//! Maps are [batch, pixels, channels]; sample i belongs to group i mod G. Sums are f32 whatever the precision of maps.

use cubecl::{ir::ElemType, prelude::*};

use super::threads::units;

/// The sizes of a normalisation.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(crate) struct NormSizes {
    /// Pixels of a sample.
    pixels: usize,
    /// Groups of samples with statistics of their own.
    groups: usize,
    /// Vectors per pixel.
    depth: usize,
    /// Pixels of all samples of a group.
    rows: usize,
    /// Rows whose sums one workgroup computes.
    part: usize,
}

/// What follows a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Follows {
    /// Nothing.
    Identity,
    /// ReLU.
    Relu,
    /// The sum with a shortcut, then ReLU.
    AddRelu,
}

/// The index of row `row` of a group in the map, in vectors.
#[cube]
fn index_of(row: usize, group: usize, sizes: NormSizes) -> usize {
    let sample = group + row / sizes.pixels * sizes.groups;
    (sample * sizes.pixels + row % sizes.pixels) * sizes.depth
}

/// Adds the two sums of the threads that share a column of the workgroup. The result is that of `unit_y` = 0.
#[cube]
fn add_rows<V: Size>(
    first: Vector<f32, V>,
    second: Vector<f32, V>,
    unit_y: usize,
    unit_x: usize,
    #[comptime] threads: [usize; 2],
) -> (Vector<f32, V>, Vector<f32, V>) {
    let [threads_y, threads_x] = threads;
    if comptime!(threads_y == 1) {
        (first, second)
    } else {
        let mut sums = Shared::<[Vector<f32, V>]>::new_slice(comptime!(2 * threads_y * threads_x));
        let other = comptime!(threads_y * threads_x);
        let at = unit_y * threads_x + unit_x;
        sums[at] = first;
        sums[at + other] = second;
        sync_cube();
        let mut first = first;
        let mut second = second;
        if unit_y == 0 {
            for y in 1..threads_y {
                first += sums[y * threads_x + unit_x];
                second += sums[y * threads_x + unit_x + other];
            }
        }
        (first, second)
    }
}

/// Writes the two sums over a workgroup's part of its group.
#[cube]
fn keep_sums<V: Size>(
    sums: &mut [Vector<f32, V>],
    first: Vector<f32, V>,
    second: Vector<f32, V>,
    channel: usize,
    sizes: NormSizes,
) {
    let (group, part) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let at = (group * CUBE_COUNT_Y as usize + part) * 2 * sizes.depth + channel;
    sums[at] = first;
    sums[at + sizes.depth] = second;
}

/// The sums of x − o and (x − o)² over parts of each group, [groups, parts, 2, channels]. The origin o is the first
/// value of the channel in the group, so that no digits are lost when the mean is far from 0.
///
/// The coordinates of a workgroup are its channels, part and group.
#[cube(launch)]
pub(crate) fn norm_moments<E: Float, V: Size>(
    x: &[Vector<E, V>],
    sums: &mut [Vector<f32, V>],
    sizes: NormSizes,
    #[comptime] threads: [usize; 2],
    #[define(E)] _element: ElemType,
) {
    let [threads_y, threads_x] = threads;
    let (unit_y, unit_x) = units(threads);
    let channel = CUBE_POS_X as usize * threads_x + unit_x;
    let exists = channel < sizes.depth;
    // Threads past the last channel take part in the barriers below.
    let channel_or_0 = select(exists, channel, 0);
    let group = CUBE_POS_Z as usize;
    let part = CUBE_POS_Y as usize;
    let origin = Vector::<f32, V>::cast_from(x[index_of(0, group, sizes) + channel_or_0]);
    let end = (part * sizes.part + sizes.part).min(sizes.rows);
    let mut first = Vector::<f32, V>::zero();
    let mut second = Vector::<f32, V>::zero();
    for row in range_stepped(part * sizes.part + unit_y, end, threads_y) {
        let value = Vector::<f32, V>::cast_from(x[index_of(row, group, sizes) + channel_or_0]);
        let d = value - origin;
        first += d;
        second += d * d;
    }
    let (first, second) = add_rows(first, second, unit_y, unit_x, threads);
    if exists && unit_y == 0 {
        keep_sums(sums, first, second, channel, sizes);
    }
}

/// Adds up the sums of all parts for one channel of one group.
#[cube]
fn total(
    sums: &[f32],
    group: usize,
    channel: usize,
    channels: usize,
    parts: usize,
    unit_y: usize,
    #[comptime] threads_y: usize,
) -> (f32, f32) {
    let mut first = f32::new(0.0);
    let mut second = f32::new(0.0);
    for part in range_stepped(unit_y, parts, threads_y) {
        let at = (group * parts + part) * 2 * channels + channel;
        first += sums[at];
        second += sums[at + channels];
    }
    (first, second)
}

/// Mean and biased variance from the sums of [`norm_moments`], and the normalisation as a scale and a shift;
/// [groups, channels] each.
///
/// The coordinates of a workgroup are its channels and group.
#[cube(launch)]
pub(crate) fn norm_statistics<E: Float>(
    x: &[E],
    sums: &[f32],
    gamma: &[f32],
    beta: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
    scale: &mut [f32],
    shift: &mut [f32],
    parts: usize,
    channels: usize,
    rows: usize,
    pixels: usize,
    epsilon: f32,
    #[comptime] threads: [usize; 2],
    #[define(E)] _element: ElemType,
) {
    let [threads_y, threads_x] = threads;
    let (unit_y, unit_x) = units(threads);
    let channel = CUBE_POS_X as usize * threads_x + unit_x;
    let exists = channel < channels;
    let channel_or_0 = select(exists, channel, 0);
    let group = CUBE_POS_Y as usize;
    let (first, second) = total(
        sums,
        group,
        channel_or_0,
        channels,
        parts,
        unit_y,
        threads_y,
    );
    let (first, second) = add_rows::<Const<1>>(
        Vector::new(first),
        Vector::new(second),
        unit_y,
        unit_x,
        threads,
    );
    if exists && unit_y == 0 {
        let count = f32::cast_from(rows);
        let origin = f32::cast_from(x[group * pixels * channels + channel]);
        let offset = first.extract(0usize) / count;
        let of_squares = second.extract(0usize) / count - offset * offset;
        // Rounding can make it negative. A NaN is kept.
        let of_squares = select(of_squares < 0.0, 0.0, of_squares);
        let own_mean = origin + offset;
        let own_scale = gamma[channel] / (of_squares + epsilon).sqrt();
        let at = group * channels + channel;
        mean[at] = own_mean;
        variance[at] = of_squares;
        scale[at] = own_scale;
        shift[at] = beta[channel] - own_mean * own_scale;
    }
}

/// The running statistics r ← (1 − m)·r + m·s, where s is the mean over groups of the mean, and of the variance times
/// `unbias`.
#[cube(launch)]
pub(crate) fn norm_running(
    mean: &[f32],
    variance: &[f32],
    running_mean: &[f32],
    running_variance: &[f32],
    next_mean: &mut [f32],
    next_variance: &mut [f32],
    channels: usize,
    groups: usize,
    momentum: f32,
    unbias: f32,
) {
    let channel = ABSOLUTE_POS;
    if channel >= channels {
        terminate!();
    }
    let mut of_mean = f32::new(0.0);
    let mut of_variance = f32::new(0.0);
    for group in 0..groups {
        of_mean += mean[group * channels + channel];
        of_variance += variance[group * channels + channel];
    }
    let share = momentum / f32::cast_from(groups);
    next_mean[channel] = running_mean[channel] * (1.0 - momentum) + of_mean * share;
    next_variance[channel] =
        running_variance[channel] * (1.0 - momentum) + of_variance * unbias * share;
}

/// ReLU that keeps NaN, so that a run that has diverged is noticed.
#[cube]
fn rectify<V: Size>(x: Vector<f32, V>) -> Vector<f32, V> {
    let zero = Vector::<f32, V>::zero();
    select_many(x.less_equal(&zero), zero, x)
}

/// x·scale + shift, followed by the activation. `scale` and `shift` are [groups, channels].
#[cube(launch)]
pub(crate) fn norm_apply<E: Float, V: Size>(
    x: &[Vector<E, V>],
    scale: &[Vector<f32, V>],
    shift: &[Vector<f32, V>],
    shortcut: ComptimeOption<&[Vector<E, V>]>,
    output: &mut [Vector<E, V>],
    count: usize,
    pixels: usize,
    depth: usize,
    groups: usize,
    #[comptime] follows: Follows,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let channel = ABSOLUTE_POS % depth;
    let group = ABSOLUTE_POS / depth / pixels % groups;
    let at = group * depth + channel;
    let mut y = Vector::<f32, V>::cast_from(x[ABSOLUTE_POS]) * scale[at] + shift[at];
    if comptime!(follows == Follows::AddRelu) {
        y += Vector::cast_from(shortcut.unwrap()[ABSOLUTE_POS]);
    }
    if comptime!(follows != Follows::Identity) {
        y = rectify(y);
    }
    output[ABSOLUTE_POS] = Vector::cast_from(y);
}

/// The gradient before the activation. With a shortcut, `output` is the normalisation's output; otherwise its sign is
/// that of x·scale + shift.
#[cube]
fn through_relu<E: Float, V: Size>(
    gradient: Vector<f32, V>,
    x: Vector<f32, V>,
    scale: Vector<f32, V>,
    shift: Vector<f32, V>,
    output: ComptimeOption<&[Vector<E, V>]>,
    at: usize,
    #[comptime] follows: Follows,
) -> Vector<f32, V> {
    let zero = Vector::<f32, V>::zero();
    if comptime!(follows == Follows::Identity) {
        gradient
    } else if comptime!(follows == Follows::Relu) {
        let y = x * scale + shift;
        select_many(y.less_equal(&zero), zero, gradient)
    } else {
        let y = Vector::<f32, V>::cast_from(output.unwrap()[at]);
        select_many(y.less_equal(&zero), zero, gradient)
    }
}

/// Writes a value of a channel that exists.
#[cube]
fn keep<E: Float, V: Size>(
    map: &mut [Vector<E, V>],
    at: usize,
    value: Vector<f32, V>,
    exists: bool,
) {
    if exists {
        map[at] = Vector::cast_from(value);
    }
}

/// The sums of g and g·(x − μ) over parts of each group, [groups, parts, 2, channels], where g is the gradient before
/// the activation. With a shortcut, g is written to `rectified`, which otherwise may be any buffer.
#[cube(launch)]
pub(crate) fn norm_gradient_sums<E: Float, V: Size>(
    gradient: &[Vector<E, V>],
    x: &[Vector<E, V>],
    mean: &[Vector<f32, V>],
    scale: &[Vector<f32, V>],
    shift: &[Vector<f32, V>],
    output: ComptimeOption<&[Vector<E, V>]>,
    rectified: &mut [Vector<E, V>],
    sums: &mut [Vector<f32, V>],
    sizes: NormSizes,
    #[comptime] follows: Follows,
    #[comptime] threads: [usize; 2],
    #[define(E)] _element: ElemType,
) {
    let [threads_y, threads_x] = threads;
    let (unit_y, unit_x) = units(threads);
    let channel = CUBE_POS_X as usize * threads_x + unit_x;
    let exists = channel < sizes.depth;
    let channel_or_0 = select(exists, channel, 0);
    let group = CUBE_POS_Z as usize;
    let part = CUBE_POS_Y as usize;
    let of_channel = group * sizes.depth + channel_or_0;
    let (mean, scale, shift) = (mean[of_channel], scale[of_channel], shift[of_channel]);
    let end = (part * sizes.part + sizes.part).min(sizes.rows);
    let mut first = Vector::<f32, V>::zero();
    let mut second = Vector::<f32, V>::zero();
    for row in range_stepped(part * sizes.part + unit_y, end, threads_y) {
        let at = index_of(row, group, sizes) + channel_or_0;
        let x = Vector::<f32, V>::cast_from(x[at]);
        let g = Vector::<f32, V>::cast_from(gradient[at]);
        let g = through_relu(g, x, scale, shift, output, at, follows);
        if comptime!(follows == Follows::AddRelu) {
            keep(rectified, at, g, exists);
        }
        first += g;
        second += g * (x - mean);
    }
    let (first, second) = add_rows(first, second, unit_y, unit_x, threads);
    if exists && unit_y == 0 {
        keep_sums(sums, first, second, channel, sizes);
    }
}

/// The gradients of γ and β, and the coefficients of the gradient of x, [groups, 3, channels]:
/// ∂x = γ/σ · (g − mean(g) − x̂·mean(g·x̂)) = a·g + b·x + c with x̂ = (x − μ)/σ.
///
/// The first coordinate of a workgroup is its channels.
#[cube(launch)]
pub(crate) fn norm_coefficients(
    sums: &[f32],
    mean: &[f32],
    variance: &[f32],
    gamma: &[f32],
    of_gamma: &mut [f32],
    of_beta: &mut [f32],
    coefficients: &mut [f32],
    channels: usize,
    parts: usize,
    groups: usize,
    rows: usize,
    epsilon: f32,
    #[comptime] threads: [usize; 2],
) {
    let [threads_y, threads_x] = threads;
    let (unit_y, unit_x) = units(threads);
    let channel = CUBE_POS_X as usize * threads_x + unit_x;
    let exists = channel < channels;
    let channel_or_0 = select(exists, channel, 0);
    let mut along = f32::new(0.0);
    let mut plain = f32::new(0.0);
    for group in range_stepped(unit_y, groups, threads_y) {
        let (first, second) = total(
            sums,
            group,
            channel_or_0,
            channels,
            parts,
            0usize.runtime(),
            1usize,
        );
        let of_channel = group * channels + channel_or_0;
        let inverse = 1.0 / (variance[of_channel] + epsilon).sqrt();
        let with_normal = second * inverse;
        along += with_normal;
        plain += first;
        if exists {
            let count = f32::cast_from(rows);
            let scale = gamma[channel] * inverse;
            let slope = -scale * inverse * with_normal / count;
            let at = group * 3 * channels + channel;
            coefficients[at] = scale;
            coefficients[at + channels] = slope;
            coefficients[at + 2 * channels] = -scale * first / count - slope * mean[of_channel];
        }
    }
    let (plain, along) = add_rows::<Const<1>>(
        Vector::new(plain),
        Vector::new(along),
        unit_y,
        unit_x,
        threads,
    );
    if exists && unit_y == 0 {
        of_gamma[channel] = along.extract(0usize);
        of_beta[channel] = plain.extract(0usize);
    }
}

/// The gradient of x: a·g + b·x + c. With a shortcut, `gradient` is rectified already.
#[cube(launch)]
pub(crate) fn norm_gradient<E: Float, V: Size>(
    gradient: &[Vector<E, V>],
    x: &[Vector<E, V>],
    coefficients: &[Vector<f32, V>],
    scale: &[Vector<f32, V>],
    shift: &[Vector<f32, V>],
    output: &mut [Vector<E, V>],
    count: usize,
    pixels: usize,
    depth: usize,
    groups: usize,
    #[comptime] follows: Follows,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let channel = ABSOLUTE_POS % depth;
    let group = ABSOLUTE_POS / depth / pixels % groups;
    let of_channel = group * depth + channel;
    let at = group * 3 * depth + channel;
    let x = Vector::<f32, V>::cast_from(x[ABSOLUTE_POS]);
    let mut g = Vector::<f32, V>::cast_from(gradient[ABSOLUTE_POS]);
    if comptime!(follows == Follows::Relu) {
        let y = x * scale[of_channel] + shift[of_channel];
        let zero = Vector::<f32, V>::zero();
        g = select_many(y.less_equal(&zero), zero, g);
    }
    let sum = coefficients[at] * g + coefficients[at + depth] * x + coefficients[at + 2 * depth];
    output[ABSOLUTE_POS] = Vector::cast_from(sum);
}
