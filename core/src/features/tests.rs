use burn::tensor::Device;
use image::RgbImage;

use super::*;
use crate::{
    interpolate::taps,
    model::Tensors,
    network::{Backbone, ModelConfig},
};

/// A map [1, C, h, w] as one vector per cell, row by row.
fn cells(map: &Tensor<4>) -> Vec<Vec<f64>> {
    let [_, channels, ..] = map.dims();
    let values = map.clone().permute([0, 2, 3, 1]);
    let values: Vec<f32> = values.try_into_vec_as().expect("on the CPU");
    let cells = values.chunks_exact(channels);
    cells
        .map(|cell| cell.iter().copied().map(f64::from).collect())
        .collect()
}

fn unit(vector: &[f64]) -> Vec<f64> {
    let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    vector.iter().map(|v| v / length).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The bilinear interpolation of the unit vectors `coarse`, a grid of `columns` columns, at the centre of cell
/// (x, y) of a grid that is `times` as fine; normalised to unit length.
fn between(coarse: &[Vec<f64>], columns: usize, times: usize, [x, y]: [usize; 2]) -> Vec<f64> {
    let rows = coarse.len() / columns;
    let position = |cell: usize| (cell as f32 + 0.5) / times as f32;
    let (left, right, u) = taps(position(x), columns);
    let (top, bottom, v) = taps(position(y), rows);
    let (u, v) = (f64::from(u), f64::from(v));
    let mut sum = vec![0.0; coarse[0].len()];
    for (row, along_y) in [(top, 1.0 - v), (bottom, v)] {
        for (column, along_x) in [(left, 1.0 - u), (right, u)] {
            let corner = &coarse[row * columns + column];
            let weighted = sum.iter_mut().zip(corner);
            weighted.for_each(|(sum, value)| *sum += along_x * along_y * value);
        }
    }
    unit(&sum)
}

#[test]
fn fused_features_are_both_stages_of_unit_length_on_the_finer_grid() {
    // The picture is not square, and its sides are no powers of two.
    let picture = RgbImage::from_fn(160, 96, |x, y| {
        let [r, g, b] = [x * 3 + y, x ^ (5 * y), (x * y) / 7];
        image::Rgb([r, g, b].map(|value| (value % 256) as u8))
    });
    let device = Device::flex();
    for (stride, grid, times) in [(8, [12, 20], 1), (16, [6, 10], 1), (32, [6, 10], 2)] {
        let model = ModelConfig {
            backbone: Backbone::ResNet10,
            width: 8,
            output_stride: stride,
            ..ModelConfig::default()
        };
        let encoder = Encoder::new(&model, 3, &device).inference();
        let stages = stages(
            &encoder,
            image_batch(std::slice::from_ref(&picture), &device),
        );
        let [third, last, fused] = [Feature::Stage3, Feature::Stage4, Feature::Stage3And4]
            .map(|feature| map_of(&encoder, &stages, feature));
        let [rows, columns] = grid;
        assert_eq!(fused.dims(), [1, 32 + 64, rows, columns]);
        for feature in Feature::ALL {
            let map = map_of(&encoder, &stages, feature);
            assert_eq!(feature.channels(&model), map.dims()[1], "{feature:?}");
            assert_eq!(
                feature.stride(&model),
                Some(96 / map.dims()[2]),
                "{feature:?}"
            );
        }
        let of_fused = Feature::Stage3And4.stride(&model);
        assert_eq!(of_fused, Some(96 / rows), "output stride {stride}");

        let [third, last] = [third, last].map(|map| {
            let cells = cells(&map);
            cells.iter().map(|cell| unit(cell)).collect::<Vec<_>>()
        });
        let expected: Vec<Vec<f64>> = (0..rows * columns)
            .map(|cell| {
                let place = [cell % columns, cell / columns];
                let last = between(&last, columns / times, times, place);
                [third[cell].clone(), last].concat()
            })
            .collect();
        for (got, expected) in cells(&fused).iter().zip(&expected) {
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-5, "{got} {expected}");
            }
        }

        let images = image_batch(std::slice::from_ref(&picture), &device);
        let whole = cells(&dense_features(&encoder, images, Feature::Stage3And4));
        let (a, b) = (3, rows * columns - 2);
        assert!((dot(&whole[a], &whole[a]) - 1.0).abs() < 1e-5);
        let mean = dot(&expected[a], &expected[b]) / 2.0;
        let cosine = dot(&whole[a], &whole[b]);
        assert!((cosine - mean).abs() < 1e-5, "{cosine} {mean}");
    }
}

#[test]
fn every_feature_has_its_name_in_files_and_is_found_by_it() {
    for feature in Feature::ALL {
        let json = serde_json::to_string(&feature).expect("a name");
        assert_eq!(json, format!("\"{}\"", feature.name()));
        let read: Feature = serde_json::from_str(&json).expect("its own name");
        assert_eq!(read, feature);
    }
    let unknown = "stage5".parse::<Feature>().expect_err("no such feature");
    assert!(unknown.to_string().contains("stage3+stage4"), "{unknown}");
    assert!(Feature::COMPARED.contains(&Feature::MATCHING));
}

#[test]
fn both_sides_become_multiples_of_32_and_the_longer_one_about_as_asked() {
    let sides =
        |width, height, side| network_picture(&RgbImage::new(width, height), side).dimensions();
    assert_eq!(sides(640, 480, 224), (224, 160));
    assert_eq!(sides(480, 640, 224), (160, 224));
    assert_eq!(sides(64, 64, 100), (96, 96));
    assert_eq!(sides(1000, 1, 64), (64, 32));
}
