//! One step of label propagation: the labels of a frame's cells from the most similar cells of earlier frames.
//!
//! The protocol of DINO (Caron et al., ICCV 2021, section 4.2.2 and `eval_video_segmentation.py`), which is that of
//! Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk" (NeurIPS 2020): among the cells of all context
//! frames that are at most `radius` columns and rows away, the `k` most similar vote with weight exp(similarity / τ).

use rayon::prelude::*;
use serde::Serialize;

/// Settings of the propagation; the defaults are DINO's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PropagationSettings {
    /// Number of preceding frames that vote, beside the first.
    pub context: usize,
    /// Number of cells that vote for each cell.
    pub k: usize,
    /// Largest distance of a voting cell, in columns and in rows.
    pub radius: usize,
    /// Temperature τ of the votes.
    pub temperature: f32,
}

impl Default for PropagationSettings {
    fn default() -> Self {
        Self {
            context: 7,
            k: 5,
            radius: 12,
            temperature: 0.1,
        }
    }
}

/// A cell of a context frame that may vote.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    similarity: f32,
    frame: usize,
    cell: usize,
}

/// The most similar context cells of every cell of a frame.
#[derive(Debug, Clone)]
pub struct Neighbours {
    grid: [usize; 2],
    settings: PropagationSettings,
    /// The number of context frames added.
    frames: usize,
    /// For each cell at most `k`, the most similar first.
    nearest: Vec<Vec<Neighbour>>,
}

impl Neighbours {
    /// No neighbours yet, for the cells of `grid` = [rows, columns].
    pub fn new(grid: [usize; 2], settings: PropagationSettings) -> Self {
        Self {
            grid,
            settings,
            frames: 0,
            nearest: vec![Vec::new(); grid[0] * grid[1]],
        }
    }

    /// Adds the next context frame. `similarity` is row major, cells of this frame by cells of the context frame, both
    /// of the same grid. NaN never votes.
    ///
    /// # Panics
    /// When `similarity` is not a square matrix of the grid's cells.
    pub fn add(&mut self, similarity: &[f32]) {
        let [rows, columns] = self.grid;
        let cells = rows * columns;
        assert_eq!(similarity.len(), cells * cells, "cells by cells");
        let PropagationSettings { k, radius, .. } = self.settings;
        let frame = self.frames;
        let within =
            |at: usize, most: usize| at.saturating_sub(radius)..(at + radius + 1).min(most);
        let each = similarity.par_chunks_exact(cells).enumerate();
        self.nearest
            .par_iter_mut()
            .zip(each)
            .for_each(|(nearest, (target, similarity))| {
                for row in within(target / columns, rows) {
                    for column in within(target % columns, columns) {
                        let cell = row * columns + column;
                        let similarity = similarity[cell];
                        // Of equal ones the earlier cell of the earlier frame is kept.
                        let place = nearest.partition_point(|one| one.similarity >= similarity);
                        if place < k && !similarity.is_nan() {
                            nearest.truncate(k - 1);
                            let new = Neighbour {
                                similarity,
                                frame,
                                cell,
                            };
                            nearest.insert(place, new);
                        }
                    }
                }
            });
        self.frames += 1;
    }

    /// The labels of every cell, row by row, `classes` shares each: the mean of the voting cells' labels, weighted by
    /// exp(similarity / τ). `labels` has the same for each context frame, in the order in which they were added.
    ///
    /// # Panics
    /// When `labels` does not fit the context frames.
    pub fn votes(&self, labels: &[&[f32]], classes: usize) -> Vec<f32> {
        assert_eq!(labels.len(), self.frames, "labels for each context frame");
        let vote = |nearest: &Vec<Neighbour>| {
            let best = nearest.first().map_or(0.0, |one| one.similarity);
            let mut votes = vec![0.0; classes];
            let mut sum = 0.0;
            for one in nearest {
                let weight = ((one.similarity - best) / self.settings.temperature).exp();
                sum += weight;
                let shares = &labels[one.frame][one.cell * classes..][..classes];
                for (vote, share) in votes.iter_mut().zip(shares) {
                    *vote += weight * share;
                }
            }
            if sum > 0.0 {
                votes.iter_mut().for_each(|vote| *vote /= sum);
            }
            votes
        };
        self.nearest.par_iter().flat_map_iter(vote).collect()
    }
}

