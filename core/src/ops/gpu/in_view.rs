//! The in-view loss and the gradient of its queries by one kernel.

use burn::tensor::DType;
use cubecl::prelude::*;

use super::{
    tensor::{GpuTensor, Traits, argument, dims, empty},
    threads::spread,
};

/// The most key cells of a picture: their similarities lie in shared memory.
const MOST_CELLS: usize = 1024;

/// What the kernel computes for each query cell; the first three are [b, N], the gradient is [b, N, D].
pub(super) struct Found {
    pub(super) loss: GpuTensor,
    pub(super) hit: GpuTensor,
    pub(super) valid: GpuTensor,
    pub(super) gradient: GpuTensor,
}

/// Whether the kernel can compute this loss for `cells` key cells.
pub(super) fn fits(traits: &Traits, cells: usize) -> bool {
    cells <= MOST_CELLS && traits.shared_bytes >= 4 * (MOST_CELLS + 3 * 64)
}

/// Adds up a value of all threads of a workgroup; the sum is that of all threads.
#[cube]
fn add_up(value: f32, scratch: &mut Shared<[f32]>, #[comptime] threads: usize) -> f32 {
    sync_cube();
    scratch[UNIT_POS as usize] = value;
    sync_cube();
    let mut sum = f32::new(0.0);
    for i in 0..threads {
        sum += scratch[i];
    }
    sum
}

/// The largest value of all threads of a workgroup.
#[cube]
fn find_largest(value: f32, scratch: &mut Shared<[f32]>, #[comptime] threads: usize) -> f32 {
    sync_cube();
    scratch[UNIT_POS as usize] = value;
    sync_cube();
    let mut largest = scratch[0];
    for i in 1..threads {
        largest = max(largest, scratch[i]);
    }
    largest
}

/// One workgroup for each query cell. Queries are [b, N, D], keys [b, M, D], positives [b, N, M].
#[cube(launch)]
fn in_view_kernel(
    queries: &[f32],
    keys: &[f32],
    positives: &[f32],
    loss: &mut [f32],
    hit: &mut [f32],
    valid: &mut [f32],
    gradient: &mut [f32],
    count: usize,
    cells: usize,
    key_cells: usize,
    dim: usize,
    beta: f32,
    #[comptime] threads: usize,
) {
    let cell = CUBE_POS_X as usize + CUBE_POS_Y as usize * CUBE_COUNT_X as usize;
    if cell >= count {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let first_key = cell / cells * key_cells;
    let mut similarity = Shared::<[f32]>::new_slice(MOST_CELLS);
    let mut scratch = Shared::<[f32]>::new_slice(threads);

    // Below every cosine.
    let below = f32::new(-4.0);
    let mut top = below;
    let mut own_top = below;
    let mut has_positive = f32::new(0.0);
    for k in range_stepped(unit, key_cells, threads) {
        let mut s = f32::new(0.0);
        for d in 0..dim {
            s += queries[cell * dim + d] * keys[(first_key + k) * dim + d];
        }
        similarity[k] = s;
        top = max(top, s);
        if positives[cell * key_cells + k] > 0.0 {
            own_top = max(own_top, s);
            has_positive = f32::new(1.0);
        }
    }
    let top = find_largest(top, &mut scratch, threads);
    let own_top = find_largest(own_top, &mut scratch, threads);
    let has_positive = find_largest(has_positive, &mut scratch, threads);
    let own_top = select(has_positive > 0.0, own_top, f32::new(0.0));

    // Each sum of exponentials is relative to its own largest term, so that neither underflows.
    let mut all = f32::new(0.0);
    let mut own = f32::new(0.0);
    // The first of the most similar cells, as a negative number, so that the largest is found.
    let mut best = f32::new(-1e9);
    for k in range_stepped(unit, key_cells, threads) {
        let s = similarity[k];
        all += ((s - top) * beta).exp();
        if positives[cell * key_cells + k] > 0.0 {
            own += ((s - own_top) * beta).exp();
        }
        if s == top {
            best = max(best, f32::new(0.0) - f32::cast_from(k as u32));
        }
    }
    let all = add_up(all, &mut scratch, threads);
    let own = add_up(own, &mut scratch, threads);
    let best = find_largest(best, &mut scratch, threads);
    // Without a positive it is 0; the division below must not be by 0.
    let own = max(own, f32::new(1.0));

    if unit == 0 {
        loss[cell] = ((all / own).ln() + (top - own_top) * beta) * has_positive;
        valid[cell] = has_positive;
        let first = u32::cast_from(f32::new(0.0) - max(best, f32::new(-1e6))) as usize;
        hit[cell] = positives[cell * key_cells + first.min(key_cells - 1)];
    }
    // Every thread replaces the similarities that it has written itself.
    for k in range_stepped(unit, key_cells, threads) {
        let s = similarity[k];
        let mut slope = ((s - top) * beta).exp() / all;
        if positives[cell * key_cells + k] > 0.0 {
            slope -= ((s - own_top) * beta).exp() / own;
        }
        similarity[k] = slope * has_positive * beta;
    }
    sync_cube();
    for d in range_stepped(unit, dim, threads) {
        let mut sum = f32::new(0.0);
        for k in 0..key_cells {
            sum += similarity[k] * keys[(first_key + k) * dim + d];
        }
        gradient[cell * dim + d] = sum;
    }
}

/// The loss of query cells [b, N, D] against key cells [b, M, D] with positives [b, N, M], all contiguous and in f32.
/// [`fits`] must hold.
pub(super) fn in_view(
    [queries, keys, positives]: [&GpuTensor; 3],
    temperature: f64,
    traits: &Traits,
) -> Found {
    let [pictures, cells, dim] = dims(queries);
    let [_, key_cells, _] = dims(keys);
    let per_cell = || empty(queries, [pictures, cells], DType::F32);
    let found = Found {
        loss: per_cell(),
        hit: per_cell(),
        valid: per_cell(),
        gradient: empty(queries, [pictures, cells, dim], DType::F32),
    };
    let threads = if traits.is_software { 8 } else { 64 };
    in_view_kernel::launch(
        &queries.client,
        spread(&queries.client, pictures * cells),
        CubeDim::new_1d(threads as u32),
        argument(queries),
        argument(keys),
        argument(positives),
        argument(&found.loss),
        argument(&found.hit),
        argument(&found.valid),
        argument(&found.gradient),
        pictures * cells,
        cells,
        key_cells,
        dim,
        (1.0 / temperature) as f32,
        threads,
    );
    found
}
