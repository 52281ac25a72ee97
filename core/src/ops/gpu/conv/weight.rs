//! The gradient of a convolution's weights as a matrix product that sums over pixels, and the order of weights in
//! memory.
//!
//! A row of the product is a tap of the kernel with a channel of the input, a column a channel of the output. Both are
//! few, and the pixels are many, so the pixels are divided into parts whose products are added up by a second kernel:
//! otherwise only a few workgroups would have work.

use cubecl::{ir::ElemType, prelude::*};

use super::{
    super::threads::{corner, units},
    gather::Form,
    tile::Tile,
};

/// The sizes of the product.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(crate) struct WeightSizes {
    /// Pixels of the output in all pictures.
    pixels: usize,
    /// Pixels of the output in each part.
    part: usize,
    /// Rows of the input.
    height: usize,
    /// Pixels per row of the input.
    width: usize,
    /// Vectors per pixel of the input.
    depth: usize,
    /// Rows of the output.
    output_height: usize,
    /// Pixels per row of the output.
    output_width: usize,
    /// Vectors per pixel of the output.
    columns: usize,
}

/// A row of the product: its channel of the input as a vector, and its tap's position relative to the pixel.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
struct Row {
    channel: usize,
    y: i32,
    x: i32,
}

#[cube]
fn row_of(row: usize, depth: usize, #[comptime] form: Form) -> Row {
    let padding = comptime!(form.padding() as i32);
    let dilation = comptime!(form.dilation as i32);
    let kernel = comptime!(form.kernel);
    let tap = row / depth;
    Row {
        channel: row % depth,
        y: (tap / kernel) as i32 * dilation - padding,
        x: (tap % kernel) as i32 * dilation - padding,
    }
}

/// The position in the input of the taps of a pixel of the output: its picture's first row, and its own row and column.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
struct Place {
    first: usize,
    y: i32,
    x: i32,
}

#[cube]
fn place_of(pixel: usize, sizes: WeightSizes, #[comptime] form: Form) -> Place {
    let stride = comptime!(form.stride);
    let in_picture = pixel % (sizes.output_height * sizes.output_width);
    Place {
        first: pixel / (sizes.output_height * sizes.output_width) * sizes.height,
        y: (in_picture / sizes.output_width * stride) as i32,
        x: (in_picture % sizes.output_width * stride) as i32,
    }
}

/// The vector of the input for one row of the product and one pixel; 0 outside of the picture, or if there is no such
/// pixel or row.
#[cube]
fn fetch<E: Float, V: Size>(
    input: &[Vector<E, V>],
    row: &Row,
    place: &Place,
    exists: bool,
    sizes: WeightSizes,
) -> Vector<E, V> {
    let y = place.y + row.y;
    let x = place.x + row.x;
    let inside = exists && y >= 0 && y < sizes.height as i32 && x >= 0 && x < sizes.width as i32;
    let pixel = (place.first as i32 + y) * sizes.width as i32 + x;
    let at = select(inside, pixel as usize * sizes.depth + row.channel, 0);
    select(inside, input[at], Vector::zero())
}

#[cube]
fn outer<E: Float, V: Size, W: Size>(
    sums: &mut Array<f32>,
    a: Vector<E, V>,
    b: Vector<E, W>,
    #[comptime] i: usize,
    #[comptime] j: usize,
    #[comptime] per_x: usize,
) {
    let (values_y, values_x) = (V::value(), W::value());
    #[unroll]
    for v in 0..values_y {
        #[unroll]
        for w in 0..values_x {
            let at = comptime!(((i * values_y + v) * per_x + j) * values_x + w);
            sums[at] += f32::cast_from(a.extract(v)) * f32::cast_from(b.extract(w));
        }
    }
}

