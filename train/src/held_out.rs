//! Held-out pairs with known truth, and how many cells a network matches within one cell of it.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use burn::tensor::{Device, Tensor};
use densecl::augment::{ViewConfig, ViewGeometry, two_views};
use densecl::features::{Feature, dense_features, image_batch, map_similarity};
use densecl::matching::{MutualMatch, best_match, cell_center, lead, mutual_matches};
use densecl::metrics::CorrespondenceAccuracy;
use densecl::model::Encoder;
use densecl::synthetic::{Correspondence, SceneConfig, ScenePair, scene_pair};
use densecl::visualize::MatchLine;
use image::RgbImage;
use image::imageops::flip_horizontal;
use serde::{Deserialize, Serialize};

use crate::batch::Batches;
use crate::config::RunConfig;
use crate::plan::Plan;

/// Scenes from this number on are never trained on.
const FIRST_HELD_OUT_SCENE: u64 = 1 << 32;

/// The features that held-out pairs are measured and drawn by.
pub const FEATURE: Feature = Feature::Stage3And4;

/// Lines of a picture of matches: more cannot be followed by eye.
const LINES: usize = 30;

/// Pairs that go through the network at once.
const BATCH: usize = 8;

/// Batches by whose statistics the untrained network's batch normalisation is calibrated. The
/// statistics of a fresh network are mean 0 and variance 1, which would make it look worse than it
/// is; after 40 batches 0.9⁴⁰ of that is left.
const CALIBRATION_BATCHES: usize = 40;

/// Two pictures and where the points of the first lie in the second.
pub struct Pair {
    /// The first picture.
    pub a: RgbImage,
    /// The second.
    pub b: RgbImage,
    truth: Truth,
}

enum Truth {
    Scene(Correspondence),
    Views(Box<[ViewGeometry; 2]>),
}

/// What was measured on held-out pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOutFigures {
    /// What the cells were matched by.
    #[serde(default = "unrecorded")]
    pub feature: Feature,
    /// Share of matched cells within one cell of the truth, in [0, 1].
    pub accuracy: f64,
    /// The same with every second picture mirrored, where knowing *where* in a picture things usually
    /// are misleads: a network with zero padding can tell.
    pub mirrored: f64,
    /// What random matches would reach.
    pub chance: f64,
    /// What matching every cell with the cell at the same place would reach.
    pub same_place: f64,
    /// Cells whose true match lies in the other picture.
    pub cells: u64,
    /// Pairs measured.
    pub pairs: usize,
}

/// The only feature measured by before the feature was recorded.
fn unrecorded() -> Feature {
    Feature::Stage4
}

impl Pair {
    /// A rendered scene seen from two viewpoints; the `number`-th that is kept out of training.
    pub fn of_scene(config: &SceneConfig, seed: u64, number: usize) -> Self {
        let pair = held_out_scene(seed, number, config);
        Self {
            a: pair.a.image,
            b: pair.b.image,
            truth: Truth::Scene(pair.a_to_b),
        }
    }

    /// Two augmented views of the `number`-th image that is kept out of training.
    pub fn of_views(image: &RgbImage, config: &ViewConfig, seed: u64, number: usize) -> Self {
        // Indices far from those of training, so that no view is one that was trained on.
        let [a, b] = two_views(image, config, seed, u64::MAX - number as u64);
        let truth = Truth::Views(Box::new([a.geometry, b.geometry]));
        Self {
            a: a.image,
            b: b.image,
            truth,
        }
    }

    /// Pixels per cell of a grid of so many columns over either picture.
    fn stride(&self, columns: usize) -> f32 {
        self.a.width() as f32 / columns as f32
    }

