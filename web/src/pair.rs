//! Comparison of two pictures.

use densecl::features::{map_similarity, read};
use densecl::matching::{best_cell, cell_center, ensure_comparable, mutual_matches, subcell_peak};
use densecl::metrics::{pck, within_one_cell};
use densecl::visualize::joint_pca;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{failure::Failure, truth::Truth, weights::Features};

/// The most similarities of a pair: 128 MiB of `f32`.
const MAX_SIMILARITIES: usize = 1 << 25;

/// The similarity of every cell of A with every cell of B.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Pair {
    /// Cosine similarities, row major: cells of A by cells of B.
    similarity: Vec<f32>,
    /// Rows and columns of A's feature map.
    grid_a: [usize; 2],
    grid_b: [usize; 2],
}

/// The match of one cell of A in B.
#[wasm_bindgen]
#[derive(Debug, Clone)]
pub struct Match {
    row: Vec<f32>,
    /// The number of the most similar cell of B, row by row.
    pub best: usize,
    /// x of the similarity's peak around that cell, in [0, 1] of B's width.
    pub u: f32,
    /// y of the peak, in [0, 1] of B's height.
    pub v: f32,
    /// Cosine similarity of the best cell.
    pub score: f32,
}

#[wasm_bindgen]
impl Match {
    /// Similarity with every cell of B, row major. It is moved out to avoid a copy, so a second call returns no values.
    pub fn row(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.row)
    }
}

impl Pair {
    fn cells_b(&self) -> usize {
        self.grid_b[0] * self.grid_b[1]
    }

    fn row(&self, cell: usize) -> &[f32] {
        let cells = self.cells_b();
        &self.similarity[cell * cells..][..cells]
    }

    /// The most similar cell of B, the first of equal ones; `None` when all similarities are NaN.
    fn best(&self, cell: usize) -> Option<usize> {
        best_cell(self.row(cell))
    }

    /// The peak of a cell's similarities around `best`, (u, v) in [0, 1] of B.
    fn peak(&self, cell: usize, best: usize) -> [f32; 2] {
        normalised(subcell_peak(self.row(cell), best, self.grid_b), self.grid_b)
    }

    fn listed(&self, threshold: f32, right: impl Fn(usize, usize) -> Option<bool>) -> Vec<f32> {
        mutual_matches(&self.similarity, self.cells_b(), threshold)
            .into_iter()
            .flat_map(|m| {
                let ([ua, va], [ub, vb]) = (self.centre_a(m.a), self.peak(m.a, m.b));
                let right = right(m.a, m.b).map_or(-1.0, f32::from);
                let at_border = f32::from(m.at_border(self.grid_a, self.grid_b));
                [
                    m.a as f32, m.b as f32, ua, va, ub, vb, m.score, right, at_border,
                ]
            })
            .collect()
    }

    fn centre_a(&self, cell: usize) -> [f32; 2] {
        normalised(cell_center(cell, self.grid_a[1]), self.grid_a)
    }
}

/// Converts a position (x, y) in cells to (u, v) in [0, 1].
fn normalised([x, y]: [f32; 2], [rows, columns]: [usize; 2]) -> [f32; 2] {
    [x / columns as f32, y / rows as f32]
}

/// Distance in pixels between two points (u, v) in [0, 1] of a picture of (width, height) pixels.
fn distance(a: [f32; 2], b: [f32; 2], [width, height]: [f32; 2]) -> f32 {
    ((a[0] - b[0]) * width).hypot((a[1] - b[1]) * height)
}

#[wasm_bindgen]
impl Pair {
    /// Compares the features of two pictures, which must come from the same network.
    ///
    /// # Errors
    /// `image-too-large` when there are too many pairs of cells; `device` when the device fails; `worker`
    /// when the features have different numbers of channels.
    pub async fn compare(a: &Features, b: &Features) -> Result<Pair, Failure> {
        let (grid_a, grid_b) = (a.grid(), b.grid());
        if a.channels() != b.channels() {
            return Err(Failure::request("features of different networks"));
        }
        Self::admit(grid_a[0] * grid_a[1], grid_b[0] * grid_b[1])?;
        Ok(Self {
            similarity: read(map_similarity(a.map(), b.map())).await?,
            grid_a,
            grid_b,
        })
    }

    /// Checks, before the network runs, that pictures with these numbers of cells can be compared.
    ///
    /// # Errors
    /// `image-too-large` when there are too many pairs of cells.
    pub fn admit(cells_a: usize, cells_b: usize) -> Result<(), Failure> {
        ensure_comparable([cells_a, cells_b], MAX_SIMILARITIES)
            .map_err(|error| Failure::new("image-too-large", error.to_string()))
    }

    /// The match of `cell` of A; `undefined` in JavaScript when all its similarities are NaN.
    ///
    /// # Errors
    /// `worker` when `cell` is not below the number of A's cells.
    #[wasm_bindgen(js_name = matchCell)]
    pub fn match_cell(&self, cell: usize) -> Result<Option<Match>, Failure> {
        let cells = self.grid_a[0] * self.grid_a[1];
        if cell >= cells {
            return Err(Failure::request(format!("cell {cell} of {cells}")));
        }
        Ok(self.best(cell).map(|best| {
            let [u, v] = self.peak(cell, best);
            let row = self.row(cell).to_vec();
            Match {
                score: row[best],
                row,
                best,
                u,
                v,
            }
        }))
    }

