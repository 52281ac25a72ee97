//! Batch normalisation and max pooling: from tensors to the launches of their kernels.

use burn::tensor::DType;
use cubecl::prelude::*;

use super::{
    norm::{
        Follows, NormSizesLaunch, norm_apply, norm_coefficients, norm_gradient, norm_gradient_sums,
        norm_moments, norm_running, norm_statistics,
    },
    pool::{PoolSizesLaunch, pool_forward, pool_gradient},
    tensor::{GpuTensor, Traits, argument, count, dims, element, empty, vector},
    threads::each,
};
use crate::ops::Following;

/// The sizes of a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) struct NormShape {
    batch: usize,
    pixels: usize,
    channels: usize,
    groups: usize,
}

/// Mean and biased variance, and the normalisation as a scale and a shift; [G·C] each.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Statistics {
    pub(in crate::ops) mean: GpuTensor,
    pub(in crate::ops) variance: GpuTensor,
    scale: GpuTensor,
    shift: GpuTensor,
}

impl NormShape {
    /// The sizes for a map [B, H, W, C] whose sample i belongs to group i mod `groups`.
    pub(in crate::ops) fn of(x: &GpuTensor, groups: usize) -> Self {
        let [batch, height, width, channels] = dims(x);
        assert!(
            groups > 0 && batch.is_multiple_of(groups),
            "{batch} samples, {groups} groups"
        );
        Self {
            batch,
            pixels: height * width,
            channels,
            groups,
        }
    }

    fn vector(&self) -> usize {
        vector(self.channels)
    }

    /// Vectors per pixel.
    fn depth(&self) -> usize {
        self.channels / self.vector()
    }

    /// Pixels of a group.
    fn rows(&self) -> usize {
        self.batch / self.groups * self.pixels
    }

    /// How the sums over a channel are divided.
    fn division(&self, traits: &Traits) -> Division {
        let (threads, workgroups, least) = if traits.is_software {
            ([1, 8], 8, 256)
        } else if self.depth() > 16 {
            ([8, 32], 1024, 64)
        } else {
            ([16, 16], 1024, 128)
        };
        let columns = self.depth().div_ceil(threads[1]);
        let parts = (workgroups / (columns * self.groups)).clamp(1, self.rows().div_ceil(least));
        let part = self.rows().div_ceil(parts);
        Division {
            threads,
            part,
            parts: self.rows().div_ceil(part),
            columns,
        }
    }

    fn sizes(&self, division: &Division) -> NormSizesLaunch {
        NormSizesLaunch::new(
            self.pixels,
            self.groups,
            self.depth(),
            self.rows(),
            division.part,
        )
    }
}

/// How sums over the pixels of a channel are divided among workgroups.
struct Division {
    /// Threads of a workgroup along pixels and along channels.
    threads: [usize; 2],
    /// Pixels per part.
    part: usize,
    /// Parts of each group.
    parts: usize,
    /// Workgroups along channels.
    columns: usize,
}

impl Division {
    fn cubes(&self, groups: usize) -> (CubeCount, CubeDim) {
        let cubes = CubeCount::new_3d(self.columns as u32, self.parts as u32, groups as u32);
        (cubes, dim(self.threads))
    }
}

fn dim([y, x]: [usize; 2]) -> CubeDim {
    CubeDim::new_1d((x * y) as u32)
}

/// Threads of a workgroup that adds up the parts of a few channels.
fn finishing(traits: &Traits) -> [usize; 2] {
    if traits.is_software { [1, 8] } else { [16, 16] }
}

fn kind(activation: &Following<&GpuTensor>) -> Follows {
    match activation {
        Following::Identity => Follows::Identity,
        Following::Relu => Follows::Relu,
        Following::AddRelu(_) => Follows::AddRelu,
    }
}

