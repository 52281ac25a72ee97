//! Matching of cells by the similarity of their features (section 3.4 of the paper).
//!
//! The functions work on tensors and grids of similarities, without a model, so that training, evaluation and
//! the browser share them.

use burn::tensor::{Int, Tensor};

use crate::error::{Error, Result};

/// Divides by the L2 norm along `dim`. As in PyTorch's `normalize`, the norm is at least 1e-12.
pub fn l2_normalize<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    // The clamp comes before the root: the slope of the root at 0 is infinite, so the gradient of a vector of
    // zeros would be NaN.
    let squares = x.clone().square().sum_dim(dim).clamp_min(1e-24);
    let norm = squares.sqrt();
    x / norm
}

/// Features [B, C, N] minus the mean over the batch of the same cell, normalised to unit length again.
///
/// That mean is the part of the features that depends on the position alone: because of zero padding, a cell
/// near the border is more similar to the same cell of another picture than to the same object at another
/// position. Without the mean the cosine compares the content of the cells.
pub fn centred(features: Tensor<3>) -> Tensor<3> {
    let mean = features.clone().mean_dim(0);
    l2_normalize(features - mean, 1)
}

/// Cosine similarity of every query cell with every key cell.
///
/// Unit-length features [B, C, N] and [B, C, M] → [B, N, M].
pub fn similarity(query: Tensor<3>, key: Tensor<3>) -> Tensor<3> {
    query.swap_dims(1, 2).matmul(key)
}

/// Checks, before the network runs, that the similarities of every cell of one picture with every cell of
/// another fit into memory. `most` is the largest permitted number of similarities, 4 bytes each.
///
/// # Errors
/// [`Error::TooLarge`] when there are more than `most`.
pub fn ensure_comparable([cells_a, cells_b]: [usize; 2], most: usize) -> Result<()> {
    if cells_a.saturating_mul(cells_b) <= most {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "{cells_a} and {cells_b} cells are too many to compare each with each; choose a smaller size or \
         a larger stride"
    )))
}

/// For each query cell the number of the most similar key cell: [B, N, M] → [B, N].
///
/// c_i = argmax_j sim(f_i, f'_j), equation 4 of the paper.
pub fn best_match(similarity: Tensor<3>) -> Tensor<2, Int> {
    similarity.argmax(2).squeeze_dim(2)
}

/// The vector of the matched key cell for each query cell: `key` [B, D, M] and `matches` [B, N] → [B, D, N].
pub fn gather_cells(key: Tensor<3>, matches: Tensor<2, Int>) -> Tensor<3> {
    let [b, d, _] = key.dims();
    let [_, n] = matches.dims();
    key.gather(2, matches.unsqueeze_dim::<3>(1).expand([b, d, n]))
}

/// A mutual match: two cells, each of which is the most similar cell to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MutualMatch {
    /// The cell of A, numbered row by row.
    pub a: usize,
    /// The cell of B, numbered row by row.
    pub b: usize,
    /// Their cosine similarity.
    pub score: f32,
}

impl MutualMatch {
    /// Whether one of the two cells is [at the border](at_border) of its grid, `grid_a` and `grid_b`, each
    /// [height, width].
    pub fn at_border(&self, grid_a: [usize; 2], grid_b: [usize; 2]) -> bool {
        at_border(self.a, grid_a) || at_border(self.b, grid_b)
    }
}

/// Smallest side in cells of a grid that has a border: of 4×4 cells only 4 would not be at it.
const LEAST_SIDE: usize = 5;

/// Whether a cell of a row-major grid [height, width] is at its border, in the first or last row or column.
///
/// Because of zero padding, cells at the border are similar to each other whatever the picture shows, so mutual
/// matches there are mostly matches by place; the lines between matches are drawn without them. A grid with a side of
/// at most four cells has no border, because nearly all of its cells would be at it.
pub fn at_border(cell: usize, [height, width]: [usize; 2]) -> bool {
    debug_assert!(cell < height * width, "cell {cell} of {height}x{width}");
    let [x, y] = [cell % width, cell / width];
    height.min(width) >= LEAST_SIDE && (x == 0 || y == 0 || x + 1 == width || y + 1 == height)
}

/// The mutual matches with a similarity of at least `threshold`, most similar first.
///
/// `similarity` is row major, cells of A by cells of B. Of equally similar cells the one with the lower number is
/// chosen; NaN never matches.
///
/// # Panics
/// When the length of `similarity` is no multiple of `cells_b`.
pub fn mutual_matches(similarity: &[f32], cells_b: usize, threshold: f32) -> Vec<MutualMatch> {
    assert!(
        cells_b > 0 && similarity.len().is_multiple_of(cells_b),
        "not a matrix of {cells_b} columns"
    );
    let cells_a = similarity.len() / cells_b;
    let mut best_of_b = vec![(f32::NEG_INFINITY, usize::MAX); cells_b];
    let mut best_of_a = vec![(f32::NEG_INFINITY, usize::MAX); cells_a];
    for (a, row) in similarity.chunks_exact(cells_b).enumerate() {
        for (b, &score) in row.iter().enumerate() {
            if score > best_of_a[a].0 {
                best_of_a[a] = (score, b);
            }
            if score > best_of_b[b].0 {
                best_of_b[b] = (score, a);
            }
        }
    }
    let mut matches: Vec<MutualMatch> = best_of_a
        .iter()
        .enumerate()
        .filter(|&(a, &(score, b))| b != usize::MAX && best_of_b[b].1 == a && score >= threshold)
        .map(|(a, &(score, b))| MutualMatch { a, b, score })
        .collect();
    matches.sort_by(|x, y| y.score.total_cmp(&x.score).then(x.a.cmp(&y.a)));
    matches
}

