//! Dense features of pictures of any size.

use std::{ops::RangeInclusive, str::FromStr};

use burn::tensor::{Device, Tensor, TensorData};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::{
    augment::{CropBox, crop_resize, normalize_into},
    config::ModelConfig,
    device::failure,
    error::{Error, Result},
    interpolate::{pixel_centers, resample},
    matching::{l2_normalize, similarity},
    model::{Encoder, Stages},
    ops,
};

/// Which features of the network describe a cell. Files and URLs contain its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Feature {
    /// The backbone's first stage, at stride 4.
    Stage1,
    /// The backbone's second stage, at stride 8.
    Stage2,
    /// The backbone's third stage, at stride 16 or the output stride if that is smaller.
    Stage3,
    /// The backbone's last stage, at the output stride. Training chooses its matches by it.
    Stage4,
    /// The third and the last stage, each normalised to unit length, concatenated on the finer of their grids.
    /// The cosine of two cells is the mean of both stages' cosines.
    Stage3And4,
    /// The dense head's output.
    Dense,
}

/// How a picture of any aspect ratio becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The largest centred square: no distortion, but the ends of the longer side are cut off.
    Crop,
    /// The whole picture, with its aspect ratio changed: nothing is cut off, but shapes are distorted.
    Stretch,
}

/// `image` as a square of `size` × `size` pixels: the centred square as by torchvision's `CenterCrop`, or the
/// whole picture, resized as the views of training are.
///
/// # Panics
/// When `image` has no pixels, or `size` is 0.
pub fn square(image: &RgbImage, size: u32, fit: Fit) -> RgbImage {
    let (width, height) = image.dimensions();
    let crop = match fit {
        Fit::Crop => {
            let side = width.min(height);
            // Python's round(), hence ties to even.
            let margin = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as u32;
            CropBox {
                left: margin(width),
                top: margin(height),
                width: side,
                height: side,
            }
        }
        Fit::Stretch => CropBox {
            left: 0,
            top: 0,
            width,
            height,
        },
    };
    crop_resize(image, crop, size)
}

/// Permitted lengths of the longer side of a network's input, in pixels.
pub const SIDES: RangeInclusive<u32> = 32..=4096;

/// Both sides of a network's input are multiples of this, the largest output stride, in pixels.
const STEP: u32 = 32;

/// Resizes a picture for the network: the longer side becomes about `side` pixels, and both sides are multiples
/// of 32, at least 32.
///
/// # Panics
/// When `side` is not in [`SIDES`], or the picture is empty.
pub fn network_picture(image: &RgbImage, side: u32) -> RgbImage {
    assert!(SIDES.contains(&side), "a side of {side} pixels");
    let (width, height) = image.dimensions();
    assert!(width > 0 && height > 0, "an empty picture");
    let longer = f64::from(width.max(height));
    let fit = |pixels: u32| {
        let wanted = f64::from(pixels) * f64::from(side) / longer;
        (wanted / f64::from(STEP)).round().max(1.0) as u32 * STEP
    };
    let filter = imageops::FilterType::Triangle;
    imageops::resize(image, fit(width), fit(height), filter)
}

/// Converts pictures of one size to a batch [B, 3, H, W], normalised as in training.
///
/// # Panics
/// When there is no picture, or a picture has another number of pixels than the first.
pub fn image_batch(images: &[RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = images.first().expect("at least one picture").dimensions();
    let pixels = (width * height) as usize;
    let mut values = vec![0.0; images.len() * 3 * pixels];
    for (image, out) in images.iter().zip(values.chunks_exact_mut(3 * pixels)) {
        normalize_into(image, out);
    }
    let shape = [images.len(), 3, height as usize, width as usize];
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Feature {
    /// All features, from the first layers to the last.
    pub const ALL: [Self; 6] = [
        Self::Stage1,
        Self::Stage2,
        Self::Stage3,
        Self::Stage4,
        Self::Stage3And4,
        Self::Dense,
    ];

    /// The features that matching, evaluations and the browser offer for the comparison of cells. The first two
    /// stages are missing, because they describe edges and colours more than objects.
    pub const COMPARED: [Self; 4] = [Self::Stage3, Self::Stage4, Self::Stage3And4, Self::Dense];

    /// The default for matching in `densecl match`, `densecl eval correspondence`, the demo page and the
    /// `<dense-match>` element. JavaScript has copies of it, which a test in `web/src/weights.rs` compares with this.
    pub const MATCHING: Self = Self::Stage4;

    /// The name on the command line, in files and in URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
            Self::Stage3 => "stage3",
            Self::Stage4 => "stage4",
            Self::Stage3And4 => "stage3+stage4",
            Self::Dense => "dense",
        }
    }

    /// A description in one line, for help texts.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Stage1 => "The backbone's first stage, at stride 4",
            Self::Stage2 => "The second stage, at stride 8",
            Self::Stage3 => "The third stage, finer than the last",
            Self::Stage4 => {
                "The last stage: the one to transfer, and the one that training matches by"
            }
            Self::Stage3And4 => {
                "Stages 3 and 4, each of unit length, concatenated on the finer grid: vectors 1.5 times as long"
            }
            Self::Dense => "The dense head",
        }
    }

    /// Pixels per cell along each axis in a network of `model`; `None` for a dense head that pools to a fixed
    /// number of cells.
    pub fn stride(self, model: &ModelConfig) -> Option<usize> {
        let last = model.output_stride;
        match self {
            Self::Stage1 => Some(4),
            Self::Stage2 => Some(8),
            Self::Stage3 | Self::Stage3And4 => Some(last.min(16)),
            Self::Stage4 => Some(last),
            Self::Dense => (model.num_grid == 0).then_some(last),
        }
    }

    /// The feature map [B, C, h, w] from the maps of a backbone's stages; vectors are not normalised. `None` for
    /// the dense head, which is not part of a backbone. The gradient flows through.
    pub fn of_backbone(self, stages: &Stages) -> Option<Tensor<4>> {
        let Stages([stage1, stage2, stage3, stage4]) = stages;
        match self {
            Self::Stage1 => Some(stage1.clone()),
            Self::Stage2 => Some(stage2.clone()),
            Self::Stage3 => Some(stage3.clone()),
            Self::Stage4 => Some(stage4.clone()),
            Self::Stage3And4 => Some(fused(stage3.clone(), stage4.clone())),
            Self::Dense => None,
        }
    }

    /// Checks that `encoder` has this feature. A backbone of other programs has no dense head.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when `encoder` does not have the feature.
    pub fn ensure_in(self, encoder: &Encoder) -> Result<()> {
        if self == Self::Dense && encoder.dense_head.is_none() {
            return Err(Error::Mismatch(
                "the weights have no dense head: use the features of a stage, such as stage4 or \
                 stage3+stage4"
                    .to_string(),
            ));
        }
        Ok(())
    }
}