/// Normalises a batch by its own statistics and applies the activation. Returns the statistics, too.
pub(in crate::ops) fn normalize(
    x: &GpuTensor,
    [gamma, beta]: [&GpuTensor; 2],
    shape: &NormShape,
    epsilon: f64,
    activation: Following<&GpuTensor>,
) -> (GpuTensor, Statistics) {
    let client = &x.client;
    let traits = Traits::of(client);
    let division = shape.division(&traits);
    let [groups, channels, parts] = [shape.groups, shape.channels, division.parts];
    let sums = empty(x, [groups * parts * 2 * channels], DType::F32);
    let (cubes, threads) = division.cubes(groups);
    norm_moments::launch(
        client,
        cubes,
        threads,
        shape.vector(),
        argument(x),
        argument(&sums),
        shape.sizes(&division),
        division.threads,
        element(x),
    );
    let statistic = || empty(x, [groups * channels], DType::F32);
    let statistics = Statistics {
        mean: statistic(),
        variance: statistic(),
        scale: statistic(),
        shift: statistic(),
    };
    let finishing = finishing(&traits);
    norm_statistics::launch(
        client,
        CubeCount::new_2d(channels.div_ceil(finishing[1]) as u32, groups as u32),
        dim(finishing),
        argument(x),
        argument(&sums),
        argument(gamma),
        argument(beta),
        argument(&statistics.mean),
        argument(&statistics.variance),
        argument(&statistics.scale),
        argument(&statistics.shift),
        parts,
        channels,
        shape.rows(),
        shape.pixels,
        epsilon as f32,
        finishing,
        element(x),
    );
    let scale_shift = [&statistics.scale, &statistics.shift];
    (affine(x, scale_shift, shape, activation), statistics)
}

/// The activation of x·scale + shift; scale and shift are [G·C] each.
pub(in crate::ops) fn affine(
    x: &GpuTensor,
    [scale, shift]: [&GpuTensor; 2],
    shape: &NormShape,
    activation: Following<&GpuTensor>,
) -> GpuTensor {
    let output = empty(x, dims::<4>(x), x.dtype);
    let vectors = count(x) / shape.vector();
    let (cubes, threads) = each(&x.client, vectors);
    let follows = kind(&activation);
    let shortcut = match activation {
        Following::AddRelu(shortcut) => Some(argument(shortcut)),
        _ => None,
    };
    norm_apply::launch(
        &x.client,
        cubes,
        threads,
        shape.vector(),
        argument(x),
        argument(scale),
        argument(shift),
        shortcut.into(),
        argument(&output),
        vectors,
        shape.pixels,
        shape.depth(),
        shape.groups,
        follows,
        element(x),
    );
    output
}

/// The running statistics after a batch: r ← (1 − m)·r + m·s, where s are the statistics of the batch, averaged over the
/// groups, and the variance is multiplied by `unbias`.
pub(in crate::ops) fn running(
    [mean, variance]: [&GpuTensor; 2],
    [running_mean, running_variance]: [&GpuTensor; 2],
    momentum: f64,
    unbias: f64,
) -> [GpuTensor; 2] {
    let channels = count(running_mean);
    let next = [(); 2].map(|()| empty(mean, [channels], DType::F32));
    let (cubes, threads) = each(&mean.client, channels);
    norm_running::launch(
        &mean.client,
        cubes,
        threads,
        argument(mean),
        argument(variance),
        argument(running_mean),
        argument(running_variance),
        argument(&next[0]),
        argument(&next[1]),
        channels,
        count(mean) / channels,
        momentum as f32,
        unbias as f32,
    );
    next
}

