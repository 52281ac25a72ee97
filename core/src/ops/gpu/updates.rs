//! Changes of all parameters of a network by a few kernels.
//!
//! The tensors of a network lie one after the other in one buffer, each from a multiple of the alignment of buffers on, and
//! each tensor is a view of its part. Tensors that do not lie so yet are copied. As everywhere in Burn, values are never
//! changed in place while others can see them: an update writes a new buffer, and the old one is freed with its last view.

use burn::tensor::{DType, Tensor};
use cubecl::prelude::*;

use super::{
    Gpu,
    tensor::{GpuTensor, Traits, argument, contiguous, count, empty, primitive, tensor},
    threads::each,
};
use crate::ops::{Flat, Moved, SgdSettings, Updates, stock};

/// Where the tensors of a network lie in their buffer, in values.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layout {
    /// For each tensor its first value and its length.
    parts: Vec<[usize; 2]>,
    /// Values of the buffer.
    total: usize,
}

impl Layout {
    /// The layout of tensors of these lengths; `alignment` is that of buffers in bytes.
    fn new(lengths: impl Iterator<Item = usize>, alignment: usize) -> Self {
        let alignment = (alignment / 4).max(4);
        let mut total = 0;
        let parts = lengths.map(|length| {
            let start = total;
            total += length.next_multiple_of(alignment);
            [start, length]
        });
        Self {
            parts: parts.collect(),
            total,
        }
    }

    fn of(tensors: &[GpuTensor]) -> Self {
        let alignment = tensors[0].client.properties().memory.alignment as usize;
        Self::new(tensors.iter().map(count), alignment)
    }

    /// Bytes before a part, and after it.
    fn offsets(&self, [start, length]: [usize; 2]) -> [u64; 2] {
        [4 * start as u64, 4 * (self.total - start - length) as u64]
    }

    /// The whole buffer, if these tensors lie in it in this layout.
    fn whole(&self, tensors: &[GpuTensor]) -> Option<GpuTensor> {
        let first = &tensors[0];
        let (memory, _, _) = first.handle.clone().binding().claim_key();
        let lies = |(tensor, part): (&GpuTensor, &[usize; 2])| {
            let (of, start, end) = tensor.handle.clone().binding().claim_key();
            let [before, _] = self.offsets(*part);
            of == memory && start == before && end == before + 4 * part[1] as u64
        };
        let fits = first.handle.size() == 4 * self.total as u64;
        if !fits || !tensors.iter().zip(&self.parts).all(lies) {
            return None;
        }
        let mut handle = first.handle.clone();
        handle.offset_start = None;
        handle.offset_end = None;
        let (client, device) = (first.client.clone(), first.device.clone());
        Some(GpuTensor::new_contiguous(
            client,
            device,
            [self.total].into(),
            handle,
            DType::F32,
        ))
    }

    /// The tensors as views of their buffer.
    fn split(&self, whole: &GpuTensor) -> Flat {
        let part = |part: &[usize; 2]| {
            let [before, after] = self.offsets(*part);
            let handle = whole.handle.clone().offset_start(before).offset_end(after);
            let (client, device) = (whole.client.clone(), whole.device.clone());
            let shape = [part[1]].into();
            tensor(GpuTensor::new_contiguous(
                client,
                device,
                shape,
                handle,
                DType::F32,
            ))
        };
        self.parts.iter().map(part).collect()
    }

    /// The buffer with these tensors, which is a copy unless they lie in it already; 0 for a tensor of `None`.
    fn join(&self, tensors: &[Option<GpuTensor>], like: &GpuTensor) -> GpuTensor {
        let all: Option<Vec<_>> = tensors.iter().cloned().collect();
        if let Some(whole) = all.and_then(|all| self.whole(&all)) {
            return whole;
        }
        let whole = empty(like, [self.total], DType::F32);
        // One buffer of the kernel is the result, and one may be CubeCL's own.
        let at_once = Traits::of(&like.client)
            .buffers
            .saturating_sub(2)
            .clamp(1, 24);
        let mut next = 0;
        while next < tensors.len() {
            let group = next..(next + at_once).min(tensors.len());
            let end = self.parts.get(group.end).map_or(self.total, |part| part[0]);
            join_some(
                &whole,
                &tensors[group.clone()],
                &self.parts[group.clone()],
                end,
            );
            next = group.end;
        }
        whole
    }
}

