//! `eval knn-seg`: segmentation without training; a cell takes the classes of the most similar training cells.
//!
//! Nearest-neighbour retrieval as in Balažević et al., "Towards In-Context Scene Understanding" (NeurIPS 2023):
//! unit-length cells, labelled by the share of each class among a cell's pixels, a memory bank of bounded size, and
//! a vote of the k nearest, weighted by exp(similarity / τ). Votes are interpolated to pixels.

use std::path::Path;

use anyhow::Context;
use burn::tensor::{Tensor, TensorData};
use densecl::matching::l2_normalize;
use densecl::metrics::IGNORE;
use densecl::rng::{Purpose, stream as random};
use densecl::transfer::segmentation::map_of_cells;
use image::GrayImage;
use rand::seq::index::sample;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::{Data, Judge, Splits, count_classes, open};
use crate::backbone::Backbone;
use crate::stream::stream;
use crate::{Evaluation, Look, Measured};

/// Similarities computed at a time: 128 MiB, independent of the sizes of pictures and bank.
const MAX_SIMILARITIES: usize = 32 << 20;

/// Settings of the vote.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KnnSettings {
    /// Number of neighbours that vote.
    pub k: usize,
    /// Temperature τ of the weights.
    pub temperature: f32,
    /// Largest number of training cells in the bank; the same number from each picture.
    pub bank: usize,
}

impl Default for KnnSettings {
    fn default() -> Self {
        Self {
            k: 30,
            temperature: 0.02,
            bank: 20_000,
        }
    }
}

/// Nearest-neighbour segmentation as an evaluation.
#[derive(Debug, Clone)]
pub struct KnnSeg {
    data: Data,
    look: Look,
    settings: KnnSettings,
}

impl KnnSeg {
    /// Opens the data set in `root`.
    ///
    /// # Errors
    /// One line for the user.
    pub fn new(
        root: &Path,
        splits: &Splits,
        look: Look,
        settings: KnnSettings,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            data: Data::open(root, splits)?,
            look,
            settings,
        })
    }

    /// Fills a bank for each seed in one pass over the training pictures; also counts their pixels per class.
    fn banks(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<(Vec<Bank>, Vec<u64>)> {
        let samples = &self.data.set.train;
        let classes = self.data.classes();
        let of_each = self.settings.bank.div_ceil(samples.len());
        let mut pixels = vec![0; classes];
        let mut banks = vec![Bank::default(); seeds.len()];
        stream(
            backbone,
            self.look.feature,
            samples.len(),
            "training pictures",
            |i| open(&samples[i], classes, self.look.size),
            |i, (_, labels), map| {
                count_classes(&mut pixels, &labels);
                let (values, grid) = unit_cells(map)?;
                let channels = values.len() / (grid[0] * grid[1]);
                let shares = cell_classes(&labels, grid, classes);
                let usable: Vec<usize> = (0..shares.len())
                    .filter(|&cell| shares[cell].is_some())
                    .collect();
                for (bank, &seed) in banks.iter_mut().zip(seeds) {
                    let mut rng = random(seed, Purpose::Evaluation, i as u64);
                    let room = self.settings.bank - bank.classes.len();
                    let count = of_each.min(usable.len()).min(room);
                    for chosen in sample(&mut rng, usable.len(), count) {
                        let cell = usable[chosen];
                        bank.values.extend(&values[cell * channels..][..channels]);
                        bank.classes.extend(shares[cell].clone());
                    }
                }
                Ok(())
            },
        )?;
        Ok((banks, pixels))
    }
}

impl Evaluation for KnnSeg {
    fn name(&self) -> &'static str {
        "knn-seg"
    }

    fn protocol(&self) -> serde_json::Value {
        json!({ "data": self.data.protocol(), "look": self.look, "knn": self.settings })
    }

    fn look(&self) -> Look {
        self.look
    }

    fn is_random(&self) -> bool {
        true
    }

    fn measure(&self, backbone: &Backbone, seeds: &[u64]) -> anyhow::Result<Vec<Measured>> {
        let (banks, pixels) = self.banks(backbone, seeds)?;
        self.data.commonest(&pixels)?;
        // The bank as a matrix [C, bank] on the device.
        let keys = banks.iter().map(|bank| {
            let shape = [bank.classes.len(), bank.values.len() / bank.classes.len()];
            let values = TensorData::new(bank.values.clone(), shape);
            Tensor::<2>::from_data(values, &backbone.device).transpose()
        });
        let keys: Vec<Tensor<2>> = keys.collect();
        let mut judges: Vec<Judge> = seeds.iter().map(|_| Judge::new(&self.data)).collect();
        let test = &self.data.set.test;
        stream(
            backbone,
            self.look.feature,
            test.len(),
            "test pictures",
            |i| open(&test[i], self.data.classes(), self.look.size),
            |_, (image, labels), map| {
                let [_, channels, rows, columns] = map.dims();
                let cells = l2_normalize(map, 1).reshape([channels, rows * columns]);
                for ((judge, bank), keys) in judges.iter_mut().zip(&banks).zip(&keys) {
                    let mut votes = Vec::with_capacity(rows * columns * self.data.classes());
                    let at_once = (MAX_SIMILARITIES / bank.classes.len()).max(1);
                    for cells in cells.clone().split(at_once, 1) {
                        let similarity: Vec<f32> = cells
                            .transpose()
                            .matmul(keys.clone())
                            .try_into_vec_as()
                            .context("reading similarities back from the device")?;
                        votes.extend(bank.votes(&similarity, &self.settings, self.data.classes()));
                    }
                    let map = map_of_cells(votes, [rows, columns], &backbone.device);
                    judge.add(&image, &labels, map)?;
                }
                Ok(())
            },
        )?;
        judges
            .into_iter()
            .map(|judge| judge.finish(&pixels))
            .collect()
    }
}