impl FromStr for Feature {
    type Err = Error;

    /// # Errors
    /// [`Error::Mismatch`] when no feature has this name.
    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|feature| feature.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Mismatch(format!("no feature is called {name:?}: there are {names}"))
        })
    }
}

impl TryFrom<String> for Feature {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Feature> for &'static str {
    fn from(feature: Feature) -> Self {
        feature.name()
    }
}

/// Concatenates two maps of the same pictures on the grid of `fine`: [B, C + C', h, w]. Both are normalised to
/// unit length first, so that they have equal weight.
fn fused(fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
    let [_, _, rows, columns] = fine.dims();
    let [_, _, coarse_rows, coarse_columns] = coarse.dims();
    let mut coarse = l2_normalize(coarse, 1);
    if [coarse_rows, coarse_columns] != [rows, columns] {
        let rows = pixel_centers(rows, coarse_rows);
        let columns = pixel_centers(columns, coarse_columns);
        // A mean of unit vectors is shorter than 1, so the interpolated vectors are normalised again.
        coarse = l2_normalize(resample(coarse, &rows, &columns), 1);
    }
    Tensor::cat(vec![l2_normalize(fine, 1), coarse], 1)
}

/// The feature maps of all stages of the backbone for a batch [B, 3, H, W]; batch normalisation uses the running
/// statistics.
///
/// `encoder` and `images` must be outside any gradient graph
/// ([`Tensors::inference`](crate::model::Tensors::inference)).
pub fn stages(encoder: &Encoder, images: Tensor<4>) -> Stages {
    let device = images.device();
    ops::together(&device, || encoder.backbone.stages(images))
}

/// The map [B, C, h, w] of `feature` from the stages that [`stages`] computed with `encoder`; vectors are not
/// normalised.
///
/// # Panics
/// When the encoder does not have the feature; check with [`Feature::ensure_in`] first.
pub fn map_of(encoder: &Encoder, stages: &Stages, feature: Feature) -> Tensor<4> {
    feature.of_backbone(stages).unwrap_or_else(|| {
        let [.., last] = &stages.0;
        let head = encoder.dense_head.as_ref();
        head.expect("checked with `ensure_in`")
            .forward(last.clone())
    })
}

/// The map [B, C, h, w] of `feature` for a batch [B, 3, H, W]; vectors are not normalised. Batch normalisation uses
/// the running statistics.
///
/// `encoder` and `images` must be outside any gradient graph
/// ([`Tensors::inference`](crate::model::Tensors::inference)).
///
/// # Panics
/// When the encoder does not have the feature; check with [`Feature::ensure_in`] first.
pub fn feature_map(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    map_of(encoder, &stages(encoder, images), feature)
}

/// [`feature_map`] with every cell's vector of unit length.
///
/// # Panics
/// As [`feature_map`].
pub fn dense_features(encoder: &Encoder, images: Tensor<4>, feature: Feature) -> Tensor<4> {
    l2_normalize(feature_map(encoder, images, feature), 1)
}

/// Cosine similarity of every cell of `a` with every cell of `b`: maps [B, C, h, w] and [B, C, h', w'] of unit
/// length → [B, h·w, h'·w'].
pub fn map_similarity(a: Tensor<4>, b: Tensor<4>) -> Tensor<3> {
    let cells = |map: Tensor<4>| {
        let [n, c, h, w] = map.dims();
        map.reshape([n, c, h * w])
    };
    similarity(cells(a), cells(b))
}

/// Reads the values of a tensor in row-major order; asynchronous, because a browser cannot block on a GPU.
///
/// # Errors
/// [`Error::Device`] when the device failed (lost, out of memory).
pub async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let failed = |e: &dyn std::fmt::Display| failure("when it was read", e);
    let data = tensor.into_data_async().await.map_err(|e| failed(&e))?;
    data.try_into_vec().map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Backbone, interpolate::taps, model::Tensors};

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
}
