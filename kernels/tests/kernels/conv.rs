use densecl_kernels::conv::{
    Epilogue, Kernel, Shape, bias_gradient, forward, input_gradient, weight_gradient,
};

use crate::{assert_close, values};

/// Small and odd sizes, and the kinds of convolution in a ResNet: strided, dilated, 1×1, the 7×7 stem.
fn shapes() -> Vec<Shape> {
    let shape = |batch, input, channels: [usize; 2], kernel, stride, dilation| Shape {
        batch,
        input,
        channels_in: channels[0],
        channels_out: channels[1],
        kernel,
        stride,
        padding: dilation * (kernel - 1) / 2,
        dilation,
    };
    vec![
        shape(2, [11, 8], [3, 20], 7, 2, 1),
        shape(3, [6, 5], [64, 24], 3, 1, 1),
        shape(2, [7, 6], [16, 40], 3, 2, 1),
        shape(1, [9, 9], [32, 8], 3, 1, 2),
        shape(2, [3, 3], [48, 16], 3, 1, 4), // a kernel that reaches past the whole input
        shape(2, [5, 7], [130, 33], 1, 1, 1),
        shape(2, [5, 8], [20, 33], 1, 2, 1),
        shape(1, [1, 1], [5, 7], 3, 1, 1),
        shape(4, [24, 24], [17, 9], 3, 1, 1), // several tiles, across samples
        shape(3, [7, 10], [20, 18], 3, 1, 2), // dilated, with an odd side
        shape(6, [1, 7], [150, 20], 3, 1, 1), // a single row of tiles
        shape(5, [25, 23], [17, 34], 3, 1, 1), // more than one block, odd sides
        // Larger tiles: a map that they do not fill, dilated, and a row with more of them than are computed together.
        shape(3, [9, 14], [16, 32], 3, 1, 1),
        shape(2, [11, 5], [32, 16], 3, 1, 2),
        shape(1, [3, 118], [16, 16], 3, 1, 1),
        // Few pixels and so many channels that minimal filtering is slower.
        shape(2, [2, 3], [512, 512], 3, 1, 1),
        // Panels of output channels, the last of them narrower, with few pixels and with many; and of the reversed kernel.
        shape(1, [4, 4], [7, 520], 1, 1, 1),
        shape(2, [9, 8], [3, 590], 3, 2, 1),
        shape(3, [6, 6], [520, 515], 1, 1, 1),
        shape(1, [5, 4], [516, 3], 3, 1, 3),
        Shape {
            padding: 3,
            ..shape(1, [4, 4], [16, 3], 3, 1, 1)
        }, // more padding than the kernel reaches: the input's gradient cannot be a convolution
    ]
}

/// Calls `visit` with (input pixel, output pixel, tap) for every product of a convolution; pixels are counted
/// over the batch.
fn each_product(shape: &Shape, mut visit: impl FnMut(usize, usize, usize)) {
    let [height, width] = shape.input;
    let [rows, columns] = shape.output();
    for sample in 0..shape.batch {
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            for (ky, kx) in (0..shape.kernel).flat_map(|y| (0..shape.kernel).map(move |x| (y, x))) {
                let place = |out: usize, tap: usize, side: usize| {
                    (out * shape.stride + tap * shape.dilation)
                        .checked_sub(shape.padding)
                        .filter(|&at| at < side)
                };
                if let (Some(iy), Some(ix)) = (place(y, ky, height), place(x, kx, width)) {
                    visit(
                        (sample * height + iy) * width + ix,
                        (sample * rows + y) * columns + x,
                        ky * shape.kernel + kx,
                    );
                }
            }
        }
    }
}