/// Copies some of the tensors to their places, and zeros between them and up to `end`.
fn join_some(whole: &GpuTensor, tensors: &[Option<GpuTensor>], parts: &[[usize; 2]], end: usize) {
    let first = parts[0][0];
    let existing = || {
        tensors
            .iter()
            .zip(parts)
            .filter_map(|(t, part)| Some((t.as_ref()?, part)))
    };
    let mut inputs = SequenceArg::new();
    let (mut starts, mut lengths) = (SequenceArg::new(), SequenceArg::new());
    for (tensor, [start, length]) in existing() {
        inputs.push(argument(tensor));
        starts.push(*start);
        lengths.push(*length);
    }
    let inputs_count = existing().count();
    let (cubes, threads) = each(&whole.client, end - first);
    join_kernel::launch(
        &whole.client,
        cubes,
        threads,
        inputs,
        starts,
        lengths,
        argument(whole),
        first,
        end,
        inputs_count,
    );
}

#[cube(launch)]
fn join_kernel(
    inputs: Sequence<Box<[f32]>>,
    starts: Sequence<usize>,
    lengths: Sequence<usize>,
    output: &mut [f32],
    first: usize,
    end: usize,
    #[comptime] count: usize,
) {
    let at = first + ABSOLUTE_POS;
    if at >= end {
        terminate!();
    }
    let mut value = f32::new(0.0);
    #[unroll]
    for i in 0..count {
        let start = *starts.index(i);
        if at >= start && at - start < *lengths.index(i) {
            value = inputs.index(i)[at - start];
        }
    }
    output[at] = value;
}

/// v ← μ·v + (g + w·θ), θ ← θ − lr·v.
#[cube(launch)]
fn sgd_kernel(
    theta: &[Vector<f32, Const<4>>],
    velocity: ComptimeOption<&[Vector<f32, Const<4>>]>,
    gradient: &[Vector<f32, Const<4>>],
    moved: &mut [Vector<f32, Const<4>>],
    next_velocity: &mut [Vector<f32, Const<4>>],
    count: usize,
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    #[comptime] has_velocity: bool,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let own = theta[ABSOLUTE_POS];
    let mut next = gradient[ABSOLUTE_POS] + own * Vector::new(weight_decay);
    if comptime!(has_velocity) {
        next += velocity.unwrap()[ABSOLUTE_POS] * Vector::new(momentum);
    }
    next_velocity[ABSOLUTE_POS] = next;
    moved[ABSOLUTE_POS] = own - next * Vector::new(learning_rate);
}

/// m·key + (1 − m)·query.
#[cube(launch)]
fn follow_kernel(
    keys: &[Vector<f32, Const<4>>],
    queries: &[Vector<f32, Const<4>>],
    output: &mut [Vector<f32, Const<4>>],
    count: usize,
    of_keys: f32,
    of_queries: f32,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    output[ABSOLUTE_POS] =
        keys[ABSOLUTE_POS] * Vector::new(of_keys) + queries[ABSOLUTE_POS] * Vector::new(of_queries);
}

/// For each of `threads` threads the sum of the squares of every `threads`-th value.
#[cube(launch)]
fn squares_kernel(x: &[f32], sums: &mut [f32], count: usize, threads: usize) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let mut sum = f32::new(0.0);
    for i in range_stepped(ABSOLUTE_POS, count, threads) {
        sum += x[i] * x[i];
    }
    sums[ABSOLUTE_POS] = sum;
}

impl Updates for Gpu {
    fn sgd(
        &self,
        theta: Tensor<1>,
        velocity: Option<Tensor<1>>,
        gradient: Option<Tensor<1>>,
        settings: SgdSettings,
    ) -> (Tensor<1>, Tensor<1>) {
        stock::Burn.sgd(theta, velocity, gradient, settings)
    }

    fn follow(&self, key: Tensor<1>, query: Tensor<1>, m: f64) -> Tensor<1> {
        stock::Burn.follow(key, query, m)
    }

    fn sum_of_squares(&self, x: Tensor<1>) -> Tensor<1> {
        stock::Burn.sum_of_squares(x)
    }

    fn gather(&self, tensors: Flat) -> Flat {
        let Some((whole, layout)) = joined(tensors) else {
            return Vec::new();
        };
        layout.split(&whole)
    }

