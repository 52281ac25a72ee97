//! Convolution, and the gradient of its input, as one matrix product whose left operand is gathered from a feature map
//! (implicit GEMM): the patches are never written to memory.
//!
//! A row of the product is a pixel of the result, a column one of its channels, and the sum runs over the taps of the
//! kernel and the channels of the source. For the gradient of the input the source is the gradient of the output. With
//! stride s only some taps reach a pixel; which ones depends on the remainders of its position by s, so the pixels with
//! equal remainders form a *phase*, and each phase sums over its own taps.

use cubecl::{ir::ElemType, prelude::*};

use super::{
    super::threads::{corner, units},
    tile::Tile,
};

/// What of a convolution is known when its kernel is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Taps along each axis.
    pub(crate) kernel: usize,
    /// Stride of the convolution.
    pub(crate) stride: usize,
    /// Distance of taps in pixels of the convolution's input.
    pub(crate) dilation: usize,
    /// Whether the result is the gradient of the convolution's input, and the source that of its output.
    pub(crate) transposed: bool,
    /// Channels of the source if a row of taps is read as one run of memory, else 0. For few channels without
    /// dilation, not for gradients.
    pub(crate) run: usize,
    /// What follows the product.
    pub(crate) epilogue: Epilogue,
}

/// What is done with each value of the product before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Epilogue {
    /// Nothing.
    Identity,
    /// The column's shift is added.
    Bias,
    /// The column's scale is multiplied, its shift added.
    Affine,
    /// [`Epilogue::Affine`], then ReLU.
    AffineRelu,
    /// [`Epilogue::Affine`], the sum with the shortcut, then ReLU.
    AffineAddRelu,
}

impl Epilogue {
    const fn scales(self) -> bool {
        !matches!(self, Self::Identity | Self::Bias)
    }

    const fn rectifies(self) -> bool {
        matches!(self, Self::AffineRelu | Self::AffineAddRelu)
    }
}

impl Form {
    pub(crate) const fn padding(&self) -> usize {
        self.dilation * (self.kernel - 1) / 2
    }

    /// Phases along each axis.
    pub(crate) const fn phases(&self) -> usize {
        if self.transposed { self.stride } else { 1 }
    }

    /// Source pixels per pixel of the result within a phase.
    const fn step(&self) -> usize {
        if self.transposed { 1 } else { self.stride }
    }

    const fn taps_x(&self) -> usize {
        if self.run > 0 { 1 } else { self.kernel }
    }
}

/// The sizes of a product.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub(crate) struct Sizes {
    /// Pictures.
    batch: usize,
    /// Rows of the source.
    source_height: usize,
    /// Pixels per row of the source; values per row if it is read in runs.
    source_width: usize,
    /// Vectors per tap: per pixel of the source, or per run.
    depth: usize,
    /// Rows of the result.
    height: usize,
    /// Pixels per row of the result.
    width: usize,
    /// Channels of the result.
    columns: usize,
}

/// A pixel of the source: its picture, and the position to which taps are relative.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
struct Pixel {
    picture: usize,
    y: i32,
    x: i32,
}

#[cube]
fn product<E: Float, V: Size>(
    sums: &mut Array<f32>,
    a: Vector<E, V>,
    b: Vector<E, V>,
    #[comptime] at: usize,
) {
    #[unroll]
    for v in 0..V::value() {
        sums[at] += f32::cast_from(a.extract(v)) * f32::cast_from(b.extract(v));
    }
}

/// The position of a tap relative to the pixel, and whether it reaches the pixels of this phase.
#[cube]
fn tap_offset(tap: usize, phase: usize, #[comptime] form: Form) -> (i32, bool) {
    let padding = comptime!(form.padding() as i32);
    let dilation = comptime!(form.dilation as i32);
    let stride = comptime!(form.stride as i32);
    if comptime!(form.transposed && form.stride > 1) {
        // Made positive before it is divided, because division rounds towards 0.
        let distance = phase as i32 + padding - tap as i32 * dilation + comptime!(stride * padding);
        (distance / stride - padding, distance % stride == 0)
    } else if comptime!(form.transposed) {
        (padding - tap as i32 * dilation, true.runtime())
    } else {
        (tap as i32 * dilation - padding, true.runtime())
    }
}