/// The products of all parts: `output` is [parts, channels of the output, taps, channels of the input], or in the order
/// of parameters if there is one part, [channels of the output, channels of the input, taps].
///
/// `input` is [batch, height, width, depth], `gradient` [pixels, columns]. Rows and columns of the tile are counted in
/// vectors. The part is the third coordinate of a workgroup's position.
#[cube(launch)]
pub(crate) fn weight_product<E: Float, V: Size, W: Size>(
    input: &[Vector<E, V>],
    gradient: &[Vector<E, W>],
    output: &mut [f32],
    sizes: WeightSizes,
    #[comptime] form: Form,
    #[comptime] tile: Tile,
    #[comptime] is_whole: bool,
    #[define(E)] _element: ElemType,
) {
    let [threads_y, threads_x] = comptime!(tile.threads);
    let [per_y, per_x] = comptime!(tile.per_thread);
    let taps = comptime!(form.kernel * form.kernel);
    let rows = taps * sizes.depth;
    let (first_row, first_column) = corner(sizes.columns, comptime!([tile.rows(), tile.columns()]));
    let part = CUBE_POS_Z as usize;
    let first_pixel = part * sizes.part;
    if first_row >= rows || first_pixel >= sizes.pixels {
        terminate!();
    }
    let end = (first_pixel + sizes.part).min(sizes.pixels);
    let unit = UNIT_POS as usize;
    let (unit_y, unit_x) = units(comptime!(tile.threads));

    let (values_y, values_x) = (V::value(), W::value());
    let count = comptime!(per_y * per_x * values_y * values_x);
    let mut sums = Array::<f32>::new(count);
    #[unroll]
    for i in 0..count {
        sums[i] = 0.0;
    }

    if comptime!(tile.depth() > 0) {
        let depth = comptime!(tile.depth());
        let mut left = Shared::<[Vector<E, V>]>::new_slice(comptime!(tile.rows() * tile.depth()));
        let mut right =
            Shared::<[Vector<E, W>]>::new_slice(comptime!(tile.columns() * tile.depth()));
        let left_loads = comptime!(tile.rows() * tile.depth() / tile.count());
        let right_loads = comptime!(tile.columns() * tile.depth() / tile.count());
        // A thread always loads the same row and the same column, of different pixels.
        let own_row = unit % comptime!(tile.rows());
        let own_column = unit % comptime!(tile.columns());
        let row = row_of((first_row + own_row).min(rows - 1), sizes.depth, form);
        let column = (first_column + own_column).min(sizes.columns - 1);
        for chunk in range_stepped(first_pixel, end, depth) {
            #[unroll]
            for l in 0..left_loads {
                let at = unit + l * comptime!(tile.count());
                let pixel = chunk + at / comptime!(tile.rows());
                let place = place_of(pixel.min(end - 1), sizes, form);
                left[at] = fetch(input, &row, &place, pixel < end, sizes);
            }
            #[unroll]
            for l in 0..right_loads {
                let at = unit + l * comptime!(tile.count());
                let pixel = chunk + at / comptime!(tile.columns());
                let from = pixel.min(end - 1) * sizes.columns + column;
                right[at] = select(pixel < end, gradient[from], Vector::zero());
            }
            sync_cube();
            #[unroll]
            for k in 0..depth {
                let mut a = Array::<Vector<E, V>>::new(per_y);
                #[unroll]
                for i in 0..per_y {
                    a[i] = left[k * comptime!(tile.rows()) + unit_y + i * threads_y];
                }
                #[unroll]
                for j in 0..per_x {
                    let b = right[k * comptime!(tile.columns()) + unit_x + j * threads_x];
                    #[unroll]
                    for i in 0..per_y {
                        outer(&mut sums, a[i], b, i, j, per_x);
                    }
                }
            }
            sync_cube();
        }
    } else {
        let own_rows = comptime!(tile.own_rows());
        let lane = if comptime!(tile.is_plane()) {
            unit
        } else {
            unit_y
        };
        let mut own = Sequence::<Row>::new();
        #[unroll]
        for i in 0..own_rows {
            let row = first_row + lane + i * comptime!(tile.row_step());
            own.push(row_of(row.min(rows - 1), sizes.depth, form));
        }
        let mut columns = Array::<usize>::new(per_x);
        #[unroll]
        for j in 0..per_x {
            columns[j] = (first_column + unit_x + j * threads_x).min(sizes.columns - 1);
        }
        for pixel in first_pixel..end {
            let place = place_of(pixel, sizes, form);
            let mut b = Array::<Vector<E, W>>::new(per_x);
            #[unroll]
            for j in 0..per_x {
                b[j] = gradient[pixel * sizes.columns + columns[j]];
            }
            #[unroll]
            for i in 0..own_rows {
                let a = fetch(input, own.index(i), &place, true.runtime(), sizes);
                if comptime!(tile.is_plane()) {
                    #[unroll]
                    for l in 0..threads_x {
                        let a = plane_broadcast(a, comptime!(l as u32));
                        #[unroll]
                        for j in 0..per_x {
                            outer(&mut sums, a, b[j], comptime!(i * threads_x + l), j, per_x);
                        }
                    }
                } else {
                    #[unroll]
                    for j in 0..per_x {
                        outer(&mut sums, a, b[j], i, j, per_x);
                    }
                }
            }
        }
    }

    #[unroll]
    for j in 0..per_x {
        let column = first_column + unit_x + j * threads_x;
        if column < sizes.columns {
            #[unroll]
            for w in 0..values_x {
                let channel = (part * sizes.columns + column) * values_x + w;
                #[unroll]
                for i in 0..per_y {
                    let row = first_row + unit_y + i * threads_y;
                    if row < rows {
                        #[unroll]
                        for v in 0..values_y {
                            let at = comptime!(((i * values_y + v) * per_x + j) * values_x + w);
                            let place = if comptime!(is_whole) {
                                let (tap, from) = (row / sizes.depth, row % sizes.depth);
                                ((channel * sizes.depth + from) * values_y + v) * taps + tap
                            } else {
                                (channel * rows + row) * values_y + v
                            };
                            output[place] = sums[at];
                        }
                    }
                }
            }
        }
    }
}