/// The index of the largest similarity of a row, the first of equal ones; NaN is ignored. `None` when all are NaN.
pub fn best_cell(row: &[f32]) -> Option<usize> {
    row.iter()
        .enumerate()
        .filter(|(_, score)| !score.is_nan())
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(cell, _)| cell)
}

/// The similarity of the best cell minus the largest similarity of the cells that do not touch it. A small
/// difference means that several places look like the query cell, as on a bare wall, so the match is unreliable.
///
/// This is the test of Lowe (2004, section 7.1), but with a difference instead of a ratio, because cosines may be
/// negative. `row` holds the `height`·`width` similarities of one query cell, `best` is the index of the largest.
/// The result is at least 0, and infinite when every cell touches the best one.
pub fn lead(row: &[f32], best: usize, [height, width]: [usize; 2]) -> f32 {
    debug_assert_eq!(row.len(), height * width);
    let [x, y] = [best % width, best / width];
    let others = row
        .iter()
        .enumerate()
        .filter(|&(cell, _)| x.abs_diff(cell % width) > 1 || y.abs_diff(cell / width) > 1);
    let next = others
        .map(|(_, &score)| score)
        .fold(f32::NEG_INFINITY, f32::max);
    row[best] - next
}

/// The centre of a cell of a row-major grid, (x, y) in cells: column + 0.5 and row + 0.5.
pub fn cell_center(cell: usize, columns: usize) -> [f32; 2] {
    [(cell % columns) as f32 + 0.5, (cell / columns) as f32 + 0.5]
}