/// The labels of the first frame's cells, row by row, `classes` shares each: 1 for the class of the pixel at the cell's
/// centre, as DINO reduces a mask (nearest neighbour).
///
/// # Panics
/// When `mask` has not width · height pixels, or a class that is not below `classes`.
pub fn labels_of(
    mask: &[u8],
    [width, height]: [usize; 2],
    [rows, columns]: [usize; 2],
    classes: usize,
) -> Vec<f32> {
    assert_eq!(mask.len(), width * height, "a class per pixel");
    let mut labels = vec![0.0; rows * columns * classes];
    for (cell, labels) in labels.chunks_exact_mut(classes).enumerate() {
        let (row, column) = (cell / columns, cell % columns);
        let x = (2 * column + 1) * width / (2 * columns);
        let y = (2 * row + 1) * height / (2 * rows);
        labels[usize::from(mask[y * width + x])] = 1.0;
    }
    labels
}

/// The class of each pixel from `values`, for each class a plane of pixels: each plane is first scaled so that its
/// smallest value is 0 and its largest 1 (a plane without a value above 0 stays as it is); then the largest wins, of
/// equal ones the first class.
///
/// # Panics
/// When `values` is not whole planes of `pixels` pixels.
pub fn classes_of(mut values: Vec<f32>, pixels: usize) -> Vec<u8> {
    assert!(
        pixels > 0 && values.len().is_multiple_of(pixels),
        "whole planes"
    );
    let mut found = vec![(f32::NEG_INFINITY, 0); pixels];
    for (class, plane) in (0..).zip(values.chunks_exact_mut(pixels)) {
        let ends = |plane: &[f32]| {
            let least = plane.iter().copied().fold(f32::INFINITY, f32::min);
            let most = plane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            (least, most)
        };
        let (least, most) = ends(plane);
        if most > 0.0 && most > least {
            let span = most - least;
            plane
                .iter_mut()
                .for_each(|value| *value = (*value - least) / span);
        }
        for (found, &value) in found.iter_mut().zip(plane.iter()) {
            if value > found.0 {
                *found = (value, class);
            }
        }
    }
    found.into_iter().map(|(_, class)| class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_k_most_similar_within_the_radius_vote() {
        let settings = PropagationSettings {
            k: 2,
            radius: 1,
            temperature: 0.5,
            context: 1,
        };
        // A row of four cells. Cell 3 of the context is the most similar to cell 0, but too far away.
        let mut similarity = vec![0.0; 16];
        similarity[..4].copy_from_slice(&[0.2, 0.7, 0.8, 0.9]);
        let mut neighbours = Neighbours::new([1, 4], settings);
        neighbours.add(&similarity);
        similarity[..4].copy_from_slice(&[0.6, f32::NAN, 0.8, 0.9]);
        neighbours.add(&similarity);
        let first = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0];
        let second = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        let votes = neighbours.votes(&[&first, &second], 2);
        // Cell 1 of the first frame (0.7, class 1) and cell 0 of the second (0.6, class 0).
        let weight = (-0.1f32 / 0.5).exp();
        assert!((votes[1] - 1.0 / (1.0 + weight)).abs() < 1e-6, "{votes:?}");
        assert!((votes[0] + votes[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_cell_has_the_class_of_the_pixel_at_its_centre() {
        let mask = [0, 0, 1, 1, 0, 2, 1, 1];
        let labels = labels_of(&mask, [4, 2], [1, 2], 3);
        assert_eq!(labels, [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn classes_are_scaled_before_they_are_compared() {
        // Class 1 is weak everywhere, but strongest at the second pixel.
        let found = classes_of(vec![0.9, 0.8, 0.7, 0.1, 0.2, 0.1], 3);
        assert_eq!(found, [0, 1, 0]);
        // A class that is nowhere stays nowhere.
        assert_eq!(classes_of(vec![0.5, 0.6, 0.0, 0.0], 2), [0, 0]);
    }
}