    fn sgd_all(
        &self,
        theta: Flat,
        velocity: Vec<Option<Tensor<1>>>,
        gradient: Vec<Option<Tensor<1>>>,
        settings: SgdSettings,
        wants_squares: bool,
    ) -> Moved {
        let Some((theta, layout)) = joined(theta) else {
            return Moved {
                theta: Vec::new(),
                velocity: Vec::new(),
                squares: None,
            };
        };
        let has_gradient = gradient.iter().any(Option::is_some);
        let values = |tensors: Vec<Option<Tensor<1>>>| -> Vec<Option<GpuTensor>> {
            let tensors = tensors.into_iter();
            tensors
                .map(|t| t.map(|t| contiguous(primitive(t))))
                .collect()
        };
        let gradient = layout.join(&values(gradient), &theta);
        let has_velocity = velocity.iter().any(Option::is_some);
        let velocity = has_velocity.then(|| layout.join(&values(velocity), &theta));
        let [moved, next] = [(); 2].map(|()| empty(&theta, [layout.total], DType::F32));
        let vectors = layout.total / 4;
        let (cubes, threads) = each(&theta.client, vectors);
        sgd_kernel::launch(
            &theta.client,
            cubes,
            threads,
            argument(&theta),
            velocity.as_ref().map(argument).into(),
            argument(&gradient),
            argument(&moved),
            argument(&next),
            vectors,
            settings.learning_rate as f32,
            settings.momentum as f32,
            settings.weight_decay as f32,
            has_velocity,
        );
        Moved {
            theta: layout.split(&moved),
            velocity: layout.split(&next),
            squares: (wants_squares && has_gradient).then(|| sum_of_squares(&gradient)),
        }
    }

    fn follow_all(&self, keys: Flat, queries: Flat, m: f64) -> Flat {
        let (Some((keys, layout)), Some((queries, other))) = (joined(keys), joined(queries)) else {
            return Vec::new();
        };
        assert_eq!(
            layout, other,
            "query and key encoder have the same architecture"
        );
        let output = empty(&keys, [layout.total], DType::F32);
        let vectors = layout.total / 4;
        let (cubes, threads) = each(&keys.client, vectors);
        follow_kernel::launch(
            &keys.client,
            cubes,
            threads,
            argument(&keys),
            argument(&queries),
            argument(&output),
            vectors,
            m as f32,
            (1.0 - m) as f32,
        );
        layout.split(&output)
    }

    fn sum_of_squares_all(&self, tensors: Flat) -> Option<Tensor<1>> {
        joined(tensors).map(|(whole, _)| sum_of_squares(&whole))
    }

    fn add_all(&self, a: Flat, b: Flat) -> Flat {
        let (Some((a, layout)), Some((b, other))) = (joined(a), joined(b)) else {
            return Vec::new();
        };
        assert_eq!(layout, other, "gradients of one network");
        layout.split(&primitive(tensor::<1>(a) + tensor::<1>(b)))
    }

    fn scale_all(&self, tensors: Flat, factor: &Tensor<1>) -> Flat {
        let Some((whole, layout)) = joined(tensors) else {
            return Vec::new();
        };
        let scaled = tensor::<1>(whole) * factor.clone();
        layout.split(&primitive(scaled))
    }
}

/// Σ x² over the buffer, in which the gaps between tensors are 0.
fn sum_of_squares(whole: &GpuTensor) -> Tensor<1> {
    let client = &whole.client;
    let threads = if Traits::of(client).is_software {
        64
    } else {
        1 << 14
    };
    let sums = empty(whole, [threads], DType::F32);
    let (cubes, cube) = each(client, threads);
    squares_kernel::launch(
        client,
        cubes,
        cube,
        argument(whole),
        argument(&sums),
        count(whole),
        threads,
    );
    tensor::<1>(sums).sum()
}

/// The tensors in one buffer, and where they lie in it; `None` if there is no tensor.
fn joined(tensors: Flat) -> Option<(GpuTensor, Layout)> {
    let tensors: Vec<_> = tensors
        .into_iter()
        .map(|t| contiguous(primitive(t)))
        .collect();
    let first = tensors.first()?.clone();
    let layout = Layout::of(&tensors);
    let tensors: Vec<_> = tensors.into_iter().map(Some).collect();
    Some((layout.join(&tensors, &first), layout))
}