/// The position of the peak of a similarity map with sub-cell precision: the peak of a parabola through the best
/// cell and its two neighbours, separately along x and y.
///
/// `row` holds the `height`·`width` similarities of one query cell, `best` is the index of the largest. Returns
/// (x, y) in cells, with cell centres at +0.5. The offset from the centre of the best cell is at most half a
/// cell, and 0 along an axis on which the best cell lies at the border.
pub fn subcell_peak(row: &[f32], best: usize, [height, width]: [usize; 2]) -> [f32; 2] {
    let (x, y) = (best % width, best / width);
    let offset = |before: f32, at: f32, after: f32| {
        let curvature = before - 2.0 * at + after;
        if curvature < 0.0 {
            (0.5 * (before - after) / curvature).clamp(-0.5, 0.5)
        } else {
            0.0
        }
    };
    let dx = if x > 0 && x + 1 < width {
        offset(row[best - 1], row[best], row[best + 1])
    } else {
        0.0
    };
    let dy = if y > 0 && y + 1 < height {
        offset(row[best - width], row[best], row[best + width])
    } else {
        0.0
    };
    [x as f32 + 0.5 + dx, y as f32 + 0.5 + dy]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_cells_than_may_be_compared_are_refused() {
        assert_eq!(ensure_comparable([3, 4], 12), Ok(()));
        for cells in [[3, 5], [usize::MAX, 2]] {
            assert!(matches!(
                ensure_comparable(cells, 12),
                Err(Error::TooLarge(_))
            ));
        }
    }

    #[test]
    fn the_gradient_at_a_vector_of_zeros_is_a_number() {
        let device = burn::tensor::Device::flex();
        let x = Tensor::<2>::from_data([[0.0, 0.0], [3.0, 4.0]], &device);
        let x = x.autodiff().require_grad();
        let gradients = l2_normalize(x.clone(), 1)
            .slice([0..2, 0..1])
            .sum()
            .backward();
        let gradient: Vec<f32> = x
            .grad(&gradients)
            .expect("tracked")
            .try_into_vec_as()
            .expect("on the CPU");
        assert!(
            gradient.iter().all(|value| value.is_finite()),
            "{gradient:?}"
        );
        // d(x / ‖(x, y)‖) = (y², −x·y) / ‖(x, y)‖³ at (3, 4).
        assert!((gradient[2] - 16.0 / 125.0).abs() < 1e-6, "{gradient:?}");
        assert!((gradient[3] + 12.0 / 125.0).abs() < 1e-6, "{gradient:?}");
    }

    #[test]
    fn only_cells_that_choose_each_other_match() {
        // A0 and A1 are most similar to B0, which is most similar to A1. A2 and B2 match below 0.5.
        let sim = [0.8, 0.1, 0.0, 0.9, 0.2, 0.0, 0.1, 0.3, 0.4];
        let matches = mutual_matches(&sim, 3, -1.0);
        assert_eq!(
            matches.iter().map(|m| (m.a, m.b)).collect::<Vec<_>>(),
            [(1, 0), (2, 2)]
        );
        assert_eq!(mutual_matches(&sim, 3, 0.5).len(), 1);
        assert!(mutual_matches(&[f32::NAN; 4], 2, -1.0).is_empty());
    }

    #[test]
    fn the_border_is_the_outermost_ring_of_cells() {
        let of = |grid: [usize; 2]| -> Vec<usize> {
            let cells = 0..grid[0] * grid[1];
            cells.filter(|&cell| !at_border(cell, grid)).collect()
        };
        assert_eq!(of([5, 6]), [7, 8, 9, 10, 13, 14, 15, 16, 19, 20, 21, 22]);
        assert_eq!(of([6, 5]), [6, 7, 8, 11, 12, 13, 16, 17, 18, 21, 22, 23]);
        // A side of at most four cells: no border.
        for grid in [[4, 4], [4, 9], [9, 4], [1, 1]] {
            assert_eq!(of(grid).len(), grid[0] * grid[1], "{grid:?}");
        }
    }

    #[test]
    fn a_match_is_at_the_border_by_either_of_its_cells() {
        let (a, b) = ([5, 5], [5, 6]);
        // Cell 14 is in the last column of A, but inside of B; cell 17 the other way round.
        for (cells, expected) in [([12, 14], false), ([14, 14], true), ([12, 17], true)] {
            let found = MutualMatch {
                a: cells[0],
                b: cells[1],
                score: 1.0,
            };
            assert_eq!(found.at_border(a, b), expected, "{cells:?}");
        }
        // Each grid has its own border, and a small one has none.
        let found = MutualMatch {
            a: 0,
            b: 14,
            score: 1.0,
        };
        assert!(!found.at_border([4, 4], b));
        assert!(found.at_border([5, 5], b));
    }

    #[test]
    fn centred_features_match_by_what_is_there_and_not_by_place() {
        // Two pictures of two cells; two channels describe the content of a cell and two its position. The second
        // views show the cells of the first in the opposite order.
        let device = burn::tensor::Device::flex();
        let view = |cells: [[f32; 2]; 4]| {
            let place = [[3.0, 0.0], [0.0, 3.0]];
            let values: Vec<f32> = (0..2)
                .flat_map(|picture| (0..4).map(move |channel| (picture, channel)))
                .flat_map(|(picture, channel)| {
                    [0, 1].map(|cell| match channel {
                        0 | 1 => cells[2 * picture + cell][channel],
                        _ => place[cell][channel - 2],
                    })
                })
                .collect();
            let data = burn::tensor::TensorData::new(values, [2, 4, 2]);
            l2_normalize(Tensor::<3>::from_data(data, &device), 1)
        };
        let (red, blue) = ([1.0, 0.0], [0.0, 1.0]);
        let query = view([red, blue, blue, red]);
        let key = view([blue, red, red, blue]);
        let matches = |similarity| -> Vec<i32> {
            let best = best_match(similarity).try_into_vec_as();
            best.expect("the CPU answers")
        };
        assert_eq!(
            matches(similarity(query.clone(), key.clone())),
            [0, 1, 0, 1]
        );
        assert_eq!(
            matches(similarity(centred(query), centred(key))),
            [1, 0, 1, 0]
        );
    }

    #[test]
    fn the_best_cell_is_the_first_of_the_greatest_and_a_number() {
        assert_eq!(best_cell(&[f32::NAN, 0.5, 0.9, 0.9]), Some(2));
        assert_eq!(best_cell(&[f32::NAN]), None);
    }

    #[test]
    fn a_parabola_peaks_between_cells() {
        // A 3×3 map of a paraboloid with its peak at x = 1.25, y = 1 in units of cell indices.
        let at = |x: f32, y: f32| -(x - 1.25).powi(2) - (y - 1.0).powi(2);
        let row: Vec<f32> = (0..9).map(|i| at((i % 3) as f32, (i / 3) as f32)).collect();
        let [x, y] = subcell_peak(&row, 4, [3, 3]);
        assert!((x - 1.75).abs() < 1e-5 && (y - 1.5).abs() < 1e-5, "{x} {y}");
        assert_eq!(subcell_peak(&row, 0, [3, 3]), [0.5, 0.5]);
        assert_eq!(subcell_peak(&[1.0; 9], 4, [3, 3]), [1.5, 1.5]);
    }

    #[test]
    fn a_lead_is_over_the_cells_that_do_not_touch_the_best() {
        // The best of 3×4 cells is the first of the second row; the 0.9 next to it belongs to the same peak.
        let row = [
            0.1,
            0.9,
            0.6,
            0.0, //
            1.0,
            0.8,
            0.5,
            0.7, //
            0.2,
            0.3,
            f32::NAN,
            0.4,
        ];
        assert!((lead(&row, 4, [3, 4]) - 0.3).abs() < 1e-6);
        assert_eq!(lead(&[0.5; 16], 0, [4, 4]), 0.0);
        assert_eq!(lead(&[0.5, 0.1], 0, [1, 2]), f32::INFINITY);
    }
}
