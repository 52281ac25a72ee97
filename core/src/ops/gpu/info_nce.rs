//! InfoNCE against a queue and the gradient of its queries in one pass over the keys, without storing the logits.
//!
//! Vectors have unit length, so no logit exceeds 1/τ: exponentials relative to it cannot overflow, and the sums of
//! different parts of the queue are simply added. They cannot underflow either unless τ is very small ([`LEAST_TAU`]).

use burn::tensor::DType;
use cubecl::prelude::*;

use super::{
    tensor::{GpuTensor, Traits, argument, dims, empty},
    threads::each,
};

/// The smallest temperature for which the sums cannot underflow: exp(−2/τ) is then above the smallest normal f32.
pub(super) const LEAST_TAU: f64 = 0.025;

/// The largest dimension of the vectors for which the kernels have registers.
const LARGEST: usize = 256;

/// Queries of a workgroup that shares the keys.
const QUERIES: usize = 64;
/// Keys that are shared at once.
const KEYS: usize = 16;
/// Vectors of the queries that are shared at once.
const CHUNK: usize = 8;
/// Queries of a workgroup that is one plane.
const PLANE_QUERIES: usize = 16;

/// The loss of each query, whether it is a hit, and the gradient.
pub(super) struct Found {
    pub(super) loss: GpuTensor,
    pub(super) hit: GpuTensor,
    pub(super) gradient: Option<GpuTensor>,
}

/// Whether the kernels can compute this loss.
pub(super) fn fits(traits: &Traits, dim: usize, temperature: f64) -> bool {
    let shared = (KEYS * (dim / 4 + 1) + QUERIES * (CHUNK + 1)) * 16 + QUERIES * (KEYS + 1) * 4;
    dim.is_multiple_of(4)
        && dim <= LARGEST
        && temperature >= LEAST_TAU
        && (traits.plane.is_some() || traits.shared_bytes >= shared)
}

