//! Held-out pairs with known correspondence, and the share of cells that a network matches within one cell of the
//! truth.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use burn::tensor::{Device, Tensor};
use densecl::augment::{ViewConfig, ViewGeometry, two_views};
use densecl::device::{block_on, read};
use densecl::features::{Feature, dense_features, image_batch, map_similarity};
use densecl::matching::{MutualMatch, best_match, cell_center, lead, mutual_matches};
use densecl::metrics::CorrespondenceAccuracy;
use densecl::model::Encoder;
use densecl::synthetic::{Correspondence, Frame, SceneConfig, ScenePair, scene_frame, scene_pair};
use densecl::visualize::MatchLine;
use image::RgbImage;
use image::imageops::flip_horizontal;
use serde::{Deserialize, Serialize};

use crate::batch::Batches;
use crate::config::RunConfig;
use crate::plan::Plan;

/// Number of the first held-out scene; training scenes have smaller numbers.
const FIRST_HELD_OUT_SCENE: u64 = 1 << 32;

/// The feature map by which held-out pairs are matched and drawn.
pub const FEATURE: Feature = Feature::Stage3And4;

/// Matches drawn per picture; more lines cannot be distinguished.
const LINES: usize = 30;

/// Pairs in one forward pass.
const BATCH: usize = 8;

/// Number of batches that calibrate the batch normalisation of the untrained network. Its initial statistics, mean 0
/// and variance 1, would make the network look worse than it is; after 40 batches their weight is 0.9⁴⁰, 1.5 %.
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
    /// The feature map by which cells were matched.
    #[serde(default = "unrecorded")]
    pub feature: Feature,
    /// Share of matched cells within one cell of the truth, in [0, 1].
    pub accuracy: f64,
    /// The accuracy with the second picture of each pair mirrored. A network with zero padding can encode absolute
    /// position; on mirrored pictures matching by position is wrong, so this figure shows how much of the accuracy
    /// comes from position.
    pub mirrored: f64,
    /// The accuracy of random matches, in [0, 1].
    pub chance: f64,
    /// The accuracy of matching every cell with the cell at the same position, in [0, 1].
    pub same_place: f64,
    /// Cells whose true match lies inside the other picture.
    pub cells: u64,
    /// Pairs measured.
    pub pairs: usize,
}

/// The feature of figures written by older versions, which did not record it because they always used this one.
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
        // The seeds of views count up from 0 in training; these count down from the largest, so that no training
        // view is repeated.
        let [a, b] = two_views(image, config, seed, u64::MAX - number as u64);
        let truth = Truth::Views(Box::new([a.geometry, b.geometry]));
        Self {
            a: a.image,
            b: b.image,
            truth,
        }
    }

    /// Side length in pixels of a cell of a grid with this many columns.
    fn stride(&self, columns: usize) -> f32 {
        self.a.width() as f32 / columns as f32
    }

    /// The true position in B of the centre of each cell of A's grid, in cells of B, row major; `None` where it lies
    /// outside of B or is hidden.
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

/// A frame of the `number`-th video of a scene that is kept out of training; `share` is its place in the video, from 0
/// to 1.
pub fn held_out_frame(seed: u64, number: usize, share: f32, config: &SceneConfig) -> Frame {
    let index = FIRST_HELD_OUT_SCENE + number as u64;
    scene_frame(seed, index, share, config)
}