#[test]
fn a_convolution_and_its_gradients_are_their_sums() {
    for shape in shapes() {
        let [ci, co] = [shape.channels_in, shape.channels_out];
        let taps = shape.kernel * shape.kernel;
        let [rows, columns] = shape.output();
        let pixels_in = shape.batch * shape.input[0] * shape.input[1];
        let pixels_out = shape.batch * rows * columns;
        let input = values(pixels_in * ci, 1);
        let weights = values(taps * ci * co, 2);
        let gradient = values(pixels_out * co, 3);
        let kernel = Kernel::pack(&weights, &shape);

        let bias = values(co, 4);
        let mut out: Vec<f64> = (0..pixels_out * co)
            .map(|at| f64::from(bias[at % co]))
            .collect();
        let mut of_bias = vec![0.0; co];
        gradient
            .iter()
            .enumerate()
            .for_each(|(at, g)| of_bias[at % co] += f64::from(*g));
        let mut of_input = vec![0.0; pixels_in * ci];
        let mut of_weights = vec![0.0; weights.len()];
        each_product(&shape, |from, to, tap| {
            for (i, o) in (0..ci).flat_map(|i| (0..co).map(move |o| (i, o))) {
                let w = (o * ci + i) * taps + tap;
                let [x, weight, g] =
                    [input[from * ci + i], weights[w], gradient[to * co + o]].map(f64::from);
                out[to * co + o] += x * weight;
                of_input[from * ci + i] += g * weight;
                of_weights[w] += g * x;
            }
        });
        assert_close(
            &forward(&input, &kernel, Epilogue::Bias(&bias), &shape),
            &out,
            1e-5,
        );
        assert_close(&bias_gradient(&gradient, &shape), &of_bias, 1e-5);
        assert_close(&input_gradient(&gradient, &kernel, &shape), &of_input, 1e-5);
        let found = weight_gradient(&input, &gradient, &shape);
        assert_close(&found, &of_weights, 1e-5);
    }
}

#[test]
fn a_picture_has_the_same_result_in_a_batch() {
    let of = |input, channels, kernel, stride| Shape {
        batch: 3,
        input,
        channels_in: channels,
        channels_out: channels,
        kernel,
        stride,
        padding: kernel / 2,
        dilation: 1,
    };
    for shape in [
        of([7, 7], 512, 3, 1),
        of([8, 7], 512, 3, 1),
        of([14, 14], 64, 3, 1),
        of([7, 7], 64, 1, 1),
        of([14, 14], 48, 3, 2),
    ] {
        let alone = Shape { batch: 1, ..shape };
        let channels = shape.channels_in;
        let (size, size_out) = (
            shape.input.iter().product::<usize>() * channels,
            shape.output().iter().product::<usize>() * channels,
        );
        let input = values(3 * size, 1);
        let weights = values(shape.kernel.pow(2) * channels.pow(2), 2);
        assert_eq!(Kernel::packing(&shape), Kernel::packing(&alone));
        let kernel = Kernel::pack(&weights, &alone);
        let together = forward(&input, &kernel, Epilogue::Identity, &shape);
        for (input, batch) in input.chunks(size).zip(together.chunks(size_out)) {
            let found = forward(input, &kernel, Epilogue::Identity, &alone);
            assert_eq!(found, batch, "{shape:?}");
        }
    }
}

/// Larger tiles round more coarsely than a sum in order, and must not get worse.
#[test]
fn larger_tiles_keep_six_digits() {
    for channels in [64, 128] {
        let shape = Shape {
            batch: 1,
            input: [8, 8],
            channels_in: channels,
            channels_out: channels,
            kernel: 3,
            stride: 1,
            padding: 1,
            dilation: 1,
        };
        let input = values(64 * channels, 1);
        let weights = values(9 * channels * channels, 2);
        let mut exact = vec![0f64; 64 * channels];
        let mut in_order = vec![0f32; 64 * channels];
        each_product(&shape, |from, to, tap| {
            for (i, o) in (0..channels).flat_map(|i| (0..channels).map(move |o| (i, o))) {
                let (x, w) = (
                    input[from * channels + i],
                    weights[(o * channels + i) * 9 + tap],
                );
                exact[to * channels + o] += f64::from(x) * f64::from(w);
                in_order[to * channels + o] = x.mul_add(w, in_order[to * channels + o]);
            }
        });
        let largest = exact.iter().fold(0f64, |a, b| a.max(b.abs()));
        let error = |found: &[f32]| {
            let squares = found
                .iter()
                .zip(&exact)
                .map(|(a, b)| (f64::from(*a) - b).powi(2));
            (squares.sum::<f64>() / exact.len() as f64).sqrt() / largest
        };
        let kernel = Kernel::pack(&weights, &shape);
        let found = error(&forward(&input, &kernel, Epilogue::Identity, &shape));
        println!(
            "{channels} channels: root mean square {found:.1e} of the largest output, a sum in order {:.1e}",
            error(&in_order)
        );
        assert!(found < 1e-6, "{found:e}");
    }
}

#[test]
#[should_panic(expected = "Shape")]
fn a_slice_of_another_size_is_a_programming_error() {
    let shape = shapes()[0];
    let kernel = Kernel::pack(&values(7 * 7 * 3 * 20, 1), &shape);
    forward(&[0.0; 10], &kernel, Epilogue::Identity, &shape);
}
