//! With how many threads a kernel is launched, and where each of them works.

use cubecl::prelude::*;

/// Threads of a workgroup in kernels whose threads are independent.
const THREADS: usize = 128;

/// Workgroups and their size for a kernel with one thread for each of `count` values.
pub(super) fn each(client: &Client, count: usize) -> (CubeCount, CubeDim) {
    (
        spread(client, count.div_ceil(THREADS)),
        CubeDim::new_1d(THREADS as u32),
    )
}

/// A number of workgroups along the first two axes, within the limits of the device. There may be more than asked for.
pub(super) fn spread(client: &Client, count: usize) -> CubeCount {
    let [x, y] = spread_2d(client, count);
    CubeCount::new_2d(x, y)
}

fn spread_2d(client: &Client, count: usize) -> [u32; 2] {
    let (most, _, _) = client.properties().hardware.max_cube_count;
    let rows = count.div_ceil(most as usize).max(1);
    [count.div_ceil(rows) as u32, rows as u32]
}

/// As [`spread`], `times` along the third axis.
pub(super) fn spread_times(client: &Client, count: usize, times: usize) -> CubeCount {
    let [x, y] = spread_2d(client, count);
    CubeCount::new_3d(x, y, times as u32)
}

/// The row and column of a thread in a workgroup of this many rows and columns.
#[cube]
pub(super) fn units(#[comptime] threads: [usize; 2]) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    let [threads_y, threads_x] = threads;
    if comptime!(threads_y == 1) {
        (0usize.runtime(), unit)
    } else {
        (unit / threads_x, unit % threads_x)
    }
}

/// The first row and column of the tile that a workgroup computes, of a matrix with `columns` columns. [`spread`] gives the
/// number of workgroups.
#[cube]
pub(super) fn corner(columns: usize, #[comptime] tile: [usize; 2]) -> (usize, usize) {
    let [tile_rows, tile_columns] = tile;
    let tiles = columns.div_ceil(tile_columns);
    let place = CUBE_POS_X as usize + CUBE_POS_Y as usize * CUBE_COUNT_X as usize;
    (place / tiles * tile_rows, place % tiles * tile_columns)
}

/// A vector of maps [picture, row, column, channel].
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(super) struct InMap {
    /// Its channel, in vectors.
    pub(super) channel: usize,
    /// Its column.
    pub(super) column: usize,
    /// Its row.
    pub(super) row: usize,
    /// Its picture.
    pub(super) picture: usize,
}

/// The vector of this index, of maps of these rows and columns with `depth` vectors per pixel.
#[cube]
pub(super) fn in_map(index: usize, rows: usize, columns: usize, depth: usize) -> InMap {
    let pixel = index / depth;
    InMap {
        channel: index % depth,
        column: pixel % columns,
        row: pixel / columns % rows,
        picture: pixel / columns / rows,
    }
}