    /// The centre of a cell of A: `[u, v]` in [0, 1].
    pub fn centre(&self, cell: usize) -> Vec<f32> {
        self.centre_a(cell).into()
    }

    /// The mutual matches with a similarity of at least `threshold`, most similar first. Each is nine
    /// numbers: the cell of A, the cell of B, u and v in A, u and v in B, the similarity, whether the
    /// match is correct, here always −1 for unknown, and 1 if a cell is at the border of its grid, else 0.
    /// So the caller can show matches at the border, or leave them out, without asking again.
    pub fn mutual(&self, threshold: f32) -> Vec<f32> {
        self.listed(threshold, |_, _| None)
    }

    /// As [`Pair::mutual`], with known truth: the last but one number is 1 (correct) when the cell of B lies
    /// within one cell of the true point, else 0 (wrong).
    pub fn judged(&self, threshold: f32, truth: &Truth) -> Vec<f32> {
        let [rows, columns] = self.grid_b;
        self.listed(threshold, |a, b| {
            let seen = truth.find(self.centre_a(a));
            let cells = seen.map(|[u, v]| [u * columns as f32, v * rows as f32]);
            Some(cells.is_some_and(|point| within_one_cell(b, point, columns)))
        })
    }

    /// The errors of the matches of all cells of A whose true point is visible in B: [PCK at 0.05 of B's
    /// longer side, PCK at 0.1, mean error in pixels, number of such cells]. Empty when there is none.
    pub fn accuracy(&self, truth: &Truth) -> Vec<f32> {
        let size = truth.size();
        let cells = 0..self.grid_a[0] * self.grid_a[1];
        let errors: Vec<f32> = cells
            .filter_map(|cell| {
                let truth = truth.find(self.centre_a(cell))?;
                let found = self.best(cell).map(|best| self.peak(cell, best));
                Some(found.map_or(f32::NAN, |found| distance(found, truth, size)))
            })
            .collect();
        let longer = size[0].max(size[1]);
        let share = |of: f32| pck(&errors, of * longer).map(|share| share as f32);
        let (Some(near), Some(nearby)) = (share(0.05), share(0.1)) else {
            return Vec::new();
        };
        let count = errors.len() as f32;
        vec![near, nearby, errors.iter().sum::<f32>() / count, count]
    }
}

/// Joint PCA colours of the cells of two pictures: opaque RGBA of A's grid, then of B's.
///
/// # Errors
/// `worker` when the features have different numbers of channels.
#[wasm_bindgen(js_name = jointPca)]
pub fn pca(a: &Features, b: &Features) -> Result<Vec<u8>, Failure> {
    if a.channels() != b.channels() {
        return Err(Failure::request("features of different networks"));
    }
    let (colors_a, colors_b) = joint_pca(a.values(), b.values(), a.channels());
    let all = colors_a.iter().chain(&colors_b);
    Ok(all.flat_map(|&[r, g, b]| [r, g, b, 255]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(similarity: &[f32]) -> Pair {
        Pair {
            similarity: similarity.to_vec(),
            grid_a: [1, 2],
            grid_b: [1, 3],
        }
    }

    #[test]
    fn a_match_is_the_first_best_number_and_nan_is_none() {
        let pair = pair(&[0.1, 0.9, 0.9, f32::NAN, f32::NAN, f32::NAN]);
        let found = pair.match_cell(0).expect("a cell").expect("a match");
        assert_eq!((found.best, found.score), (1, 0.9));
        assert_eq!((found.u, found.v), (2.0 / 3.0, 0.5));
        assert!(pair.match_cell(1).expect("a cell").is_none());
        assert_eq!(
            pair.match_cell(2).err().map(|e| e.kind()),
            Some("worker".into())
        );
    }

    #[test]
    fn what_would_not_fit_into_memory_is_refused() {
        assert!(Pair::admit(56 * 56, 56 * 56).is_ok());
        assert!(Pair::admit(512 * 512, 512 * 512).is_err());
        assert!(Pair::admit(usize::MAX, 2).is_err());
    }

    #[test]
    fn mutual_matches_come_with_their_places() {
        let pair = pair(&[0.2, 0.0, 0.9, 0.8, 0.0, 0.1]);
        assert_eq!(
            pair.mutual(0.85),
            [0.0, 2.0, 0.25, 0.5, 2.5 / 3.0, 0.5, 0.9, -1.0, 0.0]
        );
        assert_eq!(pair.mutual(0.0).len(), 18);
    }

    #[test]
    fn mutual_matches_at_the_border_are_marked() {
        // Every cell matches itself.
        let mut similarity = vec![0.0; 25 * 25];
        for cell in 0..25 {
            similarity[cell * 26] = 1.0;
        }
        let pair = Pair {
            similarity,
            grid_a: [5, 5],
            grid_b: [5, 5],
        };
        let found = pair.mutual(0.5);
        let inner = found.chunks_exact(9).filter(|one| one[8] == 0.0);
        let inner: Vec<f32> = inner.map(|one| one[0]).collect();
        assert_eq!(inner, [6.0, 7.0, 8.0, 11.0, 12.0, 13.0, 16.0, 17.0, 18.0]);
        assert_eq!(found.len(), 25 * 9);
    }
}
