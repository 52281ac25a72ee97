//! Convolutions of feature maps in NHWC order, and their gradients.

use std::sync::{Mutex, PoisonError};

use burn::tensor::DType;
use cubecl::prelude::*;

pub(super) mod gather;
pub(super) mod tile;
pub(super) mod weight;

use self::{
    gather::{Epilogue, Form, SizesLaunch, gather_product},
    tile::Tile,
    weight::{WeightSizesLaunch, arrange, weight_product, weight_sum},
};
use super::tensor::{
    GpuTensor, Traits, argument, contiguous, count, dims, each, element, empty,
    spread_times, vector,
};

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::ops) struct ConvShape {
    /// Pictures.
    pub(in crate::ops) batch: usize,
    /// Rows and columns of the input.
    pub(in crate::ops) input: [usize; 2],
    /// Channels of input and output.
    pub(in crate::ops) channels: [usize; 2],
    /// Taps along each axis.
    pub(in crate::ops) kernel: usize,
    /// Pixels of the input per pixel of the output.
    pub(in crate::ops) stride: usize,
    /// Distance of taps in pixels of the input. The input is padded by dilation·(kernel − 1)/2.
    pub(in crate::ops) dilation: usize,
}

impl ConvShape {
    /// Rows and columns of the output.
    pub(in crate::ops) fn output(&self) -> [usize; 2] {
        self.input.map(|side| side.div_ceil(self.stride))
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn form(&self) -> Form {
        Form {
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            transposed: false,
            run: 0,
            epilogue: Epilogue::Identity,
        }
    }
}

/// Weights in the orders that the products need. Each is made at its first use.
#[derive(Debug)]
pub(in crate::ops) struct Arranged {
    /// [out, in, k, k] in f32.
    parameter: GpuTensor,
    made: Mutex<Vec<(DType, bool, GpuTensor)>>,
}

impl Arranged {
    /// The orders of weights [out, in, k, k].
    pub(in crate::ops) fn new(parameter: GpuTensor) -> Self {
        Self {
            parameter: contiguous(parameter),
            made: Mutex::default(),
        }
    }

