//! A known answer: does this device compute what it should?
//!
//! A GPU shader that fails its validation in a browser is only logged; its dispatch is skipped, and stale
//! numbers stay. So whoever opens a device that it does not know asks it for the features of a tiny
//! network on a tiny scene first, and goes elsewhere when they are wrong.

use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use crate::{
    config::{Backbone, ModelConfig},
    error::Result,
    features::{Feature, dense_features, image_batch, map_similarity, read},
    model::Encoder,
    synthetic::{SceneConfig, scene_pair},
};

/// What a device may deviate by: far above the rounding of `f32` through some ten layers (1e-6), far
/// below what a skipped layer does (0.1 and more).
pub const TOLERANCE: f32 = 1e-3;

/// What the CPU computed; `tests/tests/web_golden.rs` keeps and checks it.
const GOLDEN: &str = include_str!("self_test.json");

/// The answer: features of two views, and how similar their cells are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Golden {
    /// Unit-length dense features of both views [2, 4, 8, 8].
    features: Vec<f32>,
    /// Similarities of the first cells of A with all cells of B.
    similarity: Vec<f32>,
}

/// How many rows of the similarity matrix the answer holds.
const ROWS: usize = 4;

/// Features [2, 4, 8, 8] and similarities [1, 64, 64] of a seeded network of output stride 8 (so with
/// dilation) on both views of a scene of 64 px.
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

/// What `device` answers: features and the first rows of the similarities, row major.
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

/// The greatest difference between what `device` answers and what it should. NaN counts as infinite.
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