/// Sums over the keys of a part of the queue, for each query: of exp((q·k − 1)/τ), the largest q·k, and the sum of the
/// exponentials times their keys. `sums` is [parts, 2, queries], `weighted` [parts, queries, depth].
///
/// The first coordinate of a workgroup is its queries, the second its part.
#[cube(launch)]
fn nce_shared(
    queries: &[Vector<f32, Const<4>>],
    keys: &[Vector<f32, Const<4>>],
    sums: &mut [f32],
    weighted: &mut [Vector<f32, Const<4>>],
    count: usize,
    length: usize,
    part: usize,
    beta: f32,
    #[comptime] depth: usize,
    #[comptime] gradient: bool,
) {
    let unit = UNIT_POS as usize;
    let (unit_y, unit_x) = (unit / 16, unit % 16);
    let first_query = CUBE_POS_X as usize * QUERIES;
    let first_key = CUBE_POS_Y as usize * part;
    let end = (first_key + part).min(length);

    let pitch = comptime!(depth + 1);
    let mut own_keys = Shared::<[Vector<f32, Const<4>>]>::new_slice(comptime!(KEYS * (depth + 1)));
    let mut chunk = Shared::<[Vector<f32, Const<4>>]>::new_slice(comptime!(QUERIES * (CHUNK + 1)));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(QUERIES * (KEYS + 1)));

    let rows = comptime!(QUERIES / 16);
    let columns = comptime!(depth.div_ceil(16));
    let mut sum = Array::<f32>::new(rows);
    let mut best = Array::<f32>::new(rows);
    #[unroll]
    for i in 0..rows {
        sum[i] = 0.0;
        best[i] = f32::new(-4.0);
    }
    let mut total = Array::<Vector<f32, Const<4>>>::new(comptime!(rows * columns));
    #[unroll]
    for i in 0..comptime!(rows * columns) {
        total[i] = Vector::zero();
    }

    for base in range_stepped(first_key, end, KEYS) {
        #[unroll]
        for l in 0..comptime!((KEYS * depth).div_ceil(256)) {
            let at = unit + l * 256;
            if at < comptime!(KEYS * depth) {
                let key = base + at / depth;
                let from = key.min(length - 1) * depth + at % depth;
                own_keys[at / depth * pitch + at % depth] = keys[from];
            }
        }
        let mut similarity = Array::<f32>::new(rows);
        #[unroll]
        for i in 0..rows {
            similarity[i] = 0.0;
        }
        #[unroll]
        for c in 0..comptime!(depth.div_ceil(CHUNK)) {
            let start = comptime!(c * CHUNK);
            #[unroll]
            for l in 0..comptime!(QUERIES * CHUNK / 256) {
                let at = unit + l * 256;
                let (row, k) = (at / CHUNK, at % CHUNK);
                let query = (first_query + row).min(count - 1);
                let column = (start + k).min(comptime!(depth - 1));
                chunk[row * comptime!(CHUNK + 1) + k] = queries[query * depth + column];
            }
            sync_cube();
            #[unroll]
            for k in 0..comptime!(if depth - c * CHUNK < CHUNK {
                depth - c * CHUNK
            } else {
                CHUNK
            }) {
                let b = own_keys[unit_x * pitch + comptime!(c * CHUNK + k)];
                #[unroll]
                for i in 0..rows {
                    let a = chunk[(unit_y + comptime!(i * 16)) * comptime!(CHUNK + 1) + k];
                    let p = a * b;
                    similarity[i] += (p.extract(0usize) + p.extract(1usize))
                        + (p.extract(2usize) + p.extract(3usize));
                }
            }
            sync_cube();
        }
        let exists = base + unit_x < end;
        #[unroll]
        for i in 0..rows {
            let weight = select(exists, ((similarity[i] - 1.0) * beta).exp(), f32::new(0.0));
            sum[i] += weight;
            // A NaN is kept by the sum.
            best[i] = max(best[i], select(exists, similarity[i], f32::new(-4.0)));
            if comptime!(gradient) {
                weights[(unit_y + comptime!(i * 16)) * comptime!(KEYS + 1) + unit_x] = weight;
            }
        }
        sync_cube();
        if comptime!(gradient) {
            for k in 0..KEYS {
                #[unroll]
                for j in 0..columns {
                    let column = unit_x + comptime!(j * 16);
                    let key = own_keys[k * pitch + column.min(comptime!(depth - 1))];
                    #[unroll]
                    for i in 0..rows {
                        let weight =
                            weights[(unit_y + comptime!(i * 16)) * comptime!(KEYS + 1) + k];
                        total[comptime!(i * columns + j)] += key * Vector::new(weight);
                    }
                }
            }
            sync_cube();
        }
    }

    // The threads of a row add up what they found for their keys.
    #[unroll]
    for i in 0..rows {
        weights[(unit_y + comptime!(i * 16)) * comptime!(KEYS + 1) + unit_x] = sum[i];
    }
    sync_cube();
    let parts = CUBE_POS_Y as usize;
    if unit < QUERIES && first_query + unit < count {
        let mut all = f32::new(0.0);
        for k in 0..KEYS {
            all += weights[unit * comptime!(KEYS + 1) + k];
        }
        sums[parts * 2 * count + first_query + unit] = all;
    }
    sync_cube();
    #[unroll]
    for i in 0..rows {
        weights[(unit_y + comptime!(i * 16)) * comptime!(KEYS + 1) + unit_x] = best[i];
    }
    sync_cube();
    if unit < QUERIES && first_query + unit < count {
        let mut largest = f32::new(-4.0);
        for k in 0..KEYS {
            largest = max(largest, weights[unit * comptime!(KEYS + 1) + k]);
        }
        sums[(parts * 2 + 1) * count + first_query + unit] = largest;
    }
    if comptime!(gradient) {
        #[unroll]
        for i in 0..rows {
            let query = first_query + unit_y + comptime!(i * 16);
            #[unroll]
            for j in 0..columns {
                let column = unit_x + comptime!(j * 16);
                if query < count && column < depth {
                    weighted[(parts * count + query) * depth + column] =
                        total[comptime!(i * columns + j)];
                }
            }
        }
    }
}

