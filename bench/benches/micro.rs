//! Times each piece of a training step and of the loader on its own: `cargo bench --bench micro [FILTER]`.
//!
//! Measures densecl only, on all cores unless RAYON_NUM_THREADS is set; `densecl-bench` compares with PyTorch.

use std::hint::black_box;
use std::io::Cursor;

use burn::tensor::{Device, Distribution, Tensor};
use densecl::augment::{
    CropBox, Planes, ViewConfig, ViewMaker, brightness, contrast, crop_resize, draw_two, flip,
    gaussian_blur, grayscale, hue, normalize_planes, saturation,
};
use densecl::config::{Backbone, MethodConfig, ModelConfig, OptimConfig};
use densecl::loss::info_nce;
use densecl::matching::{best_match, l2_normalize, mutual_matches, similarity};
use densecl::model::{Encoder, Tensors, follow};
use densecl::optim::{ParameterGradients, Sgd};
use densecl::queue::Queue;
use densecl::synthetic::{SceneConfig, scene_image};
use divan::Bencher;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

fn main() {
    densecl_kernels::allocator::keep_freed_memory();
    divan::main();
}

/// Number of groups that batch normalisation splits a batch into.
const GROUPS: usize = 1;
const DIM: usize = 128;

fn device() -> Device {
    Device::flex()
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
}

fn unit<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    l2_normalize(random(shape), 1)
}

fn resnet18() -> Encoder {
    let model = ModelConfig {
        backbone: Backbone::ResNet18,
        ..ModelConfig::default()
    };
    Encoder::new(&model, 0, &device())
}

/// ResNet-18 on 8 images of 96 px.
mod network {
    use super::*;

    fn images() -> Tensor<4> {
        random([8, 3, 96, 96])
    }

    #[divan::bench]
    fn forward_without_gradients(bencher: Bencher) {
        let (mut encoder, images) = (resnet18(), images());
        bencher.bench_local(|| encoder.forward_train(images.clone(), GROUPS).global);
    }

    #[divan::bench]
    fn forward_with_gradients(bencher: Bencher) {
        let (mut encoder, images) = (resnet18().trainable(), images());
        bencher.bench_local(|| {
            encoder
                .forward_train(images.clone().autodiff(), GROUPS)
                .global
        });
    }

    #[divan::bench]
    fn backward(bencher: Bencher) {
        let (mut encoder, images) = (resnet18().trainable(), images());
        bencher
            .with_inputs(|| {
                let q = encoder.forward_train(images.clone().autodiff(), GROUPS);
                q.global.sum() + q.dense.sum()
            })
            .bench_local_values(|loss| loss.backward());
    }

    #[divan::bench]
    fn momentum_encoder(bencher: Bencher) {
        let (mut key, query) = (resnet18(), resnet18().trainable());
        let m = MethodConfig::default().momentum;
        bencher.bench_local(|| follow(&mut key, &query, m));
    }

    #[divan::bench]
    fn optimizer(bencher: Bencher) {
        let mut encoder = resnet18().trainable();
        let q = encoder.forward_train(images().autodiff(), GROUPS);
        let gradients = (q.global.sum() + q.dense.sum()).backward();
        // The optimizer replaces the parameters; gradients are looked up by the identity of those before it,
        // so a copy is kept.
        let differentiated = encoder.clone();
        let optim = OptimConfig::default();
        let mut sgd = Sgd::new(&optim);
        bencher.bench_local(|| {
            let mut collected = ParameterGradients::default();
            collected.accumulate(&differentiated, &gradients);
            sgd.step(&mut encoder, collected, optim.lr)
        });
    }
}

/// InfoNCE of 288 queries: 32 images of 3 × 3 cells.
mod loss {
    use super::*;

    #[divan::bench(args = [1024, 4096, 16_384])]
    fn info_nce_forward(bencher: Bencher, keys: usize) {
        let (query, positive, queue) = (unit([288, DIM]), unit([288, DIM]), unit([keys, DIM]));
        bencher.bench_local(|| info_nce(query.clone(), positive.clone(), queue.clone(), 0.2));
    }

    #[divan::bench(args = [1024, 4096, 16_384])]
    fn info_nce_forward_backward(bencher: Bencher, keys: usize) {
        let query = unit([288, DIM]).autodiff().require_grad();
        let (positive, queue) = (unit([288, DIM]), unit([keys, DIM]));
        bencher.bench_local(|| {
            let loss = info_nce(query.clone(), positive.clone(), queue.clone(), 0.2).loss;
            query.grad(&loss.backward())
        });
    }

