//! Convolutions by other ways than a product with gathered operands: Burn's convolution, Burn's matrix product, patches
//! written to memory.

use super::{
    Arranged,
    gather::{Form, SizesLaunch, write_patches},
    winograd,
};
use crate::ops::{
    choice::{Algorithm, ConvShape},
    gpu::{
        tensor::{GpuTensor, argument, cast, contiguous, count, element, empty, reshaped, vector},
        threads::each,
    },
};
use burn::backend::{
    Cube,
    ops::{FloatTensorOps, ModuleOps},
};
use burn::tensor::{DType, ops::ConvOptions};

/// The convolution by this algorithm; `None` if it is a product with gathered operands.
pub(super) fn forward(
    algorithm: Algorithm,
    x: &GpuTensor,
    weights: &Arranged,
    shape: &ConvShape,
) -> Option<GpuTensor> {
    let [channels_in, channels_out] = shape.channels;
    let [height, width] = shape.output();
    let output = [shape.batch, height, width, channels_out];
    Some(match algorithm {
        Algorithm::Burn => {
            let weight = cast(weights.parameter.clone(), x.dtype);
            to_nhwc(Cube::conv2d(
                to_nchw(x.clone()),
                weight,
                None,
                options(shape),
            ))
        }
        Algorithm::Matmul => {
            let weight = weights.in_order(x.dtype, false);
            product_nt(x, &weight, [channels_in, channels_out], output)
        }
        Algorithm::Patches => {
            let weight = weights.in_order(x.dtype, false);
            let depth = shape.taps() * channels_in;
            let patches = patches(x, shape.input, channels_in, &shape.form(), output);
            product_nt(&patches, &weight, [depth, channels_out], output)
        }
        Algorithm::Winograd => winograd::convolve(x, weights, false),
        _ => return None,
    })
}

/// The gradient of the input by this algorithm; `None` if it is a product with gathered operands.
pub(super) fn input_gradient(
    algorithm: Algorithm,
    gradient: &GpuTensor,
    weights: &Arranged,
    shape: &ConvShape,
) -> Option<GpuTensor> {
    let [channels_in, channels_out] = shape.channels;
    let [height, width] = shape.input;
    let input = [shape.batch, height, width, channels_in];
    Some(match algorithm {
        Algorithm::Burn => {
            let weight = cast(weights.parameter.clone(), gradient.dtype);
            // Only the shape of the input is read.
            let x = to_nchw(empty(gradient, input, gradient.dtype));
            let gradient = to_nchw(gradient.clone());
            to_nhwc(Cube::conv2d_x_backward(x, weight, gradient, options(shape)))
        }
        Algorithm::Matmul => {
            let weight = weights.in_order(gradient.dtype, false);
            let weight = reshaped(weight, [channels_out, channels_in]);
            let rows = count(gradient) / channels_out;
            let gradient = reshaped(gradient.clone(), [rows, channels_out]);
            reshaped(contiguous(Cube::float_matmul(gradient, weight)), input)
        }
        Algorithm::Patches => {
            let weight = weights.in_order(gradient.dtype, true);
            let form = Form {
                transposed: true,
                ..shape.form()
            };
            let patches = patches(gradient, shape.output(), channels_out, &form, input);
            product_nt(
                &patches,
                &weight,
                [shape.taps() * channels_out, channels_in],
                input,
            )
        }
        Algorithm::Winograd => winograd::convolve(gradient, weights, true),
        _ => return None,
    })
}

/// The gradient of the weights by this algorithm, in f32; `None` if it is a product with gathered operands.
pub(super) fn weight_gradient(
    algorithm: Algorithm,
    x: &GpuTensor,
    gradient: &GpuTensor,
    weights: &Arranged,
    shape: &ConvShape,
) -> Option<GpuTensor> {
    let [channels_in, channels_out] = shape.channels;
    let rows = count(gradient) / channels_out;
    let transposed = |gradient: &GpuTensor| {
        Cube::float_transpose(reshaped(gradient.clone(), [rows, channels_out]))
    };
    let of_parameter = [channels_out, channels_in, shape.kernel, shape.kernel];
    Some(match algorithm {
        Algorithm::Burn => {
            let weight = cast(weights.parameter.clone(), x.dtype);
            let (x, gradient) = (to_nchw(x.clone()), to_nchw(gradient.clone()));
            let found = Cube::conv2d_weight_backward(x, weight, gradient, options(shape));
            cast(contiguous(found), DType::F32)
        }
        Algorithm::Matmul => {
            let x = reshaped(x.clone(), [rows, channels_in]);
            let found = contiguous(Cube::float_matmul(transposed(gradient), x));
            reshaped(found, of_parameter)
        }
        Algorithm::Patches => {
            let [height, width] = shape.output();
            let output = [shape.batch, height, width, channels_out];
            let patches = patches(x, shape.input, channels_in, &shape.form(), output);
            let patches = reshaped(patches, [rows, shape.taps() * channels_in]);
            let found = contiguous(Cube::float_matmul(transposed(gradient), patches));
            let found = reshaped(
                found,
                [channels_out, shape.kernel, shape.kernel, channels_in],
            );
            contiguous(Cube::float_permute(found, &[0, 3, 1, 2]))
        }
        _ => return None,
    })
}

fn options(shape: &ConvShape) -> ConvOptions<2> {
    let padding = shape.dilation * (shape.kernel - 1) / 2;
    ConvOptions::new([shape.stride; 2], [padding; 2], [shape.dilation; 2], 1)
}

fn to_nchw(x: GpuTensor) -> GpuTensor {
    Cube::float_permute(x, &[0, 3, 1, 2])
}

fn to_nhwc(x: GpuTensor) -> GpuTensor {
    contiguous(Cube::float_permute(x, &[0, 2, 3, 1]))
}

/// Rows of `a` times rows of `b`, each of `depth` values, by Burn's matrix product; in the shape of `output`.
fn product_nt(
    a: &GpuTensor,
    b: &GpuTensor,
    [depth, columns]: [usize; 2],
    output: [usize; 4],
) -> GpuTensor {
    let a = reshaped(a.clone(), [count(a) / depth, depth]);
    let b = Cube::float_transpose(reshaped(b.clone(), [columns, depth]));
    reshaped(contiguous(Cube::float_matmul(a, b)), output)
}

/// The patches of `source` [batch, height, width, channels] for each pixel of a result: [pixels, taps, channels].
/// Gradients of inputs must have stride 1.
fn patches(
    source: &GpuTensor,
    [source_height, source_width]: [usize; 2],
    channels: usize,
    form: &Form,
    [batch, height, width, columns]: [usize; 4],
) -> GpuTensor {
    let vector = vector(channels);
    let taps = form.kernel * form.kernel;
    let rows = batch * height * width;
    let output = empty(source, [rows, taps * channels], source.dtype);
    let vectors = rows * taps * channels / vector;
    let (cubes, threads) = each(&source.client, vectors);
    write_patches::launch(
        &source.client,
        cubes,
        threads,
        vector,
        argument(source),
        argument(&output),
        SizesLaunch::new(
            batch,
            source_height,
            source_width,
            channels / vector,
            height,
            width,
            columns,
        ),
        vectors,
        *form,
        element(source),
    );
    output
}
