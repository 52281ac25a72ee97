//! What the writers of all formats share: columns, rows, and numbers as bytes.

use std::path::PathBuf;

/// One feature of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// The shape of one row: [C] or [C, h, w].
    pub(super) shape: Vec<usize>,
}

impl Column {
    /// The cells of a row and the numbers of each.
    fn cells(&self) -> (usize, usize) {
        (self.shape[1..].iter().product(), self.shape[0])
    }

    /// The vectors of a row with their place (row and column of the grid), cell after cell.
    pub(super) fn vectors(&self, row: &[f32]) -> impl Iterator<Item = ([usize; 2], Vec<f32>)> {
        let (cells, channels) = self.cells();
        let columns = self.shape.get(2).copied().unwrap_or(1);
        (0..cells).map(move |cell| {
            let vector = (0..channels).map(|c| row[c * cells + cell]).collect();
            ([cell / columns, cell % columns], vector)
        })
    }
}

/// Takes rows one by one to the disk; dropped before [`Table::finish`], it leaves nothing.
pub(super) trait Table {
    /// Adds a picture: a slice per column, row major.
    ///
    /// # Errors
    /// When the disk is full or gone.
    fn row(&mut self, name: &str, features: &[&[f32]]) -> anyhow::Result<()>;

    /// Completes the file and gives it its name; returns the files that there are now.
    ///
    /// # Errors
    /// When that fails; what was there before is then still there.
    fn finish(self: Box<Self>) -> anyhow::Result<Vec<PathBuf>>;
}

/// Numbers as they stand in every binary format here.
pub(super) fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
