//! Held-out pairs with known truth, and how many cells a network matches within one cell of it.

use anyhow::Context;
use burn::tensor::{Device, Tensor};
use densecl::augment::{ViewConfig, ViewGeometry, two_views};
use densecl::features::{Feature, dense_features, image_batch, map_similarity};
use densecl::matching::{best_match, cell_center, mutual_matches};
use densecl::metrics::CorrespondenceAccuracy;
use densecl::model::Encoder;
use densecl::synthetic::{Correspondence, SceneConfig, scene_image, scene_pair};
use densecl::visualize::MatchLine;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Scenes from this number on are never trained on.
const FIRST_HELD_OUT_SCENE: u64 = 1 << 32;

/// Pairs that go through the network at once.
const BATCH: usize = 8;

/// Two pictures and where the points of the first lie in the second.
pub(crate) struct Pair {
    pub(crate) a: RgbImage,
    pub(crate) b: RgbImage,
    truth: Truth,
}

enum Truth {
    Scene(Correspondence),
    Views(Box<[ViewGeometry; 2]>),
}

/// What was measured on held-out pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Share of matched cells within one cell of the truth, in [0, 1].
    pub(crate) accuracy: f64,
    /// The same for random matches.
    pub(crate) chance: f64,
    /// Cells whose true match lies in the other picture.
    pub(crate) cells: u64,
    /// Pairs measured.
    pub(crate) pairs: usize,
}

impl Pair {
    /// Rendered scenes seen from two viewpoints; the first `count` that are kept out of training.
    pub(crate) fn scenes(config: &SceneConfig, seed: u64, count: usize) -> Vec<Self> {
        let numbers = (0..count)
            .into_par_iter()
            .map(|i| FIRST_HELD_OUT_SCENE + i as u64);
        numbers
            .map(|number| {
                let pair = scene_pair(seed, number, config);
                Self {
                    a: pair.a.image,
                    b: pair.b.image,
                    truth: Truth::Scene(pair.a_to_b),
                }
            })
            .collect()
    }

    /// Two augmented views of each image.
    pub(crate) fn views(images: &[RgbImage], config: &ViewConfig, seed: u64) -> Vec<Self> {
        let numbered = images.par_iter().enumerate();
        numbered
            .map(|(i, image)| {
                // Indices far from those of training, so that no view is one that was trained on.
                let [a, b] = two_views(image, config, seed, u64::MAX - i as u64);
                let truth = Truth::Views(Box::new([a.geometry, b.geometry]));
                Self {
                    a: a.image,
                    b: b.image,
                    truth,
                }
            })
            .collect()
    }

    /// Where each cell of A's grid truly lies in B, in cells of B; row major.
    fn truth(&self, [rows, columns]: [usize; 2], stride: f32) -> Vec<Option<[f32; 2]>> {
        match &self.truth {
            Truth::Views(views) => views[0].true_matches(&views[1], rows),
            Truth::Scene(correspondence) => (0..rows * columns)
                .map(|cell| {
                    let [x, y] = cell_center(cell, columns).map(|cells| cells * stride);
                    correspondence
                        .at(x, y)
                        .map(|point| point.map(|pixels| pixels / stride))
                })
                .collect(),
        }
    }
}

/// Pictures of the embedded generator for training.
pub(crate) fn training_scenes(config: &SceneConfig, seed: u64, count: usize) -> Vec<RgbImage> {
    (0..count)
        .into_par_iter()
        .map(|i| scene_image(seed, i as u64, config))
        .collect()
}

/// Correspondence accuracy of `encoder`'s last backbone features on `pairs`.
///
/// # Errors
/// When the device fails.
pub(crate) fn measure(
    encoder: &Encoder,
    pairs: &[Pair],
    stride: usize,
    device: &Device,
) -> anyhow::Result<Measured> {
    let mut accuracy = CorrespondenceAccuracy::default();
    for chunk in pairs.chunks(BATCH) {
        let (similarity, grid) = similarity(encoder, chunk, device);
        let cells = grid[0] * grid[1];
        let chosen: Vec<i32> = best_match(similarity)
            .try_into_vec_as()
            .context("reading matches back from the device")?;
        for (pair, chosen) in chunk.iter().zip(chosen.chunks_exact(cells)) {
            let chosen: Vec<usize> = chosen.iter().map(|&cell| cell as usize).collect();
            accuracy.add(&chosen, &pair.truth(grid, stride as f32), grid);
        }
    }
    Ok(Measured {
        accuracy: accuracy.accuracy().unwrap_or(0.0),
        chance: accuracy.chance().unwrap_or(0.0),
        cells: accuracy.cells,
        pairs: pairs.len(),
    })
}

/// Mutual nearest neighbours of one pair as lines to draw, each marked right or wrong.
///
/// # Errors
/// When the device fails.
pub(crate) fn lines(
    encoder: &Encoder,
    pair: &Pair,
    stride: usize,
    device: &Device,
) -> anyhow::Result<Vec<MatchLine>> {
    let (similarity, grid) = similarity(encoder, std::slice::from_ref(pair), device);
    let columns = grid[1];
    let stride = stride as f32;
    let truth = pair.truth(grid, stride);
    let values: Vec<f32> = similarity
        .try_into_vec_as()
        .context("reading similarities back from the device")?;
    let center = |cell: usize| cell_center(cell, columns).map(|cells| cells * stride);
    let matches = mutual_matches(&values, grid[0] * columns, -1.0);
    Ok(matches
        .into_iter()
        .map(|found| MatchLine {
            a: center(found.a),
            b: center(found.b),
            score: found.score,
            // A cell without a true match in the other picture cannot be matched rightly.
            correct: Some(
                truth[found.a].is_some_and(|truth| {
                    densecl::metrics::within_one_cell(found.b, truth, columns)
                }),
            ),
        })
        .collect())
}

/// Similarities [n, cells, cells] of each pair and the grid [rows, columns].
fn similarity(encoder: &Encoder, pairs: &[Pair], device: &Device) -> (Tensor<3>, [usize; 2]) {
    let [a, b] = [|pair: &Pair| pair.a.clone(), |pair: &Pair| pair.b.clone()].map(|side| {
        let images: Vec<RgbImage> = pairs.iter().map(side).collect();
        dense_features(encoder, image_batch(&images, device), Feature::Stage4)
    });
    let [_, _, rows, columns] = a.dims();
    (map_similarity(a, b), [rows, columns])
}