/// The untrained network of a run, its batch normalisation calibrated on `batches`; `None` when `stop` was set
/// meanwhile.
///
/// # Errors
/// When a batch cannot be made.
pub fn untrained_network(
    plan: &Plan,
    batches: &mut dyn Batches,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Encoder>> {
    let mut untrained = Untrained::new(plan);
    while !untrained.is_calibrated() {
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        untrained.pass(plan, batches)?;
    }
    Ok(Some(untrained.encoder))
}

/// The untrained network of a run while its batch normalisation is calibrated, one batch at a time.
#[derive(Debug)]
pub struct Untrained {
    /// The network.
    pub encoder: Encoder,
    calibrated: usize,
}

impl Untrained {
    /// Micro-batches after which it is calibrated.
    pub const BATCHES: usize = CALIBRATION_BATCHES;

    /// The network at random, before the first batch.
    pub fn new(plan: &Plan) -> Self {
        let RunConfig { model, train, .. } = &plan.config;
        Self {
            encoder: Encoder::new(model, train.seed, &plan.device),
            calibrated: 0,
        }
    }

    /// Micro-batches passed so far.
    pub fn batches(&self) -> usize {
        self.calibrated
    }

    /// Whether enough batches have passed.
    pub fn is_calibrated(&self) -> bool {
        self.calibrated >= CALIBRATION_BATCHES
    }

    /// Passes the next batch through the network.
    ///
    /// # Errors
    /// When the batch cannot be made.
    pub fn pass(&mut self, plan: &Plan, batches: &mut dyn Batches) -> anyhow::Result<()> {
        let groups = plan.config.method.bn_groups;
        for batch in plan.micro_batches(&batches.next()?) {
            let pixels = batch.views[0].pixels.clone();
            self.encoder.backbone.forward_train(pixels, groups);
            self.calibrated += 1;
        }
        Ok(())
    }
}

/// Correspondence accuracy of the feature map `feature` of `encoder` on `pairs`.
///
/// # Errors
/// When the device fails.
pub fn measure(
    encoder: &Encoder,
    pairs: &[Pair],
    feature: Feature,
    device: &Device,
) -> anyhow::Result<HeldOutFigures> {
    let mut measurement = Measurement::new(feature);
    for pairs in pairs.chunks(Measurement::AT_ONCE) {
        block_on(measurement.add(encoder, pairs, device))?;
    }
    Ok(measurement.figures())
}

/// A measurement of correspondence accuracy, some pairs at a time.
#[derive(Debug)]
pub struct Measurement {
    feature: Feature,
    plain: CorrespondenceAccuracy,
    mirrored: CorrespondenceAccuracy,
    pairs: usize,
}

impl Measurement {
    /// Pairs that fit well into one forward pass.
    pub const AT_ONCE: usize = BATCH;

    /// A measurement without pairs, by this feature map.
    pub fn new(feature: Feature) -> Self {
        Self {
            feature,
            plain: CorrespondenceAccuracy::default(),
            mirrored: CorrespondenceAccuracy::default(),
            pairs: 0,
        }
    }

    /// Pairs measured so far.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Measures `encoder` on these pairs, all in one forward pass.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn add(
        &mut self,
        encoder: &Encoder,
        pairs: &[Pair],
        device: &Device,
    ) -> anyhow::Result<()> {
        let Self {
            feature,
            plain,
            mirrored,
            pairs: count,
        } = self;
        let features = |pictures| features(encoder, pictures, *feature, device);
        let a = features(pairs.iter().map(|pair| pair.a.clone()).collect());
        let [_, _, rows, columns] = a.dims();
        let grid = [rows, columns];
        let truth = pairs.iter().map(|pair| pair.truth(grid));
        let truth: Vec<Truths> = truth.collect();
        let mirror = |truth: &Truths| -> Truths {
            truth
                .iter()
                .map(|t| t.map(|[x, y]| [columns as f32 - x, y]))
                .collect()
        };

        let b = features(pairs.iter().map(|pair| pair.b.clone()).collect());
        for (chosen, truth) in best_cells(a.clone(), b).await?.iter().zip(&truth) {
            plain.add(chosen, truth, grid);
        }
        let mirrored_b = pairs.iter().map(|pair| flip_horizontal(&pair.b));
        let b = features(mirrored_b.collect());
        for (chosen, truth) in best_cells(a, b).await?.iter().zip(&truth) {
            mirrored.add(chosen, &mirror(truth), grid);
        }
        *count += pairs.len();
        Ok(())
    }

    /// The figures of the pairs so far.
    pub fn figures(&self) -> HeldOutFigures {
        let share = |share: Option<f64>| share.unwrap_or(0.0);
        HeldOutFigures {
            feature: self.feature,
            accuracy: share(self.plain.accuracy()),
            mirrored: share(self.mirrored.accuracy()),
            chance: share(self.plain.chance()),
            same_place: share(self.plain.same_place()),
            cells: self.plain.cells,
            pairs: self.pairs,
        }
    }
}

/// For each cell of a picture its true position in the other picture, in cells.
type Truths = Vec<Option<[f32; 2]>>;

/// For each picture of a batch and each of its cells, the most similar cell of the other.
async fn best_cells(a: Tensor<4>, b: Tensor<4>) -> densecl::Result<Vec<Vec<usize>>> {
    let chosen = best_match(map_similarity(a, b));
    let [_, cells] = chosen.dims();
    let chosen: Vec<i32> = read(chosen.into_data_async(), "when the matches were read").await?;
    let rows = chosen.chunks_exact(cells);
    Ok(rows
        .map(|row| row.iter().map(|&cell| cell as usize).collect())
        .collect())
}

/// The 30 most distinct matches of one pair as lines to draw, each marked right or wrong. Matches are mutual nearest
/// neighbours; the most distinct ones have the largest lead in similarity over the second-best place. Matches at the
/// border are left out ([`densecl::matching::at_border`]).
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
    matches.retain(|found| !found.at_border(grid, grid));
    let lead_of = |found: &MutualMatch| lead(&values[found.a * cells..][..cells], found.b, grid);
    matches.sort_by(|x, y| lead_of(y).total_cmp(&lead_of(x)));
    matches.truncate(LINES);
    Ok(matches
        .into_iter()
        .map(|found| MatchLine {
            a: center(found.a),
            b: center(found.b),
            score: found.score,
            // A match of a cell that has no true match counts as wrong.
            correct: Some(
                truth[found.a].is_some_and(|truth| {
                    densecl::metrics::within_one_cell(found.b, truth, columns)
                }),
            ),
        })
        .collect())
}

/// Feature maps of a batch of pictures, each cell a unit vector, [B, C, h, w].
fn features(
    encoder: &Encoder,
    images: Vec<RgbImage>,
    feature: Feature,
    device: &Device,
) -> Tensor<4> {
    dense_features(encoder, image_batch(&images, device), feature)
}