/// Adds up the products of all parts, [parts, outer, taps, inner], and writes them in the order of parameters: `output`
/// is [outer, inner, taps].
#[cube(launch)]
pub(crate) fn weight_sum(
    products: &[f32],
    output: &mut [f32],
    count: usize,
    parts: usize,
    inner: usize,
    #[comptime] taps: usize,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let mut sum = products[ABSOLUTE_POS];
    for part in 1..parts {
        sum += products[part * count + ABSOLUTE_POS];
    }
    if comptime!(taps == 1) {
        output[ABSOLUTE_POS] = sum;
    } else {
        let channel = ABSOLUTE_POS / (taps * inner);
        let in_channel = ABSOLUTE_POS % (taps * inner);
        let (tap, inner_channel) = (in_channel / inner, in_channel % inner);
        output[(channel * inner + inner_channel) * taps + tap] = sum;
    }
}

/// Writes weights [outer, inner, taps] in the order that products need: [outer, taps, inner], or for the gradient of
/// the input [inner, taps, outer].
#[cube(launch)]
pub(crate) fn arrange<E: Float>(
    weights: &[f32],
    output: &mut [E],
    outer: usize,
    inner: usize,
    #[comptime] taps: usize,
    #[comptime] transposed: bool,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= outer * inner * taps {
        terminate!();
    }
    let last = if comptime!(transposed) { outer } else { inner };
    let a = ABSOLUTE_POS / (taps * last);
    let rest = ABSOLUTE_POS % (taps * last);
    let (tap, b) = (rest / last, rest % last);
    let (o, i) = if comptime!(transposed) {
        (b, a)
    } else {
        (a, b)
    };
    output[ABSOLUTE_POS] = E::cast_from(weights[(o * inner + i) * taps + tap]);
}