/// As [`nce_shared`], for workgroups of one plane that share nothing. `depth` is counted in values.
#[cube(launch)]
fn nce_plane(
    queries: &[f32],
    keys: &[f32],
    sums: &mut [f32],
    weighted: &mut [f32],
    count: usize,
    length: usize,
    part: usize,
    beta: f32,
    #[comptime] depth: usize,
    #[comptime] lanes: usize,
    #[comptime] gradient: bool,
) {
    let lane = UNIT_POS as usize;
    let first_query = CUBE_POS_X as usize * PLANE_QUERIES;
    let first_key = CUBE_POS_Y as usize * part;
    let end = (first_key + part).min(length);
    let own = comptime!(PLANE_QUERIES / lanes);
    let columns = comptime!(depth.div_ceil(lanes));

    let mut sum = Array::<f32>::new(comptime!(PLANE_QUERIES));
    let mut best = Array::<f32>::new(comptime!(PLANE_QUERIES));
    #[unroll]
    for i in 0..PLANE_QUERIES {
        sum[i] = 0.0;
        best[i] = f32::new(-4.0);
    }
    let mut total = Array::<f32>::new(comptime!(PLANE_QUERIES * columns));
    #[unroll]
    for i in 0..comptime!(PLANE_QUERIES * columns) {
        total[i] = 0.0;
    }
    for base in range_stepped(first_key, end, lanes) {
        let key = (base + lane).min(end - 1);
        let exists = base + lane < end;
        let mut similarity = Array::<f32>::new(comptime!(PLANE_QUERIES));
        #[unroll]
        for i in 0..PLANE_QUERIES {
            similarity[i] = 0.0;
        }
        for d in 0..depth {
            let b = keys[key * depth + d];
            #[unroll]
            for i in 0..own {
                let query = (first_query + lane + i * lanes).min(count - 1);
                let a = queries[query * depth + d];
                #[unroll]
                for l in 0..lanes {
                    similarity[comptime!(i * lanes + l)] +=
                        plane_broadcast(a, comptime!(l as u32)) * b;
                }
            }
        }
        #[unroll]
        for i in 0..PLANE_QUERIES {
            let weight = select(exists, ((similarity[i] - 1.0) * beta).exp(), f32::new(0.0));
            sum[i] += weight;
            best[i] = max(best[i], select(exists, similarity[i], f32::new(-4.0)));
            similarity[i] = weight;
        }
        if comptime!(gradient) {
            #[unroll]
            for l in 0..lanes {
                let key = (base + l).min(end - 1);
                #[unroll]
                for j in 0..columns {
                    let column = (lane + j * lanes).min(comptime!(depth - 1));
                    let value = keys[key * depth + column];
                    #[unroll]
                    for i in 0..PLANE_QUERIES {
                        let weight = plane_broadcast(similarity[i], comptime!(l as u32));
                        total[comptime!(i * columns + j)] += weight * value;
                    }
                }
            }
        }
    }
    let parts = CUBE_POS_Y as usize;
    #[unroll]
    for i in 0..PLANE_QUERIES {
        let mut all = f32::new(0.0);
        let mut largest = f32::new(-4.0);
        #[unroll]
        for l in 0..lanes {
            all += plane_broadcast(sum[i], comptime!(l as u32));
            largest = max(largest, plane_broadcast(best[i], comptime!(l as u32)));
        }
        let query = first_query + i;
        if query < count && lane == 0 {
            sums[parts * 2 * count + query] = all;
            sums[(parts * 2 + 1) * count + query] = largest;
        }
    }
    if comptime!(gradient) {
        #[unroll]
        for i in 0..PLANE_QUERIES {
            #[unroll]
            for j in 0..columns {
                let column = lane + j * lanes;
                if first_query + i < count && column < depth {
                    weighted[(parts * count + first_query + i) * depth + column] =
                        total[comptime!(i * columns + j)];
                }
            }
        }
    }
}

