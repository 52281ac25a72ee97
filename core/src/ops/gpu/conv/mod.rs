//! Convolutions of feature maps in NHWC order, and their gradients.

use std::sync::{Mutex, PoisonError};

use burn::tensor::DType;
use cubecl::prelude::*;

mod algorithms;
pub(super) mod gather;
mod others;
pub(super) mod tile;
pub(super) mod weight;
mod winograd;

use self::{
    algorithms::choose,
    gather::{Epilogue, Form, SizesLaunch, gather_product},
    tile::Tile,
    weight::{WeightSizesLaunch, arrange, weight_product, weight_sum},
};
use super::{
    normalize::{NormShape, affine},
    tensor::{
        GpuTensor, Traits, argument, cast, contiguous, count, dims, element, empty, tensor, vector,
    },
    threads::{each, spread_times},
};
use crate::ops::{
    Following,
    choice::{Algorithm, Case, ConvShape, Pass},
};

impl ConvShape {
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

    fn case(&self, pass: Pass, dtype: DType) -> Case {
        Case {
            pass,
            shape: *self,
            half: dtype == DType::F16,
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
        let found = made
            .iter()
            .find(|(d, t, _)| (*d, *t) == (dtype, transposed));
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
#[derive(Clone, Copy)]
pub(in crate::ops) enum After<'a> {
    /// Nothing.
    Nothing,
    /// A bias `[out]`.
    Bias(&'a GpuTensor),
    /// A scale and a shift `[out]` each, and an activation.
    Affine([&'a GpuTensor; 2], Following<&'a GpuTensor>),
}

/// The convolution of `x` [B, H, W, in]: [B, ⌈H/stride⌉, ⌈W/stride⌉, out].
pub(in crate::ops) fn forward(
    x: &GpuTensor,
    weights: &Arranged,
    after: After,
    shape: &ConvShape,
) -> GpuTensor {
    let case = shape.case(Pass::Forward, x.dtype);
    let run = |algorithm, after| match others::forward(algorithm, x, weights, shape) {
        Some(output) => follow(output, after),
        None => gathered_forward(algorithm, x, weights, after, shape),
    };
    let algorithm = choose(&x.client, &case, &|algorithm| {
        run(algorithm, After::Nothing)
    });
    run(algorithm, after)
}

/// What follows a convolution, as an operation of its own.
fn follow(output: GpuTensor, after: After) -> GpuTensor {
    match after {
        After::Nothing => output,
        After::Bias(bias) => {
            let bias = tensor::<1>(cast(bias.clone(), output.dtype)).reshape([1, 1, 1, -1]);
            super::tensor::primitive(tensor::<4>(output) + bias)
        }
        After::Affine(scale_shift, activation) => {
            affine(&output, scale_shift, &NormShape::of(&output, 1), activation)
        }
    }
}

fn gathered_forward(
    algorithm: Algorithm,
    x: &GpuTensor,
    weights: &Arranged,
    after: After,
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
            After::Affine(_, Following::Identity) => Epilogue::Affine,
            After::Affine(_, Following::Relu) => Epilogue::AffineRelu,
            After::Affine(_, Following::AddRelu(_)) => Epilogue::AffineAddRelu,
        },
        ..shape.form()
    };
    let output = empty(x, [shape.batch, height, width, channels_out], x.dtype);
    let operands = [x, &weights.in_order(x.dtype, false)];
    gather(
        algorithm,
        operands,
        after,
        &output,
        shape.input,
        channels_in,
        form,
    );
    output
}

/// The gradient of a convolution's input, from that of its output.
pub(in crate::ops) fn input_gradient(
    gradient: &GpuTensor,
    weights: &Arranged,
    shape: &ConvShape,
) -> GpuTensor {
    let case = shape.case(Pass::Input, gradient.dtype);
    let run = |algorithm| {
        others::input_gradient(algorithm, gradient, weights, shape)
            .unwrap_or_else(|| gathered_input_gradient(algorithm, gradient, weights, shape))
    };
    run(choose(&gradient.client, &case, &run))
}

fn gathered_input_gradient(
    algorithm: Algorithm,
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
    let output = empty(
        gradient,
        [shape.batch, height, width, channels_in],
        gradient.dtype,
    );
    let operands = [gradient, &weights.in_order(gradient.dtype, true)];
    let (source, after) = (shape.output(), After::Nothing);
    gather(
        algorithm,
        operands,
        after,
        &output,
        source,
        channels_out,
        form,
    );
    output
}

/// Values per vector in which a product reads maps of `depth` channels.
fn vector_of(algorithm: Algorithm, depth: usize, run: usize) -> usize {
    // Planes gain nothing from vectors, and their kernels would be four times as long.
    if run > 0 || algorithm == Algorithm::Planes {
        1
    } else {
        vector(depth)
    }
}

fn gather(
    algorithm: Algorithm,
    [source, weights]: [&GpuTensor; 2],
    after: After,
    output: &GpuTensor,
    [source_height, source_width]: [usize; 2],
    depth: usize,
    form: Form,
) {
    let [batch, height, width, columns] = dims(output);
    let client = &output.client;
    let phases = form.phases();
    let rows = batch * height.div_ceil(phases) * width.div_ceil(phases);
    let vector = vector_of(algorithm, depth, form.run);
    let traits = Traits::of(client);
    let tile = Tile::of_maps(algorithm, &traits, vector).expect("only what is possible is chosen");
    let (source_width, depth) = match form.run {
        0 => (source_width, depth),
        channels => (source_width * channels, form.kernel * channels),
    };
    let tiles = rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns());
    let (scale, shift, shortcut) = match after {
        After::Nothing => (None, None, None),
        After::Bias(bias) => (None, Some(bias), None),
        After::Affine([scale, shift], Following::AddRelu(shortcut)) => {
            (Some(scale), Some(shift), Some(shortcut))
        }
        After::Affine([scale, shift], _) => (Some(scale), Some(shift), None),
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
    weights: &Arranged,
    shape: &ConvShape,
) -> GpuTensor {
    let case = shape.case(Pass::Weights, x.dtype);
    let run = |algorithm| {
        others::weight_gradient(algorithm, x, gradient, weights, shape)
            .unwrap_or_else(|| gathered_weight_gradient(algorithm, x, gradient, shape))
    };
    run(choose(&x.client, &case, &run))
}

/// Values per vector in which the product for a weight gradient reads its operands.
fn vectors_of(algorithm: Algorithm, shape: &ConvShape) -> [usize; 2] {
    match algorithm {
        Algorithm::Planes | Algorithm::Unshared => [1, 1],
        _ => shape.channels.map(vector),
    }
}

fn gathered_weight_gradient(
    algorithm: Algorithm,
    x: &GpuTensor,
    gradient: &GpuTensor,
    shape: &ConvShape,
) -> GpuTensor {
    let [channels_in, channels_out] = shape.channels;
    let [height, width] = shape.input;
    let [output_height, output_width] = shape.output();
    let client = &x.client;
    let traits = Traits::of(client);
    let vectors = vectors_of(algorithm, shape);
    let tile = Tile::of_weights(algorithm, &traits, vectors);
    let tile = tile.expect("only what is possible is chosen");
    let (rows, columns) = (
        shape.taps() * channels_in / vectors[0],
        channels_out / vectors[1],
    );
    let tiles = rows.div_ceil(tile.rows()) * columns.div_ceil(tile.columns());
    let pixels = shape.batch * output_height * output_width;
    let part = part_of(&traits, pixels, tiles);
    let parts = pixels.div_ceil(part);
    let values = channels_out * channels_in * shape.taps();
    let output = empty(
        x,
        [channels_out, channels_in, shape.kernel, shape.kernel],
        DType::F32,
    );
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

/// Pixels per part of a weight gradient, so that there is work for the whole device.
fn part_of(traits: &Traits, pixels: usize, tiles: usize) -> usize {
    let (workgroups, least) = if traits.is_software {
        (4, 512)
    } else {
        (1024, 256)
    };
    let parts = (workgroups / tiles.max(1)).clamp(1, pixels.div_ceil(least));
    pixels.div_ceil(parts)
}
