//! Kernels of max pooling 3×3 with stride 2 and padding 1, as in a ResNet's stem.

use cubecl::{ir::ElemType, prelude::*};

use super::threads::in_map;

/// The sizes of a map [batch, height, width, depth] and of its pooled map.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(crate) struct PoolSizes {
    /// Rows of the map.
    height: usize,
    /// Pixels per row of the map.
    width: usize,
    /// Rows of the pooled map.
    pooled_height: usize,
    /// Pixels per row of the pooled map.
    pooled_width: usize,
    /// Vectors per pixel.
    depth: usize,
    /// Vectors of what the kernel writes.
    count: usize,
}

/// The largest value of each window, and its tap, 0 to 8 (the first, if several are equal). NaN counts as the largest,
/// so that a run that has diverged is noticed. The taps of a vector are the bytes of one number, the first the lowest.
#[cube(launch)]
pub(crate) fn pool_forward<E: Float, V: Size>(
    x: &[Vector<E, V>],
    output: &mut [Vector<E, V>],
    taps: &mut [u32],
    sizes: PoolSizes,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= sizes.count {
        terminate!();
    }
    let place = in_map(
        ABSOLUTE_POS,
        sizes.pooled_height,
        sizes.pooled_width,
        sizes.depth,
    );
    let (pooled_y, pooled_x) = (place.row, place.column);
    let (picture, channel) = (place.picture, place.channel);
    // The middle tap is always inside of the map, so it is a valid first value; taps before it win if they are equal.
    let center = (picture * sizes.height + pooled_y * 2) * sizes.width + pooled_x * 2;
    let mut best = Vector::<f32, V>::cast_from(x[center * sizes.depth + channel]);
    let mut own = Vector::<u32, V>::new(4);
    for tap in 0..9usize {
        let y = (pooled_y * 2 + tap / 3) as i32 - 1;
        let x_at = (pooled_x * 2 + tap % 3) as i32 - 1;
        let inside = y >= 0 && y < sizes.height as i32 && x_at >= 0 && x_at < sizes.width as i32;
        if inside {
            let at =
                ((picture * sizes.height + y as usize) * sizes.width + x_at as usize) * sizes.depth;
            let seen = Vector::<f32, V>::cast_from(x[at + channel]);
            let number = Vector::<u32, V>::new(tap as u32);
            let earlier = seen.equal(&best).vec_and(number.less_than(&own));
            let wins = seen
                .greater_than(&best)
                .or(earlier)
                .or(seen.not_equal(&seen));
            best = select_many(wins, seen, best);
            own = select_many(wins, number, own);
        }
    }
    output[ABSOLUTE_POS] = Vector::cast_from(best);
    let mut packed = 0u32;
    #[unroll]
    for v in 0..V::value() {
        packed |= own.extract(v) << comptime!(8 * v as u32);
    }
    taps[ABSOLUTE_POS] = packed;
}

/// The gradient of the map: each pixel collects the gradients of the windows in which it is the largest.
#[cube(launch)]
pub(crate) fn pool_gradient<E: Float, V: Size>(
    gradient: &[Vector<E, V>],
    taps: &[u32],
    output: &mut [Vector<E, V>],
    sizes: PoolSizes,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= sizes.count {
        terminate!();
    }
    let place = in_map(ABSOLUTE_POS, sizes.height, sizes.width, sizes.depth);
    let (y, x) = (place.row, place.column);
    let (picture, channel) = (place.picture, place.channel);
    let mut sum = Vector::<f32, V>::zero();
    // A pixel lies in the window of half its position, and if that is odd, in the next one too.
    #[unroll]
    for next in 0..4usize {
        let window_y = y / 2 + comptime!(next / 2);
        let window_x = x / 2 + comptime!(next % 2);
        let exists = (comptime!(next / 2) == 0 || y % 2 == 1)
            && (comptime!(next % 2) == 0 || x % 2 == 1)
            && window_y < sizes.pooled_height
            && window_x < sizes.pooled_width;
        if exists {
            let tap = (y + 1 - 2 * window_y) * 3 + (x + 1 - 2 * window_x);
            let at = ((picture * sizes.pooled_height + window_y) * sizes.pooled_width + window_x)
                * sizes.depth;
            let packed = taps[at + channel];
            let seen = Vector::<f32, V>::cast_from(gradient[at + channel]);
            #[unroll]
            for v in 0..V::value() {
                let own = (packed >> comptime!(8 * v as u32)) & 0xff;
                let value = select(own == tap as u32, seen.extract(v), 0.0);
                sum.insert(v, sum.extract(v) + value);
            }
        }
    }
    output[ABSOLUTE_POS] = Vector::cast_from(sum);
}