/// The source pixel of row `row` of the product, of which this phase has `height` × `width` per picture.
#[cube]
fn pixel_of(row: usize, height: usize, width: usize, #[comptime] form: Form) -> Pixel {
    let in_picture = row % (height * width);
    let step = comptime!(form.step());
    let y = (in_picture / width) * step;
    let x = (in_picture % width) * step;
    let x = if comptime!(form.run > 0) {
        x as i32 * comptime!(form.run as i32) - comptime!((form.padding() * form.run) as i32)
    } else {
        x as i32
    };
    Pixel {
        picture: row / (height * width),
        y: y as i32,
        x,
    }
}

/// Where the vectors of a pixel begin in the source for one tap; 0 and false where the tap is outside of the picture.
/// With runs only the row is checked.
#[cube]
fn locate(pixel: &Pixel, dy: i32, dx: i32, sizes: Sizes, #[comptime] form: Form) -> (i32, bool) {
    let y = pixel.y + dy;
    let inside = y >= 0 && y < sizes.source_height as i32;
    let row = (pixel.picture * sizes.source_height) as i32 + y;
    if comptime!(form.run > 0) {
        (row * sizes.source_width as i32 + pixel.x, inside)
    } else {
        let x = pixel.x + dx;
        let inside = inside && x >= 0 && x < sizes.source_width as i32;
        let at = (row * sizes.source_width as i32 + x) * sizes.depth as i32;
        (select(inside, at, 0), inside)
    }
}

/// Vector `k` of the tap that begins at `from`, or 0 outside of the picture.
#[cube]
fn fetch<E: Float, V: Size>(
    source: &[Vector<E, V>],
    from: i32,
    inside: bool,
    pixel: &Pixel,
    k: usize,
    sizes: Sizes,
    #[comptime] form: Form,
) -> Vector<E, V> {
    if comptime!(form.run > 0) {
        let x = pixel.x + k as i32;
        let inside = inside && x >= 0 && x < sizes.source_width as i32;
        let at = select(inside, from + k as i32, 0);
        select(inside, source[at as usize], Vector::zero())
    } else {
        select(inside, source[from as usize + k], Vector::zero())
    }
}