/// The loss and the hit of each query from the sums of all parts, and what the gradient needs: `finished` is [2, queries],
/// the exponential of the positive and the sum of all.
#[cube(launch)]
fn nce_loss(
    queries: &[f32],
    positives: &[f32],
    sums: &[f32],
    loss: &mut [f32],
    hit: &mut [f32],
    finished: &mut [f32],
    count: usize,
    dim: usize,
    parts: usize,
    beta: f32,
) {
    let query = ABSOLUTE_POS;
    if query >= count {
        terminate!();
    }
    let mut own = f32::new(0.0);
    for d in 0..dim {
        own += queries[query * dim + d] * positives[query * dim + d];
    }
    let of_own = ((own - 1.0) * beta).exp();
    let mut all = of_own;
    let mut largest = f32::new(-4.0);
    for part in 0..parts {
        all += sums[part * 2 * count + query];
        largest = max(largest, sums[(part * 2 + 1) * count + query]);
    }
    loss[query] = all.ln() - (own - 1.0) * beta;
    hit[query] = select(own > largest, f32::new(1.0), f32::new(0.0));
    finished[query] = of_own;
    finished[count + query] = all;
}

/// ∂loss/∂query = (Σ exp·key / Σ exp − positive)/τ, where the positive is one of the keys.
#[cube(launch)]
fn nce_gradient(
    positives: &[f32],
    weighted: &[f32],
    finished: &[f32],
    gradient: &mut [f32],
    count: usize,
    dim: usize,
    parts: usize,
    beta: f32,
) {
    let values = count * dim;
    if ABSOLUTE_POS >= values {
        terminate!();
    }
    let query = ABSOLUTE_POS / dim;
    let positive = positives[ABSOLUTE_POS];
    let mut all = finished[query] * positive;
    for part in 0..parts {
        all += weighted[part * values + ABSOLUTE_POS];
    }
    gradient[ABSOLUTE_POS] = (all / finished[count + query] - positive) * beta;
}

/// InfoNCE of queries [N, D] with positives [N, D] and keys [K, D], all contiguous and in f32. [`fits`] must hold.
pub(super) fn info_nce(
    [queries, positives, keys]: [&GpuTensor; 3],
    temperature: f64,
    wants_gradient: bool,
    traits: &Traits,
) -> Found {
    let [count, dim] = dims(queries);
    let [length, _] = dims(keys);
    let client = &queries.client;
    let beta = (1.0 / temperature) as f32;
    let (per_group, wanted, least) = match traits.plane {
        Some(_) => (PLANE_QUERIES, 4, 64),
        None => (QUERIES, 512, 256),
    };
    let groups = count.div_ceil(per_group);
    let parts = (wanted / groups).clamp(1, length.div_ceil(least));
    // Whole tiles of keys, so that only the last part has an incomplete one.
    let part = length.div_ceil(parts).next_multiple_of(KEYS);
    let parts = length.div_ceil(part);
    let sums = empty(queries, [parts * 2 * count], DType::F32);
    let kept = if wants_gradient {
        parts * count * dim
    } else {
        4
    };
    let weighted = empty(queries, [kept], DType::F32);
    let cubes = CubeCount::new_2d(groups as u32, parts as u32);
    match traits.plane {
        Some(lanes) => nce_plane::launch(
            client,
            cubes,
            CubeDim::new_1d(lanes as u32),
            argument(queries),
            argument(keys),
            argument(&sums),
            argument(&weighted),
            count,
            length,
            part,
            beta,
            dim,
            lanes,
            wants_gradient,
        ),
        None => nce_shared::launch(
            client,
            cubes,
            CubeDim::new_1d(256),
            argument(queries),
            argument(keys),
            argument(&sums),
            argument(&weighted),
            count,
            length,
            part,
            beta,
            dim / 4,
            wants_gradient,
        ),
    }
    let row = || empty(queries, [count], DType::F32);
    let (loss, hit, finished) = (row(), row(), empty(queries, [2 * count], DType::F32));
    let (cubes, threads) = each(client, count);
    nce_loss::launch(
        client,
        cubes,
        threads,
        argument(queries),
        argument(positives),
        argument(&sums),
        argument(&loss),
        argument(&hit),
        argument(&finished),
        count,
        dim,
        parts,
        beta,
    );
    let gradient = wants_gradient.then(|| {
        let gradient = empty(queries, [count, dim], DType::F32);
        let (cubes, threads) = each(client, count * dim);
        nce_gradient::launch(
            client,
            cubes,
            threads,
            argument(positives),
            argument(&weighted),
            argument(&finished),
            argument(&gradient),
            count,
            dim,
            parts,
            beta,
        );
        gradient
    });
    Found {
        loss,
        hit,
        gradient,
    }
}
