//! A test that a device computes correctly.
//!
//! When a GPU shader fails validation in a browser, the browser only logs the error and skips the dispatch, so
//! the output keeps stale values. To notice this, a program that opens an unfamiliar device first computes the
//! features of a tiny network on a tiny scene, and uses another device if they differ from the stored ones.

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use crate::{
    config::{Backbone, ModelConfig},
    error::Result,
    features::{Feature, dense_features, image_batch, map_similarity, read},
    model::Encoder,
    synthetic::{SceneConfig, scene_pair},
};

/// The largest permitted deviation: far above `f32` rounding over some ten layers (1e-6), far below the effect of a
/// skipped layer (0.1 and more).
pub const TOLERANCE: f32 = 1e-3;

/// The result of the CPU; `tests/tests/web_golden.rs` writes and checks it.
const GOLDEN: &str = include_str!("self_test.json");

/// The expected result: features of two views, and similarities of their cells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Golden {
    /// Unit-length dense features of both views [2, 4, 8, 8].
    features: Vec<f32>,
    /// Cosine similarities of the first [`ROWS`] cells of view A with all cells of view B.
    similarity: Vec<f32>,
}

/// The number of rows of the similarity matrix that are compared.
const ROWS: usize = 4;

/// Features [2, 4, 8, 8] of both views of a scene of 64 px, and similarities [1, 64, 64] of their cells. The
/// network has seeded weights and output stride 8, so that dilated convolutions are tested too.
fn question(device: &Device) -> (Tensor<4>, Tensor<3>) {
    let config = ModelConfig {
        backbone: Backbone::ResNet10,
        width: 8,
        output_stride: 8,
        dim: 4,
        ..ModelConfig::default()
    };
    let scene = SceneConfig {
        size: 64,
        ..SceneConfig::default()
    };
    let pair = scene_pair(0, 0, &scene);
    let images = image_batch(&[pair.a.image, pair.b.image], device);
    let maps = dense_features(&Encoder::new(&config, 0, device), images, Feature::Dense);
    let view = |index: usize| maps.clone().narrow(0, index, 1);
    let similarity = map_similarity(view(0), view(1));
    (maps, similarity)
}

/// The result of `device`: features [2, 4, 8, 8] and the first rows of the similarities [4, 64], row-major.
///
/// # Errors
/// [`crate::Error::Device`] when the device fails.
pub async fn answer(device: &Device) -> Result<[Vec<f32>; 2]> {
    let (maps, similarity) = question(device);
    Ok([
        read(maps).await?,
        read(similarity.narrow(1, 0, ROWS)).await?,
    ])
}

/// The largest absolute difference between the result of `device` and the expected one; infinite for NaN. To be
/// compared with [`TOLERANCE`].
///
/// # Errors
/// [`crate::Error::Device`] when the device fails.
pub async fn deviation(device: &Device) -> Result<f32> {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("a file of ours");
    let [features, similarity] = answer(device).await?;
    Ok(greatest(&features, &golden.features).max(greatest(&similarity, &golden.similarity)))
}

fn greatest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "the same question");
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, d| {
        if d.is_nan() {
            f32::INFINITY
        } else {
            most.max(d)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_wrong_number_shows_and_nan_is_as_wrong_as_can_be() {
        assert_eq!(greatest(&[1.0, 2.0], &[1.0, 2.5]), 0.5);
        assert_eq!(greatest(&[1.0, f32::NAN], &[1.0, 2.0]), f32::INFINITY);
    }
}
