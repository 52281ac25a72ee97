//! Accuracy of the matches between the cells of two views.

use crate::matching::cell_center;

/// The share of matches within one cell of the true position, with two baselines: random matches and
/// matches at the same place. Pairs of views are added one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CorrespondenceAccuracy {
    /// Number of query cells.
    all: u64,
    /// Number of overlapping query cells: those whose true position lies inside the key view.
    pub cells: u64,
    /// Number of overlapping query cells whose chosen key cell lies within one cell of the true position.
    pub correct: u64,
    /// Number of overlapping query cells whose true position lies within one cell of the key cell with the same
    /// row and column.
    same_place: u64,
    /// Sum, over the overlapping query cells, of the probability that a random key cell is correct.
    chance_sum: f64,
}

impl CorrespondenceAccuracy {
    /// Adds the matches of one pair of views.
    ///
    /// Both views have a row-major `grid` of (rows, columns) cells. `matches[i]` is the key cell chosen for query
    /// cell i. `truth[i]` is the true position of that cell's centre, (x, y) in cells of the key view with cell
    /// centres at +0.5, or `None` outside of the view. A match is correct when the centre of the chosen cell lies
    /// at most one cell (Euclidean) from the true position.
    ///
    /// # Panics
    /// When `matches`, `truth` and the grid differ in size.
    pub fn add(&mut self, matches: &[usize], truth: &[Option<[f32; 2]>], grid: [usize; 2]) {
        assert_eq!(matches.len(), truth.len(), "one truth per match");
        let cells = grid[0] * grid[1];
        assert_eq!(matches.len(), cells, "one match per cell");
        self.all += cells as u64;
        for (query, (&chosen, truth)) in matches.iter().zip(truth).enumerate() {
            let Some(truth) = *truth else { continue };
            self.cells += 1;
            self.correct += u64::from(within_one_cell(chosen, truth, grid[1]));
            self.same_place += u64::from(within_one_cell(query, truth, grid[1]));
            let near = (0..cells)
                .filter(|&cell| within_one_cell(cell, truth, grid[1]))
                .count();
            self.chance_sum += near as f64 / cells as f64;
        }
    }

    /// Adds the pairs that another rank has counted.
    pub fn merge(&mut self, other: &Self) {
        self.all += other.all;
        self.cells += other.cells;
        self.correct += other.correct;
        self.same_place += other.same_place;
        self.chance_sum += other.chance_sum;
    }

    /// The counts as bytes, to be sent to another rank.
    pub fn to_bytes(&self) -> [u8; 40] {
        let chance = self.chance_sum.to_bits();
        let counts = [self.all, self.cells, self.correct, self.same_place, chance];
        let mut bytes = [0; 40];
        for (bytes, count) in bytes.as_chunks_mut().0.iter_mut().zip(counts) {
            *bytes = count.to_le_bytes();
        }
        bytes
    }

    /// The counts from which [`Self::to_bytes`] made these bytes; `None` if there are not 40 of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 40] = bytes.try_into().ok()?;
        let mut counts = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes);
        Some(Self {
            all: counts.next()?,
            cells: counts.next()?,
            correct: counts.next()?,
            same_place: counts.next()?,
            chance_sum: f64::from_bits(counts.next()?),
        })
    }

    /// Share of query cells whose true position lies inside the key view, in [0, 1]; `None` before the first pair.
    pub fn overlap(&self) -> Option<f64> {
        (self.all > 0).then(|| self.cells as f64 / self.all as f64)
    }

    /// Share of correct matches among the overlapping cells, in [0, 1]; `None` without such a cell.
    pub fn accuracy(&self) -> Option<f64> {
        (self.cells > 0).then(|| self.correct as f64 / self.cells as f64)
    }

    /// The accuracy of matching every cell with the one at the same place of the grid. A network whose
    /// features depend on the position instead of the content scores close to it.
    pub fn same_place(&self) -> Option<f64> {
        (self.cells > 0).then(|| self.same_place as f64 / self.cells as f64)
    }

    /// The expected accuracy of random matches on the same cells.
    pub fn chance(&self) -> Option<f64> {
        (self.cells > 0).then(|| self.chance_sum / self.cells as f64)
    }
}

/// Whether the centre of `cell` lies at most one cell (Euclidean) from `point`, (x, y) in cells.
pub fn within_one_cell(cell: usize, point: [f32; 2], columns: usize) -> bool {
    let [x, y] = cell_center(cell, columns);
    (x - point[0]).powi(2) + (y - point[1]).powi(2) <= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_count_within_one_cell_and_chance_is_the_share_of_such_cells() {
        let mut accuracy = CorrespondenceAccuracy::default();
        assert_eq!((accuracy.accuracy(), accuracy.overlap()), (None, None));
        // The true position is the centre of cell 4 of a 3×3 grid: that cell and its four neighbours are correct.
        let mut truth = [None; 9];
        truth[0] = Some([1.5, 1.5]);
        truth[3] = Some([1.5, 1.5]);
        accuracy.add(&[1, 0, 0, 0, 0, 0, 0, 0, 0], &truth, [3, 3]);
        assert_eq!((accuracy.cells, accuracy.correct), (2, 1));
        assert_eq!(accuracy.overlap(), Some(2.0 / 9.0));
        // At the same place, cell 3 is correct (a neighbour of cell 4) and cell 0 is not.
        assert_eq!(accuracy.same_place(), Some(0.5));
        assert!((accuracy.chance().expect("two cells") - 5.0 / 9.0).abs() < 1e-12);
        assert_eq!(accuracy.accuracy(), Some(0.5));
    }
}