/// The product. Each workgroup computes a tile; the phase is the third coordinate of its position.
///
/// `source` is [batch, source height, source width, depth], `weights` [columns, taps, depth], `output` and `shortcut`
/// [batch, height, width, columns], all in row-major order; `scale` and `shift` are [columns].
#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "the operands of a fused kernel")]
pub(crate) fn gather_product<E: Float, V: Size>(
    source: &[Vector<E, V>],
    weights: &[Vector<E, V>],
    scale: ComptimeOption<&[f32]>,
    shift: ComptimeOption<&[f32]>,
    shortcut: ComptimeOption<&[E]>,
    output: &mut [E],
    sizes: Sizes,
    #[comptime] form: Form,
    #[comptime] tile: Tile,
    #[define(E)] _element: ElemType,
) {
    let phases = comptime!(form.phases());
    let phase_y = CUBE_POS_Z as usize / phases;
    let phase_x = CUBE_POS_Z as usize % phases;
    let height = (sizes.height + comptime!(phases - 1) - phase_y) / phases;
    let width = (sizes.width + comptime!(phases - 1) - phase_x) / phases;
    let rows = sizes.batch * height * width;

    let [threads_y, threads_x] = comptime!(tile.threads);
    let [per_y, per_x] = comptime!(tile.per_thread);
    let (first_row, first_column) = corner(sizes.columns, comptime!([tile.rows(), tile.columns()]));
    if first_row >= rows {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let (unit_y, unit_x) = units(comptime!(tile.threads));

    let mut sums = Array::<f32>::new(comptime!(per_y * per_x));
    #[unroll]
    for i in 0..comptime!(per_y * per_x) {
        sums[i] = 0.0;
    }
    let taps = comptime!(form.kernel * form.taps_x());

    if comptime!(tile.depth() > 0) {
        let depth = comptime!(tile.depth());
        // One vector of padding per row, so that the threads of a warp read from different banks.
        let pitch = comptime!(depth + 1);
        let mut left =
            Shared::<[Vector<E, V>]>::new_slice(comptime!(tile.rows() * (tile.depth() + 1)));
        let mut right =
            Shared::<[Vector<E, V>]>::new_slice(comptime!(tile.columns() * (tile.depth() + 1)));
        let left_loads = comptime!(tile.rows() * tile.depth() / tile.count());
        let right_loads = comptime!(tile.columns() * tile.depth() / tile.count());
        let loaded_k = unit % depth;
        let loaded_row = unit / depth;
        let apart = comptime!(tile.count() / tile.depth());

        let mut pixels = Sequence::<Pixel>::new();
        #[unroll]
        for l in 0..left_loads {
            let row = first_row + loaded_row + l * apart;
            pixels.push(pixel_of(row.min(rows - 1), height, width, form));
        }
        for tap_y in 0..comptime!(form.kernel) {
            let (dy, reaches_y) = tap_offset(tap_y, phase_y, form);
            if reaches_y {
                for tap_x in 0..comptime!(form.taps_x()) {
                    let (dx, reaches_x) = tap_offset(tap_x, phase_x, form);
                    if reaches_x {
                        let mut from = Array::<i32>::new(left_loads);
                        let mut inside = Array::<bool>::new(left_loads);
                        #[unroll]
                        for l in 0..left_loads {
                            let (at, is_inside) = locate(pixels.index(l), dy, dx, sizes, form);
                            from[l] = at;
                            inside[l] = is_inside;
                        }
                        let tap = tap_y * comptime!(form.taps_x()) + tap_x;
                        for chunk in range_stepped(0, sizes.depth, depth) {
                            let k = chunk + loaded_k;
                            let exists = k < sizes.depth;
                            let k = k.min(sizes.depth - 1);
                            #[unroll]
                            for l in 0..left_loads {
                                let inside = inside[l] && exists;
                                let value =
                                    fetch(source, from[l], inside, pixels.index(l), k, sizes, form);
                                left[(loaded_row + l * apart) * pitch + loaded_k] = value;
                            }
                            #[unroll]
                            for l in 0..right_loads {
                                let column = first_column + loaded_row + l * apart;
                                let exists = exists && column < sizes.columns;
                                let column = column.min(sizes.columns - 1);
                                let at = (column * taps + tap) * sizes.depth + k;
                                right[(loaded_row + l * apart) * pitch + loaded_k] =
                                    select(exists, weights[at], Vector::zero());
                            }
                            sync_cube();
                            #[unroll]
                            for k in 0..depth {
                                let mut a = Array::<Vector<E, V>>::new(per_y);
                                #[unroll]
                                for i in 0..per_y {
                                    a[i] = left[(unit_y + i * threads_y) * pitch + k];
                                }
                                #[unroll]
                                for j in 0..per_x {
                                    let b = right[(unit_x + j * threads_x) * pitch + k];
                                    #[unroll]
                                    for i in 0..per_y {
                                        product(&mut sums, a[i], b, comptime!(i * per_x + j));
                                    }
                                }
                            }
                            sync_cube();
                        }
                    }
                }
            }
        }
    } else {
        let own_rows = comptime!(tile.own_rows());
        let lane = if comptime!(tile.is_plane()) {
            unit
        } else {
            unit_y
        };
        let mut pixels = Sequence::<Pixel>::new();
        #[unroll]
        for i in 0..own_rows {
            let row = first_row + lane + i * comptime!(tile.row_step());
            pixels.push(pixel_of(row.min(rows - 1), height, width, form));
        }
        let mut columns = Array::<usize>::new(per_x);
        #[unroll]
        for j in 0..per_x {
            let column = first_column + unit_x + j * threads_x;
            columns[j] = column.min(sizes.columns - 1) * taps * sizes.depth;
        }
        for tap_y in 0..comptime!(form.kernel) {
            let (dy, reaches_y) = tap_offset(tap_y, phase_y, form);
            if reaches_y {
                for tap_x in 0..comptime!(form.taps_x()) {
                    let (dx, reaches_x) = tap_offset(tap_x, phase_x, form);
                    if reaches_x {
                        let mut from = Array::<i32>::new(own_rows);
                        let mut inside = Array::<bool>::new(own_rows);
                        #[unroll]
                        for i in 0..own_rows {
                            let (at, is_inside) = locate(pixels.index(i), dy, dx, sizes, form);
                            from[i] = at;
                            inside[i] = is_inside;
                        }
                        let tap = (tap_y * comptime!(form.taps_x()) + tap_x) * sizes.depth;
                        for k in 0..sizes.depth {
                            let mut b = Array::<Vector<E, V>>::new(per_x);
                            #[unroll]
                            for j in 0..per_x {
                                b[j] = weights[columns[j] + tap + k];
                            }
                            #[unroll]
                            for i in 0..own_rows {
                                let a = fetch(
                                    source,
                                    from[i],
                                    inside[i],
                                    pixels.index(i),
                                    k,
                                    sizes,
                                    form,
                                );
                                if comptime!(tile.is_plane()) {
                                    #[unroll]
                                    for l in 0..threads_x {
                                        let a = plane_broadcast(a, comptime!(l as u32));
                                        #[unroll]
                                        for j in 0..per_x {
                                            product(
                                                &mut sums,
                                                a,
                                                b[j],
                                                comptime!((i * threads_x + l) * per_x + j),
                                            );
                                        }
                                    }
                                } else {
                                    #[unroll]
                                    for j in 0..per_x {
                                        product(&mut sums, a, b[j], comptime!(i * per_x + j));
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[unroll]
    for i in 0..per_y {
        let row = first_row + unit_y + i * threads_y;
        if row < rows {
            let pixel = if comptime!(phases == 1) {
                row
            } else {
                let in_picture = row % (height * width);
                let y = (in_picture / width) * phases + phase_y;
                let x = (in_picture % width) * phases + phase_x;
                (row / (height * width) * sizes.height + y) * sizes.width + x
            };
            #[unroll]
            for j in 0..per_x {
                let column = first_column + unit_x + j * threads_x;
                if column < sizes.columns {
                    let at = pixel * sizes.columns + column;
                    let mut value = sums[comptime!(i * per_x + j)];
                    if comptime!(form.epilogue.scales()) {
                        value *= scale.unwrap()[column];
                    }
                    if comptime!(form.epilogue != Epilogue::Identity) {
                        value += shift.unwrap()[column];
                    }
                    if comptime!(form.epilogue == Epilogue::AffineAddRelu) {
                        value += f32::cast_from(shortcut.unwrap()[at]);
                    }
                    if comptime!(form.epilogue.rectifies()) {
                        // Keeps NaN, so that weights that are not finite are noticed.
                        value = select(value <= 0.0, 0.0, value);
                    }
                    output[at] = E::cast_from(value);
                }
            }
        }
    }
}

/// The patches of all pixels of the result: `output` is [rows, taps, depth]. For forms without phases and runs.
#[cube(launch)]
pub(super) fn write_patches<E: Float, V: Size>(
    source: &[Vector<E, V>],
    output: &mut [Vector<E, V>],
    sizes: Sizes,
    count: usize,
    #[comptime] form: Form,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let k = ABSOLUTE_POS % sizes.depth;
    let place = ABSOLUTE_POS / sizes.depth;
    let tap = place % comptime!(form.kernel * form.kernel);
    let row = place / comptime!(form.kernel * form.kernel);
    let pixel = pixel_of(row, sizes.height, sizes.width, form);
    let (dy, _) = tap_offset(tap / comptime!(form.kernel), 0usize.runtime(), form);
    let (dx, _) = tap_offset(tap % comptime!(form.kernel), 0usize.runtime(), form);
    let (from, inside) = locate(&pixel, dy, dx, sizes, form);
    output[ABSOLUTE_POS] = select(inside, source[from as usize + k], Vector::zero());
}