/// The gradients of a normalisation: of x, γ, β, and before the activation, which with a shortcut is its gradient.
pub(in crate::ops) fn gradients(
    gradient: &GpuTensor,
    x: &GpuTensor,
    statistics: &Statistics,
    (gamma, epsilon): (&GpuTensor, f64),
    shape: &NormShape,
    output: Following<&GpuTensor>,
) -> [GpuTensor; 4] {
    let client = &x.client;
    let traits = Traits::of(client);
    let division = shape.division(&traits);
    let [groups, channels, parts] = [shape.groups, shape.channels, division.parts];
    let follows = kind(&output);
    let rectified = match &output {
        Following::AddRelu(_) => empty(x, dims::<4>(x), x.dtype),
        _ => gradient.clone(),
    };
    let (read, written) = match output {
        Following::AddRelu(output) => (Some(argument(output)), rectified.clone()),
        _ => (None, empty(x, [shape.vector()], x.dtype)),
    };
    let sums = empty(x, [groups * parts * 2 * channels], DType::F32);
    let (cubes, threads) = division.cubes(groups);
    norm_gradient_sums::launch(
        client,
        cubes,
        threads,
        shape.vector(),
        argument(gradient),
        argument(x),
        argument(&statistics.mean),
        argument(&statistics.scale),
        argument(&statistics.shift),
        read.into(),
        argument(&written),
        argument(&sums),
        shape.sizes(&division),
        follows,
        division.threads,
        element(x),
    );
    let [of_gamma, of_beta] = [(); 2].map(|()| empty(x, [channels], DType::F32));
    let coefficients = empty(x, [groups * 3 * channels], DType::F32);
    let finishing = finishing(&traits);
    norm_coefficients::launch(
        client,
        CubeCount::new_1d(channels.div_ceil(finishing[1]) as u32),
        dim(finishing),
        argument(&sums),
        argument(&statistics.mean),
        argument(&statistics.variance),
        argument(gamma),
        argument(&of_gamma),
        argument(&of_beta),
        argument(&coefficients),
        channels,
        parts,
        groups,
        shape.rows(),
        epsilon as f32,
        finishing,
    );
    let of_x = empty(x, dims::<4>(x), x.dtype);
    let vectors = count(x) / shape.vector();
    let (cubes, threads) = each(client, vectors);
    norm_gradient::launch(
        client,
        cubes,
        threads,
        shape.vector(),
        argument(&rectified),
        argument(x),
        argument(&coefficients),
        argument(&statistics.scale),
        argument(&statistics.shift),
        argument(&of_x),
        vectors,
        shape.pixels,
        shape.depth(),
        groups,
        follows,
        element(x),
    );
    [of_x, of_gamma, of_beta, rectified]
}

fn pool_sizes([height, width]: [usize; 2], depth: usize, vectors: usize) -> PoolSizesLaunch {
    PoolSizesLaunch::new(
        height,
        width,
        height.div_ceil(2),
        width.div_ceil(2),
        depth,
        vectors,
    )
}

/// Max pooling of x [B, H, W, C]: the pooled map, and the taps of the maxima.
pub(in crate::ops) fn max_pool(x: &GpuTensor) -> (GpuTensor, GpuTensor) {
    let [batch, height, width, channels] = dims(x);
    let vector = vector(channels);
    let output = empty(
        x,
        [batch, height.div_ceil(2), width.div_ceil(2), channels],
        x.dtype,
    );
    let vectors = count(&output) / vector;
    let taps = empty(x, [vectors], DType::U32);
    let (cubes, threads) = each(&x.client, vectors);
    pool_forward::launch(
        &x.client,
        cubes,
        threads,
        vector,
        argument(x),
        argument(&output),
        argument(&taps),
        pool_sizes([height, width], channels / vector, vectors),
        element(x),
    );
    (output, taps)
}

/// The gradient of a map [B, H, W, C] from that of its pooled map and the taps of the maxima.
pub(in crate::ops) fn pooled_gradient(
    gradient: &GpuTensor,
    taps: &GpuTensor,
    sides: [usize; 2],
) -> GpuTensor {
    let [batch, _, _, channels] = dims(gradient);
    let vector = vector(channels);
    let output = empty(
        gradient,
        [batch, sides[0], sides[1], channels],
        gradient.dtype,
    );
    let vectors = count(&output) / vector;
    let (cubes, threads) = each(&gradient.client, vectors);
    pool_gradient::launch(
        &gradient.client,
        cubes,
        threads,
        vector,
        argument(gradient),
        argument(taps),
        argument(&output),
        pool_sizes(sides, channels / vector, vectors),
        element(gradient),
    );
    output
}