    /// Where each cell of A's grid truly lies in B, in cells of B; row major.
    fn truth(&self, [rows, columns]: [usize; 2]) -> Truths {
        let stride = self.stride(columns);
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

/// The `number`-th scene that is kept out of training.
pub fn held_out_scene(seed: u64, number: usize, config: &SceneConfig) -> ScenePair {
    scene_pair(seed, FIRST_HELD_OUT_SCENE + number as u64, config)
}

/// The network that a run begins with at random, its batch normalisation calibrated by `batches`; `None` when `stop` was
/// set meanwhile.
///
/// # Errors
/// When there is no next batch.
pub fn untrained_network(
    plan: &Plan,
    batches: &mut dyn Batches,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Encoder>> {
    let RunConfig {
        model,
        train,
        method,
        ..
    } = &plan.config;
    let mut encoder = Encoder::new(model, train.seed, &plan.device);
    let mut calibrated = 0;
    while calibrated < CALIBRATION_BATCHES {
        for batch in plan.micro_batches(&batches.next()?) {
            if stop.load(Ordering::SeqCst) {
                return Ok(None);
            }
            let pixels = batch.views[0].pixels.clone();
            encoder.backbone.forward_train(pixels, method.bn_groups);
            calibrated += 1;
        }
    }
    Ok(Some(encoder))
}

/// Correspondence accuracy of a `feature` of `encoder` on `pairs`.
///
/// # Errors
/// When the device fails.
pub fn measure(
    encoder: &Encoder,
    pairs: &[Pair],
    feature: Feature,
    device: &Device,
) -> anyhow::Result<HeldOutFigures> {
    let features = |pictures| features(encoder, pictures, feature, device);
    let [mut plain, mut mirrored] = [CorrespondenceAccuracy::default(); 2];
    for chunk in pairs.chunks(BATCH) {
        let a = features(chunk.iter().map(|pair| pair.a.clone()).collect());
        let [_, _, rows, columns] = a.dims();
        let grid = [rows, columns];
        let truth = chunk.iter().map(|pair| pair.truth(grid));
        let truth: Vec<Truths> = truth.collect();
        let mirror = |truth: &Truths| -> Truths {
            truth
                .iter()
                .map(|t| t.map(|[x, y]| [columns as f32 - x, y]))
                .collect()
        };

        let b = features(chunk.iter().map(|pair| pair.b.clone()).collect());
        for (chosen, truth) in best_cells(a.clone(), b)?.iter().zip(&truth) {
            plain.add(chosen, truth, grid);
        }
        let mirrored_b = chunk.iter().map(|pair| flip_horizontal(&pair.b));
        let b = features(mirrored_b.collect());
        for (chosen, truth) in best_cells(a, b)?.iter().zip(&truth) {
            mirrored.add(chosen, &mirror(truth), grid);
        }
    }
    let share = |share: Option<f64>| share.unwrap_or(0.0);
    Ok(HeldOutFigures {
        feature,
        accuracy: share(plain.accuracy()),
        mirrored: share(mirrored.accuracy()),
        chance: share(plain.chance()),
        same_place: share(plain.same_place()),
        cells: plain.cells,
        pairs: pairs.len(),
    })
}

/// Where each cell of a picture truly lies in the other, in cells.
type Truths = Vec<Option<[f32; 2]>>;

/// For each picture of a batch and each of its cells, the most similar cell of the other.
fn best_cells(a: Tensor<4>, b: Tensor<4>) -> anyhow::Result<Vec<Vec<usize>>> {
    let chosen = best_match(map_similarity(a, b));
    let [_, cells] = chosen.dims();
    let chosen: Vec<i32> = chosen
        .try_into_vec_as()
        .context("reading matches back from the device")?;
    let rows = chosen.chunks_exact(cells);
    Ok(rows
        .map(|row| row.iter().map(|&cell| cell as usize).collect())
        .collect())
}

/// The 30 clearest matches of one pair as lines to draw, each marked right or wrong: of the cells that choose each
/// other, those with the greatest lead over the second-best place. Cells at the border are left out: they know their
/// place by the zero padding, and lead without a look at the picture.
///
/// # Errors
/// When the device fails.
pub fn lines(
    encoder: &Encoder,
    pair: &Pair,
    feature: Feature,
    device: &Device,
) -> anyhow::Result<Vec<MatchLine>> {
    let features = |picture: &RgbImage| features(encoder, vec![picture.clone()], feature, device);
    let [a, b] = [&pair.a, &pair.b].map(features);
    let [_, _, rows, columns] = a.dims();
    let grid = [rows, columns];
    let stride = pair.stride(columns);
    let truth = pair.truth(grid);
    let values: Vec<f32> = map_similarity(a, b)
        .try_into_vec_as()
        .context("reading similarities back from the device")?;
    let center = |cell: usize| cell_center(cell, columns).map(|cells| cells * stride);
    let cells = rows * columns;
    let mut matches = mutual_matches(&values, cells, -1.0);
    // A grid of four cells a side is all border.
    let border = usize::from(rows.min(columns) > 4);
    let is_inner = |cell: usize| {
        let [x, y] = [cell % columns, cell / columns];
        (border..columns - border).contains(&x) && (border..rows - border).contains(&y)
    };
    matches.retain(|found| is_inner(found.a) && is_inner(found.b));
    let lead_of = |found: &MutualMatch| lead(&values[found.a * cells..][..cells], found.b, grid);
    matches.sort_by(|x, y| lead_of(y).total_cmp(&lead_of(x)));
    matches.truncate(LINES);
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

/// Unit-length features of a batch of pictures.
fn features(
    encoder: &Encoder,
    images: Vec<RgbImage>,
    feature: Feature,
    device: &Device,
) -> Tensor<4> {
    dense_features(encoder, image_batch(&images, device), feature)
}