    #[divan::bench]
    fn enqueue(bencher: Bencher) {
        let mut queue = Queue::new(4096, DIM, 0, 0, &device());
        let keys = unit([32, DIM]);
        bencher.bench_local(|| queue.enqueue(keys.clone()));
    }
}

/// Matching the cells of two views.
mod matching {
    use super::*;

    #[divan::bench(args = [49, 196, 784])]
    fn best_match_of_32_images(bencher: Bencher, cells: usize) {
        let (query, key) = (unit([32, 512, cells]), unit([32, 512, cells]));
        bencher.bench_local(|| best_match(similarity(query.clone(), key.clone())));
    }

    #[divan::bench]
    fn mutual_matches_of_784_cells(bencher: Bencher) {
        let scores = similarity(unit([1, 512, 784]), unit([1, 512, 784]));
        let scores: Vec<f32> = scores.try_into_vec_as().expect("the CPU answers");
        bencher.bench_local(|| mutual_matches(black_box(&scores), 784, 0.5));
    }
}

/// Making a view of 224 px from a picture of 640 × 480 px.
mod augment {
    use super::*;

    fn picture() -> RgbImage {
        let config = SceneConfig {
            size: 640,
            ..SceneConfig::default()
        };
        image::imageops::crop_imm(&scene_image(0, 0, &config), 0, 80, 640, 480).to_image()
    }

    fn view() -> Planes {
        Planes::from_rgb(&crop_resize(&picture(), CROP, 224))
    }

    const CROP: CropBox = CropBox {
        left: 60,
        top: 40,
        width: 480,
        height: 400,
    };

    /// Times `change`, an operation that changes a view in place.
    fn in_place(bencher: Bencher, change: impl Fn(&mut Planes)) {
        let view = view();
        bencher
            .with_inputs(|| view.clone())
            .bench_local_refs(|view| change(view));
    }

    #[divan::bench]
    fn decode_jpeg(bencher: Bencher) {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90)
            .encode_image(&picture())
            .expect("a picture");
        bencher.bench_local(|| {
            image::load(Cursor::new(black_box(&bytes)), ImageFormat::Jpeg).expect("a JPEG file")
        });
    }

    #[divan::bench]
    fn crop_and_resize(bencher: Bencher) {
        let picture = picture();
        bencher.bench_local(|| crop_resize(black_box(&picture), CROP, 224));
    }

    #[divan::bench]
    fn brighter(bencher: Bencher) {
        in_place(bencher, |view| brightness(view, 1.2));
    }

    #[divan::bench]
    fn more_contrast(bencher: Bencher) {
        in_place(bencher, |view| contrast(view, 1.2));
    }

    #[divan::bench]
    fn more_saturation(bencher: Bencher) {
        in_place(bencher, |view| saturation(view, 1.2));
    }

    #[divan::bench]
    fn other_hue(bencher: Bencher) {
        in_place(bencher, |view| hue(view, 0.05));
    }

    #[divan::bench]
    fn gray(bencher: Bencher) {
        in_place(bencher, grayscale);
    }

    #[divan::bench(args = [0.1, 1.0, 2.0])]
    fn blur(bencher: Bencher, sigma: f64) {
        in_place(bencher, |view| gaussian_blur(view, sigma));
    }

    #[divan::bench]
    fn mirror(bencher: Bencher) {
        in_place(bencher, flip);
    }

    #[divan::bench]
    fn normalize(bencher: Bencher) {
        let view = view();
        let mut values = vec![0.0; 3 * 224 * 224];
        bencher.bench_local(|| {
            normalize_planes(black_box(view.as_bytes()), 224 * 224, &mut values);
        });
    }

    #[divan::bench]
    fn both_views(bencher: Bencher) {
        let (picture, config) = (picture(), ViewConfig::default());
        let mut maker = ViewMaker::default();
        let mut index = 0;
        // The maker reuses its buffers between views, as in the loader.
        bencher.bench_local(|| {
            index += 1;
            for params in draw_two(640, 480, &config, 0, index) {
                black_box(maker.make(&picture, &params, 224));
            }
        });
    }
}