    /// [out, taps, in], or [in, taps, out] for the gradient of the input.
    fn in_order(&self, dtype: DType, transposed: bool) -> GpuTensor {
        let [outer, inner, kernel, _] = dims(&self.parameter);
        if kernel == 1 && !transposed && dtype == self.parameter.dtype {
            return self.parameter.clone();
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let found = made.iter().find(|(d, t, _)| (*d, *t) == (dtype, transposed));
        if let Some((_, _, tensor)) = found {
            return tensor.clone();
        }
        let output = empty(&self.parameter, [count(&self.parameter)], dtype);
        let client = &output.client;
        let (cubes, threads) = each(client, count(&output));
        arrange::launch(
            client,
            cubes,
            threads,
            argument(&self.parameter),
            argument(&output),
            outer,
            inner,
            kernel * kernel,
            transposed,
            element(&output),
        );
        made.push((dtype, transposed, output.clone()));
        output
    }
}

/// What follows a convolution before its output is written.
pub(in crate::ops) enum After<'a> {
    /// Nothing.
    Nothing,
    /// A bias `[out]`.
    Bias(&'a GpuTensor),
    /// A scale and a shift `[out]` each.
    Affine([&'a GpuTensor; 2]),
    /// A scale and a shift, then ReLU.
    AffineRelu([&'a GpuTensor; 2]),
    /// A scale and a shift, the sum with a map, then ReLU.
    AffineAddRelu([&'a GpuTensor; 2], &'a GpuTensor),
}

/// The convolution of `x` [B, H, W, in]: [B, ⌈H/stride⌉, ⌈W/stride⌉, out].
pub(in crate::ops) fn forward(
    x: &GpuTensor,
    weights: &Arranged,
    after: &After,
    shape: &ConvShape,
) -> GpuTensor {
    let [channels_in, channels_out] = shape.channels;
    let [height, width] = shape.output();
    // With few channels a row of taps is read as one run, so that the loop over it is long enough.
    let run = if shape.dilation == 1 && channels_in < 8 && shape.kernel > 1 {
        channels_in
    } else {
        0
    };
    let form = Form {
        run,
        epilogue: match after {
            After::Nothing => Epilogue::Identity,
            After::Bias(_) => Epilogue::Bias,
            After::Affine(_) => Epilogue::Affine,
            After::AffineRelu(_) => Epilogue::AffineRelu,
            After::AffineAddRelu(..) => Epilogue::AffineAddRelu,
        },
        ..shape.form()
    };
    let output = empty(x, [shape.batch, height, width, channels_out], x.dtype);
    let operands = [x, &weights.in_order(x.dtype, false)];
    gather(operands, after, &output, shape.input, channels_in, form);
    output
}

/// The gradient of a convolution's input, from that of its output.
pub(in crate::ops) fn input_gradient(
    gradient: &GpuTensor,
    weights: &Arranged,
    shape: &ConvShape,
) -> GpuTensor {
    let [channels_in, channels_out] = shape.channels;
    let [height, width] = shape.input;
    let form = Form {
        transposed: true,
        ..shape.form()
    };
    let output = empty(gradient, [shape.batch, height, width, channels_in], gradient.dtype);
    let operands = [gradient, &weights.in_order(gradient.dtype, true)];
    gather(operands, &After::Nothing, &output, shape.output(), channels_out, form);
    output
}

fn gather(
    [source, weights]: [&GpuTensor; 2],
    after: &After,
    output: &GpuTensor,
    [source_height, source_width]: [usize; 2],
    depth: usize,
    form: Form,
) {
    let [batch, height, width, columns] = dims(output);
    let client = &output.client;
    let phases = form.phases();
    let rows = batch * height.div_ceil(phases) * width.div_ceil(phases);
    let tile = tile_of_maps(&Traits::of(client), rows, columns);
    let (source_width, depth, vector) = match form.run {
        // Planes gain nothing from vectors, and their kernels would be four times as long.
        0 if tile.is_plane() => (source_width, depth, 1),
        0 => (source_width, depth, vector(depth)),
        channels => (source_width * channels, form.kernel * channels, 1),
    };
    let tiles = rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns());
    let (scale, shift, shortcut) = match after {
        After::Nothing => (None, None, None),
        After::Bias(bias) => (None, Some(*bias), None),
        After::Affine([scale, shift]) | After::AffineRelu([scale, shift]) => {
            (Some(*scale), Some(*shift), None)
        }
        After::AffineAddRelu([scale, shift], shortcut) => {
            (Some(*scale), Some(*shift), Some(*shortcut))
        }
    };
    gather_product::launch(
        client,
        spread_times(client, tiles, phases * phases),
        CubeDim::new_1d(tile.count() as u32),
        vector,
        argument(source),
        argument(weights),
        scale.map(argument).into(),
        shift.map(argument).into(),
        shortcut.map(argument).into(),
        argument(output),
        SizesLaunch::new(
            batch,
            source_height,
            source_width,
            depth / vector,
            height,
            width,
            columns,
        ),
        form,
        tile,
        element(output),
    );
}

/// The gradient of a convolution's weights, [out, in, k, k] in f32.
pub(in crate::ops) fn weight_gradient(
    x: &GpuTensor,
    gradient: &GpuTensor,
    shape: &ConvShape,
) -> GpuTensor {
    let [channels_in, channels_out] = shape.channels;
    let [height, width] = shape.input;
    let [output_height, output_width] = shape.output();
    let client = &x.client;
    let traits = Traits::of(client);
    let (tile, vectors) = tile_of_weights(&traits, shape);
    let (rows, columns) = (
        shape.taps() * channels_in / vectors[0],
        channels_out / vectors[1],
    );
    let tiles = rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns());
    let pixels = shape.batch * output_height * output_width;
    let part = part_of(&traits, pixels, tiles);
    let parts = pixels.div_ceil(part);
    let values = channels_out * channels_in * shape.taps();
    let output = empty(x, [channels_out, channels_in, shape.kernel, shape.kernel], DType::F32);
    let products = if parts == 1 {
        output.clone()
    } else {
        empty(x, [parts, values], DType::F32)
    };
    weight_product::launch(
        client,
        spread_times(client, tiles, parts),
        CubeDim::new_1d(tile.count() as u32),
        vectors[0],
        vectors[1],
        argument(x),
        argument(gradient),
        argument(&products),
        WeightSizesLaunch::new(
            pixels,
            part,
            height,
            width,
            channels_in / vectors[0],
            output_height,
            output_width,
            columns,
        ),
        shape.form(),
        tile,
        parts == 1,
        element(x),
    );
    if parts == 1 {
        return output;
    }
    let (cubes, threads) = each(client, values);
    weight_sum::launch(
        client,
        cubes,
        threads,
        argument(&products),
        argument(&output),
        values,
        parts,
        channels_in,
        shape.taps(),
    );
    output
}

/// The tile of a product with this many rows and columns.
fn tile_of_maps(traits: &Traits, rows: usize, columns: usize) -> Tile {
    match traits.plane {
        Some(lanes) => Tile::plane(lanes, if rows > 2 * lanes { 3 } else { 1 }, 4),
        None if traits.is_software => Tile::global(8, 8, 4),
        None if rows * columns >= 1 << 20 && columns >= 128 => Tile::shared(4, 8, 8),
        None => Tile::shared(4, 4, 4),
    }
}

/// The tile of a weight gradient, in vectors of these many channels of input and output.
fn tile_of_weights(traits: &Traits, shape: &ConvShape) -> (Tile, [usize; 2]) {
    match traits.plane {
        Some(lanes) => (Tile::plane(lanes, 4, 4), [1, 1]),
        None if traits.is_software => (Tile::global(8, 8, 4), [1, 1]),
        None => {
            let vectors = shape.channels.map(vector);
            let depth = 16;
            // 64 × 64 values; each thread loads the same number of vectors of both operands.
            let per_thread = vectors.map(|vector| 4 / vector);
            (Tile::shared(depth, per_thread[0], per_thread[1]), vectors)
        }
    }
}

/// Pixels per part of a weight gradient, so that there is work for the whole device.
fn part_of(traits: &Traits, pixels: usize, tiles: usize) -> usize {
    let (workgroups, least) = if traits.is_software { (4, 512) } else { (1024, 256) };
    let parts = (workgroups / tiles.max(1)).clamp(1, pixels.div_ceil(least));
    pixels.div_ceil(parts)
}