/// The memory bank: unit-length training cells of C values each, and their classes.
#[derive(Debug, Clone, Default)]
struct Bank {
    values: Vec<f32>,
    classes: Vec<Shares>,
}

/// The classes of a cell's pixels, with the share of each.
type Shares = Vec<(u8, f32)>;

impl Bank {
    /// The votes for all classes, one row for each row of `similarity`, which compares one cell with the whole bank. A
    /// vote is the mean share of the class among the nearest neighbours, weighted by similarity.
    fn votes(&self, similarity: &[f32], settings: &KnnSettings, classes: usize) -> Vec<f32> {
        let size = self.classes.len();
        let k = settings.k.min(size);
        let vote = |row: &[f32]| {
            let mut order: Vec<u32> = (0..size as u32).collect();
            let nearer = |a: &u32, b: &u32| {
                let [x, y] = [a, b].map(|&i| row[i as usize]);
                y.total_cmp(&x).then(a.cmp(b))
            };
            if k < size {
                order.select_nth_unstable_by(k, nearer);
                order.truncate(k);
            }
            // In a fixed order, because floating-point sums depend on it.
            order.sort_unstable_by(nearer);
            let best = order.first().map_or(0.0, |&i| row[i as usize]);
            let mut votes = vec![0.0; classes];
            for &i in &order {
                let weight = ((row[i as usize] - best) / settings.temperature).exp();
                for &(class, share) in &self.classes[i as usize] {
                    votes[usize::from(class)] += weight * share;
                }
            }
            let sum: f32 = votes.iter().sum();
            votes.iter_mut().for_each(|vote| *vote /= sum);
            votes
        };
        similarity
            .par_chunks_exact(size)
            .flat_map_iter(vote)
            .collect()
    }
}

/// Normalises the cells; returns them row by row, and the grid.
fn unit_cells(map: Tensor<4>) -> anyhow::Result<(Vec<f32>, [usize; 2])> {
    let [_, _, rows, columns] = map.dims();
    let values = l2_normalize(map, 1).permute([0, 2, 3, 1]).try_into_vec_as();
    let values = values.context("reading features back from the device")?;
    Ok((values, [rows, columns]))
}

/// The share of each class among a cell's pixels; `None` for cells in which fewer than half the pixels have a class.
fn cell_classes(
    labels: &GrayImage,
    [rows, columns]: [usize; 2],
    classes: usize,
) -> Vec<Option<Shares>> {
    let mut counts = vec![0u32; rows * columns * classes];
    let mut pixels = vec![0u32; rows * columns];
    let (width, height) = labels.dimensions();
    for (x, y, label) in labels.enumerate_pixels() {
        let column = x as usize * columns / width as usize;
        let row = y as usize * rows / height as usize;
        let cell = row * columns + column;
        pixels[cell] += 1;
        if label[0] != IGNORE {
            counts[cell * classes + usize::from(label[0])] += 1;
        }
    }
    counts
        .chunks_exact(classes)
        .zip(pixels)
        .map(|(counts, pixels)| {
            let labelled: u32 = counts.iter().sum();
            (labelled > 0 && 2 * labelled >= pixels).then(|| {
                (0..)
                    .zip(counts)
                    .filter(|(_, count)| **count > 0)
                    .map(|(class, count)| (class, *count as f32 / labelled as f32))
                    .collect()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_shares_of_their_labelled_pixels() {
        // 2 × 1 cells over 4 × 2 pixels.
        let labels = GrayImage::from_raw(4, 2, vec![0, 1, IGNORE, IGNORE, 0, IGNORE, 2, IGNORE]);
        let shares = cell_classes(&labels.expect("eight pixels"), [1, 2], 3);
        assert_eq!(shares, [Some(vec![(0, 2.0 / 3.0), (1, 1.0 / 3.0)]), None]);
    }

    #[test]
    fn the_k_nearest_vote_by_similarity() {
        let bank = Bank {
            values: vec![0.0; 4],
            classes: vec![
                vec![(0, 1.0)],
                vec![(1, 0.5), (2, 0.5)],
                vec![(1, 1.0)],
                vec![(2, 1.0)],
            ],
        };
        let settings = KnnSettings {
            k: 2,
            temperature: 0.1,
            ..KnnSettings::default()
        };
        let votes = bank.votes(&[0.1, 0.5, 0.4, -0.3], &settings, 3);
        // Weights 1 and 1/e.
        let e = (-1.0f32).exp();
        let expected = [0.0, (0.5 + e) / (1.0 + e), 0.5 / (1.0 + e)];
        for (vote, expected) in votes.iter().zip(expected) {
            assert!((vote - expected).abs() < 1e-5, "{votes:?}");
        }
        // `k` is larger than the bank.
        let all = KnnSettings { k: 9, ..settings };
        assert_eq!(bank.votes(&[0.1, 0.5, 0.4, -0.3], &all, 3).len(), 3);
    }
}
